//! Where lines end up. What can not be taken is counted, for each place by itself, and said there later.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;

use crate::journal::Journal;
use crate::level::Level;
use crate::line::Line;
use crate::standard_error::StandardError;
use crate::syslog::Syslog;

/// The system's log.
#[derive(Debug)]
pub(crate) enum SystemLog {
    None,
    Journal(Journal),
    Syslog(Syslog),
}

/// How standard error is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    No,
    /// As the file.
    Lines,
    /// It is the journal's: the system's form, behind the priority (sd-daemon(3)).
    Priorities,
}

/// All places.
#[derive(Debug)]
pub(crate) struct Output {
    zone: TimeZone,
    pid: u32,
    stderr: Stderr,
    system: SystemLog,
    /// Swapped by anybody, without waiting for a write.
    file: Mutex<Option<Arc<File>>>,
    writing: Mutex<Writing>,
    /// Lines that did not reach one of the places.
    lost: AtomicU64,
}

/// What is known of the places between two lines.
#[derive(Debug, Default)]
struct Writing {
    standard_error: StandardError,
    text: String,
    torn: bool,
    failing: bool,
    /// Lines lost and not reported.
    in_file: u64,
    in_stderr: u64,
    in_system: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    pub(crate) fn new(zone: TimeZone, stderr: Stderr, system: SystemLog) -> Self {
        Self {
            zone,
            pid: std::process::id(),
            stderr,
            system,
            file: Mutex::default(),
            writing: Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }

    pub(crate) fn wants_fields(&self) -> bool {
        matches!(self.system, SystemLog::Journal(_))
    }

    pub(crate) fn set_file(&self, file: Option<File>) {
        *lock(&self.file) = file.map(Arc::new);
    }

    pub(crate) fn file(&self) -> Option<Arc<File>> {
        lock(&self.file).clone()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lines that did not even come here.
    pub(crate) fn note_lost(&self, lines: u64) {
        if lines == 0 {
            return;
        }
        self.lost.fetch_add(lines, Ordering::Relaxed);
        let mut writing = lock(&self.writing);
        writing.in_file += lines;
        writing.in_stderr += lines;
        writing.in_system += lines;
    }

    /// Writes a line everywhere it belongs.
    pub(crate) fn write(&self, line: &Line) {
        self.pass(Some(line));
    }

    /// Says how many lines were lost, where that was not said yet.
    pub(crate) fn report_lost(&self) {
        self.pass(None);
    }

    fn pass(&self, line: Option<&Line>) {
        let mut writing = lock(&self.writing);
        let writing = &mut *writing;
        if let Some(file) = self.file() {
            let mut failure = None;
            let mut send =
                |line: &Line| match self.write_file(&file, line, &mut writing.text, &mut writing.torn) {
                    Ok(()) => true,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                };
            let missed = deliver(&mut writing.in_file, line, &mut send);
            self.lost.fetch_add(missed, Ordering::Relaxed);
            match failure {
                Some(error) if !writing.failing => {
                    writing.failing = true;
                    let text =
                        format!("the log can not be written: {error}; its lines are lost until it can");
                    let line = Line::own(Level::ERROR, "output", &text);
                    line.full(&self.zone, self.pid, &mut writing.text);
                    // Also if standard error is no output: there is no other place.
                    writing.standard_error.write(&writing.text);
                }
                Some(_) => {}
                None => writing.failing = false,
            }
        }
        self.write_stderr(writing, line);
        // Every command as it comes is nothing for a log that all programs share.
        if line.is_none_or(|line| line.level < Level::TRACE) {
            let mut send = |line: &Line| match &self.system {
                SystemLog::None => true,
                SystemLog::Journal(journal) => journal.write(line),
                SystemLog::Syslog(syslog) => syslog.write(line, &self.zone, self.pid),
            };
            let missed = deliver(&mut writing.in_system, line, &mut send);
            self.lost.fetch_add(missed, Ordering::Relaxed);
        }
    }

    fn write_stderr(&self, writing: &mut Writing, line: Option<&Line>) {
        let trace = line.is_some_and(|line| line.level == Level::TRACE);
        if self.stderr == Stderr::No || self.stderr == Stderr::Priorities && trace {
            return;
        }
        let (text, stderr) = (&mut writing.text, &mut writing.standard_error);
        let mut send = |line: &Line| {
            match self.stderr {
                Stderr::Priorities => {
                    text.clear();
                    text.push('<');
                    text.push(char::from(b'0' + line.level.priority()));
                    text.push('>');
                    text.push_str(&line.text);
                    text.push('\n');
                }
                Stderr::Lines | Stderr::No => line.full(&self.zone, self.pid, text),
            }
            stderr.write(text)
        };
        let missed = deliver(&mut writing.in_stderr, line, &mut send);
        self.lost.fetch_add(missed, Ordering::Relaxed);
    }

    /// One write for each line: other processes append to the same file.
    fn write_file(
        &self,
        mut file: &File,
        line: &Line,
        text: &mut String,
        torn: &mut bool,
    ) -> std::io::Result<()> {
        line.full(&self.zone, self.pid, text);
        if std::mem::take(torn) {
            text.insert(0, '\n');
        }
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = file.write(rest).and_then(|written| match written {
                0 => Err(std::io::ErrorKind::WriteZero.into()),
                some => Ok(some),
            });
            match written {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    *torn = rest.len() < text.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Sends a line, and before it how many were lost. Returns how many are lost now, 0 or 1.
fn deliver(lost: &mut u64, line: Option<&Line>, send: &mut dyn FnMut(&Line) -> bool) -> u64 {
    let told = *lost == 0 || {
        let text = format!("{lost} lines of the log were lost");
        send(&Line::own(Level::WARN, "output", &text))
    };
    if told {
        *lost = 0;
    }
    match line {
        Some(line) if !told || !send(line) => {
            *lost += 1;
            1
        }
        _ => 0,
    }
}
