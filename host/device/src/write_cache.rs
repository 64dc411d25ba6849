//! Switching the write cache while the LUN is in use.
//!
//! Nothing is taken from the ring until it is done. So what was written before is known, and is flushed before
//! anybody is told that writes are durable.

use std::sync::mpsc::Sender;

use crate::control::ResizeClaim;
use crate::run::DeviceLoop;
use crate::serve::code;

/// Why a write cache was not switched. It is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteCacheError {
    /// The handler can not, or what was written before could not be flushed.
    #[error("the write cache stays as it is: {0}")]
    Refused(String),
    /// The loop has ended.
    #[error("the device has stopped")]
    Stopped,
    /// Commands in progress or the flush did not end in time.
    #[error("commands in progress did not end in time; try again")]
    TimedOut,
}

/// A switch that waits.
pub(crate) struct PendingSwitch {
    on: bool,
    claim: ResizeClaim,
    reply: Sender<Result<(), WriteCacheError>>,
}

impl DeviceLoop {
    pub(crate) fn begin_switch(
        &mut self,
        on: bool,
        claim: ResizeClaim,
        reply: Sender<Result<(), WriteCacheError>>,
    ) {
        let refused = |reason: &str| Err(WriteCacheError::Refused(reason.to_owned()));
        if on == self.disk.write_cache() {
            let _ = reply.send(Ok(()));
        } else if on && !self.disk.holds_back() {
            let _ = reply.send(refused("the handler has none"));
        } else if self.switch.is_some() {
            let _ = reply.send(refused("it is being switched already; try again"));
        } else if self.background > 0 {
            let _ = reply.send(refused("the medium is being formatted; try again when that has ended"));
        } else {
            self.switch = Some(PendingSwitch { on, claim, reply });
            self.begin_anonymous_unasked();
        }
    }

    /// Goes on with a switch when the commands before it have ended.
    pub(crate) fn try_switch(&mut self) {
        let Some(pending) = &self.switch else { return };
        if pending.claim.is_taken() {
            // Nobody waits any more. A flush that runs ends by itself.
            (self.switch, self.switch_flush) = (None, None);
            return;
        }
        if self.table.borrow().in_use() > 0 || self.reset.is_some() {
            return;
        }
        let on = pending.on;
        let flushed = match (on, self.switch_flush) {
            // Nothing has to be flushed before writes may be held back.
            (true, _) => Some(code::GOOD),
            (false, None) if self.guest.serves() => {
                self.switch_flush = self.flush_ourselves();
                // A store that answers at once has ended it by now, and it is looked at in the next turn.
                return;
            }
            (false, None) => None,
            (false, Some(flush)) => {
                self.own_ended.filter(|(tag, _)| *tag == flush.tag).map(|(_, status)| status)
            }
        };
        self.switch_flush = None;
        let Some(pending) = self.switch.take() else { return };
        if !pending.claim.take() {
            return;
        }
        let result = match flushed {
            Some(code::GOOD) => {
                self.disk.set_write_cache(on);
                self.counters.write_cache.set(u64::from(on));
                tracing::info!(device = self.name, on, "write cache switched");
                Ok(())
            }
            Some(_) => Err("what was written before could not be flushed".to_owned()),
            None => Err("the handler is being rebuilt after a failure; try again".to_owned()),
        };
        let _ = pending.reply.send(result.map_err(WriteCacheError::Refused));
    }
}
