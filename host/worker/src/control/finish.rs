//! What becomes of a device when a job or its loop has ended, and who hears of it.
//!
//! The supervisor that asked may be gone by then. Its successor was told of the device, and believes that it serves
//! as it did: nothing may have changed without a word.

use std::time::Duration;

use lunbox_device::Ending;
use lunbox_wire::{Minor, Notice, Refusal, Report};

use super::Control;
use crate::jobs::{Asker, Finished, Job, Success, Task, Work};
use crate::start::Refused;

/// How long commands in progress may take when a change of size is taken back.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    pub(super) fn finished(&mut self, finished: Finished) {
        self.jobs.finished();
        let watched = self.is_watched();
        let Finished { minor, generation, asker, task, result } = finished;
        let current = self.devices.get_mut(&minor).filter(|entry| entry.generation == generation);
        let Some(entry) = current else { return };
        entry.busy = false;
        let connection = self.connection.as_ref().map(|connection| connection.number);
        let heard = asker.is_some_and(|asker| Some(asker.connection) == connection);
        match result {
            Ok(Success::Started(handle)) => {
                tracing::info!(device = entry.device.name, "serving");
                entry.handle = Some(handle.into());
                self.dirty.insert(minor);
                self.answer(asker, Ok(()));
            }
            Ok(Success::Resized(bytes)) => {
                if asker.is_some() && !heard && self.closing.is_none() && entry.device.size != bytes {
                    return self.take_back(minor, bytes);
                }
                let actual = entry.handle.as_ref().map_or(bytes, |handle| handle.status().size);
                // Behind the answer, so that it is the last word.
                entry.was_resized(bytes, actual);
                self.dirty.insert(minor);
                self.answer(asker, Ok(()));
            }
            Ok(Success::Switched(on)) => {
                entry.device.write_cache = Some(on);
                self.answer(asker, Ok(()));
            }
            Ok(Success::Stopped) => return self.stopped(minor, asker, task),
            Err(refused) if entry.handle.is_none() => {
                // It did not start. Whoever asked hears of it, or his successor, who has seen it in the list.
                if heard || !watched {
                    return self.forget(minor, asker, Err(refused));
                }
                entry.has_ended(refused.reason);
                self.dirty.insert(minor);
            }
            // It ended in the meantime.
            Err(Refused { kind: Refusal::StoreBusy, .. }) if entry.is_over => {
                return self.stopped(minor, asker, task);
            }
            Err(refused) => {
                if let (Task::Stop(_), None, Some(lost)) = (task, asker, &mut self.closing) {
                    tracing::error!(device = entry.device.name, reason = refused.reason, "did not stop");
                    *lost += 1;
                    self.devices.remove(&minor);
                    return;
                }
                if let Some(bytes) = entry.unheard_size.take() {
                    tracing::warn!(
                        device = entry.device.name,
                        bytes,
                        reason = refused.reason,
                        "keeps a size that nobody waited for"
                    );
                    entry.device.size = bytes;
                    // Whoever came before it was begun has heard of another size.
                    entry.is_in_trouble(format!(
                        "keeps a size of {bytes} bytes that nobody waited for; lunbox device reset repairs it"
                    ));
                    self.dirty.insert(minor);
                }
                if let (Refusal::StoreBusy, Some(asker)) = (refused.kind, asker) {
                    entry.was_cancelled(asker.connection, heard);
                    self.dirty.insert(minor);
                }
                self.answer(asker, Err(refused));
            }
        }
        self.go_on(minor);
    }

    /// No job works on the device now.
    fn go_on(&mut self, minor: Minor) {
        if self.closing.is_some() {
            self.close_device(minor);
        } else {
            self.next_request(minor);
        }
    }

    /// The supervisor that wanted the size is dead: the kernel's administrator was not told that it was done
    /// (`dev_size` stays what it was), and the successor has heard of the old one.
    fn take_back(&mut self, minor: Minor, bytes: u64) {
        let Some(entry) = self.devices.get_mut(&minor) else { return };
        let Some(handle) = entry.handle.clone() else { return };
        tracing::info!(
            device = entry.device.name,
            bytes,
            "nobody waits for this size any more: taking it back"
        );
        entry.unheard_size = Some(bytes);
        entry.busy = true;
        let work = Work::Resize { handle, bytes: entry.device.size, patience: PATIENCE };
        let generation = entry.generation;
        self.jobs.begin(Job { minor, generation, asker: None, work });
    }

    /// The loop has ended because `asker` wanted it to.
    fn stopped(&mut self, minor: Minor, asker: Option<Asker>, task: Task) {
        let watched = self.is_watched();
        let connection = self.connection.as_ref().map(|connection| connection.number);
        let Some(entry) = self.devices.get_mut(&minor) else { return };
        tracing::info!(device = entry.device.name, "stopped");
        if let Some(Asker { connection: by, .. }) = asker
            && watched
            && connection != Some(by)
        {
            entry.is_over = true;
            entry.stopped_by = Some(by);
            if entry.ended.is_none() {
                entry.has_ended("stopped for an earlier supervisor".to_owned());
                self.dirty.insert(minor);
            }
            return self.go_on(minor);
        }
        let result = match (&entry.ended, task) {
            // Whoever goes on with the ring would find entries in it that were begun.
            (Some(reason), Task::Stop(Ending::HandOver)) => {
                let reason = format!("its loop did not hand over but ended: {reason}");
                Err(Refused::new(Refusal::Gone, reason))
            }
            _ => Ok(()),
        };
        self.forget(minor, asker, result);
    }

    /// A supervisor has the list of the devices.
    fn is_watched(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.greeted)
    }

    /// A loop's thread has nothing more to do with its ring and its stores.
    pub(super) fn loop_is_over(&mut self, minor: Minor, generation: u64) {
        let current = self.devices.get_mut(&minor).filter(|entry| entry.generation == generation);
        let Some(entry) = current else { return };
        entry.is_over = true;
        // A job finds it out by itself.
        let Some(by) = entry.stopped_by.filter(|_| !entry.busy) else { return };
        let watching = self.connection.as_mut().filter(|connection| connection.greeted);
        match watching {
            // It was told that the loop ends some day, and has not asked since.
            Some(connection) if connection.number == by => {
                let notice = Notice::Ended("its last operations on the storage have ended".to_owned());
                connection.put(Report::Notice { minor, notice });
            }
            // It was told of a device that has ended, and will stop it.
            Some(_) => return,
            None => {}
        }
        tracing::info!(device = entry.device.name, "its last operations have ended");
        self.forget(minor, None, Ok(()));
    }

    /// Nobody watches any more: what has ended as it should is nobody's affair, and must not keep an orphan from
    /// ending.
    pub(super) fn forget_the_stopped(&mut self) {
        self.devices.retain(|_, entry| !entry.is_done_with());
    }

    /// Closes a device's descriptors before anybody hears of it.
    pub(super) fn forget(&mut self, minor: Minor, asker: Option<Asker>, result: Result<(), Refused>) {
        let waiting = self.devices.remove(&minor).map(|entry| entry.waiting).unwrap_or_default();
        self.answer(asker, result);
        for request in waiting {
            self.refuse_gone(&request);
        }
    }

    /// To whoever asked, if he is still there.
    pub(super) fn answer(&mut self, asker: Option<Asker>, result: Result<(), Refused>) {
        let Some(Asker { connection: number, call }) = asker else { return };
        if let Some(connection) = self.connection.as_mut().filter(|connection| connection.number == number) {
            connection.put(match result {
                Ok(()) => Report::Done { call },
                Err(Refused { kind, reason }) => Report::Refused { call, kind, reason },
            });
        }
    }
}
