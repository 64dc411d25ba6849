//! A device as the control thread sees it: the descriptors that it came with, the loop that runs on copies of them,
//! and what it has to say.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lunbox_device::{DeviceHandle, Event};
use lunbox_wire::{Device, DeviceStatus, Health, Minor, Notice, Report, Request};

use crate::connection::{Connection, Sent};

/// Notices that are kept for a supervisor that does not read; the oldest go first. The last one of each kind says
/// how things stand.
const NOTICES: usize = 16;

/// Kept until it is stopped, even when its loop has ended: a successor of the loop needs the descriptors.
pub(crate) struct Entry {
    pub(crate) device: Device,
    /// As they came. The loop has copies.
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) generation: u64,
    /// None until it has started.
    pub(crate) handle: Option<Arc<DeviceHandle>>,
    /// A job works on it.
    pub(crate) busy: bool,
    /// Requests that wait for the job.
    pub(crate) waiting: VecDeque<Request>,
    /// The loop's thread has ended, or is about to.
    pub(crate) is_over: bool,
    /// The connection that wanted the loop to end, if it has, or will when its last operations have ended.
    pub(crate) stopped_by: Option<u64>,
    /// A size that the loop has and nobody was told of, while it is taken back.
    pub(crate) unheard_size: Option<u64>,
    /// Why the loop serves no more.
    pub(crate) ended: Option<String>,
    /// An INQUIRY waits for the serial number; whether the supervisor knows.
    identity: Option<Told>,
    trouble: Option<String>,
    notices: VecDeque<Notice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

impl Entry {
    pub(crate) fn new(device: Device, descriptors: Vec<OwnedFd>, generation: u64) -> Self {
        Self {
            device,
            descriptors,
            generation,
            handle: None,
            busy: false,
            waiting: VecDeque::new(),
            is_over: false,
            stopped_by: None,
            unheard_size: None,
            ended: None,
            identity: None,
            trouble: None,
            notices: VecDeque::new(),
        }
    }

    /// The loop has ended as it was wanted to: nobody needs the descriptors for going on.
    pub(crate) fn is_done_with(&self) -> bool {
        self.is_over && self.stopped_by.is_some() && !self.busy
    }

    /// As a supervisor that comes is told of it: with the size that the loop has at the moment. Who knows of another one
    /// has it changed, also where taking it back fails.
    pub(crate) fn listed(&self) -> Device {
        Device { size: self.unheard_size.unwrap_or(self.device.size), ..self.device.clone() }
    }

    /// The loop runs.
    pub(crate) fn serves(&self) -> bool {
        self.handle.is_some() && self.ended.is_none()
    }

    /// Notes what the loop has said.
    pub(crate) fn heard(&mut self, event: Event) {
        let notice = match event {
            Event::Ended(reason) => return self.has_ended(reason),
            // Cancelled: it serves no more, and how its handler is matters to nobody.
            _ if self.ended.is_some() => return,
            Event::IdentityWanted => {
                self.identity = Some(Told::No);
                return;
            }
            Event::HandlerFailed(reason) => return self.is_in_trouble(reason),
            Event::HandlerServes => {
                self.trouble = None;
                Notice::Recovered
            }
        };
        self.note(notice);
    }

    /// The loop serves, and not as it should.
    pub(crate) fn is_in_trouble(&mut self, reason: String) {
        self.trouble = Some(reason.clone());
        self.note(Notice::Trouble(reason));
    }

    /// The loop serves no more, or never began.
    pub(crate) fn has_ended(&mut self, reason: String) {
        self.identity = None;
        self.ended = Some(reason.clone());
        self.note(Notice::Ended(reason));
    }

    /// The loop takes nothing more, and its thread waits for operations that can not be cancelled. The supervisor of
    /// this connection was told so in the answer, if it `heard` it; every other one is told that it has ended.
    pub(crate) fn was_cancelled(&mut self, connection: u64, heard: bool) {
        self.stopped_by = Some(connection);
        if self.ended.is_none() {
            self.has_ended("it was told to end, and waits for operations on its storage".to_owned());
        }
        if heard {
            self.notices.clear();
        }
    }

