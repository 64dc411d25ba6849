//! The workers: one process for each tenant, started when its first device comes, started again when it has died.
//!
//! ```text
//!   device ── launch ──▶ Pool ── spawn ──▶ lunboxd worker (jailed)
//!                         ▲ │ Worker (one thread that listens)   │
//!        adopt: sockets ──┘ └── requests, descriptors ──▶ link ──┘ ── answers, notices, end of file ──▶
//! ```

pub mod adopt;
pub mod client;
mod dying;
pub mod greeting;
mod log;
#[cfg(test)]
pub(crate) mod scripted;
pub mod spawn;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lunbox_control::{EventKind, WorkerReport, WorkerState};
use lunbox_log::Level;
use lunbox_tcmu::Minor;
use lunbox_wire::{Device as Served, Hello, Link};

use crate::journal::{Journal, milliseconds};
use crate::service::{Cancel, Setback};

use log::Log;

pub use client::{Answer, AskError, Listener, MOST_DEVICES, Tracing, Worker, ask_all, ask_for_status};
pub use spawn::{Confines, Spawner};

/// After so long a worker that dies has not died in quick succession.
const QUICK: Duration = Duration::from_secs(60);

/// The longest pause before a worker is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// All workers.
pub struct Pool {
    spawner: Spawner,
    listener: Listener,
    journal: Journal,
    state: Mutex<State>,
    /// Held while workers are told, so that all hear the last word last.
    log: Mutex<Option<Arc<Log>>>,
    /// Held from the look at what they are to be told until they are told.
    log_turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<String, Arc<Mutex<Slot>>>,
    /// All that run, also those of another build and those that are told to end.
    alive: Vec<Arc<Worker>>,
    /// Restarts of the workers of each name, also of those that are gone: numbers that never fall.
    restarts: BTreeMap<String, u64>,
    stopping: bool,
}

/// What is known of one tenant's workers.
#[derive(Default)]
struct Slot {
    current: Option<Arc<Worker>>,
    /// In quick succession.
    deaths: u32,
    last_death: Option<Instant>,
    /// The last one died, so that the next one is a restart.
    died: bool,
}

/// A device of a worker that was adopted: what it is, and its descriptors in the order of its start.
#[derive(Debug)]
pub struct Inherited {
    /// Who serves it.
    pub worker: Arc<Worker>,
    /// What it is.
    pub device: Served,
    /// UIO node, compiled handler, stores.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a device of a worker that was adopted is not gone on with.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its UIO node has gone. Whoever judged has the loop ended.
    Gone,
    /// It can not be supervised here at the moment, for this reason; the worker is not to blame, and serves it well.
    Here(String),
    /// What the worker says of it is not so.
    Lie(String),
}

/// How long a worker is not started again after so many deaths in quick succession: 0, 0.1, 0.2 … 10 s.
fn pause(deaths: u32) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        more => {
            let factor = 1_u32.checked_shl(more - 2).unwrap_or(u32::MAX);
            Duration::from_millis(100).saturating_mul(factor).min(LONGEST_PAUSE)
        }
    }
}

/// A worker that may get one more device.
fn room(worker: Arc<Worker>) -> Result<Arc<Worker>, Setback> {
    if worker.devices() < MOST_DEVICES {
        return Ok(worker);
    }
    Err(Setback::Refused(format!(
        "its worker has {MOST_DEVICES} devices, which is all that one may have; divide them between more tenants, or say \
         own_worker_per_device in the policy file"
    )))
}

impl Slot {
    /// How long to wait before the next worker.
    fn rest(&self) -> Duration {
        let since = self.last_death.map_or(Duration::MAX, |last| last.elapsed());
        pause(self.deaths).saturating_sub(since)
    }

    fn note_death(&mut self, worker: &Arc<Worker>) {
        if !self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, worker)) {
            return;
        }
        self.current = None;
        if worker.leaving() {
            return;
        }
        if self.last_death.is_some_and(|last| last.elapsed() >= QUICK) {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        self.last_death = Some(Instant::now());
        self.died = true;
    }
}

