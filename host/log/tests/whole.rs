//! The log of whole processes: each test starts itself again as the process that logs.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lunbox_log::{FILE_NAME, Level, LogError, Options, System, crit};

const SOON: Duration = Duration::from_secs(60);

/// In the environment of a child: the folder that it may use.
const FOLDER: &str = "LUNBOX_LOG_TEST_FOLDER";

/// This test again, in a process of its own.
fn again(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command.env_remove("JOURNAL_STREAM").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Whether this process is the child.
fn folder() -> Option<std::path::PathBuf> {
    std::env::var_os(FOLDER).map(Into::into)
}

fn ends_well(mut child: Child) {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return assert!(status.success(), "{status}");
        }
        if begin.elapsed() > SOON {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn cfg_9_the_umask_of_the_unit_does_not_close_directories_that_are_made() {
    if let Some(folder) = folder() {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let options =
            Options { stderr: false, directory: Some(folder.join("a/b")), ..Options::new(Level::INFO) };
        lunbox_log::start(options).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "cfg_9_the_umask_of_the_unit_does_not_close_directories_that_are_made";
    ends_well(again(test, folder.path()).spawn().unwrap());
    let mode = |path: &str| folder.path().join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("a"), mode("a/b")), (0o755, 0o755));
    assert_eq!(mode(&format!("a/b/{FILE_NAME}")), 0o600);
}

#[test]
fn two_processes_append_whole_lines_to_one_file() {
    const LINES: usize = 3000;
    if let Some(folder) = folder() {
        // One has the file by name, as the supervisor, the other by descriptor, as a worker.
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let passed = File::from(stdin.try_clone().unwrap()).metadata().unwrap().is_file();
        let options = Options { stderr: false, thread: false, ..Options::new(Level::INFO) };
        let options = match passed {
            true => Options { file: Some(stdin), ..options },
            false => Options { directory: Some(folder), ..options },
        };
        let handle = lunbox_log::start(options).unwrap();
        handle.start_thread().unwrap();
        for number in 0..LINES {
            tracing::info!(target: "lunbox_test", "{passed} {number} {}", "x".repeat(number % 1000));
        }
        assert!(handle.flush(SOON));
        assert_eq!(handle.lost(), 0);
        let again = lunbox_log::start(Options::new(Level::INFO));
        assert!(matches!(again, Err(LogError::Taken)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let file = File::options().append(true).create(true).mode(0o600).open(&path).unwrap();
    let name = "two_processes_append_whole_lines_to_one_file";
    let supervisor = again(name, folder.path()).spawn().unwrap();
    let worker = again(name, folder.path()).stdin(OwnedFd::from(file)).spawn().unwrap();
    let (supervisor_pid, worker_pid) = (supervisor.id(), worker.id());
    ends_well(supervisor);
    ends_well(worker);
    let text = std::fs::read_to_string(&path).unwrap();
    for (pid, passed) in [(supervisor_pid, false), (worker_pid, true)] {
        let head = format!(" {pid} [INFO] whole:");
        let mut lines = text.lines().filter(|line| line.contains(&head));
        for number in 0..LINES {
            let line = lines.next().unwrap();
            let end = format!(": {passed} {number} {}", "x".repeat(number % 1000));
            assert!(line.ends_with(&end) && line.matches(&head).count() == 1, "{line}");
        }
        assert_eq!(lines.next(), None);
    }
    assert_eq!(text.lines().count(), 2 * LINES);
}

#[test]
fn standard_error_that_is_the_journal_gets_priorities_and_no_dumps() {
    if folder().is_some() {
        let mut word = String::new();
        std::io::stdin().read_to_string(&mut word).unwrap();
        // As systemd tells it, though the number is known only after the pipe is there.
        let stderr = std::fs::metadata("/proc/self/fd/2").unwrap();
        assert_eq!(word, format!("{}:{}", stderr.dev(), stderr.ino()));
        assert_eq!(lunbox_log::stderr_is_journal(), std::env::var("JOURNAL_STREAM") == Ok(word));
        let handle = lunbox_log::start(Options::new(Level::TRACE)).unwrap();
        crit!("Starting...");
        tracing::error!(target: "lunbox_test", device = "tcm-user/0/disk/file/a", "gone\n<0>forged");
        tracing::trace!(target: "lunbox_test", "28 0 0 0");
        tracing::debug!(target: "lunbox_test", "d");
        assert!(handle.flush(SOON));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "standard_error_that_is_the_journal_gets_priorities_and_no_dumps";
    let run = |journal: bool| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let found = File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
        let told = format!("{}:{}", found.dev(), found.ino());
        let mut command = again(name, folder.path());
        command.stdin(Stdio::piped()).stderr(writer);
        if journal {
            command.env("JOURNAL_STREAM", &told);
        }
        let mut child = command.spawn().unwrap();
        drop(command);
        child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        ends_well(child);
        text.lines().filter(|line| line.contains("whole:")).map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = run(true);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, (begin, end)) in lines.iter().zip([
        ("<2>whole:", ": Starting..."),
        ("<3>whole:", " file/disk: gone\\n<0>forged"),
        ("<7>whole:", ": d"),
    ]) {
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }
    let lines = run(false);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, token) in lines.iter().zip(["CRIT", "ERROR", "DEBUG_SCSI_CMD", "DEBUG"]) {
        assert!(line.contains(&format!(" [{token}] whole:")), "{line}");
    }
}

#[test]
fn standard_error_that_nobody_reads_stops_neither_the_file_nor_the_end() {
    const LINES: usize = 2000;
    if let Some(folder) = folder() {
        let options = Options { directory: Some(folder), system: System::None, ..Options::new(Level::INFO) };
        let handle = lunbox_log::start(options).unwrap();
        for number in 0..LINES {
            tracing::info!(target: "lunbox_test", "{number} {}", "x".repeat(number * 7 % 10_000));
            if number % 500 == 0 {
                assert!(handle.flush(SOON));
            }
        }
        assert!(handle.flush(SOON));
        assert!(handle.lost() > 0);
        return;
    }
    for closed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = (!closed).then_some(reader);
        let name = "standard_error_that_nobody_reads_stops_neither_the_file_nor_the_end";
        let child = again(name, folder.path()).stderr(writer).spawn().unwrap();
        ends_well(child);
        let text = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(text.lines().count(), LINES);
        drop(reader);
    }
}

#[test]
fn what_cannot_be_opened_is_an_error_that_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let options = Options { directory: Some(file.join("below")), ..Options::new(Level::INFO) };
    let error = lunbox_log::start(options).unwrap_err();
    assert!(matches!(error, LogError::Directory { .. }), "{error}");
    assert!(error.to_string().starts_with("log_dir "), "{error}");
}
