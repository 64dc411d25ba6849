//! The target without its sockets: connections, sessions and tasks as values, driven by one thread. Bytes that
//! were received go in, bytes to be sent come out, and nothing here blocks.
//!
//! ```text
//!  received ─▶ login ─▶ full_feature ─┬▶ command ─▶ data_out ─▶ LUN ─▶ answer ─▶ output
//!                                     └▶ task_management, text, logout, ping
//! ```

mod answer;
mod command;
mod data_out;
mod departures;
mod ending;
mod full_feature;
mod login_phase;
mod logout;
mod task_management;
mod text_phase;
mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::connection::{Connection, Life};
use crate::login::LoginPolicy;
use crate::lun::LogicalUnit;
use crate::pdu::codes::RejectReason;
use crate::pdu::header::{Bhs, RESERVED_TAG};
use crate::pdu::response::{Reject, SequenceNumbers};
use crate::server::{LunConfig, ServerLimits};
use crate::session::Session;
use crate::slab::{Key, Slab};
use crate::status::Counters;
use crate::task::{Incoming, Task};
use crate::warning::Warning;

/// Write buffers that are kept for the next commands, each as long as the longest write that it has held.
const SPARE_BUFFERS: usize = 32;

/// Frames of one connection that are handled in one round: an initiator that sends many small ones leaves the others
/// their turn.
const FRAMES_PER_ROUND: u32 = 256;

/// A LUN and the commands that it had no room for.
struct Unit {
    /// Taken out while it calls back.
    lun: Option<Box<dyn LogicalUnit + Send>>,
    name: String,
    /// First come, first served.
    waiting: VecDeque<Key>,
    /// Commands that the LUN has.
    running: usize,
    /// Commands were begun since it was last woken.
    begun: bool,
}

/// Something that waits for commands to leave their LUNs.
struct Pending {
    /// Commands that have not ended.
    remaining: usize,
    then: Then,
}

/// What follows when they have.
enum Then {
    /// A task management function is answered.
    Function {
        session: Key,
        connection: Key,
        tag: u32,
        /// TARGET COLD RESET: all connections are closed afterwards.
        closes_all: bool,
    },
    /// A session or connection of this initiator has ended: its next login is answered, and the logout, if there
    /// was one (connection and tag).
    Departure { initiator: String, logout: Option<(Key, u32)> },
}

/// Everything that the protocol knows.
pub(crate) struct Target {
    policy: Arc<LoginPolicy>,
    limits: ServerLimits,
    units: Vec<Unit>,
    connections: Slab<Connection>,
    sessions: Slab<Session>,
    tasks: Slab<Task>,
    pending: Slab<Pending>,
    /// Commands that logins wait for have ended.
    departed: bool,
    /// Sessions with writes that wait until others have given memory back, each once.
    short_of_memory: VecDeque<Key>,
    /// Bytes of write data that were asked for.
    charged: u64,
    spare: Vec<Incoming>,
    /// Connections with frames for the next round, each once.
    postponed: VecDeque<Key>,
    /// Connections that have output or have ended, each once.
    touched: Vec<Key>,
    last_tsih: u16,
    last_transfer_tag: u32,
    /// No new commands: the server stops.
    stopping: bool,
    counters: Arc<Counters>,
    intruders: Warning,
    /// When the current round began.
    now: Instant,
    round: u64,
    /// For answers that this side makes.
    scratch: Vec<u8>,
}

impl Target {
    pub(crate) fn new(
        policy: Arc<LoginPolicy>,
        luns: Vec<LunConfig>,
        limits: ServerLimits,
        counters: Arc<Counters>,
        now: Instant,
    ) -> Self {
        let units = luns
            .into_iter()
            .map(|LunConfig { lun, name }| Unit {
                lun: Some(lun),
                name,
                waiting: VecDeque::new(),
                running: 0,
                begun: false,
            })
            .collect();
        Self {
            policy,
            limits,
            units,
            connections: Slab::new(),
            sessions: Slab::new(),
            tasks: Slab::new(),
            pending: Slab::new(),
            departed: false,
            short_of_memory: VecDeque::new(),
            charged: 0,
            spare: Vec::new(),
            postponed: VecDeque::new(),
            touched: Vec::new(),
            last_tsih: 0,
            last_transfer_tag: 0,
            stopping: false,
            counters,
            intruders: Warning::default(),
            now,
            round: 0,
            scratch: Vec::new(),
        }
    }

