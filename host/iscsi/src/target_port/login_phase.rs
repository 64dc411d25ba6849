//! Login requests, and what a finished login makes: a session, or one more connection of a session
//! (RFC 7143 6.3).

use std::collections::HashMap;

use super::Target;
use crate::connection::{Life, Phase};
use crate::login::{LoginReply, LoginStep, Negotiated, SessionType};
use crate::pdu::codes::LoginStatus;
use crate::pdu::frame::Frame;
use crate::pdu::request::{LoginRequest, Request, parse};
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
        let Phase::Login(login) = &mut connection.phase else { return };
        let peer = connection.peer;
        match login.request(&request) {
            LoginStep::Reply(reply) => self.send_login(key, &request, &reply),
            LoginStep::Done(reply, negotiated) => self.enter(key, &request, reply, &negotiated),
            LoginStep::Failed(reply, refusal) => {
                let initiator = login.initiator_name().unwrap_or("unknown").to_owned();
                tracing::info!(%peer, initiator, %refusal, "login refused");
                self.refuse_login(key, &request, &reply);
            }
        }
    }

    fn refuse_login(&mut self, key: Key, request: &LoginRequest<'_>, reply: &LoginReply) {
        self.counters.logins_failed.add(1);
        self.send_login(key, request, reply);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.life = Life::Ending;
        }
    }

    fn send_login(&mut self, key: Key, request: &LoginRequest<'_>, reply: &LoginReply) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let stat_sn = connection.take_stat_sn();
        let session = connection.session.and_then(|session| self.sessions.get(session));
        let numbers = match session {
            Some(session) => session.numbers(stat_sn),
            // The numbering starts with the login (RFC 7143 4.2.2.1).
            None => SequenceNumbers {
                stat_sn,
                exp_cmd_sn: request.cmd_sn,
                max_cmd_sn: request.cmd_sn.wrapping_add(WINDOW - 1),
            },
        };
        reply.encode(numbers, connection.output.tail());
        self.touch(key);
    }

    /// A login is done: the full feature phase begins behind its last answer.
    fn enter(
        &mut self,
        key: Key,
        request: &LoginRequest<'_>,
        mut reply: LoginReply,
        negotiated: &Negotiated,
    ) {
        let session = if negotiated.is_leading() {
            Ok(self.begin_session(request, negotiated))
        } else {
            self.join_session(negotiated)
        };
        let session_key = match session {
            Ok(session) => session,
            Err(status) => {
                let initiator = &negotiated.initiator_name;
                tracing::info!(initiator, ?status, "connection can not join a session");
                return self.refuse_login(key, request, &LoginReply::refuse(request, status));
            }
        };
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        session.connections.push(key);
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
        self.send_login(key, request, &reply);
        if let Some(connection) = self.connections.get_mut(key) {
            // Not before: a login is never digested.
            connection.phase = Phase::Full;
            connection.digests = parameters.digests;
            connection.send_limit = usize::try_from(parameters.max_send_segment).unwrap_or(usize::MAX);
            connection.new_framing = Some((parameters.digests, parameters.max_recv_segment));
        }
    }

    /// A new session, in the place of the one that the same initiator port has, if it has one
    /// (RFC 7143 6.3.5: session reinstatement).
    fn begin_session(&mut self, request: &LoginRequest<'_>, negotiated: &Negotiated) -> Key {
        let discovery = negotiated.session_type == SessionType::Discovery;
        let old = self.sessions.iter().find(|(_, session)| {
            !discovery
                && !session.discovery
                && session.isid == negotiated.isid
                && session.initiator == negotiated.initiator_name
        });
        if let Some((old, _)) = old {
            tracing::info!(initiator = negotiated.initiator_name, "session reinstated");
            self.end_session(old, Life::Dead);
        }
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
            numbering: Numbering::new(request.cmd_sn),
            tasks: HashMap::new(),
            immediate: 0,
            deferred: Vec::new(),
            attention: vec![Attention::None; self.units.len()],
        });
        self.counters.sessions.set(self.sessions.len() as u64);
        session
    }

    /// One more connection, or one in the place of an old one with the same CID (RFC 7143 6.3.4: connection
    /// reinstatement; at error recovery level 0 the commands of the old one are aborted).
    fn join_session(&mut self, negotiated: &Negotiated) -> Result<Key, LoginStatus> {
        let found = self.sessions.iter().find(|(_, session)| {
            session.tsih == negotiated.tsih
                && session.isid == negotiated.isid
                && session.initiator == negotiated.initiator_name
        });
        let (key, session) = found.ok_or(LoginStatus::SessionDoesNotExist)?;
        if session.discovery {
            return Err(LoginStatus::CannotIncludeInSession);
        }
        let same_cid = |&&other: &&Key| {
            self.connections.get(other).is_some_and(|connection| connection.cid == negotiated.cid)
        };
        let old = session.connections.iter().find(same_cid).copied();
        let (count, limit) = (session.connections.len(), session.parameters.max_connections);
        match old {
            Some(old) => self.replace_connection(old),
            None if count >= limit => return Err(LoginStatus::TooManyConnections),
            None => {}
        }
        Ok(key)
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
