//! A device of the supervisor: what it stands on, kept open here, and the worker that serves it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_control::EventKind;
use lunbox_grant::{Description, FenceError, Fenced, Master, Patience, Wait};
use lunbox_tcmu::{Change, Minor};
use lunbox_wire::{
    AccessStateAnswer, Call, Device as Served, Ending, Identity, Modes, Refusal as Kind, Request,
};
use nix::errno::Errno;

use crate::journal::Journal;
use crate::records::{Record, Records};
use crate::service::{Cancel, Condition, Refusal, Running, Setback};
use crate::workers::{AskError, Confines, Pool, Worker};

/// How long commands in progress, or a flush, may take before a change is given up.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker may take to start a loop: it loads a handler and reads from the storage.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What a worker gets beyond the patience that it is to have itself.
const SLACK: Duration = Duration::from_secs(5);

/// How long the storage may be somebody else's before the device is refused, or have no locks before a new one is. Not so
/// long for operations of this device's own earlier loop, which end when the storage answers.
const OTHERS: Duration = Duration::from_secs(2);

/// How long a loop that was to end before gets for its cancelled commands each time that it is asked again.
const LAST: Duration = Duration::from_secs(1);

/// How long its worker may take to answer that.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// How long to wait before it is asked again. Its worker may answer at once.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What a device stands on.
pub struct Foundation {
    /// UIO node, or what else its ring is reached by ([`lunbox_wire::RingKind`]).
    pub ring: Vec<OwnedFd>,
    /// Its compiled handler; the reason if it goes on where it runs but must not be started anew.
    pub container: Result<Arc<File>, String>,
    /// Its stores, in the order of the handler's store ids.
    pub stores: Vec<Master>,
    /// Name of the worker that is to serve it.
    pub worker: String,
    /// How that is confined.
    pub confines: Confines,
}

/// A device.
pub struct Device {
    foundation: Foundation,
    record: Arc<Record>,
    records: Arc<Records>,
    pool: Arc<Pool>,
    journal: Journal,
    /// Who serves it.
    worker: Option<Arc<Worker>>,
    /// Who served it before, as long as it is not known that its loop there has ended: until he says so or his process
    /// has gone, nothing of the ring or the stores may be used anew.
    former: Option<Arc<Worker>>,
    /// New descriptions of its stores behind the fence, for the next launch.
    fresh: Option<Vec<OwnedFd>>,
    /// Told already that a store has no locks.
    warned: bool,
    /// Stores on whose locks the fence stood.
    locked: Vec<usize>,
    /// `emulate_write_cache` as configfs has it, if that is known.
    write_cache: Option<bool>,
    /// Told already that `emulate_write_cache=0` was no change.
    told_no_change: bool,
    /// No change of size has failed since the last one that was done: a worker that did not answer may have done it.
    size_is_known: bool,
    /// The next launch is a restart: its loop has run before, and was not moved.
    restarts: bool,
}

impl Device {
    /// A device that no worker serves yet.
    pub fn new(
        served: Served,
        foundation: Foundation,
        records: &Arc<Records>,
        pool: &Arc<Pool>,
        journal: &Journal,
    ) -> Self {
        let sizes = foundation.stores.iter().map(Master::size).collect();
        let record = records.add(served, &foundation.worker, sizes);
        Self {
            foundation,
            record,
            records: Arc::clone(records),
            pool: Arc::clone(pool),
            journal: journal.clone(),
            worker: None,
            former: None,
            fresh: None,
            warned: false,
            locked: Vec::new(),
            write_cache: None,
            told_no_change: false,
            size_is_known: true,
            restarts: false,
        }
    }

    /// Notes what `emulate_write_cache` is in configfs, so that the same value written again is no change. It says
    /// nothing of the LUN: until somebody changes it, the handler's word counts.
    #[must_use]
    pub fn with_write_cache(mut self, write_cache: Option<bool>) -> Self {
        self.write_cache = write_cache;
        self
    }

