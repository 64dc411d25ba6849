//! Standard error, without waiting for who reads it.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

/// What a pipe takes without waiting once poll says that it takes anything (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// How long the second and later pieces of a long line are waited for, in milliseconds.
const PATIENCE: u8 = 20;

/// Standard error.
#[derive(Debug, Default)]
pub(crate) struct StandardError {
    /// The last line has no end.
    torn: bool,
}

impl StandardError {
    /// Writes a whole line; false if it could not be written at once.
    pub(crate) fn write(&mut self, line: &str) -> bool {
        let stderr = io::stderr();
        let mut rest = line.as_bytes();
        if self.torn && send(&stderr, b"\n", PollTimeout::ZERO) == Some(1) {
            self.torn = false;
        }
        let mut patience = PollTimeout::ZERO;
        while !rest.is_empty() {
            let piece = rest.get(..PIECE).unwrap_or(rest);
            let Some(sent) = send(&stderr, piece, patience) else {
                self.torn |= rest.len() < line.len();
                return false;
            };
            rest = rest.get(sent..).unwrap_or_default();
            patience = PATIENCE.into();
        }
        true
    }
}

/// The flag that would ask the kernel not to wait belongs to the open file, which others have, too.
fn send(stderr: impl AsFd, bytes: &[u8], patience: PollTimeout) -> Option<usize> {
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, patience).ok()?;
    if !fds[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLOUT)) {
        return None;
    }
    loop {
        match write(&stderr, bytes) {
            Ok(sent) => return Some(sent),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}
