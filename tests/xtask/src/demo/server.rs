//! `lunbox serve` as a process of ours.

use crate::cleanup::Group;
use crate::process;
use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// The first start compiles the handler, which takes a moment on a slow machine.
const START: Duration = Duration::from_secs(60);
/// Stopping awaits the operations in progress and flushes.
const STOP: Duration = Duration::from_secs(60);

/// Something that happened to the server.
#[derive(Debug)]
pub enum Event {
    /// It printed this line.
    Line(String),
    /// It has ended (its standard output has).
    Ended,
    /// The user wants to stop it.
    Interrupted,
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    group: Group,
    events: Receiver<Event>,
    events_in: Sender<Event>,
    url: String,
}

impl Server {
    /// Starts `command` and waits until it has printed its URL.
    ///
    /// # Errors
    /// When it cannot be started, ends, or prints no URL within a minute; what it said is in the message.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_within(command, START)
    }

    fn start_within(command: &mut Command, limit: Duration) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, group) = process::spawn(command)?;
        let (events_in, events) = mpsc::channel();
        let stdout = child.stdout.take().context("the server's output is not there")?;
        let stderr = child.stderr.take().context("the server's messages are not there")?;
        let messages = forward(stderr, events_in.clone());
        let sender = events_in.clone();
        let lines = forward(stdout, events_in.clone());
        std::thread::spawn(move || {
            // Both pipes have ended: nothing more will come. A receiver that is gone has stopped listening.
            let _ = (lines.join(), messages.join(), sender.send(Event::Ended));
        });
        let mut server = Self { child, group, events, events_in, url: String::new() };
        server.url = server.await_url(limit)?;
        Ok(server)
    }

    fn await_url(&mut self, limit: Duration) -> anyhow::Result<String> {
        let mut said = String::new();
        loop {
            match self.events.recv_timeout(limit) {
                Ok(Event::Line(line)) if line.starts_with("iscsi://") => return Ok(line),
                Ok(Event::Line(line)) => {
                    said.push_str(&line);
                    said.push('\n');
                }
                Ok(Event::Interrupted) => bail!("interrupted"),
                Ok(Event::Ended) => {
                    bail!("the server ended with {} before it served:\n{said}", self.child.wait()?)
                }
                Err(_) => bail!("the server printed no URL within {} s:\n{said}", limit.as_secs_f64()),
            }
        }
    }

    /// The URL of its first LUN.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the server's events go: for what else may end the wait.
    pub fn events_in(&self) -> Sender<Event> {
        self.events_in.clone()
    }

    /// The next event; blocks until there is one.
    ///
    /// # Errors
    /// Never as long as the server lives: it holds a sender itself.
    pub fn next(&self) -> anyhow::Result<Event> {
        self.events.recv().context("the server's events have ended")
    }

    /// Asks the server to end (SIGTERM) and awaits that; returns what it said since it served.
    ///
    /// # Errors
    /// When it does not end within a minute, or ends with another status than 0.
    pub fn stop(mut self) -> anyhow::Result<String> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).context("process id")?);
        kill(id, Signal::SIGTERM).context("cannot signal the server")?;
        let mut said = String::new();
        loop {
            match self.events.recv_timeout(STOP) {
                Ok(Event::Line(line)) => {
                    said.push_str(&line);
                    said.push('\n');
                }
                Ok(Event::Interrupted) => {}
                Ok(Event::Ended) => break,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("the server did not end within {} s of SIGTERM:\n{said}", STOP.as_secs())
                }
            }
        }
        let status: ExitStatus = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}:\n{said}");
        Ok(said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Reaped means ended: the number may be somebody else's now.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.group.end();
        }
    }
}

fn forward(from: impl Read + Send + 'static, to: Sender<Event>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            if to.send(Event::Line(String::from_utf8_lossy(&line).trim_end().to_owned())).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_is_known_by_its_url_and_heard_to_its_end() {
        let script = "trap 'echo flushed >&2; exit 0' TERM; echo starting >&2; \
                      echo iscsi://127.0.0.1:1/iqn.x/0; while :; do sleep 0.05; done";
        let server = Server::start(&mut shell(script)).unwrap();
        assert_eq!(server.url(), "iscsi://127.0.0.1:1/iqn.x/0");
        assert!(server.stop().unwrap().contains("flushed"));
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let error =
            Server::start(&mut shell("echo 'error: port in use' >&2; exit 1")).unwrap_err().to_string();
        assert!(error.contains("port in use") && error.contains('1'), "{error}");
    }

    #[test]
    fn a_silent_server_is_given_up_and_killed() {
        let mut command = shell("echo hm; exec sleep 1000");
        let error = Server::start_within(&mut command, Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("no URL") && error.contains("hm"), "{error}");
    }

    #[test]
    fn a_bad_end_is_a_failure() {
        let script =
            "trap 'echo could not flush >&2; exit 1' TERM; echo iscsi://x; while :; do sleep 0.05; done";
        let error = Server::start(&mut shell(script)).unwrap().stop().unwrap_err().to_string();
        assert!(error.contains("could not flush"), "{error}");
    }
}