    /// Notes that a worker serves it already.
    #[must_use]
    pub fn served_by(mut self, worker: Arc<Worker>) -> Self {
        self.record.set_worker(Some(&worker));
        self.worker = Some(worker);
        self.restarts = true;
        self
    }

    fn minor(&self) -> Minor {
        self.record.minor()
    }

    fn name(&self) -> String {
        self.record.name()
    }

    fn refused(&self, reason: impl std::fmt::Display) -> Setback {
        Setback::Refused(format!("{}: {reason}", self.name()))
    }

    /// This is its `dev_config`. An empty text behind the subtype may have a slash before it or not.
    fn is_config(&self, text: &str) -> bool {
        let name = self.record.device().name;
        let config = name.splitn(4, '/').nth(3).unwrap_or_default();
        config == text || config.strip_suffix('/') == Some(text) || text.strip_suffix('/') == Some(config)
    }

    fn resize(&mut self, bytes: u64) -> Result<(), Refusal> {
        // Management tools write what they know of a device again when they restore it.
        if self.size_is_known && self.record.device().size == bytes {
            return Ok(());
        }
        let minor = self.minor().0;
        let patience_ms = u64::try_from(CHANGE_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let asked = self.ask_for_change(|call| Request::Resize { call, minor, bytes, patience_ms });
        self.size_is_known = asked.is_ok();
        if asked.is_ok() {
            self.record.set_size(bytes);
        }
        asked.map_err(refusal)
    }

    fn switch_write_cache(&mut self, on: bool) -> Result<(), Refusal> {
        if self.write_cache == Some(on) {
            // The kernel's default is 0, so that management tools restore it for every LUN: not taken for a wish.
            let is_off = on || self.record.device().write_cache == Some(false);
            if !is_off && !std::mem::replace(&mut self.told_no_change, true) {
                tracing::warn!(
                    device = self.name(),
                    "emulate_write_cache is 0 in configfs already, so nothing changes: the LUN keeps the write cache that \
                     its handler has (initiators see WCE=1 and flush). To switch it off: write 1, then 0"
                );
            }
            return Ok(());
        }
        if self.worker.as_ref().is_some_and(|worker| worker.outdated()) {
            let reason = "its worker is of another build and is about to be replaced; try again".to_owned();
            return Err(Refusal { errno: Errno::EAGAIN, reason });
        }
        let minor = self.minor().0;
        let patience_ms = u64::try_from(CHANGE_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let asked = self.ask_for_change(|call| Request::WriteCache { call, minor, on, patience_ms });
        self.write_cache = asked.is_ok().then_some(on);
        // Whether a worker that was not heard has told initiators that there is no cache any more is not known. If it has,
        // they do not flush: the next loop must not have one. To have none is never wrong.
        let unheard = matches!(asked, Err(AskError::Lost | AskError::Silent(_) | AskError::Link(_)));
        if asked.is_ok() || (unheard && !on) {
            self.record.set_write_cache(on);
        }
        asked.map_err(refusal)
    }

    /// Has the worker change something.
    fn ask_for_change(&self, request: impl FnOnce(Call) -> Request) -> Result<(), AskError> {
        let Some(worker) = &self.worker else {
            return Err(AskError::Refused(Kind::Gone, "nothing serves it; see the log".to_owned()));
        };
        worker.ask_for(&[], CHANGE_PATIENCE.saturating_mul(2) + SLACK, request)
    }

    /// Waits until whoever served the device before has let go of it, whatever stores it has: locks tell nothing where
    /// there are none, and nothing of a loop that lives.
    fn await_former(&mut self, deadline: Option<Instant>, cancel: &Cancel) -> Result<(), Setback> {
        let mut told = false;
        while let Some(worker) = self.former.clone() {
            if cancel.is_cancelled() {
                return Err(Setback::Cancelled);
            }
            let Err(reason) = self.let_go(&worker) else {
                self.former = None;
                self.pool.vacated(&worker);
                return Ok(());
            };
            let text = format!("its old loop in process {} has not ended: {reason}", worker.pid());
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.refused(text));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(device = self.name(), "waiting: {text}");
                self.note_wait(&text);
            }
            if cancel.wait(ASK_AGAIN) {
                return Err(Setback::Cancelled);
            }
        }
        Ok(())
    }

