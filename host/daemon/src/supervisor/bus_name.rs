//! Taking the name on the bus.

use std::io;
use std::sync::mpsc::{Receiver, channel};

use lunbox_bus::BusError;

use crate::control::{Ask, Message};
use crate::mailbox::Mailbox;

/// Takes the name with `own`, on a thread of its own: a bus that hangs takes many seconds, and the kernel's events do not
/// wait for it. Who waits for the name (systemd) may create devices then. If somebody else has it, the control plane is
/// asked to leave its `devices` as they are, and the result has the reason by then.
///
/// # Errors
/// No thread could be started.
pub(super) fn be_found<D: Send + 'static>(
    mailbox: Mailbox<Message<D>>,
    devices: usize,
    own: impl FnOnce() -> Result<(), BusError> + Send + 'static,
) -> io::Result<Receiver<BusError>> {
    let (refuse, refused) = channel();
    let start = move || match own() {
        Ok(()) => tracing::info!(devices, "ready"),
        Err(error) => {
            // Whoever does not look has ended already.
            let _ = refuse.send(error);
            mailbox.send(Message::Ask(Ask::HandOver));
        }
    };
    std::thread::Builder::new().name("bus-start".to_owned()).spawn(start)?;
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::mailbox::mailbox;

    #[test]
    fn a_bus_that_hangs_holds_up_nobody_and_a_name_that_is_taken_has_the_devices_left() {
        let (mailbox, inbox) = mailbox::<Message<()>>().unwrap();
        let (answer, bus) = channel();
        // It would not return if it waited: the bus answers below.
        let refused = be_found(mailbox, 0, move || bus.recv().unwrap()).unwrap();
        assert!(refused.try_recv().is_err() && inbox.take().is_empty());
        answer.send(Err(BusError::NameTaken { holder: Some(7) })).unwrap();
        let mut asked = [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut asked, PollTimeout::from(20_000_u16)).unwrap(), 1, "nobody is told");
        assert!(matches!(inbox.take().as_slice(), [Message::Ask(Ask::HandOver)]));
        let error = refused.try_recv().unwrap();
        assert!(matches!(error, BusError::NameTaken { holder: Some(7) }), "{error}");
    }
}
