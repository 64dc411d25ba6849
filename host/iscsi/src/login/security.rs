//! The security stage: whether the initiator has to prove who it is, and whether it has (RFC 7143 clauses 6.3.1 and
//! 12.1).

use super::reply::Refusal;
use crate::chap::{Algorithm, Challenge, Credentials, RESPONSE_MAX};
use crate::pdu::codes::LoginStatus;
use crate::text::{TextWriter, value};

/// Security keys of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer<'a> {
    auth_method: Option<&'a str>,
    algorithms: Option<&'a str>,
    name: Option<&'a str>,
    response: Option<&'a str>,
    /// CHAP_I or CHAP_C: the initiator wants the target to prove who it is.
    wants_proof: bool,
}

impl<'a> Offer<'a> {
    /// Takes the key if it is one of this stage.
    pub(super) fn take(&mut self, key: &str, value: &'a str) -> bool {
        match key {
            "AuthMethod" => self.auth_method = Some(value),
            "CHAP_A" => self.algorithms = Some(value),
            "CHAP_N" => self.name = Some(value),
            "CHAP_R" => self.response = Some(value),
            "CHAP_I" | "CHAP_C" => self.wants_proof = true,
            _ => return false,
        }
        true
    }

    const fn has_chap(&self) -> bool {
        self.algorithms.is_some() || self.name.is_some() || self.response.is_some() || self.wants_proof
    }
}

/// How far the initiator has come.
#[derive(Debug)]
pub(super) enum Security {
    /// No method was chosen.
    Undecided,
    /// CHAP was chosen; the initiator names algorithms next.
    Chap,
    /// The initiator has to answer.
    Challenged(Challenge),
    /// Nothing is left to prove. The name is there if CHAP was done.
    Passed(Option<String>),
}

impl Security {
    /// Takes the keys of one request and answers them.
    pub(super) fn step(
        &mut self,
        offer: &Offer<'_>,
        credentials: Option<&Credentials>,
        out: &mut TextWriter,
    ) -> Result<(), Refusal> {
        if let Some(methods) = offer.auth_method {
            self.choose_method(methods, credentials.is_some(), out)?;
        }
        if !offer.has_chap() {
            return Ok(());
        }
        match (&*self, credentials) {
            (Self::Chap, Some(_)) => self.challenge(offer, out),
            (Self::Challenged(challenge), Some(credentials)) => {
                *self = Self::Passed(Some(proven(challenge, offer, credentials)?));
                Ok(())
            }
            _ => Err(Refusal::authentication("CHAP keys before CHAP was chosen, or after it was done")),
        }
    }

    fn choose_method(&mut self, methods: &str, needed: bool, out: &mut TextWriter) -> Result<(), Refusal> {
        let Self::Undecided = self else {
            return Err(Refusal::error("AuthMethod was negotiated already"));
        };
        let method = if needed { "CHAP" } else { "None" };
        if !value::list(methods).any(|offered| offered == method) {
            return Err(Refusal::authentication(if needed {
                "the target requires CHAP, but AuthMethod does not offer it (set user and secret at the initiator)"
            } else {
                "the target has no credentials to check, but AuthMethod does not offer None"
            }));
        }
        *self = if needed { Self::Chap } else { Self::Passed(None) };
        out.push("AuthMethod", method);
        Ok(())
    }

    fn challenge(&mut self, offer: &Offer<'_>, out: &mut TextWriter) -> Result<(), Refusal> {
        let Some(algorithms) = offer.algorithms else {
            return Err(Refusal::authentication("CHAP begins with CHAP_A"));
        };
        let algorithm =
            value::list(algorithms).find_map(|number| Algorithm::from_number(value::number(number)?));
        let Some(algorithm) = algorithm else {
            return Err(Refusal::authentication("CHAP_A offers neither 5 (MD5) nor 7 (SHA-256)"));
        };
        let challenge = Challenge::random(algorithm).map_err(|_| {
            Refusal::new(LoginStatus::TargetError, "the system gave no random numbers for a CHAP challenge")
        })?;
        out.push("CHAP_A", algorithm.number());
        out.push("CHAP_I", challenge.identifier());
        out.push_binary("CHAP_C", challenge.bytes());
        *self = Self::Challenged(challenge);
        Ok(())
    }

    /// Whether this stage may be left: `false` while there is something to be said yet.
    pub(super) fn may_leave(&mut self, credentials: Option<&Credentials>) -> Result<bool, Refusal> {
        match (&*self, credentials) {
            (Self::Undecided, Some(_)) => Err(Refusal::authentication(
                "the target requires CHAP, but the initiator offers no AuthMethod",
            )),
            (Self::Undecided, None) => {
                *self = Self::Passed(None);
                Ok(true)
            }
            (Self::Chap | Self::Challenged(_), _) => Ok(false),
            (Self::Passed(_), _) => Ok(true),
        }
    }

    /// The name that was proven.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Self::Passed(user) => user.as_deref(),
            Self::Undecided | Self::Chap | Self::Challenged(_) => None,
        }
    }
}

fn proven(challenge: &Challenge, offer: &Offer<'_>, credentials: &Credentials) -> Result<String, Refusal> {
    if offer.algorithms.is_some() {
        return Err(Refusal::authentication("CHAP_A after the challenge"));
    }
    if offer.wants_proof {
        return Err(Refusal::authentication(
            "the initiator wants the target to authenticate too, which is not supported (remove the mutual secret)",
        ));
    }
    let (Some(name), Some(response)) = (offer.name, offer.response) else {
        return Err(Refusal::authentication("CHAP_N and CHAP_R must come together"));
    };
    let Some(response) = value::binary(response, RESPONSE_MAX) else {
        return Err(Refusal::authentication("CHAP_R is no binary value of the algorithm's length"));
    };
    if credentials.accept(name, challenge, &response) {
        Ok(name.to_owned())
    } else {
        Err(Refusal::authentication("wrong CHAP user or secret"))
    }
}
