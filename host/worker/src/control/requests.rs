//! What the supervisor asks for. Each call is answered exactly once, unless whoever asked is gone.

use std::os::fd::OwnedFd;
use std::time::Duration;

use lunbox_wire::{
    Call, Device, DeviceStatus, Ending, Hello, MAX_DESCRIPTORS, Minor, Refusal, Report, Request, StoreKind,
    VERSION,
};
use serde_json::Value;

use super::Control;
use crate::device::Entry;
use crate::identity;
use crate::jobs::{Asker, Job, Work};
use crate::start::{self, Refused};

/// Requests that may wait for a job of the same device.
const WAITING: usize = 16;
/// Devices in one packet of a status: about 400 bytes each, and 700 at most.
const STATUS_CHUNK: usize = 180;

impl Control {
    /// A packet has come. Descriptors that a request does not need are closed.
    pub(super) fn request(&mut self, packet: Value, descriptors: Vec<OwnedFd>) {
        let call = call_of(&packet);
        match serde_json::from_value(packet) {
            Ok(request) => self.handle(request, descriptors),
            // A supervisor of a later version may ask for what is not known here.
            Err(error) => match call {
                Some(call) => {
                    self.refuse(
                        call,
                        Refused::new(Refusal::Unsupported, format!("unknown request: {error}")),
                    );
                }
                None => tracing::warn!(%error, "a message of the supervisor is not known here"),
            },
        }
    }

