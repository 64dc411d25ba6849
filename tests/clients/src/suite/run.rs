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

/// How a test ended and what it printed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Both its outputs.
    pub printed: String,
}

/// Runs `tests`; `each` hears of every result as it comes, on this thread. A test that is out of time is run once
/// more at the end with nothing beside it: a loaded machine is no reason to fail.
///
/// # Errors
/// When a server does not start, or dies: that is no test's result. And when the time for all tests is over.
pub fn run(tests: &[String], plan: Plan, mut each: impl FnMut(&str, &Ran)) -> Result<BTreeMap<String, Ran>> {
    let queue: Mutex<VecDeque<&str>> = Mutex::new(tests.iter().map(String::as_str).collect());
    let (send, results) = mpsc::channel();
    let start = Instant::now();
    let mut ran = BTreeMap::new();
    std::thread::scope(|scope| -> Result<()> {
        let mut workers = Vec::new();
        for _ in 0..plan.servers.max(1) {
            let (send, queue) = (send.clone(), &queue);
            workers.push(scope.spawn(move || -> Result<()> {
                let mut bench = Bench::new()?;
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
        let mut bench = Bench::new()?;
        for test in slow {
            let result = bench.one(&test, plan.limit)?;
            each(&test, &result);
            ran.insert(test, result);
        }
        bench.end()?;
    }
    Ok(ran)
}

/// A server with an empty LUN, and one that refuses writes.
struct Bench {
    writable: Server,
    read_only: Server,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = image::scratch()?;
        let writable = image::hole(folder.path(), "lun", SIZE)?;
        let read_only = image::noise_and_holes(folder.path(), "read-only", SIZE / 4, 1)?;
        Ok(Self {
            writable: Server::start(&Options::new().arg("--tmr").file(&writable))?,
            read_only: Server::start(&Options::new().arg("--read-only").file(&read_only))?,
            _folder: folder,
        })
    }

    fn one(&mut self, test: &str, limit: Duration) -> Result<Ran> {
        let server = if test == NEEDS_READ_ONLY { &mut self.read_only } else { &mut self.writable };
        let mut command = programs::ISCSI_TEST_CU.command()?;
        // The same LUN twice: the second is the other path of the tests that want two.
        command.args(["-d", "-S", "-V", "-t", test, server.url(0), server.url(0)]);
        let finished = process::run(command, limit)?;
        if !server.is_running()? {
            bail!("{test}: the server died\n{}", server.log());
        }
        Ok(Ran { outcome: classify(&finished), printed: format!("{}{}", finished.stdout, finished.stderr) })
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
