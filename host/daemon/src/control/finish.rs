//! What becomes of finished jobs: the event that caused one is answered, and the node's next event gets its turn.

use std::time::Duration;

use lunbox_control::EventKind;
use lunbox_tcmu::{Change, DeviceEvent, DeviceId, DeviceName, Minor};
use nix::errno::Errno;

use super::later::Chore;
use super::{Control, Kernel, Ticket};
use crate::job::{ADMISSION_FAILED, Admission, Finished, Job, Reason};
use crate::registry::Entry;
use crate::service::Starter;

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Takes the result of a job, answers the event that caused it, and turns to the node's next event.
    pub(super) fn finish(&mut self, ticket: Ticket, finished: Finished<S::Device>) {
        if self.jobs.end(ticket).is_none() {
            return self.too_late(finished);
        }
        let mut again = false;
        let (minor, status) = match finished {
            Finished::Identity { minor, reading } => {
                // Not a job on the node: the device kept running and other jobs may have been at work.
                self.give_identity(minor, reading);
                return self.work_off();
            }
            Finished::AccessState { minor, wish, epoch, answer } => {
                self.access_state_set(minor, wish, epoch, answer);
                return self.work_off();
            }
            Finished::SizeTold { minor, id, bytes, result } => {
                self.size_told(minor, id, bytes, result);
                return self.work_off();
            }
            Finished::Discarded { name, result } => {
                if let Err(reason) = result {
                    tracing::error!(device = %name, "stopped badly: {reason}");
                }
                return self.work_off();
            }
            Finished::Unblocked { minor, name, result } => {
                self.unblocking.remove(&minor);
                // It may be another device's by now.
                if self.registry.served(minor).is_some_and(|served| served.name == name) {
                    self.let_in(minor, result.err());
                }
                self.mend(minor);
                return self.work_off();
            }
            Finished::Admitted { minor, reason, admission, blocked } => {
                if let (Some(reason), Admission::Refused { .. }) = (&blocked, &admission) {
                    tracing::error!(%minor, "commands may stay blocked: {reason}; then write 0 to action/block_dev");
                }
                let served = matches!(admission, Admission::Served { .. });
                let skipped = matches!(admission, Admission::Skipped);
                let mut status = self.admitted(minor, reason, admission);
                let entry = self.registry.entry(minor);
                let newer = !entry.waiting.is_empty();
                if matches!(reason, Reason::Abandoned(_)) && newer {
                    // The other daemon has answered: the answer would be taken for that to the newer event.
                    status = None;
                } else if skipped && let Some(event) = entry.current.clone() {
                    self.announcement_skipped(minor, event);
                }
                if served {
                    self.let_in(minor, blocked);
                }
                (minor, status)
            }
            Finished::Revived { minor, device, result, blocked, .. } => {
                self.revived(minor, device, result);
                self.let_in(minor, blocked);
                (minor, None)
            }
            Finished::HandedOver { minor, device, result, .. } => {
                again = self.handed_over(minor, device, result);
                (minor, None)
            }
            Finished::Changed { minor, device, change, result } => {
                let served = self.registry.served(minor);
                if let Some(served) = served {
                    let what = in_words(&change);
                    match &result {
                        Ok(()) => {
                            tracing::info!(device = %served.name, "{what} is in force");
                            self.around.journal.device(EventKind::DeviceChanged, &served.name, what);
                        }
                        Err(refusal) => {
                            tracing::warn!(device = %served.name, "{what} is refused: {}", refusal.reason);
                        }
                    }
                    served.give_back(device);
                }
                (minor, Some(result.map_err(|refusal| refusal.errno)))
            }
            Finished::Stopped { minor, result } => {
                if let Some(served) = self.registry.entry(minor).served.take() {
                    self.later.forget_all(minor);
                    match &result {
                        Ok(()) => tracing::info!(device = %served.name, "stopped"),
                        Err(reason) => tracing::error!(device = %served.name, "stopped badly: {reason}"),
                    }
                    let text = result.err().unwrap_or_default();
                    self.around.journal.device(EventKind::DeviceRemoved, &served.name, text);
                }
                (minor, Some(Ok(())))
            }
            Finished::Lost { minor } => {
                tracing::error!(%minor, "a job failed, which is a defect; its device is not served any more");
                let entry = self.registry.entry(minor);
                if entry.served.as_ref().is_some_and(|served| served.device.is_none()) {
                    entry.served = None;
                }
                (minor, Some(Err(Errno::EIO)))
            }
        };
        let entry = self.registry.entry(minor);
        entry.job = None;
        if let (Some(event), Some(status)) = (entry.current.take(), status) {
            self.answer(&event, status);
        }
        self.tell_size(minor);
        self.take_modes(minor);
        if self.registry.served(minor).is_some_and(|served| served.gone) {
            self.retire(minor, false);
        }
        let entry = self.registry.entry(minor);
        let leaves = entry.waiting.iter().any(|event| event.kind == lunbox_tcmu::EventKind::Removed);
        // Otherwise the removal has the device, or whoever lets commands in is waited for before it is mended.
        if again && !leaves && !self.unblocking.contains(&minor) {
            self.revive(minor, Duration::ZERO);
        }
        // Its worker may have died meanwhile, or its loop have ended.
        self.mend(minor);
        self.proceed(minor);
    }

    /// Turns to what waits behind a job that is over.
    pub(super) fn proceed(&mut self, minor: Minor) {
        // The events that came meanwhile, until one of them starts a job.
        let next = |entry: &mut Entry<_>| if entry.job.is_some() { None } else { entry.waiting.pop_front() };
        while let Some(event) = self.registry.get(minor).and_then(next) {
            self.act(minor, event);
        }
        self.abandoned |= self.is_abandoned(minor);
        self.registry.tidy(minor);
        self.hand_over_next();
        self.work_off();
    }

    /// Files a device that was admitted; gives the answer to the event that asked for it, if one is due.
    fn admitted(
        &mut self,
        minor: Minor,
        reason: Reason,
        admission: Admission<S::Device>,
    ) -> Option<Result<(), Errno>> {
        if !matches!(admission, Admission::Busy { .. }) {
            self.later.forget(Chore::TakeOver, minor);
        }
        match admission {
            Admission::Served { node, id, device } => {
                self.left.forget(minor);
                self.outdated.remove(&minor);
                tracing::info!(device = %node.name, subtype = node.name.subtype, %minor, "serving");
                self.around.journal.device(EventKind::DeviceAdded, &node.name, &node.name.subtype);
                if let Some(mut predecessor) = self.registry.serve(minor, id, node.name.clone(), device) {
                    // It was enabled a second time before the end of the first was noticed.
                    tracing::info!(device = %predecessor.name, "its UIO node had gone");
                    if let Some(device) = predecessor.device.take() {
                        self.submit(minor, Job::Discard { minor, device, name: predecessor.name });
                    }
                }
                let entry = self.registry.entry(minor);
                let wishes = std::mem::take(&mut entry.early_wishes);
                if std::mem::take(&mut entry.wants_identity) {
                    self.look_up_identity(minor);
                }
                for wish in wishes {
                    self.wish(minor, wish);
                }
                self.found_waiting(minor, reason, id, Ok(()));
                Some(Ok(()))
            }
            Admission::Busy { error, waiting } => {
                if let Some(served) = self.registry.served(minor) {
                    let owed = std::mem::take(&mut served.adopted) && waiting == Some(served.id);
                    // Otherwise the event is older than what is known: it was answered when the device was found.
                    tracing::debug!(%minor, owed, "already served");
                    if let (true, Some(id)) = (owed, waiting) {
                        self.found_waiting(minor, reason, id, Ok(()));
                    }
                    return None;
                }
                if reason == Reason::TakeOver {
                    if self.later.put_off(Chore::TakeOver, minor) {
                        tracing::warn!(
                            %minor,
                            "not taken over yet: {error}; if that is a process of a Lunbox that died, its storage \
                             does not let go of it (dmesg); trying again"
                        );
                    }
                    return None;
                }
                tracing::error!("{error}");
                Some(Err(ADMISSION_FAILED))
            }
            Admission::Skipped => None,
            Admission::Refused { id, reason: why } => {
                let name = self.name_at(minor);
                let device = name.as_ref().map(tracing::field::display);
                if reason == Reason::TakeOver {
                    tracing::error!(
                        device,
                        %minor,
                        "not taken over: {why}; its commands wait until that is put right and lunboxd is restarted"
                    );
                } else {
                    tracing::error!(device, %minor, "not served: {why}");
                }
                self.around.journal.device(EventKind::DeviceRefused, minor, &why);
                if let Some(id) = id {
                    self.found_waiting(minor, reason, id, Err(ADMISSION_FAILED));
                }
                Some(Err(ADMISSION_FAILED))
            }
        }
    }

    /// What the device at a node is called, by the event that is worked on or by the node.
    fn name_at(&mut self, minor: Minor) -> Option<DeviceName> {
        let current = self.registry.get(minor).and_then(|entry| entry.current.as_ref()?.name.clone());
        let told = current.and_then(|name| DeviceName::parse(&name).ok());
        told.or_else(|| self.around.uio.node(minor).ok().map(|node| node.name))
    }

    /// Answers the event that was not received but found.
    fn found_waiting(&mut self, minor: Minor, reason: Reason, id: DeviceId, status: Result<(), Errno>) {
        if reason == Reason::Waiting {
            self.left.forget(minor);
            let event = DeviceEvent {
                kind: lunbox_tcmu::EventKind::Added,
                device_id: Some(id),
                minor: None,
                name: None,
                wants_reply: true,
            };
            self.answer(&event, status);
        }
    }
}

/// As it was written to configfs.
fn in_words(change: &Change) -> String {
    match change {
        Change::Size(bytes) => format!("dev_size={bytes}"),
        Change::Config(text) => format!("dev_config={text}"),
        Change::WriteCache(on) => format!("emulate_write_cache={}", u8::from(*on)),
        Change::Unknown => "this attribute".to_owned(),
    }
}
