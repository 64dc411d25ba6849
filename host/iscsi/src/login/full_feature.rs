//! Text requests in the full feature phase (RFC 7143 clauses 6.4 and 11.10, appendix C).

use super::operational;
use super::policy::{SessionType, TargetRecord};
use crate::pdu::codes::RejectReason;
use crate::pdu::request::Malformed;
use crate::text::{self, TextWriter};
use std::net::SocketAddr;

/// What text requests are answered from.
#[derive(Clone, Copy, Debug)]
pub struct FullFeature<'a> {
    /// Type of the session.
    pub session_type: SessionType,
    /// All targets.
    pub targets: &'a [TargetRecord],
    /// Index into `targets` of the session's target; `None` in a discovery session.
    pub target: Option<usize>,
    /// The address that the initiator has connected to: targets are found there.
    pub portal: SocketAddr,
    /// TargetPortalGroupTag of that address.
    pub portal_group_tag: u16,
    /// Longest answer in bytes: the initiator's MaxRecvDataSegmentLength, since answers are not continued.
    pub reply_max: u32,
}

/// The answer to a text request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextAnswer {
    /// Keys and values for the text response.
    pub text: Vec<u8>,
    /// The initiator has declared a new MaxRecvDataSegmentLength for this connection, in bytes; it holds from the
    /// PDU after the text response.
    pub max_send_segment: Option<u32>,
}

/// What SendTargets asks for (RFC 7143 appendix C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTargets<'a> {
    /// `All`: every target; in discovery sessions only.
    All,
    /// A target's name.
    Named(&'a str),
    /// Nothing: the session's own target; in normal sessions only.
    Own,
}

impl<'a> SendTargets<'a> {
    /// Reads the key's value.
    #[must_use]
    pub fn from_value(value: &'a str) -> Self {
        match value {
            "All" => Self::All,
            "" => Self::Own,
            name => Self::Named(name),
        }
    }
}

/// Answers the keys of a text request, which must be whole: see [`text::TextAssembler`].
///
/// # Errors
/// With the reason for a Reject, if the text is broken or its answer too long for the initiator.
pub fn answer(text: &[u8], context: &FullFeature<'_>) -> Result<TextAnswer, Malformed> {
    let protocol = |what| Malformed { reason: RejectReason::ProtocolError, what };
    let mut out = TextWriter::new();
    let mut max_send_segment = None;
    let mut asked = false;
    for pair in text::pairs(text) {
        let text::Pair { key, value } =
            pair.map_err(|_| protocol("the text is no list of well-formed keys and values"))?;
        match key {
            "SendTargets" if asked => return Err(protocol("SendTargets twice in one request")),
            "SendTargets" => {
                asked = true;
                send_targets(SendTargets::from_value(value), context, &mut out);
            }
            "MaxRecvDataSegmentLength" if max_send_segment.is_some() => {
                return Err(protocol("MaxRecvDataSegmentLength twice in one request"));
            }
            "MaxRecvDataSegmentLength" => match operational::segment_length(value) {
                Some(length) => max_send_segment = Some(length),
                None => out.push(key, "Reject"),
            },
            // Everything else that we know was for the login (clause 6.4).
            _ if super::KEYS.contains(&key) => out.push(key, "Reject"),
            _ if value == "NotUnderstood" => {}
            _ => out.push(key, "NotUnderstood"),
        }
    }
    let text = out.into_bytes();
    if u32::try_from(text.len()).map_or(true, |length| length > context.reply_max) {
        let what = "the answer is longer than the initiator's MaxRecvDataSegmentLength";
        return Err(Malformed { reason: RejectReason::LongOperationReject, what });
    }
    Ok(TextAnswer { text, max_send_segment })
}

/// Writes the records of the targets that were asked for: a name and an address each. A name that is not there gives
/// no record; a question that the type of session does not allow is answered with `SendTargets=Reject`.
pub fn send_targets(which: SendTargets<'_>, context: &FullFeature<'_>, out: &mut TextWriter) {
    let own = context.target.and_then(|index| context.targets.get(index));
    // An IPv4 initiator knows nothing of the mapped address that a socket for both has, and the number of an interface
    // (RFC 4007) means something on this machine only.
    let portal = SocketAddr::new(context.portal.ip().to_canonical(), context.portal.port());
    let mut record = |target: &TargetRecord| {
        out.push("TargetName", &target.name);
        out.push("TargetAddress", format_args!("{portal},{}", context.portal_group_tag));
    };
    match (which, context.session_type) {
        (SendTargets::All, SessionType::Discovery) => context.targets.iter().for_each(record),
        (SendTargets::Named(name), SessionType::Discovery) => {
            context.targets.iter().filter(|target| target.is(name)).for_each(record);
        }
        (SendTargets::Named(name), SessionType::Normal) => {
            own.into_iter().filter(|target| target.is(name)).for_each(record);
        }
        (SendTargets::Own, SessionType::Normal) => own.into_iter().for_each(&mut record),
        (SendTargets::All, SessionType::Normal) | (SendTargets::Own, SessionType::Discovery) => {
            out.push("SendTargets", "Reject");
        }
    }
}
