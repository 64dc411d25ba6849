//! The log from event to line.

mod file;
mod form;
mod limits;
mod system;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};

use crate::handle::with;
use crate::output::{Output, Stderr, SystemLog};
use crate::{FILE_NAME, Handle, Level, Options};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

fn options(level: Level) -> Options {
    Options { stderr: false, ..Options::new(level) }
}

fn two_hours_east() -> TimeZone {
    TimeZone::fixed(Offset::constant(2))
}

/// Runs `body` with a log of its own, and waits until all is written.
fn logged(options: Options, system: SystemLog, body: impl FnOnce(&Handle)) -> Handle {
    let output = Output::new(two_hours_east(), Stderr::No, system);
    let (subscriber, handle) = with(options, output).unwrap();
    handle.start_thread().unwrap();
    tracing::subscriber::with_default(subscriber, || body(&handle));
    assert!(handle.flush(SOON));
    handle
}

/// What stands in the file behind time and process id.
fn lines(options: Options, body: impl FnOnce(&Handle)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    logged(Options { directory: Some(folder.path().to_owned()), ..options }, SystemLog::None, body);
    let lines = read(folder.path());
    lines.iter().map(|line| rest(line).to_owned()).collect()
}

fn read(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(FILE_NAME)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has its end");
    text.lines().map(str::to_owned).collect()
}

/// A line without its head, which is checked.
fn rest(line: &str) -> &str {
    let head = "2026-11-23 00:10:25.123 ".len();
    let (time, rest) = line.split_at(head);
    let form: String =
        time.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
    assert_eq!(form, "0000-00-00 00:00:00.000 ", "{line}");
    let (pid, rest) = rest.split_once(' ').unwrap();
    assert_eq!(pid, std::process::id().to_string(), "{line}");
    rest
}

fn descriptor(file: impl Into<OwnedFd>) -> Option<OwnedFd> {
    Some(file.into())
}
