//! Login requests, and what a finished login makes: a session, or one more connection of a session
//! (RFC 7143 6.3).

use std::collections::{HashMap, VecDeque};

use super::Target;
use crate::connection::{Admission, Life, Phase};
use crate::login::{LoginReply, LoginStep, Negotiated, SessionType};
use crate::pdu::codes::LoginStatus;
use crate::pdu::frame::Frame;
use crate::pdu::request::{Request, parse};
use crate::pdu::response::SequenceNumbers;
use crate::session::{Numbering, Session, SessionParameters, WINDOW};
use crate::slab::Key;
use crate::target_core::attention::Attention;

impl Target {
    /// A PDU before the full feature phase.
    pub(super) fn login_frame(&mut self, key: Key, frame: &Frame<'_>) {
        let request = match parse(frame) {
            Ok(Request::Login(request)) => request,
            Ok(_) => return self.lose(key, &"the first PDU is no login request"),
            Err(malformed) => return self.lose(key, &malformed),
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Phase::Login(login) = &mut connection.phase else {
            return self.lose(key, &"a PDU before the last answer of the login");
        };
        let peer = connection.peer;
        match login.request(&request) {
            LoginStep::Reply(reply) => self.send_login(key, request.cmd_sn, &reply),
            LoginStep::Done(reply, negotiated) => {
                let cmd_sn = request.cmd_sn;
                self.enter(key, Box::new(Admission { cmd_sn, reply, negotiated, inherited: None }));
            }
            LoginStep::Failed(reply, refusal) => {
                let initiator = login.initiator_name().unwrap_or("unknown").to_owned();
                let failed = refusal.status == LoginStatus::AuthenticationFailure;
                match failed.then(|| self.intruders.due(self.now)).flatten() {
                    Some(kept_back) => {
                        tracing::warn!(%peer, initiator, %refusal, kept_back, "login refused");
                    }
                    None => tracing::info!(%peer, initiator, %refusal, "login refused"),
                }
                self.refuse_login(key, request.cmd_sn, &reply);
            }
        }
    }

    /// Refuses a login that has succeeded as far as its negotiation goes.
    pub(super) fn refuse_admission(&mut self, key: Key, admission: Admission, status: LoginStatus) {
        let Admission { cmd_sn, reply, negotiated, .. } = admission;
        let reply = LoginReply {
            transit: false,
            next_stage: 0,
            tsih: negotiated.tsih,
            status,
            text: Vec::new(),
            ..reply
        };
        self.refuse_login(key, cmd_sn, &reply);
    }

    fn refuse_login(&mut self, key: Key, cmd_sn: u32, reply: &LoginReply) {
        self.counters.logins_failed.add(1);
        self.send_login(key, cmd_sn, reply);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.life = Life::Ending;
            if reply.status == LoginStatus::AuthenticationFailure {
                connection.clock.held_until = Some(self.now + self.limits.refusal_delay);
            }
        }
    }

    /// The connection that has tried to log in for longest.
    pub(crate) fn oldest_login(&self) -> Option<Key> {
        let logins = self.connections.iter().filter(|(_, it)| matches!(it.phase, Phase::Login(_)));
        logins.min_by_key(|(_, connection)| connection.clock.opened).map(|(key, _)| key)
    }