    /// A round begins, at this time.
    pub(crate) const fn begin_round(&mut self, now: Instant) {
        self.now = now;
        self.round += 1;
    }

    /// Whether something is to be done in the next round, whatever happens until then.
    pub(crate) fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// Goes on with the frames that earlier rounds have left.
    pub(crate) fn resume_postponed(&mut self) {
        for _ in 0..self.postponed.len() {
            let Some(key) = self.postponed.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.postponed = false;
            // It is to be read from again, if nothing is left.
            self.touch(key);
            self.resume(key);
        }
    }

    /// The doorbell of each LUN.
    pub(crate) fn doorbells(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.units.iter().filter_map(|unit| unit.lun.as_ref().map(|lun| lun.doorbell()))
    }

    /// Somebody has connected.
    pub(crate) fn open(&mut self, peer: SocketAddr, local: SocketAddr) -> Key {
        let login = crate::login::Login::new(Arc::clone(&self.policy));
        let key = self.connections.insert(Connection::new(peer, local, login, self.now));
        self.counters.connections.set(self.connections.len() as u64);
        key
    }

    /// How many connections there are.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Where the next read of a connection goes, or nothing if it is not to be read from: it has ended, or it has
    /// more output waiting than it may have.
    pub(crate) fn space(&mut self, key: Key) -> Option<&mut [u8]> {
        if !self.wants_input(key) {
            return None;
        }
        let framer = self.connections.get_mut(key).and_then(|connection| connection.framer.as_mut());
        framer.map(|framer| framer.space())
    }

