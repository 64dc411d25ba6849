//! A server that runs, from its first line to its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::told::{Line, Started, Status};
use super::{Options, PATIENCE};
use crate::wait;

/// Lines of the server's standard error that are kept.
const LOG_LINES: usize = 400;

#[derive(Debug, Default)]
struct Heard {
    /// Status lines so far, and the latest.
    status: Option<(u64, Status)>,
    /// A line that is no status.
    odd: Option<String>,
    /// The latest lines of standard error.
    log: VecDeque<String>,
}

/// A server that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    started: Started,
    heard: Arc<Mutex<Heard>>,
}

impl Server {
    /// Starts it and waits for its first line.
    ///
    /// # Errors
    /// When it ends, or says nothing within [`PATIENCE`]; the message has what it wrote to standard error.
    pub fn start(options: &Options) -> Result<Self> {
        let mut child = options
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start lunbox serve")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("lunbox serve: has no outputs");
        };
        let first = Arc::new(Mutex::new(None));
        listen(stdout, Arc::clone(&first), Arc::clone(&heard));
        keep_log(stderr, Arc::clone(&heard));
        let mut server = Self {
            child,
            started: Started { address: String::new(), target: String::new(), luns: Vec::new() },
            heard,
        };
        let line = wait::until(PATIENCE, "first line of lunbox serve", || {
            if let Some(line) = first.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(Some(line));
            }
            match server.child.try_wait()? {
                Some(status) => bail!("lunbox serve: {status}"),
                None => Ok(None),
            }
        });
        let line = line.with_context(|| server.log())?;
        server.started = serde_json::from_str(&line).with_context(|| format!("first line: {line}"))?;
        Ok(server)
    }

    /// What its first line said.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// How clients call a LUN.
    ///
    /// # Panics
    /// When there is no such LUN.
    pub fn url(&self, lun: usize) -> &str {
        &self.started.luns[lun].url
    }

    /// How clients call the portal, for discovery.
    pub fn portal(&self) -> String {
        format!("iscsi://{}", self.started.address)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When it has gone.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.child.id());
        Ok(std::fs::read_dir(&folder).with_context(|| format!("read {folder}"))?.count())
    }

    /// The end of what it wrote to standard error.
    pub fn log(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = heard.log.iter().map(String::as_str).collect();
        format!("lunbox serve wrote:\n{}", lines.join("\n"))
    }

    /// A status that was taken after this call. Blocks for up to [`PATIENCE`].
    ///
    /// # Errors
    /// When the server has ended, does not answer or prints what is no status.
    pub fn status(&mut self) -> Result<Status> {
        self.status_when(PATIENCE, "a status line", |_| true)
    }

    /// The first status taken after this call that `wanted` accepts. Blocks for up to `limit`.
    ///
    /// # Errors
    /// As [`Server::status`]; the message has `what` and the last status.
    pub fn status_when(
        &mut self,
        limit: Duration,
        what: &str,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Result<Status> {
        let mut seen = None;
        let found = wait::until(limit, what, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("lunbox serve: ended by itself: {status}");
            }
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = &heard.odd {
                bail!("no status line: {line}");
            }
            let number = heard.status.as_ref().map_or(0, |(number, _)| *number);
            // The next line may have been on its way already when we were called: take the one after it.
            let since = *seen.get_or_insert(number);
            Ok(heard
                .status
                .as_ref()
                .filter(|(number, status)| *number >= since + 2 && wanted(status))
                .map(|(_, status)| status.clone()))
        });
        found.with_context(|| {
            let last = self.heard.lock().unwrap_or_else(PoisonError::into_inner).status.clone();
            format!("{}\nlast status: {last:?}", self.log())
        })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it does not end within [`PATIENCE`], or had ended before.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            bail!("lunbox serve: had ended before it was asked to: {status}\n{}", self.log());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("process id")?);
        kill(pid, Signal::SIGTERM).context("SIGTERM")?;
        wait::until(PATIENCE, "end of lunbox serve after SIGTERM", || Ok(self.child.try_wait()?))
            .with_context(|| self.log())
    }

    /// Ends it and insists on exit status 0.
    ///
    /// # Errors
    /// As [`Server::terminate`], and for any other status.
    pub fn end_cleanly(&mut self) -> Result<()> {
        let status = self.terminate()?;
        if !status.success() {
            bail!("lunbox serve: {status} after SIGTERM\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stdout: ChildStdout, first: Arc<Mutex<Option<String>>>, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        *first.lock().unwrap_or_else(PoisonError::into_inner) = lines.next();
        for (number, line) in (1..).zip(lines) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match serde_json::from_str(&line) {
                Ok(Line { status: Some(status), .. }) => heard.status = Some((number, status)),
                Ok(Line { totals: Some(_), .. }) => {}
                Ok(_) => heard.odd = Some(format!("{line} (neither status nor totals)")),
                Err(error) => heard.odd = Some(format!("{line} ({error})")),
            }
        }
    });
}

fn keep_log(stderr: impl Read + Send + 'static, heard: Arc<Mutex<Heard>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.log.len() == LOG_LINES {
                heard.log.pop_front();
            }
            heard.log.push_back(line);
        }
    });
}