    fn handle(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Hello { version } => self.hello(version),
            Request::Start { call, device } => {
                if let Err(refused) = self.start(call, *device, descriptors) {
                    self.refuse(call, refused);
                }
            }
            Request::Serial { minor, serial, ports, groups } => {
                if let Some(entry) = self.devices.get_mut(&minor) {
                    entry.identified();
                    if let Some(handle) = &entry.handle {
                        handle.set_identity(identity::identity(serial, ports, groups));
                    }
                }
            }
            Request::AccessState { minor, wish, answer } => {
                if let Some(entry) = self.devices.get_mut(&minor)
                    && entry.wish_ended(wish)
                    && let Some(handle) = &entry.handle
                {
                    handle.answer_access_state(wish, identity::access_state_answer(answer));
                }
            }
            Request::Resize { call, minor, .. }
            | Request::WriteCache { call, minor, .. }
            | Request::Stop { call, minor, .. } => {
                let Some(entry) = self.devices.get_mut(&minor) else { return self.refuse(call, gone(minor)) };
                if entry.waiting.len() >= WAITING {
                    let reason = "too many requests for this device at a time; wait for their answers";
                    return self.refuse(call, Refused::new(Refusal::Failed, reason));
                }
                entry.waiting.push_back(request);
                self.next_request(minor);
            }
            Request::Status { call } => self.status(call),
            Request::Statistics { call } => self.statistics(call),
            Request::Trace { call, minor, on } => {
                let traced = self.trace(minor, on);
                let asker = self.asker(call);
                self.answer(asker, traced);
            }
            Request::Handles { call, minor } => {
                if let Err(refused) = self.handles(call, minor) {
                    self.refuse(call, refused);
                }
            }
            Request::Level { level } => {
                if let Some(set) = &self.options.set_level {
                    set(&level);
                }
            }
            Request::Log {} => {
                if let Some(set) = &self.options.set_log {
                    set(descriptors.into_iter().next());
                }
            }
            Request::Leave => self.leaving = true,
        }
    }

    fn hello(&mut self, version: u32) {
        if version != VERSION {
            tracing::warn!(
                version,
                own = VERSION,
                "the supervisor speaks another version: it may take the devices over"
            );
        }
        let Some(connection) = &mut self.connection else { return };
        connection.put(Report::Hello(Hello {
            version: VERSION,
            build: self.options.build.clone(),
            tenant: self.options.tenant.clone(),
            pid: nix::unistd::getpid().as_raw(),
            jail: self.options.jail.clone(),
            devices: u32::try_from(self.devices.len()).unwrap_or(u32::MAX),
        }));
        for (&minor, entry) in &mut self.devices {
            connection.put(Report::Device(Box::new(entry.listed())));
            entry.repeat();
            self.dirty.insert(minor);
        }
        connection.version = version;
        connection.greeted = true;
    }

    fn start(&mut self, call: Call, device: Device, descriptors: Vec<OwnedFd>) -> Result<(), Refused> {
        let (minor, wanted) = (device.minor, start::descriptors(&device));
        if self.leaving || self.closing.is_some() {
            return Err(Refused::new(Refusal::Failed, "the worker is about to end"));
        }
        if self.devices.contains_key(&minor) {
            let reason = format!("uio{minor} is served already; stop it first");
            return Err(Refused::new(Refusal::Invalid, reason));
        }
        if descriptors.len() != wanted || wanted > MAX_DESCRIPTORS {
            let reason = format!("{} descriptors came, {wanted} belong to the device", descriptors.len());
            return Err(Refused::new(Refusal::Invalid, reason));
        }
        let copies: Result<Vec<_>, _> = descriptors.iter().map(OwnedFd::try_clone).collect();
        let copies =
            copies.map_err(|error| Refused::new(Refusal::Failed, format!("copying descriptors: {error}")))?;
        self.generations += 1;
        let generation = self.generations;
        let mut entry = Entry::new(device.clone(), descriptors, generation);
        entry.busy = true;
        self.devices.insert(minor, entry);
        let asker = self.asker(call);
        let work = Work::Start { device: Box::new(device), descriptors: copies };
        self.jobs.begin(Job { minor, generation, asker, work });
        Ok(())
    }

    fn asker(&self, call: Call) -> Option<Asker> {
        self.connection.as_ref().map(|connection| Asker { connection: connection.number, call })
    }

    /// Takes up the next request of a device that no job works on.
    pub(super) fn next_request(&mut self, minor: Minor) {
        loop {
            let Some(entry) = self.devices.get_mut(&minor).filter(|entry| !entry.busy) else { return };
            let Some(request) = entry.waiting.pop_front() else { return };
            let (generation, handle, serves) = (entry.generation, entry.handle.clone(), entry.serves());
            let memory =
                entry.device.stores.iter().any(|store| matches!(store.kind, StoreKind::Memory { .. }));
            let (call, work) = match (request, handle) {
                (Request::Resize { call, bytes, patience_ms, .. }, Some(handle)) if serves => {
                    (call, Work::Resize { handle, bytes, patience: Duration::from_millis(patience_ms) })
                }
                (Request::WriteCache { call, on, patience_ms, .. }, Some(handle)) if serves => {
                    (call, Work::WriteCache { handle, on, patience: Duration::from_millis(patience_ms) })
                }
                (Request::Resize { call, .. } | Request::WriteCache { call, .. }, _) => {
                    self.refuse(call, gone(minor));
                    continue;
                }
                (Request::Stop { call, how: Ending::HandOver, .. }, Some(_)) if memory && serves => {
                    let reason = "a store of it is this worker's memory and would be lost";
                    self.refuse(call, Refused::new(Refusal::Unsupported, reason));
                    continue;
                }
                (Request::Stop { call, how, patience_ms, .. }, Some(handle)) => {
                    let how = match how {
                        Ending::Drain => lunbox_device::Ending::Drain,
                        Ending::HandOver => lunbox_device::Ending::HandOver,
                        Ending::Cancel => lunbox_device::Ending::Cancel,
                    };
                    (call, Work::Stop { handle, how, patience: Duration::from_millis(patience_ms) })
                }
                (Request::Stop { call, .. }, None) => {
                    // It never started: there is nothing to wait for.
                    let asker = self.asker(call);
                    return self.forget(minor, asker, Ok(()));
                }
                // Others do not wait.
                _ => continue,
            };
            entry.busy = true;
            let asker = self.asker(call);
            self.jobs.begin(Job { minor, generation, asker, work });
            return;
        }
    }

    /// The device has gone while the request waited.
    pub(super) fn refuse_gone(&mut self, request: &Request) {
        if let Request::Resize { call, minor, .. }
        | Request::WriteCache { call, minor, .. }
        | Request::Stop { call, minor, .. } = request
        {
            self.refuse(*call, gone(*minor));
        }
    }

    fn refuse(&mut self, call: Call, refused: Refused) {
        let asker = self.asker(call);
        self.answer(asker, Err(refused));
    }

    fn status(&mut self, call: Call) {
        let devices: Vec<(Minor, DeviceStatus)> =
            self.devices.iter().map(|(&minor, entry)| (minor, entry.status())).collect();
        let Some(connection) = &mut self.connection else { return };
        let mut rest = &devices[..];
        loop {
            let (now, later) = rest.split_at(rest.len().min(STATUS_CHUNK));
            connection.put(Report::Status { call, devices: now.to_vec(), more: !later.is_empty() });
            if later.is_empty() {
                return;
            }
            rest = later;
        }
    }

    fn handles(&mut self, call: Call, minor: Minor) -> Result<(), Refused> {
        let entry = self.devices.get(&minor).ok_or_else(|| gone(minor))?;
        let copies: Result<Vec<_>, _> = entry.descriptors.iter().map(OwnedFd::try_clone).collect();
        let copies =
            copies.map_err(|error| Refused::new(Refusal::Failed, format!("copying descriptors: {error}")))?;
        if let Some(connection) = &mut self.connection {
            connection.put_with(Report::Handles { call }, copies);
        }
        Ok(())
    }
}

pub(super) fn gone(minor: Minor) -> Refused {
    Refused::new(Refusal::Gone, format!("uio{minor} is not served here, or its loop has ended"))
}

/// The call number of a request that could not be read as one.
fn call_of(packet: &Value) -> Option<Call> {
    packet.as_object()?.values().next()?.get("call")?.as_u64()
}

#[cfg(test)]
mod tests {
    use lunbox_wire::{Health, MAX_MESSAGE};

    use super::*;

    #[test]
    fn the_longest_part_of_a_status_fits_into_a_packet() {
        let longest = DeviceStatus {
            health: Health::Recovering,
            commands: u64::MAX,
            failures: u64::MAX,
            busy: u64::MAX,
            bytes_read: u64::MAX,
            bytes_written: u64::MAX,
            faults: u64::MAX,
            instances: u64::MAX,
            resets: u64::MAX,
            aborts: u64::MAX,
            cpu_ns: u64::MAX,
            timeouts: u64::MAX,
            lun_resets: u64::MAX,
            aborting: u64::MAX,
            in_flight: u64::MAX,
            write_cache: false,
        };
        let devices = vec![(u32::MAX, longest); STATUS_CHUNK];
        let report = Report::Status { call: u64::MAX, devices, more: false };
        assert!(serde_json::to_vec(&report).unwrap().len() <= MAX_MESSAGE);
    }
}