    fn note(&mut self, notice: Notice) {
        if self.notices.len() >= NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// The serial number has come.
    pub(crate) fn identified(&mut self) {
        self.identity = None;
    }

    /// A supervisor that knows nothing has come: it is told how things stand, not how they came about.
    pub(crate) fn repeat(&mut self) {
        self.identity = self.identity.map(|_| Told::No);
        self.notices.clear();
        if let Some(reason) = self.ended.clone() {
            self.note(Notice::Ended(reason));
        } else if let Some(reason) = self.trouble.clone() {
            self.note(Notice::Trouble(reason));
        }
    }

    /// Tells the supervisor what it does not know yet.
    pub(crate) fn tell(&mut self, minor: Minor, connection: &Connection) -> Sent {
        while let Some(notice) = self.notices.front() {
            match connection.try_send(&Report::Notice { minor, notice: notice.clone() }) {
                Sent::Yes => self.notices.pop_front(),
                other => return other,
            };
        }
        // Not before it has started: the answer would find no loop to give it to.
        if self.identity == Some(Told::No) && self.handle.is_some() {
            match connection.try_send(&Report::Notice { minor, notice: Notice::IdentityWanted }) {
                Sent::Yes => self.identity = Some(Told::Yes),
                other => return other,
            }
        }
        Sent::Yes
    }

    pub(crate) fn status(&self) -> DeviceStatus {
        let Some(handle) = &self.handle else { return DeviceStatus::default() };
        let status = handle.status();
        DeviceStatus {
            health: match status.health {
                // It may have been cancelled and not have ended.
                _ if self.ended.is_some() => Health::Stopped,
                lunbox_device::Health::Serving => Health::Serving,
                lunbox_device::Health::Recovering => Health::Recovering,
                lunbox_device::Health::Stopped => Health::Stopped,
            },
            commands: status.commands,
            failures: status.failures,
            busy: status.busy,
            bytes_read: status.bytes_read,
            bytes_written: status.bytes_written,
            faults: status.faults,
            instances: status.instances,
            resets: status.resets,
            aborts: status.aborts,
            cpu_ns: status.cpu_ns,
            timeouts: status.timeouts,
            lun_resets: status.lun_resets,
            aborting: status.aborting,
            in_flight: status.in_flight,
            write_cache: status.write_cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use lunbox_wire::{Handler, Limits, RingKind};

    use super::*;

    fn entry(size: u64) -> Entry {
        let device = Device {
            minor: 1,
            id: 1,
            name: "tcm-user/0/disk/file//disk".to_owned(),
            ring: RingKind::Emulated,
            map_bytes: 4096,
            size,
            block_size: 512,
            max_transfer: 2048,
            read_only: false,
            handler: Handler {
                subtype: "file".to_owned(),
                name: "File".to_owned(),
                version: "0".to_owned(),
                digest: String::new(),
            },
            stores: Vec::new(),
            options: Vec::new(),
            limits: Limits {
                memory_bytes: 1,
                table_elements: 1,
                cpu_per_call_us: 1,
                wall_per_call_ms: 1,
                hostcall_bytes: 1,
                log_lines_per_second: 1,
            },
            command_timeout_s: 0,
            write_cache: None,
        };
        Entry::new(device, Vec::new(), 1)
    }

    #[test]
    fn a_supervisor_that_comes_while_a_size_is_taken_back_is_told_what_the_loop_has() {
        let mut entry = entry(1 << 20);
        assert_eq!(entry.listed().size, 1 << 20);
        entry.unheard_size = Some(1 << 21);
        assert_eq!(entry.listed().size, 1 << 21);
    }

    #[test]
    fn who_comes_later_is_told_of_a_loop_that_is_not_as_it_should_be() {
        let mut entry = entry(1 << 20);
        entry.is_in_trouble("another size".to_owned());
        entry.repeat();
        assert_eq!(entry.notices, [Notice::Trouble("another size".to_owned())]);
        entry.heard(Event::HandlerServes);
        entry.repeat();
        assert!(entry.notices.is_empty());
    }
}
