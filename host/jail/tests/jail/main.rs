//! What a jail lets through and what it does not, tried from inside of it.
//!
//! Each trial runs in a process of its own, as a process confines itself once and only while it has one thread; so
//! this is no test of the ordinary harness. `cargo test -p lunbox-jail --test jail -- WORD` runs those trials whose
//! names contain the word. Most of it needs root; what can not be tried here is listed at the end.
#![allow(clippy::unwrap_used, reason = "all of this is a test, which clippy sees by the harness only")]

mod allowed;
mod degraded;
mod parts;
mod policy;
mod raw;
mod refused;
mod stage;
mod trial;

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lunbox_jail::{Part, Profile};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::trial::{ERRNO_BASE, Jail, NOT_ENTERED, Outcome, Trial, end};

/// How long one trial may take; the longest computes for a second.
const PATIENCE: Duration = Duration::from_secs(30);

fn trials() -> Vec<Trial> {
    let mut list = Vec::new();
    policy::trials(&mut list);
    parts::trials(&mut list);
    degraded::trials(&mut list);
    list
}

/// A jail of one part, to see whether this machine and this user can have it.
fn jail_of(part: Part) -> Jail {
    Jail::of(Profile::Worker, &[part]).user(parts::NOBODY)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", name] => {
            let trials = trials();
            trials.iter().find(|trial| trial.name == name).expect("the runner names trials that exist").run()
        }
        ["--can", word] => {
            let part = Part::ALL.into_iter().find(|part| part.to_string() == word).unwrap();
            end(u64::from(jail_of(part).enter().is_err()))
        }
        _ => run_all(&arguments),
    }
}

/// What the children find outside.
struct Surroundings {
    _directory: tempfile::TempDir,
    _socket: std::os::unix::net::UnixListener,
    _port: TcpListener,
    variables: Vec<(&'static str, String)>,
}

impl Surroundings {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (secret, foreign) = (directory.path().join("secret"), directory.path().join("foreign"));
        fs::write(&secret, "readable for everybody").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&foreign, "readable for its owner").unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(&foreign, Some(parts::NOBODY), None).unwrap();
        }
        let name = format!("lunbox-jail-test-{}", std::process::id());
        let socket = stage::abstract_listener(&name);
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let variables = vec![
            (stage::SECRET, secret.to_str().unwrap().to_owned()),
            (stage::FOREIGN, foreign.to_str().unwrap().to_owned()),
            (stage::ABSTRACT, name),
            (stage::PORT, port.local_addr().unwrap().port().to_string()),
            // The C library has registered rseq otherwise, and it can be registered once.
            ("GLIBC_TUNABLES", "glibc.pthread.rseq=0".to_owned()),
        ];
        Self { _directory: directory, _socket: socket, _port: port, variables }
    }
}

/// A copy of this program that any user may execute: the build directory is often closed to others.
fn executable(surroundings: &Surroundings) -> std::path::PathBuf {
    let copy = surroundings._directory.path().join("jail");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn run_all(arguments: &[String]) -> ExitCode {
    policy::check_completeness();
    let word = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", String::as_str);
    let surroundings = Surroundings::new();
    let program = executable(&surroundings);
    let root = nix::unistd::geteuid().is_root();
    let lacking: Vec<Part> = Part::ALL
        .into_iter()
        .filter(|part| {
            let mut child = Command::new(&program);
            !child.args(["--can", &part.to_string()]).stderr(Stdio::null()).status().unwrap().success()
        })
        .collect();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for trial in trials().iter().filter(|trial| trial.name.contains(word)) {
        let needs = trial.jail.iter().flat_map(|jail| &jail.parts).find(|part| lacking.contains(part));
        if let Some(part) = needs {
            skipped.push(format!("{} (needs {part})", trial.name));
        } else if !root && (trial.needs_root || trial.jail.iter().any(|jail| jail.confinement.user.is_some()))
        {
            skipped.push(format!("{} (needs root)", trial.name));
        } else {
            let (seen, said) = run(&program, trial, &surroundings);
            match seen {
                Ok(seen) if trial.expected.is_met_by(seen) => passed += 1,
                Ok(seen) => {
                    failed.push(format!("{}: {seen} instead of {}\n{said}", trial.name, trial.expected));
                }
                Err(text) => failed.push(format!("{}: {text}\n{said}", trial.name)),
            }
        }
    }
    for name in &skipped {
        println!("not tried here: {name}");
    }
    for text in &failed {
        println!("FAILED {}", text.trim_end());
    }
    println!("jail: {passed} passed, {} failed, {} not tried here", failed.len(), skipped.len());
    if failed.is_empty() && (passed > 0 || !skipped.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What came of a trial, and what its process said.
fn run(program: &std::path::Path, trial: &Trial, around: &Surroundings) -> (Result<Outcome, String>, String) {
    let mut command = Command::new(program);
    command.args(["--child", &trial.name]);
    lunbox_jail::scrub(&mut command);
    command.envs(around.variables.iter().map(|(name, value)| (name, value)));
    if let Some(uid) = trial.start_as {
        command.uid(uid).gid(uid);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The pipe closes when the last process that holds it has ended.
    let mut said = Vec::new();
    let mut pipe = File::from(std::os::fd::OwnedFd::from(child.stderr.take().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = PollTimeout::try_from(left).unwrap();
        if poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], limit) == Ok(0) {
            child.kill().unwrap();
            break false;
        }
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer).unwrap() {
            0 => break true,
            length => said.extend_from_slice(&buffer[..length]),
        }
    };
    let status = child.wait().unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    let seen = match (in_time, status.signal(), status.code()) {
        (false, ..) => Err(format!("it did not end within {PATIENCE:?}")),
        (true, Some(signal), _) => Ok(Outcome::Killed(Signal::try_from(signal).unwrap())),
        (true, None, Some(0)) => Ok(Outcome::Works),
        (true, None, Some(NOT_ENTERED)) => Err("it could not enter its jail".to_owned()),
        (true, None, Some(code)) if code > ERRNO_BASE => {
            Ok(Outcome::Fails(Errno::from_raw(code - ERRNO_BASE)))
        }
        (true, None, code) => Err(format!("it failed with {code:?}")),
    };
    (seen, said)
}