    fn send_login(&mut self, key: Key, cmd_sn: u32, reply: &LoginReply) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let stat_sn = connection.take_stat_sn();
        let session = connection.session.and_then(|session| self.sessions.get(session));
        let numbers = match session {
            Some(session) => session.numbers(stat_sn),
            // The numbering starts with the login (RFC 7143 4.2.2.1).
            None => {
                SequenceNumbers { stat_sn, exp_cmd_sn: cmd_sn, max_cmd_sn: cmd_sn.wrapping_add(WINDOW - 1) }
            }
        };
        reply.encode(numbers, connection.output.tail());
        self.touch(key);
    }

    /// A login is done: the full feature phase begins behind its last answer, now or when commands have ended.
    pub(super) fn enter(&mut self, key: Key, mut admission: Box<Admission>) {
        let negotiated = &admission.negotiated;
        let discovery = negotiated.session_type == SessionType::Discovery;
        let joined = if negotiated.is_leading() {
            if let Some(inherited) = self.reinstate(negotiated) {
                admission.inherited = Some(inherited);
            }
            Ok(None)
        } else {
            self.join_session(negotiated).map(Some)
        };
        if joined.is_ok() && !discovery {
            match self.admit_later(key, admission) {
                Some(given_back) => admission = given_back,
                None => return,
            }
        }
        let session = joined.map(|joined| {
            joined.unwrap_or_else(|| {
                let inherited = admission.inherited.take();
                self.begin_session(admission.cmd_sn, &admission.negotiated, inherited)
            })
        });
        let negotiated = &admission.negotiated;
        let session_key = match session {
            Ok(session) => session,
            Err(status) => {
                let initiator = &negotiated.initiator_name;
                tracing::info!(initiator, ?status, "connection can not join a session");
                return self.refuse_admission(key, *admission, status);
            }
        };
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        session.connections.push(key);
        let Admission { cmd_sn, mut reply, negotiated, .. } = *admission;
        reply.tsih = session.tsih;
        let parameters = negotiated.parameters;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.session = Some(session_key);
            connection.cid = negotiated.cid;
            tracing::info!(
                peer = %connection.peer,
                initiator = session.initiator,
                discovery = session.discovery,
                tsih = session.tsih,
                cid = connection.cid,
                "logged in"
            );
        }
        self.send_login(key, cmd_sn, &reply);
        if let Some(connection) = self.connections.get_mut(key) {
            // Not before: a login is never digested.
            connection.phase = Phase::Full;
            connection.digests = parameters.digests;
            connection.send_limit = usize::try_from(parameters.max_send_segment).unwrap_or(usize::MAX);
            connection.new_framing = Some((parameters.digests, parameters.max_recv_segment));
        }
    }

    /// Ends the session that the same initiator port has, if it has one, in whose place a new one comes
    /// (RFC 7143 6.3.5: session reinstatement). Returns what it had not been told.
    fn reinstate(&mut self, negotiated: &Negotiated) -> Option<Vec<Attention>> {
        if negotiated.session_type == SessionType::Discovery {
            return None;
        }
        let (old, session) = self.sessions.iter().find(|(_, session)| {
            !session.discovery
                && session.isid == negotiated.isid
                && session.initiator == negotiated.initiator_name
        })?;
        let attention = session.attention.clone();
        tracing::info!(initiator = negotiated.initiator_name, "session reinstated");
        self.end_session(old, Life::Dead);
        Some(attention)
    }

    /// A new session. `inherited` is what the session whose place it takes had not been told.
    fn begin_session(
        &mut self,
        cmd_sn: u32,
        negotiated: &Negotiated,
        inherited: Option<Vec<Attention>>,
    ) -> Key {
        let discovery = negotiated.session_type == SessionType::Discovery;
        // SAM-5 6.3.4: the commands of the lost nexus were aborted, and nobody has told the initiator port.
        let told = |mut attention: Attention| {
            attention.raise(Attention::NexusLost);
            attention
        };
        let attention = match inherited {
            Some(inherited) => inherited.into_iter().map(told).collect(),
            None => vec![Attention::None; self.units.len()],
        };
        let parameters = &negotiated.parameters;
        let tsih = self.new_tsih();
        let session = self.sessions.insert(Session {
            initiator: negotiated.initiator_name.clone(),
            isid: negotiated.isid,
            tsih,
            discovery,
            parameters: SessionParameters {
                initial_r2t: parameters.initial_r2t,
                immediate_data: parameters.immediate_data,
                max_burst: parameters.max_burst,
                first_burst: parameters.first_burst,
                max_outstanding_r2t: usize::from(parameters.max_outstanding_r2t),
                max_connections: usize::from(parameters.max_connections),
            },
            connections: Vec::new(),
            numbering: Numbering::new(cmd_sn),
            tasks: HashMap::new(),
            immediate: 0,
            deferred: Vec::new(),
            functions: 0,
            attention,
            charged: 0,
            short_of_memory: VecDeque::new(),
            in_line: false,
        });
        self.counters.sessions.set(self.sessions.len() as u64);
        session
    }

    /// One more connection, or one in the place of an old one with the same CID (RFC 7143 6.3.4: connection
    /// reinstatement; at error recovery level 0 the commands of the old one are aborted).
    fn join_session(&mut self, negotiated: &Negotiated) -> Result<Key, LoginStatus> {
        let key = self.session_to_join(negotiated).ok_or(LoginStatus::SessionDoesNotExist)?;
        let session = self.sessions.get(key).ok_or(LoginStatus::SessionDoesNotExist)?;
        if session.discovery {
            return Err(LoginStatus::CannotIncludeInSession);
        }
        let same_cid = |&&other: &&Key| {
            self.connections.get(other).is_some_and(|connection| connection.cid == negotiated.cid)
        };
        let old = session.connections.iter().find(same_cid).copied();
        let (count, limit) = (session.connections.len(), session.parameters.max_connections);
        match old {
            Some(old) => {
                self.detach(old, Life::Dead);
            }
            None if count >= limit => return Err(LoginStatus::TooManyConnections),
            None => {}
        }
        Ok(key)
    }

    /// The session that a login which is not for a new one names.
    pub(super) fn session_to_join(&self, negotiated: &Negotiated) -> Option<Key> {
        let named = |session: &Session| {
            session.tsih == negotiated.tsih
                && session.isid == negotiated.isid
                && session.initiator == negotiated.initiator_name
        };
        self.sessions.iter().find(|(_, session)| named(session)).map(|(key, _)| key)
    }

    /// A session handle that is not in use; never 0.
    fn new_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = match self.last_tsih.wrapping_add(1) {
                0 => 1,
                next => next,
            };
            if !self.sessions.iter().any(|(_, session)| session.tsih == self.last_tsih) {
                return self.last_tsih;
            }
        }
    }
}