    /// Whether a connection is to be read from.
    pub(crate) fn wants_input(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            connection.is_open() && !connection.backlog && self.has_room(connection)
        })
    }

    fn has_room(&self, connection: &Connection) -> bool {
        connection.output.pending().len() <= self.limits.output_bytes
    }

    /// Handles what waited for room in the output, if there is room now.
    pub(crate) fn resume(&mut self, key: Key) {
        self.begin_reads(key);
        let waits = |connection: &Connection| connection.backlog && !connection.postponed;
        let connection = self.connections.get(key);
        if connection.is_some_and(|connection| waits(connection) && self.has_room(connection)) {
            self.process(key);
        }
    }

    /// A read has brought so many bytes.
    pub(crate) fn received(&mut self, key: Key, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.clock.heard = self.now;
            connection.clock.ping = None;
            if let Some(framer) = &mut connection.framer {
                framer.filled(bytes);
            }
        }
        self.process(key);
    }

    /// Handles the frames that have come, until there are none, too much output is waiting, or it is the turn of
    /// others.
    pub(crate) fn process(&mut self, key: Key) {
        let Some(mut framer) = self.connections.get_mut(key).and_then(|connection| connection.framer.take())
        else {
            return;
        };
        let (mut completed, mut partial, mut backlog) = (false, false, false);
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if !connection.is_open() {
                break;
            }
            if let Some((digests, max_data_segment)) = connection.new_framing.take() {
                framer.set_digests(digests);
                framer.set_max_data_segment(max_data_segment);
            }
            if connection.output.pending().len() > self.limits.output_bytes {
                backlog = true;
                break;
            }
            let (round, handled) = &mut connection.handled;
            if std::mem::replace(round, self.round) != self.round {
                *handled = 0;
            }
            if *handled >= FRAMES_PER_ROUND {
                backlog = true;
                if !std::mem::replace(&mut connection.postponed, true) {
                    self.postponed.push_back(key);
                }
                break;
            }
            *handled += 1;
            match framer.next_frame() {
                Ok(Some(frame)) => {
                    completed = true;
                    self.frame(key, &frame);
                }
                Ok(None) => {
                    partial = framer.is_mid_pdu();
                    break;
                }
                Err(error) => {
                    self.lose(key, &format_args!("{error}"));
                    break;
                }
            }
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.framer = Some(framer);
            connection.backlog = backlog;
            // The clock runs for one PDU, not for a stream that happens to be cut in the middle of one.
            let since = connection.clock.partial_since.filter(|_| !completed);
            connection.clock.partial_since = partial.then(|| since.unwrap_or(self.now));
        }
    }

    /// Connections that have something to send or have ended, since the last call.
    pub(crate) fn take_touched(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.touched);
        for &key in into.iter() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.touched = false;
            }
        }
    }

    /// What a connection has to send, and whether it is to be closed.
    pub(crate) fn output(&self, key: Key) -> Option<(&[u8], Life)> {
        self.connections.get(key).map(|connection| match (connection.clock.held_until, connection.life) {
            // Nothing yet, so that it is not closed as one that has got all.
            (Some(_), Life::Ending) => (&[][..], Life::Open),
            (_, life) => (connection.output.pending(), life),
        })
    }

    /// So many bytes of [`Self::output`] were sent.
    pub(crate) fn sent(&mut self, key: Key, bytes: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.sent(bytes, self.now, &self.limits);
        }
    }

    /// Wakes the LUNs to which commands were given: once for all of a round.
    pub(crate) fn flush_signals(&mut self) {
        for (number, unit) in self.units.iter_mut().enumerate() {
            if std::mem::take(&mut unit.begun)
                && let Some(Err(error)) = unit.lun.as_mut().map(|lun| lun.flush_signal())
            {
                tracing::error!(lun = number, name = unit.name, %error, "LUN could not be woken");
            }
        }
    }

    /// Takes what a LUN has ended, and gives it what waited for room.
    pub(crate) fn collect(&mut self, number: usize) {
        let Some(mut lun) = self.units.get_mut(number).and_then(|unit| unit.lun.take()) else { return };
        lun.collect(&mut |ended| self.ended(number, ended));
        if let Some(unit) = self.units.get_mut(number) {
            unit.lun = Some(lun);
        }
        self.retry_waiting(number);
        self.admit_waiting();
    }

    /// A connection has something for the server to do.
    fn touch(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// The numbers for a PDU on a connection; StatSN is consumed.
    fn status_numbers(&mut self, key: Key) -> SequenceNumbers {
        let stat_sn = self.connections.get_mut(key).map_or(0, Connection::take_stat_sn);
        self.numbers(key, stat_sn)
    }

    /// The numbers for a PDU that has no status; StatSN is the next one.
    fn plain_numbers(&self, key: Key) -> SequenceNumbers {
        let stat_sn = self.connections.get(key).map_or(0, |connection| connection.stat_sn);
        self.numbers(key, stat_sn)
    }

    fn numbers(&self, key: Key, stat_sn: u32) -> SequenceNumbers {
        let session = self.connections.get(key).and_then(|connection| connection.session);
        match session.and_then(|session| self.sessions.get(session)) {
            Some(session) => session.numbers(stat_sn),
            None => SequenceNumbers { stat_sn, ..SequenceNumbers::default() },
        }
    }

    /// Refuses a PDU (RFC 7143 11.17).
    fn reject(&mut self, key: Key, reason: RejectReason, offender: Bhs) {
        let numbers = self.status_numbers(key);
        if let Some(connection) = self.connections.get_mut(key) {
            tracing::debug!(peer = %connection.peer, ?reason, ?offender, "PDU rejected");
            let reject = Reject { reason, numbers, data_sn: 0, offender };
            reject.encode(connection.digests, connection.output.tail());
            self.touch(key);
        }
    }

    /// A Target Transfer Tag that is not in use: they are given out in turn, and 2^32 − 1 others come before it
    /// is given out again.
    fn new_transfer_tag(&mut self) -> u32 {
        self.last_transfer_tag = match self.last_transfer_tag.wrapping_add(1) {
            RESERVED_TAG => 0,
            tag => tag,
        };
        self.last_transfer_tag
    }

    /// An [`Incoming`] with memory that was used before.
    fn spare_incoming(&mut self) -> Incoming {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives back what a task of this session held for its data.
    fn release_incoming(&mut self, session: Key, mut incoming: Incoming) {
        self.charged -= incoming.charged;
        if let Some(session) = self.sessions.get_mut(session).filter(|_| incoming.charged > 0) {
            session.charged -= incoming.charged;
        }
        incoming.clear();
        if incoming.buffer.capacity() > 0 && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(incoming);
        }
    }
}

#[cfg(test)]
mod tests;
