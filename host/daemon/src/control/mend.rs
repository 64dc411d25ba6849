//! Devices that run no more, and devices that are to run elsewhere.
//!
//! Whether a device runs is asked of the device itself whenever it comes back from a job and whenever it says
//! something: a notice tells when to look, never what is so. A notice of an old loop can therefore not harm a new one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lunbox_control::EventKind;
use lunbox_tcmu::{DeviceName, Minor, UioError, UioNode};

use super::identity::MOST_WISHES;
use super::later::Chore;
use super::{Control, Kernel, Phase};
use crate::job::{Course, Job};
use crate::registry::Entry;
use crate::service::{Condition, Notice, Running, Setback, Starter};

/// After so long a device that ends has its tries anew.
const SERVED_WELL: Duration = Duration::from_secs(60);

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Listens to a device.
    pub(super) fn hear(&mut self, minor: Minor, notice: Notice) {
        let Some(entry) = self.registry.get(minor) else { return };
        let Some(served) = entry.served.as_mut() else {
            // It runs, but the result of the job that started it has not been looked at yet.
            match notice {
                Notice::IdentityWanted => entry.wants_identity = true,
                Notice::AccessStateWanted(wish) if entry.early_wishes.len() < MOST_WISHES => {
                    entry.early_wishes.push(wish);
                }
                Notice::ModesChanged { write_cache, modes } => entry.found_modes = Some((write_cache, modes)),
                Notice::Resized(bytes) => entry.found_size = Some(bytes),
                _ => {}
            }
            return;
        };
        let name = served.name.clone();
        match notice {
            Notice::IdentityWanted => self.look_up_identity(minor),
            Notice::AccessStateWanted(wish) => self.wish(minor, wish),
            Notice::ModesChanged { write_cache, modes } => {
                tracing::info!(
                    device = %name,
                    write_cache,
                    write_protect = modes.software_write_protect,
                    "an initiator has set mode parameters"
                );
                entry.found_modes = Some((write_cache, modes));
                self.take_modes(minor);
            }
            Notice::Trouble(reason) => {
                tracing::warn!(device = %name, "{reason}");
                self.around.journal.device(EventKind::HandlerTrouble, &name, reason);
            }
            Notice::Recovered => {
                tracing::info!(device = %name, "serving again");
                self.around.journal.device(EventKind::HandlerRecovered, &name, "");
            }
            Notice::Resized(bytes) => {
                entry.found_size = Some(bytes);
                self.later.forget(Chore::TellSize, minor);
                self.tell_size(minor);
            }
            Notice::Ended(_) | Notice::Lost => self.mend(minor),
        }
        self.work_off();
    }

    /// Brings a device back that runs no more, unless somebody is at it or it is to go.
    pub(super) fn mend(&mut self, minor: Minor) {
        if self.phase == Phase::Stopping
            || self.unblocking.contains(&minor)
            || self.later.is_waiting(Chore::Mend, minor)
        {
            return;
        }
        let again = self.later.is_known(Chore::Mend, minor);
        let entry = self.registry.entry(minor);
        if entry.job.is_some()
            || entry.waiting.iter().any(|event| event.kind == lunbox_tcmu::EventKind::Removed)
        {
            return;
        }
        let Some(served) = entry.served.as_mut() else { return };
        let (ended, reason) = match served.device.as_ref().map(Running::condition) {
            None | Some(Condition::Serving) => return,
            Some(Condition::Ended(reason)) => (true, reason),
            Some(Condition::Lost) => (false, "its worker died".to_owned()),
        };
        let name = served.name.clone();
        served.gone = has_gone(&self.around.uio.node(minor), &name);
        if served.gone {
            // Nobody will announce the removal.
            tracing::info!(device = %name, "its UIO node has gone: {reason}");
            return self.retire(minor, false);
        }
        let recovery = &mut served.recovery;
        if recovery.given_up.is_some() {
            return;
        }
        if recovery.last.is_some_and(|last| last.elapsed() >= SERVED_WELL) {
            recovery.tries = 0;
        }
        let mut delay = Duration::ZERO;
        // A worker that dies is nobody's fault: it is waited for by whoever starts workers.
        if !again && (ended || std::mem::take(&mut recovery.refused)) {
            let Some(&next) = self.around.retries.get(recovery.tries) else {
                tracing::error!(
                    device = %name,
                    "serves no more: {reason}; put right what the log says, then `lunbox device reset {name}`"
                );
                self.around.journal.device(EventKind::Warning, &name, &reason);
                recovery.given_up = Some(reason.clone());
                return self.tell_askers(minor, &Err(reason));
            };
            recovery.tries += 1;
            delay = next;
        }
        if again {
            tracing::debug!(device = %name, "trying again to bring it back");
        } else {
            tracing::warn!(device = %name, "serves no more: {reason}; bringing it back");
            self.around.journal.device(EventKind::DeviceEnded, &name, &reason);
        }
        self.revive(minor, delay);
    }

    /// Has a device brought back, whatever it does now.
    pub(super) fn revive(&mut self, minor: Minor, delay: Duration) {
        let Some(served) = self.registry.served(minor) else { return };
        let Some(device) = served.device.take() else { return };
        served.questions.renew(&device);
        let name = served.name.clone();
        self.outdated.remove(&minor);
        self.later.forget(Chore::HandOver, minor);
        self.begin(minor, None, Job::Revive { minor, device, name, delay, course: Course::default() });
    }

    /// Takes back a device that was to be revived.
    pub(super) fn revived(&mut self, minor: Minor, device: S::Device, result: Result<(), Setback>) {
        let Some(served) = self.registry.served(minor) else { return };
        let serves = device.condition() == Condition::Serving;
        served.give_back(device);
        let recovery = &mut served.recovery;
        recovery.refused = matches!(result, Err(Setback::Refused(_)));
        if !matches!(result, Err(Setback::NotNow(_))) {
            self.later.forget(Chore::Mend, minor);
        }
        match result {
            Ok(()) => {
                recovery.revivals += 1;
                recovery.last = Some(Instant::now());
                let (name, times) = (served.name.clone(), recovery.revivals);
                tracing::info!(device = %name, times, "serving again");
                self.around.journal.device(EventKind::DeviceRevived, name, "brought back");
                self.tell_askers(minor, &Ok(()));
            }
            Err(Setback::NotNow(reason)) => {
                if self.later.put_off(Chore::Mend, minor) {
                    tracing::error!(device = %served.name, "not brought back yet: {reason}");
                    self.around.journal.device(EventKind::DeviceRefused, &served.name, &reason);
                }
                self.tell_askers(minor, &Err(reason));
            }
            Err(setback) => {
                tracing::error!(device = %served.name, "not brought back: {setback}");
                self.around.journal.device(EventKind::DeviceRefused, &served.name, &setback);
                // Otherwise it is tried again, and they are told of that.
                if setback == Setback::Cancelled || serves {
                    self.tell_askers(minor, &Err(setback.to_string()));
                }
            }
        }
    }

    /// Has commands let in again that may be kept away still.
    pub(super) fn let_in(&mut self, minor: Minor, blocked: Option<String>) {
        let Some(reason) = blocked else { return self.later.forget(Chore::Unblock, minor) };
        let Some(served) = self.registry.served(minor) else { return };
        if self.later.put_off(Chore::Unblock, minor) {
            tracing::warn!(device = %served.name, "commands may stay blocked: {reason}; trying again");
        }
    }

    /// Takes back a device that was to move to another worker; true if it is to be brought back instead.
    pub(super) fn handed_over(
        &mut self,
        minor: Minor,
        device: S::Device,
        result: Result<(), Setback>,
    ) -> bool {
        let Some(served) = self.registry.served(minor) else { return false };
        let serves = device.condition() == Condition::Serving;
        served.give_back(device);
        match result {
            Ok(()) => {
                tracing::info!(device = %served.name, "handed over to a new worker");
                self.around.journal.device(EventKind::DeviceHandedOver, &served.name, "");
                self.later.forget(Chore::HandOver, minor);
                false
            }
            // By a removal, which may have been meant for another device.
            Err(Setback::Cancelled) => {
                if serves {
                    self.outdated.insert(minor, self.starter.tenant(&served.name));
                }
                false
            }
            // No other worker can be had, or what it has in memory there would be lost.
            Err(setback) if serves => {
                if self.later.put_off(Chore::HandOver, minor) {
                    tracing::warn!(
                        device = %served.name,
                        "stays in its worker, which is of another build, and is moved when that is possible: {setback}"
                    );
                }
                self.outdated.insert(minor, self.starter.tenant(&served.name));
                false
            }
            Err(setback) => {
                tracing::error!(device = %served.name, "not handed over: {setback}; bringing it back");
                self.phase != Phase::Stopping
            }
        }
    }

    /// Moves the next devices that are in workers of another build, one of each tenant at a time.
    pub(super) fn hand_over_next(&mut self) {
        if self.phase != Phase::Serving || self.told_to_stop {
            return;
        }
        let jobs = &self.jobs;
        // A device that could not be moved and is brought back holds up none of the others.
        self.moving.retain(|_, ticket| jobs.is_watched(*ticket));
        let mut next: BTreeMap<String, Minor> = BTreeMap::new();
        for (&minor, tenant) in &self.outdated {
            let may_move = |entry: &mut Entry<S::Device>| {
                let device = entry.served.as_ref().and_then(|served| served.device.as_ref());
                entry.job.is_none() && device.is_some_and(|device| device.condition() == Condition::Serving)
            };
            if !self.moving.contains_key(tenant)
                && !next.contains_key(tenant)
                && !self.later.is_waiting(Chore::HandOver, minor)
                && self.registry.get(minor).is_some_and(may_move)
            {
                next.insert(tenant.clone(), minor);
            }
        }
        for (tenant, minor) in next {
            self.outdated.remove(&minor);
            let Some(served) = self.registry.served(minor) else { continue };
            let Some(device) = served.device.take() else { continue };
            served.questions.renew(&device);
            let name = served.name.clone();
            self.begin(minor, None, Job::HandOver { minor, device, name, course: Course::default() });
            if let Some(ticket) = self.registry.entry(minor).job {
                self.moving.insert(tenant, ticket);
            }
        }
        // Devices that have gone meanwhile.
        let registry = &mut self.registry;
        self.outdated.retain(|&minor, _| registry.served(minor).is_some());
    }
}

/// What sysfs says of a node means that this device has left it.
fn has_gone(node: &Result<UioNode, UioError>, name: &DeviceName) -> bool {
    match node {
        Ok(node) => node.name != *name,
        Err(error) => matches!(error, UioError::Gone { .. } | UioError::Name { .. }),
    }
}
