//! Negotiation of the operational parameters (RFC 7143 clauses 6.2 and 13).

use super::policy::{Limits, Parameters, SessionType};
use crate::text::{TextWriter, value};
use std::ops::RangeInclusive;

/// Most that a length of 24 bits can be.
const LENGTH_MAX: u32 = (1 << 24) - 1;

/// Values of MaxRecvDataSegmentLength, MaxBurstLength and FirstBurstLength.
const LENGTHS: RangeInclusive<u32> = 512..=LENGTH_MAX;

/// What decides whether a key means anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    pub(super) session_type: SessionType,
    pub(super) leading: bool,
}

/// The initiator's MaxRecvDataSegmentLength, if `value` is one.
pub(super) fn segment_length(value: &str) -> Option<u32> {
    value::number_in(value, &LENGTHS)
}

/// Takes one key and answers it. A value that the key can not have is answered with `Reject` and changes nothing
/// (RFC 7143 clause 6.2); a key that nobody here knows with `NotUnderstood`.
pub(super) fn negotiate(
    parameters: &mut Parameters,
    limits: &Limits,
    role: Role,
    key: &str,
    value: &str,
    out: &mut TextWriter,
) {
    if !matters(key, role) {
        return out.push(key, "Irrelevant");
    }
    let p = parameters;
    match key {
        "HeaderDigest" => p.digests.header = digest(key, value, p.digests.header, out),
        "DataDigest" => p.digests.data = digest(key, value, p.digests.data, out),
        "MaxRecvDataSegmentLength" => match segment_length(value) {
            // Declared, not negotiated: no answer.
            Some(length) => p.max_send_segment = length,
            None => out.push(key, "Reject"),
        },
        "MaxConnections" => {
            p.max_connections = least(key, value, limits.max_connections, 1, p.max_connections, out)
        }
        "MaxOutstandingR2T" => {
            p.max_outstanding_r2t =
                least(key, value, limits.max_outstanding_r2t, 1, p.max_outstanding_r2t, out);
        }
        "DefaultTime2Retain" => {
            p.time2retain = seconds(key, value, p.time2retain, |a| a.min(limits.time2retain), out)
        }
        "DefaultTime2Wait" => {
            p.time2wait = seconds(key, value, p.time2wait, |a| a.max(limits.time2wait), out)
        }
        "MaxBurstLength" => p.max_burst = length(key, value, limits.max_burst, p.max_burst, out),
        // In the answer, so that both sides know the same figure (clause 13.14).
        "FirstBurstLength" => {
            p.first_burst = length(key, value, limits.first_burst.min(p.max_burst), p.first_burst, out);
        }
        "InitialR2T" => p.initial_r2t = boolean(key, value, p.initial_r2t, |a| a || limits.initial_r2t, out),
        "ImmediateData" => {
            p.immediate_data = boolean(key, value, p.immediate_data, |a| a && limits.immediate_data, out);
        }
        "DataPDUInOrder" => p.data_pdu_in_order = boolean(key, value, true, |_| true, out),
        "DataSequenceInOrder" => p.data_sequence_in_order = boolean(key, value, true, |_| true, out),
        "ErrorRecoveryLevel" => match value::number_in(value, &(0..=2)) {
            Some(_) => out.push(key, 0),
            None => out.push(key, "Reject"),
        },
        "TaskReporting" => choose(key, value, &["RFC3720"], out),
        // Levels up to 31; we speak the one of RFC 7143 (RFC 7144 clause 7.1.1).
        "iSCSIProtocolLevel" => match value::number_in(value, &(0..=31)) {
            Some(level) => {
                p.protocol_level = u8::from(level > 0);
                out.push(key, p.protocol_level);
            }
            None => out.push(key, "Reject"),
        },
        // Obsolete (RFC 7143 clause 13.25): markers are not supported, so their distance is irrelevant.
        "OFMarker" | "IFMarker" => drop(boolean(key, value, false, |_| false, out)),
        "OFMarkInt" | "IFMarkInt" => out.push(key, "Irrelevant"),
        // Only for text requests in the full feature phase (RFC 7143 appendix C).
        "SendTargets" => out.push(key, "Reject"),
        // Declares what the initiator runs on (RFC 7143 clause 13.26): no answer.
        "X#NodeArchitecture" => {}
        _ if value == "NotUnderstood" => {}
        _ => out.push(key, "NotUnderstood"),
    }
}

/// Settles what depends on more than one key, whichever order they came in.
pub(super) fn settle(parameters: &mut Parameters) {
    parameters.first_burst = parameters.first_burst.min(parameters.max_burst);
}

/// Session-wide keys mean nothing in a login that joins a session; those about data mean nothing in a discovery
/// session ("Irrelevant when" and "Use: LO" in RFC 7143 clause 13).
fn matters(key: &str, role: Role) -> bool {
    match key {
        "MaxConnections"
        | "InitialR2T"
        | "ImmediateData"
        | "MaxBurstLength"
        | "FirstBurstLength"
        | "MaxOutstandingR2T"
        | "DataPDUInOrder"
        | "DataSequenceInOrder"
        | "TaskReporting"
        | "iSCSIProtocolLevel" => role.leading && role.session_type == SessionType::Normal,
        "DefaultTime2Wait" | "DefaultTime2Retain" | "ErrorRecoveryLevel" => role.leading,
        _ => true,
    }
}

/// The first offered digest that we know; whether it is CRC32C.
fn digest(key: &str, value: &str, before: bool, out: &mut TextWriter) -> bool {
    let known = value::list(value).find(|offered| matches!(*offered, "CRC32C" | "None"));
    out.push(key, known.unwrap_or("Reject"));
    known.map_or(before, |digest| digest == "CRC32C")
}

fn choose(key: &str, value: &str, known: &[&str], out: &mut TextWriter) {
    out.push(key, value::list(value).find(|offered| known.contains(offered)).unwrap_or("Reject"));
}

fn boolean(
    key: &str,
    value: &str,
    before: bool,
    result: impl Fn(bool) -> bool,
    out: &mut TextWriter,
) -> bool {
    let Some(offered) = value::boolean(value) else {
        out.push(key, "Reject");
        return before;
    };
    out.push(key, value::yes_or_no(result(offered)));
    result(offered)
}

/// The lower of both sides' lengths.
fn length(key: &str, value: &str, ours: u32, before: u32, out: &mut TextWriter) -> u32 {
    let Some(offered) = value::number_in(value, &LENGTHS) else {
        out.push(key, "Reject");
        return before;
    };
    out.push(key, offered.min(ours));
    offered.min(ours)
}

/// The lower of both sides' counts.
fn least(key: &str, value: &str, ours: u16, from: u16, before: u16, out: &mut TextWriter) -> u16 {
    count(key, value, from..=u16::MAX, before, |offered| offered.min(ours), out)
}

fn seconds(key: &str, value: &str, before: u16, result: impl Fn(u16) -> u16, out: &mut TextWriter) -> u16 {
    count(key, value, 0..=3600, before, result, out)
}

fn count(
    key: &str,
    value: &str,
    range: RangeInclusive<u16>,
    before: u16,
    result: impl Fn(u16) -> u16,
    out: &mut TextWriter,
) -> u16 {
    let offered = value::number(value).and_then(|number| u16::try_from(number).ok());
    let Some(offered) = offered.filter(|number| range.contains(number)) else {
        out.push(key, "Reject");
        return before;
    };
    out.push(key, result(offered));
    result(offered)
}
