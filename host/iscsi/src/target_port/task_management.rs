//! Task management (RFC 7143 11.5, 11.6; SAM-5 7). A function is answered when all commands that it ended have left
//! their LUNs: until then their data could still be touched.

use super::{Pending, Target, Then};
use crate::connection::Life;
use crate::lun::{CommandId, TaskManagement as Kind};
use crate::pdu::codes::{RejectReason, TaskFunction, TaskManagementResult};
use crate::pdu::header::Bhs;
use crate::pdu::request::TaskManagement;
use crate::pdu::response::TaskManagementResponse;
use crate::session::{Deferred, IMMEDIATE_TASKS, distance};
use crate::slab::Key;
use crate::target_core::attention::Attention;
use crate::task::{Doer, Stage, Task};

/// Which commands a function ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Those of one session on one LUN.
    Own { session: Key, lun: usize },
    /// All on one LUN.
    Lun(usize),
    /// All.
    Target,
}

impl Target {
    /// A Task Management Function Request whose turn has come.
    pub(super) fn task_management(&mut self, key: Key, bhs: Bhs, request: &TaskManagement) {
        let session_key = self.connections.get(key).and_then(|connection| connection.session);
        let Some(session) = session_key.and_then(|session| self.sessions.get_mut(session)) else { return };
        if session.discovery {
            return self.reject(key, RejectReason::ProtocolError, bhs);
        }
        if session.tasks.contains_key(&request.initiator_task_tag) {
            return self.reject(key, RejectReason::TaskInProgress, bhs);
        }
        let limit = IMMEDIATE_TASKS as usize;
        if session.deferred.len() + session.functions >= limit {
            return self.reject(key, RejectReason::ImmediateCommandReject, bhs);
        }
        // An immediate function must not overtake the commands that it is about (RFC 7143 11.5.1). For one command
        // RefCmdSN says all that is needed.
        let ahead = distance(request.cmd_sn, session.numbering.expected()) > 0;
        if request.immediate && ahead && request.function != Ok(TaskFunction::AbortTask) {
            session.deferred.push(Deferred { connection: key, request: *request });
            return;
        }
        self.run_function(key, request);
    }

    /// Does a function. Its answer may come later.
    pub(super) fn run_function(&mut self, key: Key, request: &TaskManagement) {
        let Some(connection) = self.connections.get(key).filter(|connection| connection.is_open()) else {
            return;
        };
        let Some(session) = connection.session else { return };
        let peer = connection.peer;
        let lun = match self.lun_number(request) {
            Ok(lun) => lun,
            Err(result) => return self.answer_function(key, request.initiator_task_tag, result),
        };
        tracing::debug!(%peer, function = ?request.function, lun, "task management");
        let (scope, kind) = match request.function {
            Ok(TaskFunction::AbortTask) => return self.abort_task(key, session, request),
            Ok(TaskFunction::AbortTaskSet) => (Scope::Own { session, lun }, Kind::AbortTaskSet),
            Ok(TaskFunction::ClearTaskSet) => (Scope::Lun(lun), Kind::ClearTaskSet),
            Ok(TaskFunction::LogicalUnitReset) => (Scope::Lun(lun), Kind::LunReset),
            Ok(TaskFunction::TargetWarmReset) => (Scope::Target, Kind::WarmReset),
            Ok(TaskFunction::TargetColdReset) => (Scope::Target, Kind::ColdReset),
            Ok(TaskFunction::TaskReassign) => {
                let result = TaskManagementResult::ReassignmentNotSupported;
                return self.answer_function(key, request.initiator_task_tag, result);
            }
            Ok(TaskFunction::ClearAca) | Err(_) => {
                let result = TaskManagementResult::NotSupported;
                return self.answer_function(key, request.initiator_task_tag, result);
            }
        };
        let before = |task: &Task| {
            // What the issuer numbered behind the function is not touched by it.
            task.session != session || !task.numbered || distance(task.cmd_sn, request.cmd_sn) < 0
        };
        let ends = |task: &Task| before(task) && !matches!(task.doer, Doer::StandIn(_)) && scope.covers(task);
        let victims: Vec<Key> = match scope {
            // The others have nothing to do with it, and there may be many of them.
            Scope::Own { session, .. } => {
                let tasks = self.sessions.get(session).map(|session| session.tasks.values());
                let own = tasks.into_iter().flatten().copied();
                own.filter(|&key| self.tasks.get(key).is_some_and(ends)).collect()
            }
            Scope::Lun(_) | Scope::Target => {
                self.tasks.iter().filter(|(_, task)| ends(task)).map(|(key, _)| key).collect()
            }
        };
        self.raise_attentions(session, kind, scope, &victims);
        let function = self.new_function(key, session, request.initiator_task_tag, kind == Kind::ColdReset);
        self.end_tasks(&victims, Some(function), kind);
        self.one_less_pending(function);
    }

    fn lun_number(&self, request: &TaskManagement) -> Result<usize, TaskManagementResult> {
        match request.function {
            Ok(TaskFunction::AbortTaskSet | TaskFunction::ClearTaskSet | TaskFunction::LogicalUnitReset) => {
                request
                    .lun
                    .number()
                    .map(usize::from)
                    .filter(|&number| number < self.units.len())
                    .ok_or(TaskManagementResult::LunDoesNotExist)
            }
            _ => Ok(0),
        }
    }

