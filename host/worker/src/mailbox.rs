//! What other threads tell the control thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use lunbox_device::Event;
use lunbox_wire::Minor;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::jobs::Finished;

/// News for the control thread.
pub(crate) enum Message {
    /// From a device's thread.
    Event {
        minor: Minor,
        /// Tells this device from an earlier one on the same node.
        generation: u64,
        event: Event,
    },
    /// From a device's thread, once and last: the loop has ended, for whatever reason, and with it everything that
    /// it began.
    Silent { minor: Minor, generation: u64 },
    /// From a job's thread.
    Finished(Finished),
}

/// Puts messages in; never blocks.
#[derive(Clone)]
pub(crate) struct Mailbox {
    messages: Sender<Message>,
    wake: Arc<EventFd>,
}

/// Takes them out.
pub(crate) struct Inbox {
    messages: Receiver<Message>,
    wake: Arc<EventFd>,
}

pub(crate) fn mailbox() -> nix::Result<(Mailbox, Inbox)> {
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (sender, receiver) = channel();
    Ok((Mailbox { messages: sender, wake: Arc::clone(&wake) }, Inbox { messages: receiver, wake }))
}

impl Mailbox {
    pub(crate) fn send(&self, message: Message) {
        // A control thread that has ended wants no news.
        if self.messages.send(message).is_ok() {
            // The counter of an eventfd that nobody reads overflows after 2^64 writes.
            let _ = self.wake.write(1);
        }
    }
}

impl Inbox {
    /// The next message, if there is one.
    pub(crate) fn next(&self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// Call it before [`Inbox::next`]: what comes later makes the descriptor readable again.
    pub(crate) fn acknowledge(&self) {
        // EAGAIN means that nothing had been sent: the messages are looked at either way.
        let _ = self.wake.read();
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
