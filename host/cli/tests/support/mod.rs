//! Runs the built `lunbox`, bounded in time, and ends it whatever happens.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod initiator;
pub mod terminal;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
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

/// The built program.
const LUNBOX: &str = env!("CARGO_BIN_EXE_lunbox");

/// A program that does not see what whoever runs the tests has set.
fn undisturbed(program: &str) -> Command {
    let mut command = Command::new(program);
    for variable in ["LUNBOX_HANDLER_PATH", "LUNBOX_CHAP_SECRET", "LUNBOX_SOCKET", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

fn piped(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn command(arguments: &[&str]) -> Command {
    let mut command = undisturbed(LUNBOX);
    command.args(complete(arguments));
    piped(command)
}

/// Keeps the tests away from this machine's cache of compiled handlers, and its cache from the tests.
fn complete<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = arguments.to_vec();
    if arguments.first() == Some(&"serve") && !arguments.contains(&"--cache-dir") {
        arguments.extend(["--cache-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled-handlers")]);
    }
    arguments
}

/// `lunbox serve` with the `file` handler on a free port.
fn serve(handler: &Path, arguments: &[&str]) -> Vec<String> {
    let handler = handler.to_str().expect("a plain path");
    let all = [&["serve", "--listen", "127.0.0.1:0", "--handler", handler], arguments].concat();
    complete(&all).into_iter().map(str::to_owned).collect()
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
        let stdout = match child.stdout.take() {
            Some(pipe) => lines(pipe),
            None => lines(std::io::empty()),
        };
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    /// Starts `lunbox serve` with the `file` handler on a free port, and with no signal ignored: whoever runs the tests
    /// may be under nohup(1).
    pub fn serve(arguments: &[&str]) -> Self {
        let mut command = undisturbed("env");
        command.args(["--default-signal", LUNBOX]).args(serve(&handler(), arguments));
        Self::spawn(piped(command))
    }

    /// The same with a stdout of its own, so that [`Self::line`] has nothing to tell.
    pub fn serve_writing_to(stdout: OwnedFd, arguments: &[&str]) -> Self {
        let mut command = undisturbed(LUNBOX);
        command.args(serve(&handler(), arguments));
        let mut command = piped(command);
        command.stdout(stdout);
        Self::spawn(command)
    }

    /// The same under nohup(1).
    pub fn serve_under_nohup(spec: &str) -> Self {
        let mut command = undisturbed("nohup");
        command.arg(LUNBOX).args(serve(&handler(), &["--size", "1M", spec]));
        Self::spawn(piped(command))
    }

    /// Starts any command.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments))
    }

    /// The next line of stdout.
    pub fn line(&self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(_) => panic!("no line on stdout; stderr: {}", self.errors_so_far()),
        }
    }

    /// The next line of stdout if there is one soon.
    pub fn line_if_there(&self) -> Option<String> {
        self.stdout.recv_timeout(Duration::from_millis(20)).ok()
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
