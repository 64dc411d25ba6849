//! How other threads tell the control thread something: a channel, and an eventfd so that it can be polled
//! together with netlink and signals.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// The sending end; cheap to clone, never blocks.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: Sender<T>,
    wake: Arc<EventFd>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
    wake: Arc<EventFd>,
}

/// Makes the two ends.
///
/// # Errors
/// No eventfd could be had.
pub fn mailbox<T>() -> nix::Result<(Mailbox<T>, Inbox<T>)> {
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (sender, receiver) = channel();
    Ok((Mailbox { sender, wake: Arc::clone(&wake) }, Inbox { receiver, wake }))
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Mailbox<T> {
    /// Sends. When the receiver has gone nobody is interested any more.
    pub fn send(&self, message: T) {
        if self.sender.send(message).is_ok() {
            // Fails only when the counter is full, and then the receiver is awake anyway.
            let _ = self.wake.write(1);
        }
    }
}

impl<T> Inbox<T> {
    /// Takes everything that has been sent. Call it when the descriptor is readable.
    pub fn take(&self) -> Vec<T> {
        // First the wake-up, then the messages: what is sent in between wakes again.
        let _ = self.wake.read();
        self.receiver.try_iter().collect()
    }
}

impl<T> AsFd for Inbox<T> {
    /// Readable when something has been sent.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(inbox: &Inbox<u32>, timeout: PollTimeout) -> bool {
        poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
    }

    #[test]
    fn messages_from_other_threads_wake_the_poller_once_taken_no_more() {
        let (mailbox, inbox) = mailbox().unwrap();
        assert!(!readable(&inbox, PollTimeout::ZERO));
        let senders: Vec<_> = (0..4)
            .map(|number| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || mailbox.send(number))
            })
            .collect();
        assert!(readable(&inbox, PollTimeout::from(10_000_u16)));
        for sender in senders {
            sender.join().unwrap();
        }
        let mut taken = inbox.take();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3]);
        assert!(!readable(&inbox, PollTimeout::ZERO));
    }
}
