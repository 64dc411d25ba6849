//! Runs the built `lunbox`, bounded in time, and ends it whatever happens.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod initiator;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest that anything here may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The `file` handler, compiled to Wasm.
pub fn handler() -> PathBuf {
    lunbox_behaviour::components::component("lunbox-handler-file")
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lunbox"));
    // What whoever runs the tests has set must not matter.
    for variable in ["LUNBOX_HANDLER_PATH", "LUNBOX_CHAP_SECRET", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub fn lunbox(arguments: &[&str]) -> Said {
    lunbox_with(arguments, &[])
}

/// Runs a command to its end, with variables set.
pub fn lunbox_with(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = command(arguments);
    command.envs(variables.iter().copied());
    let mut running = Running::spawn(command);
    let status = running.wait();
    Said { status: status.code(), stdout: running.rest(), stderr: running.errors() }
}

/// A command that runs; killed when dropped.
pub struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// Hands the lines of a stream on as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

impl Running {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the built program can be run");
        let stdout = lines(child.stdout.take().expect("it is piped"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    /// Starts `lunbox serve` with the `file` handler on a free port, without a cache.
    pub fn serve(arguments: &[&str]) -> Self {
        let handler = handler();
        let fixed =
            ["serve", "--listen", "127.0.0.1:0", "--handler", handler.to_str().expect("a plain path")];
        Self::spawn(command(&[&fixed, arguments].concat()))
    }

    /// The same under nohup(1).
    pub fn serve_under_nohup(spec: &str) -> Self {
        let handler = handler();
        let mut command = Command::new("nohup");
        command.arg(env!("CARGO_BIN_EXE_lunbox"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--size", "1M", "--handler"])
            .arg(handler)
            .arg(spec);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command)
    }

    /// The next line of stdout.
    pub fn line(&self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(_) => panic!("no line on stdout; stderr: {}", self.errors_so_far()),
        }
    }

    /// Waits for a line on stderr that contains a text.
    pub fn error_with(&self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stderr.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} on stderr"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a process id")), signal).expect("it runs");
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; stderr: {}", self.errors_so_far());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it with SIGTERM, and tells its status.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait().code()
    }

    /// The rest of stdout, after the end.
    pub fn rest(&self) -> String {
        self.stdout.iter().collect::<Vec<_>>().join("\n")
    }

    /// The rest of stderr, after the end.
    pub fn errors(&self) -> String {
        self.stderr.iter().collect::<Vec<_>>().join("\n")
    }

    fn errors_so_far(&self) -> String {
        self.stderr.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `file/` and a path.
pub fn file(path: &Path) -> String {
    format!("file/{}", path.display())
}
