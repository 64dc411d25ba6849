//! What is known of one connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::digest::Digests;
use crate::login::Login;
use crate::pdu::frame::{FrameLimits, Framer};
use crate::slab::Key;
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

/// How far a connection has come.
pub(crate) enum Phase {
    /// Negotiating.
    Login(Box<Login>),
    /// Full feature phase (RFC 7143 4.1.2).
    Full,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Open,
    /// Nothing more is read; what is to be sent is sent, then it is closed.
    Ending,
    /// It is closed at once.
    Dead,
}

/// Moments and what is waited for.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) opened: Instant,
    /// When the last byte came.
    pub(crate) heard: Instant,
    /// When the PDU that is incomplete was first seen so.
    pub(crate) partial_since: Option<Instant>,
    /// Since when output waits and none of it could be sent.
    pub(crate) stalled_since: Option<Instant>,
    /// When the target's ping was sent that has not been answered.
    pub(crate) ping: Option<Instant>,
    /// When the initiator was asked to log out.
    pub(crate) asked_to_leave: Option<Instant>,
}

pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// The address that the initiator connected to: what SendTargets tells.
    pub(crate) local: SocketAddr,
    /// Taken out while its frames are handled.
    pub(crate) framer: Option<Framer>,
    pub(crate) phase: Phase,
    pub(crate) life: Life,
    /// Set when login ends.
    pub(crate) session: Option<Key>,
    pub(crate) cid: u16,
    /// StatSN of the next status.
    pub(crate) stat_sn: u32,
    pub(crate) digests: Digests,
    /// Frames are waiting because there is too much output.
    pub(crate) backlog: bool,
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
            session: None,
            cid: 0,
            stat_sn: 1,
            digests: Digests::default(),
            backlog: false,
            new_framing: None,
            send_limit: 8192,
            output: Output::default(),
            touched: false,
            text: None,
            clock: Clock {
                opened: now,
                heard: now,
                partial_since: None,
                stalled_since: None,
                ping: None,
                asked_to_leave: None,
            },
        }
    }

    /// Takes the next StatSN.
    pub(crate) const fn take_stat_sn(&mut self) -> u32 {
        let number = self.stat_sn;
        self.stat_sn = number.wrapping_add(1);
        number
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.life, Life::Open)
    }

    /// The moment at which something has to be done although nothing was received, and what that is.
    pub(crate) fn due(&self, limits: &crate::server::ServerLimits) -> (Instant, Due) {
        let clock = &self.clock;
        if self.life != Life::Open {
            // All that is left to do is to send.
            return (clock.stalled_since.unwrap_or(clock.heard) + limits.output_timeout, Due::Stalled);
        }
        let mut first = match (&self.phase, clock.ping) {
            (Phase::Login(_), _) => (clock.opened + limits.login_timeout, Due::LoginOver),
            (Phase::Full, Some(sent)) => (sent + limits.ping_timeout, Due::Silent),
            (Phase::Full, None) => (clock.heard + limits.ping_after, Due::Ping),
        };
        let mut consider = |since: Option<Instant>, after: Duration, due: Due| {
            if let Some(moment) = since.map(|since| since + after)
                && moment < first.0
            {
                first = (moment, due);
            }
        };
        consider(clock.partial_since, limits.pdu_timeout, Due::PartialPdu);
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
