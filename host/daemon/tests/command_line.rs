//! The program as others start it: its answers, its exit statuses, where its log goes. Nothing here comes as far as the
//! kernel: a policy file that is not there ends each start before the instance lock is taken.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lunboxd");

fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The name under which others look for tcmu-runner, as a link in a directory of its own.
fn runner(directory: &Path) -> PathBuf {
    let link = directory.join("tcmu-runner");
    symlink(PROGRAM, &link).unwrap();
    link
}

#[test]
fn cli_7_a_program_called_tcmu_runner_prints_a_version_that_others_understand() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(directory.path());
    for program in [runner.as_path(), Path::new(PROGRAM)] {
        for option in ["-V", "--version"] {
            let output = Command::new(program).arg(option).output().unwrap();
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
            let last = text(&output.stdout).split_whitespace().next_back().unwrap();
            let numbers: Vec<u32> = last.split('.').map(|part| part.parse().unwrap()).collect();
            assert!(numbers >= vec![1, 6, 2], "{last}");
        }
    }
    let output = Command::new(&runner).arg("-V").output().unwrap();
    assert_eq!(text(&output.stdout), "tcmu-runner 1.6.2\n");
    // And its help does not call it anything else.
    let output = Command::new(&runner).arg("-h").output().unwrap();
    assert!(text(&output.stdout).contains("Usage: tcmu-runner "));
}

