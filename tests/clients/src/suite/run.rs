//! Runs the suite: one process for each test, several servers beside each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::outcome::{Outcome, classify};
use crate::serve::{Options, Server};
use crate::{image, process, programs};

/// Bytes of a LUN. A hole in a file, so it costs what is written.
const SIZE: u64 = 256 << 20;

/// The test that wants a LUN that refuses writes; it gets one.
const NEEDS_READ_ONLY: &str = "SCSI.ReadOnly.ReadOnlySBC";

/// Tests that are right only on a LUN that nobody used before: the first compares a block that it expects to be zero and
/// has not written, the second expects that no session has ever copied anything. They are run first.
const NEED_NEW: [&str; 2] = ["SCSI.MultipathIO.CompareAndWrite", "SCSI.ReceiveCopyResults.CopyStatus"];

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time for one test.
    pub limit: Duration,
    /// Time for all of them; a suite that is not done by then is broken.
    pub all: Duration,
    /// Servers, each with a LUN of its own, that run tests at the same time.
    pub servers: usize,
}

impl Default for Plan {
    /// 20 s for a test, ten minutes for all, two servers.
    fn default() -> Self {
        Self { limit: Duration::from_secs(20), all: Duration::from_secs(600), servers: 2 }
    }
}

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `lunbox serve`, started for the suite: as many servers as the plan says.
    Served,
    /// A target that runs already and that nothing else uses; one test at a time.
    Running {
        /// The `iscsi://` URL of a LUN; what is on it is lost.
        writable: String,
        /// URL of a LUN that refuses writes.
        read_only: String,
    },
}

impl Subject {
    fn at_once(&self, plan: Plan) -> usize {
        match self {
            Self::Served => plan.servers.max(1),
            Self::Running { .. } => 1,
        }
    }
}

/// How a test ended and what it printed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Both its outputs.
    pub printed: String,
}

/// Runs `tests` on `subject`; `each` hears of every result as it comes, on this thread. A test that is out of time is run once
/// more at the end with nothing beside it: a loaded machine is no reason to fail.
///
/// # Errors
/// When a server does not start, or dies: that is no test's result. And when the time for all tests is over.
pub fn run(
    subject: &Subject,
    tests: &[String],
    plan: Plan,
    mut each: impl FnMut(&str, &Ran),
) -> Result<BTreeMap<String, Ran>> {
    let (first, then): (Vec<&str>, Vec<&str>) =
        tests.iter().map(String::as_str).partition(|test| NEED_NEW.contains(test));
    let queue: Mutex<VecDeque<&str>> = Mutex::new(first.into_iter().chain(then).collect());
    let (send, results) = mpsc::channel();
    let start = Instant::now();
    let mut ran = BTreeMap::new();
    std::thread::scope(|scope| -> Result<()> {
        let mut workers = Vec::new();
        for _ in 0..subject.at_once(plan) {
            let (send, queue) = (send.clone(), &queue);
            workers.push(scope.spawn(move || -> Result<()> {
                let mut bench = Bench::new(subject)?;
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(test) = next else { return bench.end() };
                    if start.elapsed() > plan.all {
                        bail!("{test}: not run, the suite has taken {:?}", start.elapsed());
                    }
                    // Nobody listens any more only if another worker failed.
                    if send.send((test.to_owned(), bench.one(test, plan.limit)?)).is_err() {
                        return Ok(());
                    }
                }
            }));
        }
        drop(send);
        for (test, result) in results {
            each(&test, &result);
            ran.insert(test, result);
        }
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread that runs tests panicked"),
            }
        }
        Ok(())
    })?;
    let slow: Vec<String> = ran
        .iter()
        .filter(|(_, result)| matches!(result.outcome, Outcome::Timeout(_)))
        .map(|(name, _)| name.clone())
        .collect();
    if !slow.is_empty() {
        let mut bench = Bench::new(subject)?;
        for test in slow {
            let result = bench.one(&test, plan.limit)?;
            each(&test, &result);
            ran.insert(test, result);
        }
        bench.end()?;
    }
    Ok(ran)
}

/// The LUNs that a thread runs its tests on.
enum Bench {
    Served(Box<Servers>),
    Running { writable: String, read_only: String },
}

/// A server with an empty LUN, and one that refuses writes.
struct Servers {
    writable: Server,
    read_only: Server,
    _folder: TempDir,
}

impl Bench {
    fn new(subject: &Subject) -> Result<Self> {
        Ok(match subject {
            Subject::Served => Self::Served(Box::new(Servers::start()?)),
            Subject::Running { writable, read_only } => {
                Self::Running { writable: writable.clone(), read_only: read_only.clone() }
            }
        })
    }

    fn one(&mut self, test: &str, limit: Duration) -> Result<Ran> {
        let wants_read_only = test == NEEDS_READ_ONLY;
        match self {
            Self::Served(servers) => {
                let server = if wants_read_only { &mut servers.read_only } else { &mut servers.writable };
                let ran = one(test, server.url(0), limit)?;
                if !server.is_running()? {
                    bail!("{test}: the server died\n{}", server.log());
                }
                Ok(ran)
            }
            Self::Running { writable, read_only } => {
                one(test, if wants_read_only { read_only } else { writable }, limit)
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        match self {
            Self::Served(servers) => servers.end(),
            Self::Running { .. } => Ok(()),
        }
    }
}

fn one(test: &str, url: &str, limit: Duration) -> Result<Ran> {
    let mut command = programs::ISCSI_TEST_CU.command()?;
    // The same LUN twice: the second is the other path of the tests that want two.
    command.args(["-d", "-S", "-V", "-t", test, url, url]);
    let finished = process::run(command, limit)?;
    Ok(Ran { outcome: classify(&finished), printed: format!("{}{}", finished.stdout, finished.stderr) })
}

impl Servers {
    fn start() -> Result<Self> {
        let folder = image::scratch()?;
        let writable = image::hole(folder.path(), "lun", SIZE)?;
        let read_only = image::noise_and_holes(folder.path(), "read-only", SIZE / 4, 1)?;
        Ok(Self {
            writable: Server::start(&Options::new().arg("--tmr").file(&writable))?,
            read_only: Server::start(&Options::new().arg("--read-only").file(&read_only))?,
            _folder: folder,
        })
    }

    /// The servers must end by themselves and have nothing left to do.
    fn end(&mut self) -> Result<()> {
        for server in [&mut self.writable, &mut self.read_only] {
            let idle = |status: &crate::serve::Status| {
                status.connections == 0 && status.luns.iter().all(|lun| lun.in_flight == 0)
            };
            server.status_when(Duration::from_secs(60), "no connection and no command left", idle)?;
            server.end_cleanly().context("after the suite")?;
        }
        Ok(())
    }
}
