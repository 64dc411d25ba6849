//! Login of one connection (RFC 7143 clauses 6.2, 6.3, 11.12, 11.13, 12 and 13). No I/O: requests in, replies out.
//!
//! [`Login`] is the state of a connection until its full feature phase; [`full_feature`] answers text requests in it.

pub mod full_feature;
mod operational;
pub mod policy;
mod reply;
mod security;

pub use policy::{Limits, LoginPolicy, Negotiated, Parameters, SessionType, TargetRecord};
pub use reply::{LoginReply, LoginStep, Refusal};

use crate::pdu::codes::LoginStatus;
use crate::pdu::request::LoginRequest;
use crate::text::{self, TextAssembler, TextWriter};
use operational::Role;
use security::{Offer, Security};
use std::sync::Arc;

/// Most login requests of one login. Real initiators need fewer than ten.
pub const REQUESTS_MAX: u32 = 64;

/// Most bytes of text in all requests of one login.
pub const LOGIN_TEXT_MAX: usize = 64 * 1024;

/// Longest text of a reply in bytes: the default of MaxRecvDataSegmentLength, which holds during login.
const REPLY_MAX: usize = 8192;

/// Longest iSCSI name in bytes (RFC 7143 clause 4.2.7.1).
const NAME_MAX: usize = 223;

/// Stages (RFC 7143 clause 11.12.3).
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// Keys that an initiator may send once in a login (RFC 7143 clause 6.3). At most 64: see [`Login::claim`].
const KEYS: &[&str] = &[
    "InitiatorName",
    "InitiatorAlias",
    "SessionType",
    "TargetName",
    "AuthMethod",
    "CHAP_A",
    "CHAP_N",
    "CHAP_R",
    "CHAP_I",
    "CHAP_C",
    "HeaderDigest",
    "DataDigest",
    "MaxRecvDataSegmentLength",
    "MaxConnections",
    "InitialR2T",
    "ImmediateData",
    "MaxBurstLength",
    "FirstBurstLength",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "DefaultTime2Wait",
    "DefaultTime2Retain",
    "ErrorRecoveryLevel",
    "TaskReporting",
    "iSCSIProtocolLevel",
    "OFMarker",
    "IFMarker",
    "OFMarkInt",
    "IFMarkInt",
    "X#NodeArchitecture",
];

/// A login that is going on.
#[derive(Debug)]
pub struct Login {
    policy: Arc<LoginPolicy>,
    /// Of the first request; all others must have the same.
    identity: Option<Identity>,
    stage: u8,
    requests: u32,
    text_bytes: usize,
    assembler: TextAssembler,
    /// A bit for each of [`KEYS`] that was sent.
    seen: u64,
    names: Names,
    /// The names of the first text were checked and answered.
    introduced: bool,
    /// Our MaxRecvDataSegmentLength was declared.
    declared: bool,
    security: Security,
    parameters: Parameters,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    isid: [u8; 6],
    tsih: u16,
    cid: u16,
    initiator_task_tag: u32,
}

#[derive(Debug, Default)]
struct Names {
    initiator: Option<String>,
    alias: Option<String>,
    session_type: Option<SessionType>,
    target: Option<usize>,
}

impl Login {
    /// A connection that has not said anything.
    #[must_use]
    pub fn new(policy: Arc<LoginPolicy>) -> Self {
        Self {
            policy,
            identity: None,
            stage: SECURITY,
            requests: 0,
            text_bytes: 0,
            assembler: TextAssembler::new(),
            seen: 0,
            names: Names::default(),
            introduced: false,
            declared: false,
            security: Security::Undecided,
            parameters: Parameters::default(),
            over: false,
        }
    }

    /// Takes the next login request. After [`LoginStep::Done`] or [`LoginStep::Failed`] every further request fails.
    pub fn request(&mut self, request: &LoginRequest<'_>) -> LoginStep {
        let step = match self.step(request) {
            Ok(step) => step,
            Err(refusal) => LoginStep::Failed(LoginReply::refuse(request, refusal.status), refusal),
        };
        self.over |= !matches!(step, LoginStep::Reply(_));
        step
    }

    /// InitiatorName, once the initiator has given it: for messages about a login that fails.
    #[must_use]
    pub fn initiator_name(&self) -> Option<&str> {
        self.names.initiator.as_deref()
    }

