//! A LUN that changes its size: because it is told to, or because a new instance found its storage changed.
//!
//! Nothing is taken from the ring until it is done.

use std::sync::mpsc::Sender;

use lunbox_scsi::Bytes;

use crate::control::{Event, ResizeClaim, ResizeError};
use crate::run::DeviceLoop;

/// A resize that waits for the end of the commands in progress.
pub(crate) struct PendingResize {
    size: Bytes,
    claim: ResizeClaim,
    reply: Sender<Result<(), ResizeError>>,
}

impl DeviceLoop {
    pub(crate) fn begin_resize(
        &mut self,
        size: Bytes,
        claim: ResizeClaim,
        reply: Sender<Result<(), ResizeError>>,
    ) {
        if let Err(problem) = self.disk.check_size(size) {
            let _ = reply.send(Err(ResizeError::Invalid(problem)));
        } else if self.resize.is_some() {
            let _ = reply.send(Err(ResizeError::Invalid("another resize is in progress".to_owned())));
        } else if self.background > 0 {
            let _ = reply.send(Err(ResizeError::Refused(
                "the medium is being formatted; try again when that has ended".to_owned(),
            )));
        } else {
            self.resize = Some(PendingResize { size, claim, reply });
            self.begin_anonymous_unasked();
        }
    }

    /// Nobody waits for the resize any more.
    pub(crate) fn forget_resize(&mut self) {
        if self.resize.as_ref().is_some_and(|resize| resize.claim.is_taken()) {
            self.resize = None;
        }
    }

    pub(crate) fn try_resize(&mut self) {
        if self.table.borrow().in_use() > 0 {
            return;
        }
        let Some(PendingResize { size, claim, reply }) = self.resize.take() else { return };
        if !claim.take() {
            return;
        }
        let result = if size == self.disk.size() {
            Ok(())
        } else if !self.guest.can_resize() {
            Err(ResizeError::Refused("it exports no resize interface".to_owned()))
        } else {
            match self.guest.resize(size.0) {
                Some(Ok(Ok(()))) => {
                    self.guest.set_size(size.0);
                    self.disk.set_size(size);
                    self.counters.size.set(size.0);
                    tracing::info!(device = self.name, bytes = size.0, "size changed");
                    Ok(())
                }
                Some(Ok(Err(error))) => Err(ResizeError::Refused(error.to_string())),
                Some(Err(fault)) => {
                    let reason = fault.to_string();
                    self.handler_failed(&fault);
                    Err(ResizeError::Refused(reason))
                }
                None => {
                    Err(ResizeError::Refused("it is being rebuilt after a failure; try again".to_owned()))
                }
            }
        };
        let _ = reply.send(result);
    }

    /// Takes over a size that a new instance has found.
    ///
    /// A change, not a fault: the instance looks at its storage anew, which may have grown while there was none, and
    /// the next one would only say the same. Commands that wait were checked against the old size: if that was more,
    /// they are sent back, and fail in due form if they come again behind the end.
    pub(crate) fn accept_size(&mut self, size: Bytes) {
        let shrinks = size < self.disk.size();
        self.disk.set_size(size);
        self.counters.size.set(size.0);
        self.tell_size(size);
        while shrinks && let Some(index) = self.parked.pop_front() {
            self.finish_busy(index);
        }
    }

    /// Tells everybody but initiators, and later instances.
    pub(crate) fn tell_size(&mut self, size: Bytes) {
        self.guest.set_size(size.0);
        tracing::info!(device = self.name, bytes = size.0, "the handler found another size");
        (self.events)(Event::Resized(size));
    }
}
