//! What a worker says: parts of answers that come in several packets, and notices of its devices.

use lunbox_tcmu::Minor;
use lunbox_wire::{Call, DeviceStatistics, DeviceStatus, Notice as Said, Refusal};

use super::question::Answer;
use super::{Listener, State, Worker, one_line};
use crate::service::{Notice, Wish};

impl Worker {
    /// An answer came without its descriptors: whoever waits for one gets none. False if nobody does.
    pub(super) fn refuse_waiting(&self) -> bool {
        let mut state = self.state();
        state.status.clear();
        state.statistics.clear();
        let waiting: Vec<_> = state.waiting.drain().map(|(_, sender)| sender).collect();
        drop(state);
        let reason = "descriptors were lost; see that lunboxd may have enough open files (LimitNOFILE)";
        for sender in &waiting {
            // Who does not wait any more needs no answer.
            drop(sender.send(Answer::Refused(Refusal::Failed, reason.to_owned())));
        }
        !waiting.is_empty()
    }

    /// Keeps a part of an answer; all of it when nothing follows.
    pub(super) fn note_status(
        &self,
        call: Call,
        devices: Vec<(u32, DeviceStatus)>,
        more: bool,
    ) -> Option<Vec<(Minor, DeviceStatus)>> {
        let mut state = self.state();
        let State { waiting, status, devices: own, .. } = &mut *state;
        if !waiting.contains_key(&call) {
            return None;
        }
        let kept = status.entry(call).or_default();
        // A worker speaks for its own devices only, and however often it does, each is kept once.
        let devices = devices.into_iter().map(|(minor, status)| (Minor(minor), status));
        kept.extend(devices.filter(|(minor, _)| own.contains_key(minor)));
        if more { None } else { status.remove(&call).map(|kept| kept.into_iter().collect()) }
    }

    /// As [`Self::note_status`].
    pub(super) fn note_statistics(
        &self,
        call: Call,
        devices: Vec<(u32, DeviceStatistics)>,
        more: bool,
    ) -> Option<Vec<(Minor, DeviceStatistics)>> {
        let mut state = self.state();
        let State { waiting, statistics, devices: own, .. } = &mut *state;
        if !waiting.contains_key(&call) {
            return None;
        }
        let kept = statistics.entry(call).or_default();
        let devices = devices.into_iter().map(|(minor, statistics)| (Minor(minor), statistics));
        kept.extend(devices.filter(|(minor, _)| own.contains_key(minor)));
        if more { None } else { statistics.remove(&call).map(|kept| kept.into_iter().collect()) }
    }

    pub(super) fn note(&self, minor: Minor, said: Said, listener: &Listener) {
        let notice = match said {
            Said::IdentityWanted => Notice::IdentityWanted,
            Said::AccessStateWanted { wish, group, state } => {
                Notice::AccessStateWanted(Wish { number: wish, group, state })
            }
            Said::ModesChanged { write_cache, modes } => Notice::ModesChanged { write_cache, modes },
            Said::Trouble(reason) => Notice::Trouble(format!("handler failed: {}", one_line(&reason))),
            Said::Recovered => Notice::Recovered,
            Said::Resized { bytes } => Notice::Resized(bytes),
            Said::Ended(reason) => {
                let reason = one_line(&reason);
                self.end_traces(minor);
                // A worker speaks for its own devices only.
                match self.state().devices.get_mut(&minor) {
                    Some(ended) => *ended = Some(reason.clone()),
                    None => return,
                }
                if self.release(minor) {
                    return;
                }
                Notice::Ended(reason)
            }
        };
        if self.state().devices.contains_key(&minor) {
            listener(minor, notice);
        }
    }
}
