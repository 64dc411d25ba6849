//! What is known of one connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::digest::Digests;
use crate::login::{Login, LoginReply, Negotiated};
use crate::pdu::frame::{FrameLimits, Framer};
use crate::pdu::response::SequenceNumbers;
use crate::server::ServerLimits;
use crate::slab::Key;
use crate::target_core::attention::Attention;
use crate::text::TextAssembler;

/// Bytes that are waiting to be sent.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// An empty output buffer that is larger than this is given back: a burst is no reason to keep megabytes.
const KEPT_OUTPUT: usize = 2 << 20;

impl Output {
    /// Where PDUs are appended.
    pub(crate) const fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is to be sent next.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// So many bytes of [`Self::pending`] were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= self.bytes.len() {
            self.sent = 0;
            if self.bytes.capacity() > KEPT_OUTPUT {
                self.bytes = Vec::new();
            } else {
                self.bytes.clear();
            }
        } else if self.sent > self.bytes.len() / 2 && self.sent > KEPT_OUTPUT / 2 {
            // More came while less than all went: do not grow for ever.
            self.bytes.copy_within(self.sent.., 0);
            self.bytes.truncate(self.bytes.len() - self.sent);
            self.sent = 0;
        }
    }
}

/// How much of the output that waits an initiator has to take within `output_timeout`, unless there is less. One
/// that takes a byte now and then would keep megabytes for ever.
const LEAST_PROGRESS: usize = 64 << 10;

/// How far a connection has come.
pub(crate) enum Phase {
    /// Negotiating.
    Login(Box<Login>),
    /// Negotiated; the last answer waits for commands that the initiator began before.
    Admitted(Box<Admission>),
    /// Full feature phase (RFC 7143 4.1.2).
    Full,
}

/// A login that has succeeded and is not answered yet.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Of the last request.
    pub(crate) cmd_sn: u32,
    pub(crate) reply: LoginReply,
    pub(crate) negotiated: Box<Negotiated>,
    /// What the session whose place it takes had not been told, one for each LUN; none if it takes no place.
    pub(crate) inherited: Option<Vec<Attention>>,
}

/// A logout of the connection that it came over. Its answer is the last PDU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) tag: u32,
    pub(crate) numbers: SequenceNumbers,
    pub(crate) since: Instant,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Open,
    /// Nothing more is read; the answer to its logout waits for commands to end.
    Leaving,
    /// Nothing more is read; what is to be sent is sent, then it is closed.
    Ending,
    /// It is closed at once.
    Dead,
}

/// Moments and what is waited for.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) opened: Instant,
    /// When the last byte came, or when an initiator that had fallen behind took some output.
    pub(crate) heard: Instant,
    /// When data of a write last came, or as for `heard`.
    pub(crate) data: Instant,
    /// When the PDU that is incomplete was first seen so.
    pub(crate) partial_since: Option<Instant>,
    /// Since when output waits and less than [`LEAST_PROGRESS`] of it could be sent.
    pub(crate) stalled_since: Option<Instant>,
    /// Bytes that could be sent since then.
    pub(crate) taken: usize,
    /// When the target's ping was sent that has not been answered.
    pub(crate) ping: Option<Instant>,
    /// When the initiator was asked to log out.
    pub(crate) asked_to_leave: Option<Instant>,
    /// Output is not sent before.
    pub(crate) held_until: Option<Instant>,
}

pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// The address that the initiator connected to: what SendTargets tells.
    pub(crate) local: SocketAddr,
    /// Taken out while its frames are handled.
    pub(crate) framer: Option<Framer>,
    pub(crate) phase: Phase,
    pub(crate) life: Life,
    /// While it is [`Life::Leaving`].
    pub(crate) leaving: Option<Leaving>,
    /// Set when login ends.
    pub(crate) session: Option<Key>,
    pub(crate) cid: u16,
    /// StatSN of the next status.
    pub(crate) stat_sn: u32,
    pub(crate) digests: Digests,
    /// Frames are waiting because there is too much output, or because it is the turn of others.
    pub(crate) backlog: bool,
    /// They wait for the next round.
    pub(crate) postponed: bool,
    /// A round, and the frames that were handled in it.
    pub(crate) handled: (u64, u32),
    /// Bytes that the commands may return for which there was room in the output.
    pub(crate) reading: u64,
    /// Commands that return data and wait for room in the output, first come, first served.
    pub(crate) reads: VecDeque<Key>,
    /// What the framer is to be told before it cuts the next frame.
    pub(crate) new_framing: Option<(Digests, u32)>,
    /// The initiator's MaxRecvDataSegmentLength.
    pub(crate) send_limit: usize,
    pub(crate) output: Output,
    /// It is in the list of connections that the server has to look after.
    pub(crate) touched: bool,
    /// A text negotiation that goes over several requests: its tag and what came so far.
    pub(crate) text: Option<(u32, TextAssembler)>,
    pub(crate) clock: Clock,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, login: Login, now: Instant) -> Self {
        Self {
            peer,
            local,
            framer: Some(Framer::new(FrameLimits::default())),
            phase: Phase::Login(Box::new(login)),
            life: Life::Open,
            leaving: None,
            session: None,
            cid: 0,
            stat_sn: 1,
            digests: Digests::default(),
            backlog: false,
            postponed: false,
            handled: (0, 0),
            reading: 0,
            reads: VecDeque::new(),
            new_framing: None,
            send_limit: 8192,
            output: Output::default(),
            touched: false,
            text: None,
            clock: Clock {
                opened: now,
                heard: now,
                data: now,
                partial_since: None,
                stalled_since: None,
                taken: 0,
                ping: None,
                asked_to_leave: None,
                held_until: None,
            },
        }
    }

    /// Takes the next StatSN.
    pub(crate) const fn take_stat_sn(&mut self) -> u32 {
        let number = self.stat_sn;
        self.stat_sn = number.wrapping_add(1);
        number
    }

    /// So many bytes of the output were sent, of as many as the socket could take.
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant, limits: &ServerLimits) {
        let clock = &mut self.clock;
        if clock.stalled_since.is_some() && bytes > 0 {
            // It lives. What it sent meanwhile may not have been read, or waits behind what it has to read first.
            (clock.heard, clock.data) = (now, now);
            clock.ping = clock.ping.map(|_| now);
        }
        if self.output.pending().len() > limits.output_bytes {
            // Until now nothing was read.
            clock.partial_since = clock.partial_since.map(|_| now);
        }
        self.output.sent(bytes);
        clock.taken += bytes;
        if self.output.pending().is_empty() {
            (clock.stalled_since, clock.taken) = (None, 0);
        } else if clock.stalled_since.is_none() || clock.taken >= LEAST_PROGRESS {
            (clock.stalled_since, clock.taken) = (Some(now), 0);
        }
    }

    /// Whether a command that returns data may be begun: what is to be sent, and what the commands that were begun
    /// may return, is no more than the output may hold.
    pub(crate) fn has_room_for_reads(&self, limits: &ServerLimits) -> bool {
        self.output.pending().len() as u64 + self.reading <= limits.output_bytes as u64
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.life, Life::Open)
    }

    /// The moment at which something has to be done although nothing was received, and what that is.
    pub(crate) fn due(&self, limits: &ServerLimits) -> (Instant, Due) {
        let clock = &self.clock;
        if let Some(leaving) = &self.leaving {
            return (leaving.since + limits.login_timeout, Due::LogoutOver);
        }
        if let Some(until) = clock.held_until {
            return (until, Due::Answer);
        }
        if self.life != Life::Open {
            // All that is left to do is to send.
            return (clock.stalled_since.unwrap_or(clock.heard) + limits.output_timeout, Due::Stalled);
        }
        let mut first = match (&self.phase, clock.stalled_since, clock.ping) {
            (Phase::Login(_) | Phase::Admitted(_), ..) => {
                (clock.opened + limits.login_timeout, Due::LoginOver)
            }
            // A ping would wait behind the output, and its answer might not be read.
            (Phase::Full, Some(since), _) => (since + limits.output_timeout, Due::Stalled),
            (Phase::Full, None, Some(sent)) => (sent + limits.ping_timeout, Due::Silent),
            (Phase::Full, None, None) => (clock.heard + limits.ping_after, Due::Ping),
        };
        let is_read = self.output.pending().len() <= limits.output_bytes;
        let mut consider = |since: Option<Instant>, after: Duration, due: Due| {
            if let Some(moment) = since.map(|since| since + after)
                && moment < first.0
            {
                first = (moment, due);
            }
        };
        consider(clock.partial_since.filter(|_| is_read), limits.pdu_timeout, Due::PartialPdu);
        consider(clock.stalled_since, limits.output_timeout, Due::Stalled);
        consider(clock.asked_to_leave, limits.logout_grace, Due::Leave);
        first
    }
}