    fn step(&mut self, request: &LoginRequest<'_>) -> Result<LoginStep, Refusal> {
        self.check_header(request)?;
        self.text_bytes += request.text.len();
        if self.text_bytes > LOGIN_TEXT_MAX {
            return Err(Refusal::error("more text than a login may have"));
        }
        self.assembler.push(request.text).map_err(|_| Refusal::error("more text than a login may have"))?;
        let mut out = TextWriter::new();
        let mut transit = false;
        if !request.continues {
            let text = self.assembler.take();
            self.take_text(&text, &mut out)?;
            transit = request.transit && self.may_leave()?;
        }
        if out.as_bytes().len() > REPLY_MAX {
            return Err(Refusal::error("more keys than an answer has room for"));
        }
        let reply = LoginReply {
            transit,
            next_stage: if transit { request.next_stage } else { 0 },
            text: out.into_bytes(),
            ..LoginReply::refuse(request, LoginStatus::Success)
        };
        if !transit {
            return Ok(LoginStep::Reply(reply));
        }
        self.stage = request.next_stage;
        if self.stage != FULL_FEATURE {
            return Ok(LoginStep::Reply(reply));
        }
        let negotiated = self.negotiated()?;
        Ok(LoginStep::Done(reply, Box::new(negotiated)))
    }