impl Pool {
    /// Workers report through `listener`.
    pub fn new(spawner: Spawner, listener: Listener, journal: Journal) -> Arc<Self> {
        Arc::new(Self {
            spawner,
            listener,
            journal,
            state: Mutex::default(),
            log: Mutex::default(),
            log_turn: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Option<Arc<Log>>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all workers of our own build log at this level, and append to this file, too, or to none: those that run, and
    /// those that will. Before that they log as they were started, or as a predecessor said.
    ///
    /// `look` says what they are. Of several who call this at once each looks when the one before has told: what is told
    /// last was seen last. Blocks as long as they look.
    pub fn set_log(&self, look: impl FnOnce() -> (Level, Option<OwnedFd>)) {
        let _turn = self.log_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, file) = look();
        // Not before: a new worker waits for this one, and opening a file may take long.
        let mut log = self.log();
        let log = log.insert(Arc::new(Log { level, file }));
        for worker in self.alive() {
            worker.log_owed.tell(&worker, log);
        }
    }

    fn slot(&self, key: &str) -> Arc<Mutex<Slot>> {
        Arc::clone(self.state().slots.entry(key.to_owned()).or_default())
    }

    /// The worker of that name, started if there is none. Blocks while it starts, and while it is too early for
    /// another start.
    ///
    /// # Errors
    /// See [`Setback`].
    pub fn worker(
        self: &Arc<Self>,
        key: &str,
        confines: &Confines,
        cancel: &Cancel,
    ) -> Result<Arc<Worker>, Setback> {
        let slot = self.slot(key);
        loop {
            let rest = {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                match slot.current.clone() {
                    // Whoever is quicker than the one who notes the death.
                    Some(worker) if worker.is_lost() => slot.note_death(&worker),
                    Some(worker) if !worker.leaving() => return room(worker),
                    Some(_) | None => {}
                }
                let rest = slot.rest();
                if rest.is_zero() {
                    let worker = self.start(key, confines).inspect_err(|_| {
                        slot.deaths = slot.deaths.saturating_add(1);
                        slot.last_death = Some(Instant::now());
                    })?;
                    if std::mem::take(&mut slot.died) {
                        *self.state().restarts.entry(key.to_owned()).or_default() += 1;
                    }
                    slot.current = Some(Arc::clone(&worker));
                    // It may have died before it was the current one, and then nobody has noted that.
                    if worker.is_lost() {
                        slot.note_death(&worker);
                        return Err(Setback::Lost);
                    }
                    return Ok(worker);
                }
                rest
            };
            if cancel.wait(rest) {
                return Err(Setback::Cancelled);
            }
        }
    }

    fn start(self: &Arc<Self>, key: &str, confines: &Confines) -> Result<Arc<Worker>, Setback> {
        if self.state().stopping {
            return Err(Setback::Cancelled);
        }
        let failed =
            |error: String| Setback::Refused(format!("its worker {key:?} could not be started: {error}"));
        let started = Instant::now();
        let (link, hello, origin) =
            self.spawner().spawn(key, confines).map_err(|error| failed(error.to_string()))?;
        let worker = self.keep(link, hello, &[], origin).map_err(|error| failed(error.to_string()))?;
        tracing::info!(
            worker = key,
            pid = worker.pid(),
            jail = worker.hello().jail.join(" "),
            "started in {} ms",
            started.elapsed().as_millis()
        );
        self.journal.worker(EventKind::WorkerStarted, key, format!("process {}", worker.pid()));
        Ok(worker)
    }

    /// Starts workers that log as much as we do now from their first line on.
    fn spawner(&self) -> Spawner {
        let level = self.log().as_ref().map(|log| log.level.to_string());
        let spawner = self.spawner.clone();
        Spawner { level: level.unwrap_or(spawner.level), ..spawner }
    }

    /// Listens to a worker that has greeted.
    fn keep(
        self: &Arc<Self>,
        link: Link,
        hello: Hello,
        devices: &[Minor],
        origin: client::Origin,
    ) -> Result<Arc<Worker>, greeting::GreetError> {
        let pool = Arc::clone(self);
        let worker =
            Worker::listen(link, hello, devices, origin, Arc::clone(&self.listener), move |worker| {
                pool.forget(worker);
            })?;
        // Until it is among the others: whoever changes the log meanwhile would not find it.
        let log = self.log();
        if let Some(log) = &*log {
            worker.log_owed.tell(&worker, log);
        }
        let mut state = self.state();
        // One that has died already was looked for before it was here.
        if !worker.is_lost() {
            state.alive.push(Arc::clone(&worker));
        }
        drop(state);
        drop(log);
        Ok(worker)
    }

    /// A worker has died.
    fn forget(&self, worker: &Arc<Worker>) {
        let key = worker.hello().tenant.as_str();
        self.state().alive.retain(|alive| !Arc::ptr_eq(alive, worker));
        if worker.leaving() {
            tracing::info!(worker = key, pid = worker.pid(), "has left");
            self.journal.worker(EventKind::WorkerLeft, key, format!("process {}", worker.pid()));
        } else {
            tracing::error!(worker = key, pid = worker.pid(), devices = worker.devices(), "died");
            let text = format!("process {} with {} devices", worker.pid(), worker.devices());
            self.journal.worker(EventKind::WorkerLost, key, text);
        }
        let slot = self.slot(key);
        slot.lock().unwrap_or_else(PoisonError::into_inner).note_death(worker);
    }

    /// A device has left a worker: one that is there for nothing else ends.
    pub fn vacated(&self, worker: &Worker) {
        let own = worker.hello().tenant.contains(spawn::OWN_WORKER);
        if (worker.outdated() || own) && worker.devices() == 0 {
            worker.leave();
        }
    }

    /// Takes over the workers that a predecessor left, and of their devices those that `judge` finds fit. Called on
    /// several threads at a time; it must not wait for the worker. No worker is waited for for longer than about half a
    /// minute (0.05 s more for each of its devices), whatever it does.
    pub fn adopt<T: Send>(self: &Arc<Self>, judge: impl Fn(Inherited) -> Result<T, Unfit> + Sync) -> Vec<T> {
        let mut kept = Vec::new();
        // One after the other: of two workers of one name the first is the one that gets further devices.
        for adopt::Found { link, hello, origin, devices } in self.spawner.find() {
            let key = hello.tenant.clone();
            let minors: Vec<_> = devices.iter().map(|device| Minor(device.minor)).collect();
            let worker = match self.keep(link, hello, &minors, origin) {
                Ok(worker) => worker,
                Err(error) => {
                    tracing::error!(worker = key, "not adopted: {error}");
                    continue;
                }
            };
            tracing::info!(
                worker = key,
                pid = worker.pid(),
                outdated = worker.outdated(),
                devices = devices.len(),
                "adopted"
            );
            self.journal.worker(EventKind::WorkerAdopted, &key, format!("process {}", worker.pid()));
            if !worker.outdated() {
                let slot = self.slot(&key);
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                // The other one serves what it has.
                slot.current.get_or_insert_with(|| Arc::clone(&worker));
            }
            kept.push((worker, devices));
        }
        let adopted = adopt::several(&kept, |(worker, devices)| {
            let adopted = adopt::devices(worker, devices, &judge);
            if adopted.is_empty() && worker.outdated() {
                worker.leave();
            }
            adopted
        });
        adopted.into_iter().flatten().collect()
    }

    /// All workers that run.
    pub fn alive(&self) -> Vec<Arc<Worker>> {
        self.state().alive.clone()
    }

    /// How the workers are.
    pub fn report(&self) -> Vec<WorkerReport> {
        let (alive, slots, restarts) = {
            let state = self.state();
            (state.alive.clone(), state.slots.clone(), state.restarts.clone())
        };
        let restarts = |key: &str| restarts.get(key).copied().unwrap_or(0);
        let describe = |worker: &Arc<Worker>| {
            // One of another build is there beside the one that was restarted.
            let restarts = if worker.outdated() { 0 } else { restarts(&worker.hello().tenant) };
            WorkerReport { restarts, ..describe(worker) }
        };
        let mut reports: Vec<_> = alive.iter().map(describe).collect();
        for (key, slot) in slots {
            // Whoever is starting one at this moment has it.
            let Ok(slot) = slot.try_lock() else { continue };
            if slot.current.is_none() && slot.died {
                reports.push(WorkerReport {
                    tenant: spawn::tenant(&key).to_owned(),
                    state: WorkerState::Waiting,
                    restarts: restarts(&key),
                    ..WorkerReport::default()
                });
            }
        }
        reports
    }

    /// How often workers of each tenant died and were started again since this process runs. Never falls, and waits for
    /// nobody.
    pub fn restarts(&self) -> BTreeMap<String, u64> {
        let mut tenants = BTreeMap::new();
        for (key, restarts) in &self.state().restarts {
            *tenants.entry(spawn::tenant(key).to_owned()).or_default() += restarts;
        }
        tenants
    }

    /// Tells all workers to end when their last device has gone, and waits for them. Those that have devices still go
    /// on: their storage does not answer, and the next supervisor finds them.
    pub fn leave(&self, patience: Duration) {
        self.state().stopping = true;
        let alive = self.alive();
        for worker in &alive {
            worker.leave();
        }
        let deadline = Instant::now() + patience;
        for worker in alive {
            let devices = worker.devices();
            if !worker.ends_within(deadline.saturating_duration_since(Instant::now())) {
                tracing::error!(
                    worker = worker.hello().tenant,
                    pid = worker.pid(),
                    devices,
                    "has not ended: its storage does not answer, and its buffers stay in use until it does; the next \
                     lunboxd takes it over, `kill -9 {}` ends it",
                    worker.pid()
                );
            }
        }
    }
}

fn describe(worker: &Worker) -> WorkerReport {
    WorkerReport {
        tenant: spawn::tenant(&worker.hello().tenant).to_owned(),
        pid: worker.pid(),
        state: if worker.leaving() || worker.outdated() {
            WorkerState::Leaving
        } else {
            WorkerState::Running
        },
        build: worker.hello().build.clone(),
        user: worker.user().to_owned(),
        jail: worker.hello().jail.clone(),
        devices: u64::try_from(worker.devices()).unwrap_or(u64::MAX),
        started: milliseconds(worker.started()),
        adopted: worker.adopted(),
        restarts: 0,
        memory_bytes: memory(worker.pid()),
    }
}

/// Bytes of a process in memory; 0 if that can not be read.
pub fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        let pauses: Vec<u128> = (0..12).map(|deaths| pause(deaths).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    /// A pool that can not start workers, and has this one for "acme".
    fn pool(current: &Arc<Worker>) -> (Arc<Pool>, Arc<Mutex<Slot>>) {
        let spawner = Spawner {
            place: spawn::Place::Process { executable: "/no/such/program".into() },
            sockets: "/no/such/directory".into(),
            build: "test".to_owned(),
            level: "info".to_owned(),
        };
        let pool = Pool::new(spawner, Arc::new(|_, _| {}), Journal::default());
        let slot = pool.slot("acme");
        slot.lock().unwrap().current = Some(Arc::clone(current));
        (pool, slot)
    }

    #[test]
    fn a_death_counts_even_if_whoever_wants_the_next_worker_is_quicker_than_the_news() {
        let worker = scripted::worker("acme", &[], |_| Vec::new(), || {});
        let (pool, slot) = pool(&worker);
        worker.kill();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !worker.is_lost() {
            assert!(Instant::now() < deadline, "its death was not noticed");
            std::thread::yield_now();
        }
        let setback = pool.worker("acme", &Confines::default(), &Cancel::default()).unwrap_err();
        assert!(matches!(setback, Setback::Refused(_)), "{setback}");
        // The death, and the start that failed.
        let slot = slot.lock().unwrap();
        assert_eq!((slot.deaths, slot.died), (2, true));
    }

    #[test]
    fn a_worker_has_no_more_devices_than_a_successor_would_believe() {
        let minors: Vec<u32> = (0..4096).collect();
        let worker = scripted::worker("acme", &minors, |_| Vec::new(), || {});
        let (pool, _) = pool(&worker);
        let ask = || pool.worker("acme", &Confines::default(), &Cancel::default());
        let setback = ask().unwrap_err().to_string();
        assert!(setback.contains("4096 devices") && setback.contains("own_worker_per_device"), "{setback}");
        worker.delist(Minor(0));
        assert!(Arc::ptr_eq(&ask().unwrap(), &worker));
    }

    #[test]
    fn restarts_never_fall_and_are_told_while_a_worker_is_being_started() {
        let pool = scripted::pool(|_, _| Vec::new());
        let ask = |key: &str| pool.worker(key, &Confines::default(), &Cancel::default()).unwrap();
        let own = format!("acme{}7", spawn::OWN_WORKER);
        let died = |key: &str| {
            let worker = ask(key);
            worker.kill();
            let deadline = Instant::now() + Duration::from_secs(20);
            while !worker.is_lost() {
                assert!(Instant::now() < deadline, "its death was not noticed");
                std::thread::yield_now();
            }
        };
        died("acme");
        died(&own);
        assert_eq!(pool.restarts().get("acme"), None, "not started again yet");
        let (again, _own) = (ask("acme"), ask(&own));
        let told = || (pool.restarts().get("acme").copied(), pool.report().len());
        assert_eq!(told(), (Some(2), 2));
        assert_eq!(pool.report().iter().map(|worker| worker.restarts).sum::<u64>(), 2);
        let slot = pool.slot("acme");
        let starting = slot.lock().unwrap();
        assert_eq!(told(), (Some(2), 2));
        drop(starting);
        again.leave();
        again.kill();
        assert_eq!(pool.restarts().get("acme"), Some(&2));
    }
}