/// What is due on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Login took too long.
    LoginOver,
    /// The commands that a logout waits for take too long.
    LogoutOver,
    /// The initiator has to show that it lives.
    Ping,
    /// It did not.
    Silent,
    /// A PDU has begun and does not end.
    PartialPdu,
    /// The initiator does not take what it is sent.
    Stalled,
    /// It was asked to log out and had time to.
    Leave,
    /// It gets the answer that was held back.
    Answer,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::login::LoginPolicy;

    /// A connection in full feature phase, and when it began.
    fn logged_in() -> (Connection, Instant) {
        let now = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], 3260));
        let policy = LoginPolicy {
            targets: Vec::new(),
            portal_group_tag: 1,
            credentials: None,
            limits: crate::login::Limits::default(),
        };
        let mut connection = Connection::new(address, address, Login::new(Arc::new(policy)), now);
        connection.phase = Phase::Full;
        (connection, now)
    }

    #[test]
    fn a_connection_with_output_that_waits_is_neither_pinged_nor_silent() {
        let limits = ServerLimits::default();
        let (mut connection, start) = logged_in();
        assert_eq!(connection.due(&limits), (start + limits.ping_after, Due::Ping));
        connection.clock.ping = Some(start);
        connection.clock.partial_since = Some(start);
        assert_eq!(connection.due(&limits), (start + limits.ping_timeout, Due::Silent));
        connection.output.tail().resize(limits.output_bytes + LEAST_PROGRESS + 1, 0);
        connection.sent(0, start, &limits);
        assert_eq!(connection.due(&limits), (start + limits.output_timeout, Due::Stalled));
        // All clocks begin again with the progress.
        let later = start + limits.output_timeout / 2;
        connection.sent(LEAST_PROGRESS, later, &limits);
        assert_eq!(connection.due(&limits), (later + limits.output_timeout, Due::Stalled));
        connection.sent(1, later, &limits);
        assert_eq!(
            connection.due(&limits),
            (later + limits.pdu_timeout, Due::PartialPdu),
            "it is read again"
        );
        connection.sent(limits.output_bytes, later, &limits);
        assert_eq!(connection.due(&limits), (later + limits.ping_timeout, Due::Silent));
        connection.clock.ping = None;
        assert_eq!(connection.due(&limits), (later + limits.ping_after, Due::Ping));
    }

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let limits = ServerLimits::default();
        let (mut connection, start) = logged_in();
        connection.output.tail().resize(2 * LEAST_PROGRESS, 0);
        connection.sent(0, start, &limits);
        let (second, mut now) = (Duration::from_secs(1), start);
        for _ in 0..10 {
            now += second;
            connection.sent(1, now, &limits);
        }
        assert_eq!(connection.due(&limits), (start + limits.output_timeout, Due::Stalled));
        connection.sent(LEAST_PROGRESS - 10, now, &limits);
        assert_eq!(connection.due(&limits), (now + limits.output_timeout, Due::Stalled));
    }

    #[test]
    fn output_is_sent_in_any_pieces() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"abc");
        output.sent(1);
        output.tail().extend_from_slice(b"d");
        assert_eq!(output.pending(), b"bcd");
        output.sent(3);
        assert!(output.pending().is_empty() && output.bytes.is_empty());
    }

    #[test]
    fn output_that_is_never_empty_does_not_grow_for_ever() {
        let mut output = Output::default();
        let piece = vec![7; KEPT_OUTPUT];
        output.tail().extend_from_slice(&piece);
        for _ in 0..20 {
            output.tail().extend_from_slice(&piece);
            output.sent(KEPT_OUTPUT);
            assert_eq!(output.pending().len(), KEPT_OUTPUT);
        }
        assert!(output.bytes.len() <= 3 * KEPT_OUTPUT, "{}", output.bytes.len());
    }
}
