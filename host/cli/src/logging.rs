//! Log lines on stderr, and the live status line that they must not tear.

use std::io::{self, Write};
use std::sync::OnceLock;

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::LogLevel;

/// The live status line, if there is one.
static STATUS: OnceLock<ProgressBar> = OnceLock::new();

/// Names the line that everything else on the terminal has to make room for. Only the first call counts.
pub fn set_status(bar: &ProgressBar) {
    // A process has one status line.
    let _ = STATUS.set(bar.clone());
}

/// Writes while the status line is taken away for a moment.
pub fn beside_the_status(write: impl FnOnce()) {
    match STATUS.get() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Starts logging. A level applies to Lunbox's own code, others then only warn; RUST_LOG is a filter of its own.
pub fn start(level: Option<LogLevel>) {
    let filter = match level {
        None => EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy(),
        Some(level) => {
            let level = match level {
                LogLevel::Off => LevelFilter::OFF,
                LogLevel::Error => LevelFilter::ERROR,
                LogLevel::Warn => LevelFilter::WARN,
                LogLevel::Info => LevelFilter::INFO,
                LogLevel::Debug => LevelFilter::DEBUG,
                LogLevel::Trace => LevelFilter::TRACE,
            };
            let others = level.min(LevelFilter::WARN);
            EnvFilter::new(format!("{others},lunbox={level}"))
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines).with_ansi(false).init();
}

/// Writes whole log lines beside the status.
struct Lines;

struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        beside_the_status(|| {
            // A log that nobody reads is no reason to stop.
            let _ = io::stderr().lock().write_all(&self.0);
        });
    }
}
