//! The connection to the supervisor: what goes out waits here until the socket takes it, so that a supervisor that
//! does not read keeps nobody waiting.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use lunbox_wire::{Link, LinkError, Report};

/// Packets that wait before nothing more is read: each request makes one or, with Hello and Status, some more.
const FULL: usize = 1024;

/// What became of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// The socket is full: try again when it is writable.
    Later,
    /// The supervisor is gone.
    Gone,
}

struct Packet {
    report: Report,
    descriptors: Vec<OwnedFd>,
}

pub(crate) struct Connection {
    pub(crate) link: Link,
    /// No other connection of this worker has it.
    pub(crate) number: u64,
    /// Hello was answered: devices may say what they have to say.
    pub(crate) greeted: bool,
    /// The version that the supervisor speaks; 0 before it has greeted.
    pub(crate) version: u32,
    waiting: VecDeque<Packet>,
}

impl Connection {
    pub(crate) fn new(link: Link, number: u64) -> Self {
        Self { link, number, greeted: false, version: 0, waiting: VecDeque::new() }
    }

    pub(crate) fn put(&mut self, report: Report) {
        self.put_with(report, Vec::new());
    }

    pub(crate) fn put_with(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        self.waiting.push_back(Packet { report, descriptors });
    }

    /// Nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Requests may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < FULL
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Sent {
        while let Some(packet) = self.waiting.front() {
            let descriptors: Vec<_> = packet.descriptors.iter().map(AsFd::as_fd).collect();
            match sent(self.link.try_send(&packet.report, &descriptors)) {
                Sent::Yes => self.waiting.pop_front(),
                other => return other,
            };
        }
        Sent::Yes
    }

    /// Sends a report now or not at all. Only when nothing waits, or it would overtake.
    pub(crate) fn try_send(&self, report: &Report) -> Sent {
        if self.waiting.is_empty() { sent(self.link.try_send(report, &[])) } else { Sent::Later }
    }
}

fn sent(result: Result<(), LinkError>) -> Sent {
    match result {
        Ok(()) => Sent::Yes,
        Err(LinkError::WouldBlock) => Sent::Later,
        Err(LinkError::Gone) => Sent::Gone,
        Err(error) => {
            tracing::error!(%error, "can not answer the supervisor");
            Sent::Gone
        }
    }
}
