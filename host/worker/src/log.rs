//! The log of a worker: standard error, as lunboxd's, but never waited for. A log that nobody takes must not stop
//! LUNs.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::control::SetLevel;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Starts logging at `level` (what tracing calls it; anything else is `info`). The result changes the level.
pub(crate) fn start(level: &str) -> SetLevel {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Stderr).with_ansi(false);
    // Fails where the process logs already: then that log it is.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Box::new(move |level| {
        if handle.reload(self::filter(level)).is_err() {
            tracing::warn!(level, "the level of the log could not be changed");
        }
    })
}

/// Our own crates at the level asked for, all others only with warnings.
fn filter(level: &str) -> EnvFilter {
    let level: LevelFilter = level.parse().unwrap_or(LevelFilter::INFO);
    let others = level.min(LevelFilter::WARN);
    EnvFilter::new(format!("{others},lunbox={level}"))
}

struct Stderr;

impl Write for Stderr {
    /// A whole line. What can not be taken at once is dropped and counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !is_ready() {
            LOST.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ =
                nix::unistd::write(io::stderr(), format!("{lost} lines of the log were lost\n").as_bytes());
        }
        if nix::unistd::write(io::stderr(), line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a line can be written without waiting. The flag that would ask the kernel for that belongs to the open
/// file, which others have, too.
fn is_ready() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLOUT))
}