    /// Everything but the text.
    fn check_header(&mut self, request: &LoginRequest<'_>) -> Result<(), Refusal> {
        if self.over {
            return Err(Refusal::new(LoginStatus::InvalidDuringLogin, "login request after the login"));
        }
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            return Err(Refusal::error("more requests than a login may have"));
        }
        if !request.immediate {
            return Err(Refusal::error("login request without the immediate bit"));
        }
        if request.version_min > 0 {
            return Err(Refusal::new(
                LoginStatus::UnsupportedVersion,
                "the initiator does not speak protocol version 0, the only one there is",
            ));
        }
        let identity = Identity {
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            initiator_task_tag: request.initiator_task_tag,
        };
        match self.identity {
            None => self.begin(identity, request.current_stage)?,
            Some(first) if first != identity => {
                return Err(Refusal::error("ISID, TSIH, CID or task tag changed during the login"));
            }
            Some(_) if request.current_stage != self.stage => {
                return Err(Refusal::error("CSG is not the stage that the login is in"));
            }
            Some(_) => {}
        }
        if !request.transit {
            return Ok(());
        }
        if request.continues {
            return Err(Refusal::error("T and C are both 1"));
        }
        match (self.stage, request.next_stage) {
            (SECURITY, OPERATIONAL) | (SECURITY | OPERATIONAL, FULL_FEATURE) => Ok(()),
            _ => Err(Refusal::error("NSG is not a stage that may follow")),
        }
    }

    fn begin(&mut self, identity: Identity, stage: u8) -> Result<(), Refusal> {
        match stage {
            SECURITY => {}
            OPERATIONAL if self.policy.credentials.is_some() => {
                return Err(Refusal::authentication(
                    "the target requires CHAP, but the initiator skips the security stage",
                ));
            }
            OPERATIONAL => self.security = Security::Passed(None),
            _ => return Err(Refusal::error("CSG of the first request is neither security nor operational")),
        }
        self.stage = stage;
        self.identity = Some(identity);
        Ok(())
    }

    /// Notes that a key was sent; an error if it was before.
    fn claim(&mut self, key: &str) -> Result<(), Refusal> {
        let Some(bit) = KEYS.iter().position(|known| *known == key) else { return Ok(()) };
        let bit = 1 << bit;
        if self.seen & bit != 0 {
            return Err(Refusal::error("a key was sent twice in one login"));
        }
        self.seen |= bit;
        Ok(())
    }

    /// One whole text: names first, because they decide what the other keys mean; then the keys in their order, but
    /// MaxBurstLength before FirstBurstLength, which it bounds.
    fn take_text(&mut self, text: &[u8], out: &mut TextWriter) -> Result<(), Refusal> {
        let mut offer = Offer::default();
        let mut rest = Vec::new();
        for pair in text::pairs(text) {
            let text::Pair { key, value } =
                pair.map_err(|_| Refusal::error("the text is no list of well-formed keys and values"))?;
            self.claim(key)?;
            match key {
                "TargetAlias" | "TargetAddress" | "TargetPortalGroupTag" => {
                    return Err(Refusal::error("a key that only targets send"));
                }
                _ if self.take_name(key, value)? => {}
                _ if !offer.take(key, value) => rest.push((key, value)),
                _ if self.stage != SECURITY => {
                    return Err(Refusal::error("a security key outside of the security stage"));
                }
                _ => {}
            }
        }
        self.introduce(out)?;
        if self.stage == SECURITY {
            self.security.step(&offer, self.policy.credentials.as_ref(), out)?;
        } else if !self.declared {
            self.declared = true;
            let length = self.policy.limits.max_recv_data_segment;
            self.parameters.max_recv_segment = length;
            out.push("MaxRecvDataSegmentLength", length);
        }
        let role = self.role();
        rest.sort_by_key(|(key, _)| *key == "FirstBurstLength");
        for (key, value) in rest {
            operational::negotiate(&mut self.parameters, &self.policy.limits, role, key, value, out);
        }
        Ok(())
    }

    fn role(&self) -> Role {
        Role {
            session_type: self.names.session_type.unwrap_or(SessionType::Normal),
            leading: self.identity.is_some_and(|identity| identity.tsih == 0),
        }
    }

    /// Takes the key if it names something.
    fn take_name(&mut self, key: &str, value: &str) -> Result<bool, Refusal> {
        match key {
            "InitiatorName" if !is_name(value) => {
                return Err(Refusal::error("InitiatorName is empty, longer than 223 bytes or not printable"));
            }
            "InitiatorName" => self.names.initiator = Some(value.to_owned()),
            "InitiatorAlias" => self.names.alias = Some(value.to_owned()),
            "SessionType" => {
                self.names.session_type = Some(match value {
                    "Discovery" => SessionType::Discovery,
                    "Normal" => SessionType::Normal,
                    _ => {
                        let why = "SessionType is neither Discovery nor Normal";
                        return Err(Refusal::new(LoginStatus::SessionTypeNotSupported, why));
                    }
                });
            }
            "TargetName" => {
                let target = self.policy.targets.iter().position(|target| target.is(value));
                self.names.target = Some(target.ok_or(Refusal::new(
                    LoginStatus::NotFound,
                    "there is no target with the name that the initiator gave",
                ))?);
            }
            _ => return Ok(false),
        }
        // They belong into the first request: what was answered since rests on them (clause 6.3).
        if self.introduced && key != "InitiatorAlias" {
            return Err(Refusal::error(
                "a name of initiator, target or session type after the first request",
            ));
        }
        Ok(true)
    }

    /// After the first text: whether all is there that must be, and what a target says first.
    fn introduce(&mut self, out: &mut TextWriter) -> Result<(), Refusal> {
        if self.introduced {
            return Ok(());
        }
        self.introduced = true;
        if self.names.initiator.is_none() {
            return Err(Refusal::new(LoginStatus::MissingParameter, "InitiatorName is missing"));
        }
        let Role { session_type, leading } = self.role();
        if session_type == SessionType::Discovery {
            return if leading {
                Ok(())
            } else {
                let why = "a discovery session has one connection";
                Err(Refusal::new(LoginStatus::CannotIncludeInSession, why))
            };
        }
        let Some(target) = self.names.target.and_then(|index| self.policy.targets.get(index)) else {
            return Err(Refusal::new(LoginStatus::MissingParameter, "TargetName is missing"));
        };
        if leading {
            out.push("TargetPortalGroupTag", self.policy.portal_group_tag);
            if let Some(alias) = &target.alias {
                out.push("TargetAlias", alias);
            }
        }
        Ok(())
    }

    fn may_leave(&mut self) -> Result<bool, Refusal> {
        match self.stage {
            SECURITY => self.security.may_leave(self.policy.credentials.as_ref()),
            _ => Ok(true),
        }
    }

    fn negotiated(&mut self) -> Result<Negotiated, Refusal> {
        operational::settle(&mut self.parameters);
        // Both were checked long before; the error only keeps this function free of panics.
        let (Some(identity), Some(initiator_name)) = (self.identity, self.names.initiator.clone()) else {
            return Err(Refusal::new(LoginStatus::MissingParameter, "InitiatorName is missing"));
        };
        let session_type = self.role().session_type;
        Ok(Negotiated {
            session_type,
            initiator_name,
            initiator_alias: self.names.alias.clone(),
            target: self.names.target.filter(|_| session_type == SessionType::Normal),
            isid: identity.isid,
            tsih: identity.tsih,
            cid: identity.cid,
            user: self.security.user().map(str::to_owned),
            parameters: self.parameters,
        })
    }
}

/// What can be an iSCSI name, in the widest sense that is safe to compare and to log.
fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}
