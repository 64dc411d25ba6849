//! One connection's socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use nix::sys::epoll::EpollFlags;

use crate::slab::Key;

/// Bytes that are read and thrown away when a connection is closed: a socket that is closed with unread bytes
/// resets the connection, and the initiator might lose the last answer.
const DRAINED: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) key: Key,
    pub(super) stream: TcpStream,
    /// What epoll waits for.
    pub(super) interest: EpollFlags,
}

/// What a read or write brought.
#[derive(Debug)]
pub(super) enum Moved {
    Bytes(usize),
    /// Not now.
    Nothing,
    /// The peer has closed its side.
    End,
    Failed(std::io::Error),
}

impl Socket {
    pub(super) fn read(&mut self, space: &mut [u8]) -> Moved {
        loop {
            return match self.stream.read(space) {
                Ok(0) => Moved::End,
                Ok(bytes) => Moved::Bytes(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Moved::Nothing,
                Err(error) => Moved::Failed(error),
            };
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Moved {
        loop {
            return match self.stream.write(bytes) {
                Ok(0) => Moved::Nothing,
                Ok(bytes) => Moved::Bytes(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Moved::Nothing,
                Err(error) => Moved::Failed(error),
            };
        }
    }

    /// Ends a connection whose last answer was sent.
    pub(super) fn close_gently(mut self) {
        // Both are favours to the peer; if they fail it has gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut scrap = [0; 4096];
        for _ in 0..DRAINED / scrap.len() {
            match self.read(&mut scrap) {
                Moved::Bytes(_) => {}
                Moved::Nothing | Moved::End | Moved::Failed(_) => break,
            }
        }
    }
}