    fn abort_task(&mut self, key: Key, session_key: Key, request: &TaskManagement) {
        let tag = request.initiator_task_tag;
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let victim = session.tasks.get(&request.referenced_task_tag).copied();
        match victim.filter(|&victim| self.tasks.get(victim).is_some_and(|task| task.lun == request.lun)) {
            Some(victim) => {
                let function = self.new_function(key, session_key, tag, false);
                self.end_tasks(&[victim], Some(function), Kind::AbortTask);
                self.one_less_pending(function);
            }
            // RFC 7143 11.5.5: a command that is still to come counts as come and aborted.
            None if victim.is_none() && session.numbering.void(request.ref_cmd_sn, request.cmd_sn) => {
                self.answer_function(key, tag, TaskManagementResult::Complete);
                self.catch_up(session_key);
            }
            None => self.answer_function(key, tag, TaskManagementResult::TaskDoesNotExist),
        }
    }

    /// Unit attentions for those who have to hear of it (SAM-5 5.14; the issuer of a reset too, as LIO does).
    fn raise_attentions(&mut self, issuer: Key, kind: Kind, scope: Scope, victims: &[Key]) {
        let attention = match kind {
            Kind::ClearTaskSet => {
                for &victim in victims {
                    let Some(task) = self.tasks.get(victim).filter(|task| task.session != issuer) else {
                        continue;
                    };
                    let (session, doer) = (task.session, task.doer);
                    if let (Some(session), Doer::Lun(lun)) = (self.sessions.get_mut(session), doer)
                        && let Some(attention) = session.attention.get_mut(lun)
                    {
                        attention.raise(Attention::Cleared);
                    }
                }
                return;
            }
            Kind::LunReset => Attention::LunReset,
            Kind::WarmReset | Kind::ColdReset => Attention::TargetReset,
            _ => return,
        };
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            for (number, pending) in session.attention.iter_mut().enumerate() {
                if scope == Scope::Target || scope == Scope::Lun(number) {
                    pending.raise(attention);
                }
            }
        }
    }

    /// Ends commands without an answer. Those that a LUN has go on until it lets go of them; `waiter` waits for
    /// each of these.
    pub(super) fn end_tasks(&mut self, victims: &[Key], waiter: Option<Key>, kind: Kind) {
        let mut running: Vec<Vec<CommandId>> = vec![Vec::new(); self.units.len()];
        for &victim in victims {
            let Some(task) = self.tasks.get_mut(victim) else { continue };
            let Stage::Running(id) = task.stage else {
                self.remove_task(victim);
                continue;
            };
            let told_before = std::mem::replace(&mut task.aborted, true);
            if let Some(waiter) = waiter
                && let Some(waiting) = self.pending.get_mut(waiter)
            {
                waiting.remaining += 1;
                if task.waiters.len() == task.waiters.capacity() {
                    // Those of sessions that have gone: while a LUN hangs, others may come and go for ever.
                    task.waiters.retain(|&waiter| self.pending.get(waiter).is_some());
                }
                task.waiters.push(waiter);
            }
            if let (Doer::Lun(number), false) = (task.doer, told_before)
                && let Some(ids) = running.get_mut(number)
            {
                ids.push(id);
            }
        }
        for ((number, unit), ids) in self.units.iter_mut().enumerate().zip(running) {
            let Some(lun) = unit.lun.as_mut().filter(|_| !ids.is_empty()) else { continue };
            unit.begun = true;
            if let Err(error) = lun.abort(kind, &ids) {
                // Only a hint: the commands end all the same, later.
                tracing::debug!(lun = number, %error, "LUN was not told of an abort");
            }
        }
    }

    /// A function that waits for one thing more than the commands that will be added to it.
    fn new_function(&mut self, connection: Key, session: Key, tag: u32, closes_all: bool) -> Key {
        if let Some(session) = self.sessions.get_mut(session) {
            session.functions += 1;
        }
        let then = Then::Function { session, connection, tag, closes_all };
        self.pending.insert(Pending { remaining: 1, then })
    }

    /// A command has ended that something waited for.
    pub(super) fn one_less_pending(&mut self, key: Key) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.remaining -= 1;
        if pending.remaining > 0 {
            return;
        }
        match self.pending.remove(key).map(|pending| pending.then) {
            Some(Then::Function { session, connection, tag, closes_all }) => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.functions -= 1;
                    self.answer_function(connection, tag, TaskManagementResult::Complete);
                }
                if closes_all {
                    self.close_all();
                }
            }
            Some(Then::Departure { logout, .. }) => self.departed(logout),
            None => {}
        }
    }

    /// Forgets the functions of a session that has ended: nobody is left to be answered. What all others are to
    /// suffer they suffer all the same.
    pub(super) fn forget_functions(&mut self, of: Key) {
        let forgotten = |pending: &Pending| matches!(pending.then, Then::Function { session, closes_all: false, .. } if session == of);
        let keys: Vec<Key> =
            self.pending.iter().filter(|(_, pending)| forgotten(pending)).map(|(key, _)| key).collect();
        for key in keys {
            self.pending.remove(key);
        }
    }

    fn answer_function(&mut self, key: Key, tag: u32, result: TaskManagementResult) {
        let numbers = self.status_numbers(key);
        if let Some(connection) = self.connections.get_mut(key) {
            let response = TaskManagementResponse { initiator_task_tag: tag, numbers, result };
            response.encode(connection.digests, connection.output.tail());
            self.touch(key);
        }
    }

    /// TARGET COLD RESET: all sessions end when what is to be sent was sent (RFC 7143 11.5.1).
    fn close_all(&mut self) {
        let sessions: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for session in sessions {
            self.end_session(session, Life::Ending);
        }
    }
}

impl Scope {
    fn covers(self, task: &Task) -> bool {
        match (self, task.doer) {
            (Self::Own { session, lun }, Doer::Lun(number)) => task.session == session && lun == number,
            (Self::Lun(lun), Doer::Lun(number)) => lun == number,
            (Self::Target, _) => true,
            (_, Doer::StandIn(_)) => false,
        }
    }
}
