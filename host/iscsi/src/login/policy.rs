//! What a target offers and asks for, and what a login came to.

use crate::chap::Credentials;
use crate::digest::Digests;

/// A target that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// iSCSI name (RFC 7143 clause 4.2.7): 1 to 223 bytes. Compared without regard to case.
    pub name: String,
    /// TargetAlias: a name for people, at most 255 bytes.
    pub alias: Option<String>,
}

impl TargetRecord {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// What logins are judged by. Shared by all connections.
#[derive(Clone, Debug)]
pub struct LoginPolicy {
    /// All targets.
    pub targets: Vec<TargetRecord>,
    /// TargetPortalGroupTag (RFC 7143 clause 13.9).
    pub portal_group_tag: u16,
    /// If there are some, every login (discovery too) must authenticate with CHAP.
    pub credentials: Option<Credentials>,
    /// Our side of the operational parameters.
    pub limits: Limits,
}

/// Our side of the operational parameters. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest data segment that we take (MaxRecvDataSegmentLength): 512 to 16 777 215.
    pub max_recv_data_segment: u32,
    /// MaxBurstLength: 512 to 16 777 215.
    pub max_burst: u32,
    /// FirstBurstLength: 512 to `max_burst`.
    pub first_burst: u32,
    /// MaxOutstandingR2T: 1 to 65 535.
    pub max_outstanding_r2t: u16,
    /// MaxConnections: 1 to 65 535.
    pub max_connections: u16,
    /// InitialR2T: we insist that all data but immediate data is asked for.
    pub initial_r2t: bool,
    /// ImmediateData: we take it.
    pub immediate_data: bool,
    /// DefaultTime2Wait: seconds, 0 to 3600.
    pub time2wait: u16,
    /// DefaultTime2Retain: seconds, 0 to 3600; 0 because a lost session is gone (error recovery level 0).
    pub time2retain: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_recv_data_segment: 256 * 1024,
            max_burst: 1024 * 1024,
            first_burst: 256 * 1024,
            max_outstanding_r2t: 16,
            max_connections: 4,
            initial_r2t: false,
            immediate_data: true,
            time2wait: 0,
            time2retain: 0,
        }
    }
}

/// What a session is for (RFC 7143 clause 13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionType {
    /// SendTargets and nothing else.
    Discovery,
    /// SCSI commands.
    Normal,
}

/// The operational parameters (RFC 7143 clause 13), at first the defaults of the standard.
///
/// In a login that joins a session ([`Negotiated::is_leading`] is false) only `digests`, `max_send_segment` and
/// `max_recv_segment` mean something: the others are the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// HeaderDigest and DataDigest.
    pub digests: Digests,
    /// Longest data segment that the initiator takes, in bytes (its MaxRecvDataSegmentLength).
    pub max_send_segment: u32,
    /// Longest data segment that we said we take, in bytes (our MaxRecvDataSegmentLength).
    pub max_recv_segment: u32,
    /// MaxConnections.
    pub max_connections: u16,
    /// InitialR2T: no unsolicited Data-Out PDUs.
    pub initial_r2t: bool,
    /// ImmediateData: data may come with the command.
    pub immediate_data: bool,
    /// MaxBurstLength: longest sequence of Data-In, or of Data-Out for one R2T, in bytes.
    pub max_burst: u32,
    /// FirstBurstLength: most unsolicited data of a command, immediate data included, in bytes; at most `max_burst`.
    pub first_burst: u32,
    /// MaxOutstandingR2T: R2Ts of a task that may be open at once.
    pub max_outstanding_r2t: u16,
    /// DataPDUInOrder: offsets within a sequence ascend without holes or overlays.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder: sequences too.
    pub data_sequence_in_order: bool,
    /// DefaultTime2Wait in seconds.
    pub time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub time2retain: u16,
    /// ErrorRecoveryLevel: always 0.
    pub error_recovery_level: u8,
    /// iSCSIProtocolLevel (RFC 7144 clause 7.1.1).
    pub protocol_level: u8,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            max_send_segment: 8192,
            max_recv_segment: 8192,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_burst: 262_144,
            first_burst: 65_536,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            time2wait: 2,
            time2retain: 20,
            error_recovery_level: 0,
            protocol_level: 1,
        }
    }
}

/// What a login came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Discovery or normal.
    pub session_type: SessionType,
    /// InitiatorName as sent: 1 to 223 bytes without control characters.
    pub initiator_name: String,
    /// InitiatorAlias.
    pub initiator_alias: Option<String>,
    /// Index into [`LoginPolicy::targets`]; always `Some` in a normal session.
    pub target: Option<usize>,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// The session that the initiator wants to join; 0 for a new one.
    pub tsih: u16,
    /// Connection identifier.
    pub cid: u16,
    /// CHAP_N, if the initiator has authenticated.
    pub user: Option<String>,
    /// The operational parameters.
    pub parameters: Parameters,
}

impl Negotiated {
    /// The login is for a new session (which may take the place of an old one with the same names and ISID, RFC 7143
    /// clause 6.3.5). Otherwise the caller has to find the session; if there is none it answers with
    /// [`LoginReply::refuse`](super::LoginReply::refuse).
    #[must_use]
    pub const fn is_leading(&self) -> bool {
        self.tsih == 0
    }
}