#[test]
fn a_program_called_tcmu_runner_is_called_that_by_the_kernel() {
    let directory = tempfile::tempdir().unwrap();
    // A child that waits for its input, which it gets when it was looked at.
    let mut command = Command::new(runner(directory.path()));
    command.args(["compile", "--level", "crit"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    // The kernel gives the name a moment after it has let the starter go on.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut name = String::new();
    while name != "tcmu-runner\n" && Instant::now() < deadline {
        name = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(name, "tcmu-runner\n");
}

#[test]
fn cli_6_help_goes_to_stdout_and_is_no_failure() {
    for option in ["-h", "--help", "--he"] {
        let output = run([option]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{option}");
        assert!(text(&output.stdout).contains("Usage: lunboxd"), "{option}");
    }
}

#[test]
fn cli_5_and_cli_8_what_is_not_understood_ends_with_status_1_and_a_message() {
    let cases: [(&[&str], &str); 6] = [
        (&["-x"], "unexpected argument '-x'"),
        (&["--no-such"], "unexpected argument '--no-such'"),
        (&["stray"], "unexpected argument 'stray'"),
        (&["-f", "65535"], "must be from 65536 to 1048576"),
        (&["--nofile", "-1"], "must be from 65536 to 1048576"),
        (&["-l"], "a value is required"),
    ];
    for (arguments, message) in cases {
        let output = run(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", text(&output.stderr));
        let usage = text(&output.stderr).contains("Usage: lunboxd");
        assert!(usage || !message.starts_with("unexpected"), "{arguments:?}");
    }
}

#[test]
fn sig_3_a_reader_that_goes_away_does_not_kill() {
    let mut command = Command::new(PROGRAM);
    let mut child = command.arg("--help").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A machine of files.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new(conf: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tcmu.conf"), conf).unwrap();
        fs::create_dir(root.path().join("handlers")).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_remove("TCMU_LOGDIR").env_remove("JOURNAL_STREAM");
        command.arg("--config").arg(self.path("tcmu.conf"));
        command.arg("--handler-path").arg(self.path("handlers"));
        command.arg("--run-dir").arg(self.path("run"));
        command.arg("--cache-dir").arg(self.path("cache"));
        command
    }

    /// A start that ends soon after it has begun to log.
    fn start(&self, arguments: &[&str], variable: Option<&Path>) -> Output {
        let mut command = self.command();
        command.arg("--policy").arg(self.path("no-policy")).args(arguments);
        if let Some(variable) = variable {
            command.env("TCMU_LOGDIR", variable);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        output
    }

    fn log(&self, directory: &str) -> Option<String> {
        fs::read_to_string(self.path(directory).join("tcmu-runner.log")).ok()
    }
}

/// Only root comes as far as the log; whoever else tries is told so.
fn is_root(output: &Output) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    assert_ne!(is_root, text(&output.stderr).contains("must run as root"));
    is_root
}

#[test]
fn prec_1_and_cfg_9_the_log_is_where_the_file_says_then_the_option_then_the_environment() {
    let place = Place::new("");
    let environment = place.path("environment");
    let option = place.path("option/deep");
    let option = option.to_str().unwrap();
    if !is_root(&place.start(&["-l", option], Some(&environment))) {
        return;
    }
    assert!(place.log("option/deep").is_some() && !environment.exists());
    place.start(&[], Some(&environment));
    assert!(place.log("environment").is_some());
    let file = place.path("file");
    fs::write(place.path("tcmu.conf"), format!("log_dir = {}\n", file.display())).unwrap();
    fs::remove_dir_all(place.path("option")).unwrap();
    place.start(&["-l", option], Some(&environment));
    assert!(place.log("file").is_some() && !Path::new(option).exists());
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file.clone()), mode(file.join("tcmu-runner.log"))), (0o755, 0o600));
}

#[test]
fn log_9_and_exit_1_a_start_that_fails_is_told_from_its_beginning_to_its_end() {
    let place = Place::new("log_level = 0\n? no line\n");
    let directory = place.path("log");
    let output = place.start(&["-l", directory.to_str().unwrap()], None);
    if !is_root(&output) {
        return;
    }
    let log = place.log("log").unwrap();
    assert!(log.contains("[CRIT]") && log.contains("Starting...") && log.contains("Exiting..."), "{log}");
    assert!(!log.contains("no line"), "level 0 is for what is critical: {log}");
    fs::write(place.path("tcmu.conf"), "? no line\n").unwrap();
    place.start(&["-l", directory.to_str().unwrap()], None);
    let log = place.log("log").unwrap();
    assert!(log.contains("tcmu.conf: line 1: `? no line` does not begin with a letter"), "{log}");
    assert!(log.contains("[ERROR]") && log.contains("no-policy"), "{log}");
    assert_eq!(log.matches("Starting...").count(), 2, "it is appended to: {log}");
}

#[test]
fn cfg_2_a_missing_file_is_told_and_nothing_is_waited_for() {
    let place = Place::new("");
    fs::remove_file(place.path("tcmu.conf")).unwrap();
    let directory = place.path("log");
    let begun = Instant::now();
    if !is_root(&place.start(&["-l", directory.to_str().unwrap()], None)) {
        return;
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    let log = place.log("log").unwrap();
    assert!(log.contains("[WARN]") && log.contains("tcmu.conf: there is no such file"), "{log}");
}

#[test]
fn exit_1_a_log_that_can_not_be_opened_is_told_on_stderr() {
    let place = Place::new("");
    fs::write(place.path("file"), "").unwrap();
    let directory = place.path("file/log");
    let output = place.start(&["-l", directory.to_str().unwrap()], None);
    if is_root(&output) {
        assert!(text(&output.stderr).contains("log_dir"), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("file/log"), "{}", text(&output.stderr));
    }
}

#[test]
fn check_tells_what_is_wrong_and_starts_and_writes_nothing() {
    let place = Place::new("log_level = 4\n");
    let check = |place: &Place| {
        let mut command = place.command();
        command.arg("--policy").arg(place.path("policy.toml"));
        command.arg("-l").arg(place.path("log")).arg("--check").output().unwrap()
    };
    let policy = "version = 1\n[default]\n";
    fs::write(place.path("policy.toml"), policy).unwrap();
    fs::set_permissions(place.path("policy.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let output = check(&place);
    let found = text(&output.stdout);
    // The policy has to belong to root.
    let expected = if nix::unistd::geteuid().is_root() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{found}{}", text(&output.stderr));
    assert!(found.contains("ok: log level DEBUG, log file "), "{found}");
    assert!(found.contains("warning: ") && found.contains("no handlers"), "{found}");

    fs::write(place.path("tcmu.conf"), "log_level = x\nlog_dri = /a\n").unwrap();
    fs::write(place.path("policy.toml"), "version = 7\n").unwrap();
    fs::write(place.path("handlers/handler_broken.wasm"), "no component").unwrap();
    let output = check(&place);
    let found = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{found}");
    for problem in
        ["line 1: log_level: `x`", "line 2: log_dri: no such key", "policy: ", "handler_broken.wasm"]
    {
        let told = found.lines().any(|line| line.starts_with("problem: ") && line.contains(problem));
        assert!(told, "{problem}: {found}");
    }
    for untouched in ["run", "cache", "log"] {
        assert!(!place.path(untouched).exists(), "{untouched}");
    }
}