    /// Asks a former worker to end the loop; `Ok` if it runs no more, and if nothing of a process is left that died
    /// over it.
    fn let_go(&self, worker: &Worker) -> Result<(), String> {
        match self.ask_to_end(worker, Ending::Cancel, LAST, LAST_ANSWER) {
            Ok(()) | Err(AskError::Refused(Kind::Gone, _)) => Ok(()),
            // What it has begun in the kernel may not let go of it.
            Err(AskError::Lost) if worker.ends_within(LAST) => Ok(()),
            Err(AskError::Lost) => {
                Err("it was killed, and its storage does not let go of it (dmesg)".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// It waits for a lock, or for the end of its earlier loop.
    fn note_wait(&self, text: &dyn std::fmt::Display) {
        self.record.count_wait();
        self.journal.device(EventKind::DeviceBlocked, self.name(), text);
    }

    /// Waits for the locks of one store.
    fn describe(
        &self,
        master: &Master,
        deadline: Option<Instant>,
        insist: bool,
        cancel: &Cancel,
    ) -> Result<Description, Setback> {
        let name = self.name();
        let waiting = |wait: &Wait<'_>| {
            tracing::warn!(device = name, "waiting: {wait}");
            self.note_wait(wait);
        };
        let (mut told, mut short_of_locks) = (false, false);
        loop {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let patience = Patience {
                limit: Some(rest.map_or(OTHERS, |rest| rest.min(OTHERS))),
                cancel: Some(cancel.flag()),
                waiting: if told { None } else { Some(&waiting) },
            };
            told = true;
            match master.describe(&patience) {
                Ok(description) => {
                    if description.fenced == Fenced::No && !self.warned {
                        tracing::warn!(
                            device = name,
                            store = %master.locator(),
                            "its file system has no locks: nobody can tell whether operations of an earlier loop are left"
                        );
                    }
                    return Ok(description);
                }
                Err(FenceError::Cancelled { .. }) => return Err(Setback::Cancelled),
                Err(FenceError::Held { blocker: lunbox_grant::Blocker::Predecessor, .. })
                    if rest.is_none_or(|rest| !rest.is_zero()) => {}
                // Its file server is away, or memory is short: both may pass, and a device that nobody serves does not.
                Err(error @ FenceError::Lock { errno: Errno::ENOLCK, .. })
                    if insist && rest.is_none_or(|rest| !rest.is_zero()) =>
                {
                    if !std::mem::replace(&mut short_of_locks, true) {
                        tracing::warn!(device = name, "waiting: {error}");
                        self.note_wait(&error);
                    }
                }
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    /// See [`Running::fence`]. Who does not `insist` is told soon that there are no locks.
    fn fence_for(&mut self, limit: Option<Duration>, insist: bool, cancel: &Cancel) -> Result<(), Setback> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        self.fresh = None;
        self.await_former(deadline, cancel)?;
        let (mut fresh, mut locked, mut unlocked) = (Vec::new(), Vec::new(), Vec::new());
        for (index, master) in self.foundation.stores.iter().enumerate() {
            let description = self.describe(master, deadline, insist, cancel)?;
            match description.fenced {
                Fenced::Yes => locked.push(index),
                Fenced::No => unlocked.push(index),
                Fenced::NotNeeded => {}
            }
            fresh.extend(description.fd);
        }
        self.record.set_unlocked(unlocked);
        self.locked = locked;
        self.warned = true;
        self.fresh = Some(fresh);
        Ok(())
    }

    fn ask_to_end(
        &self,
        worker: &Worker,
        how: Ending,
        patience: Duration,
        answer: Duration,
    ) -> Result<(), AskError> {
        let minor = self.minor().0;
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        worker.ask_for(&[], answer, |call| Request::Stop { call, minor, how, patience_ms })
    }

    /// For a worker that does not answer: it finds this when it comes round. Its answer goes nowhere.
    fn tell_to_end(&self, worker: &Worker) {
        let (call, patience_ms) = (0, 0);
        worker.tell(&Request::Stop { call, minor: self.minor().0, how: Ending::Cancel, patience_ms });
    }

    /// Ends the loop. Behind an error, and behind the death of its worker, it may not have ended: see `former`.
    fn end_loop(&mut self, how: Ending, patience: Duration) -> Result<(), String> {
        let minor = self.minor();
        if how == Ending::HandOver {
            match self.condition() {
                Condition::Serving => {}
                Condition::Ended(reason) => return Err(reason),
                Condition::Lost => return Err(AskError::Lost.to_string()),
            }
        }
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let ended = self.ask_to_end(&worker, how, patience, patience.saturating_mul(2) + SLACK);
        if how == Ending::HandOver
            && let Err(AskError::Refused(Kind::Unsupported, reason)) = ended
        {
            // It goes on there.
            self.worker = Some(worker);
            return Err(reason);
        }
        let in_order = ended.is_ok() && worker.condition(minor) == Condition::Serving;
        self.record.set_worker(None);
        worker.delist(minor);
        match ended {
            Ok(()) | Err(AskError::Refused(Kind::Gone, _)) => self.pool.vacated(&worker),
            Err(AskError::Lost) => self.former = Some(worker),
            Err(error) => {
                if let AskError::Silent(_) = error {
                    self.tell_to_end(&worker);
                }
                self.former = Some(worker);
                return Err(error.to_string());
            }
        }
        if how == Ending::HandOver && !in_order {
            // What it left in the ring must be sent back before anybody goes on with it.
            return Err("its loop broke off before it had handed over".to_owned());
        }
        if how == Ending::HandOver {
            self.restarts = false;
        }
        Ok(())
    }

    /// Sends everything to a worker.
    fn start(&self, worker: &Worker, container: &File) -> Result<(), AskError> {
        let Foundation { ring, stores, .. } = &self.foundation;
        let mut descriptors: Vec<BorrowedFd<'_>> = ring.iter().map(AsFd::as_fd).collect();
        descriptors.push(container.as_fd());
        let fresh = self.fresh.as_deref().unwrap_or_default();
        descriptors.extend(fresh.iter().map(AsFd::as_fd));
        debug_assert!(fresh.len() <= stores.len(), "a description for each file");
        let device = Box::new(self.record.device());
        worker.ask_for(&descriptors, START_PATIENCE, |call| Request::Start { call, device })
    }
}

/// What whoever wrote to configfs gets.
fn refusal(error: AskError) -> Refusal {
    let errno = match &error {
        AskError::Refused(Kind::Invalid, _) => Errno::EINVAL,
        AskError::Refused(Kind::Unsupported, _) => Errno::EOPNOTSUPP,
        AskError::Refused(Kind::Gone, _) => Errno::ENODEV,
        AskError::Refused(Kind::Failed, _) | AskError::Link(_) => Errno::EIO,
        AskError::Refused(Kind::TimedOut | Kind::StoreBusy, _) | AskError::Lost | AskError::Silent(_) => {
            Errno::EAGAIN
        }
    };
    Refusal { errno, reason: error.to_string() }
}

impl Running for Device {
    fn condition(&self) -> Condition {
        self.worker.as_ref().map_or(Condition::Lost, |worker| worker.condition(self.minor()))
    }

    fn make_ready(&self, cancel: &Cancel) -> Result<(), Setback> {
        let Foundation { container, stores, worker, confines, .. } = &self.foundation;
        if let Err(reason) = container {
            return Err(self.refused(reason));
        }
        // Asked of a description of its own, which goes at once. Who has the lock now is no matter.
        let look = Patience { limit: Some(Duration::ZERO), cancel: None, waiting: None };
        for master in stores {
            match master.describe(&look) {
                Ok(_) | Err(FenceError::Held { .. } | FenceError::Cancelled { .. }) => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        self.pool.worker(worker, confines, cancel).map(drop)
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        let container = match &self.foundation.container {
            Ok(container) => Arc::clone(container),
            Err(reason) => return Err(self.refused(reason)),
        };
        if self.fresh.is_none() {
            self.fence(cancel)?;
        }
        let minor = self.minor();
        let Foundation { worker: key, confines, .. } = &self.foundation;
        let worker = self.pool.worker(key, confines, cancel)?;
        worker.enlist(minor).map_err(|_| Setback::Lost)?;
        let started = self.start(&worker, &container);
        // Our own copies would keep the locks when the worker has died.
        self.fresh = None;
        match started {
            Ok(()) => {
                self.record.set_worker(Some(&worker));
                self.worker = Some(worker);
                if std::mem::replace(&mut self.restarts, true) {
                    self.record.count_restart();
                }
                Ok(())
            }
            Err(error) => {
                if let AskError::Silent(_) | AskError::Link(_) = error {
                    // It must not start later.
                    self.tell_to_end(&worker);
                }
                worker.delist(minor);
                self.pool.vacated(&worker);
                // What is left of it there is asked for before the next launch.
                self.former = Some(worker);
                // One that only says nothing is waited for by the next fence.
                Err(if let AskError::Lost | AskError::Silent(_) = error {
                    Setback::Lost
                } else {
                    self.refused(error)
                })
            }
        }
    }

    fn fence_new(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        self.fence_for(None, false, cancel)
    }

    fn fence_within(&mut self, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Setback> {
        self.fence_for(limit, true, cancel)
    }

    fn end(&mut self, how: Ending, patience: Duration) -> Result<(), String> {
        self.end_loop(how, patience)
    }

    fn set_identity(&self, identity: Identity) {
        self.record.set_identity(identity.clone());
        if let Some(worker) = &self.worker {
            let Identity { serial, ports, groups } = identity;
            worker.tell(&Request::Serial { minor: self.minor().0, serial, ports, groups });
        }
    }

    fn answer_access_state(&self, wish: u64, answer: AccessStateAnswer) {
        if let Some(worker) = &self.worker {
            worker.tell(&Request::AccessState { minor: self.minor().0, wish, answer });
        }
    }

    fn accept_modes(&mut self, write_cache: bool, modes: Modes) {
        if self.record.accept_modes(write_cache, modes) {
            // Whatever is written to configfs next is a change.
            self.write_cache = None;
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        match change {
            Change::Size(bytes) => self.resize(*bytes),
            Change::WriteCache(on) => self.switch_write_cache(*on),
            Change::Config(text) if self.is_config(text) => Ok(()),
            Change::Config(_) => Err(Refusal {
                errno: Errno::EOPNOTSUPP,
                reason: "a device that is enabled keeps its dev_config; create it anew".to_owned(),
            }),
            Change::Unknown => {
                Err(Refusal { errno: Errno::EOPNOTSUPP, reason: "there is no such setting here".to_owned() })
            }
        }
    }

    fn accept_size(&mut self, bytes: u64) -> Result<bool, String> {
        let block_size = self.record.device().block_size;
        // It is the worker's word.
        if bytes == 0 || block_size == 0 || !bytes.is_multiple_of(block_size.into()) {
            return Err(format!("{bytes} bytes are 0 or no multiple of the block size of {block_size}"));
        }
        Ok(self.record.accept_size(bytes))
    }

    fn stop(mut self, patience: Duration) -> Result<(), String> {
        let mut ended = self.end_loop(Ending::Drain, patience);
        if ended.is_ok()
            && let Some(former) = &self.former
        {
            ended = self.let_go(former);
        }
        if let Some(former) = &self.former {
            // It leaves when the loop has ended.
            self.pool.vacated(former);
        }
        if ended.is_err() {
            for (index, master) in std::mem::take(&mut self.foundation.stores).into_iter().enumerate() {
                // Where a lock has stood, it keeps others away as long as there are operations.
                if !self.locked.contains(&index) {
                    tracing::warn!(
                        device = self.name(),
                        store = %master.locator(),
                        "operations on it may be left, and no lock tells: nobody gets it until lunboxd starts again"
                    );
                    master.keep_for_good();
                }
            }
        }
        ended
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.records.remove(&self.record);
    }
}

#[cfg(test)]
mod tests;
