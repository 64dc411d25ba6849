//! The log: lines of a file, the journal or syslog, never waited for.
//!
//! ```text
//!   event ─▶ filter ─▶ repeated? ─▶ line ─▶ queue (bounded) ─▶ thread ─┬▶ <dir>/tcmu-runner.log
//!   (any thread)                                                       ├▶ journal or syslog
//!                                                                      └▶ standard error
//! ```
//!
//! Whoever logs formats the line and puts it into the queue. If the queue is full the line is lost; it is counted, and
//! a later line says how many were. A thread of this crate writes. Before [`Handle::start_thread`] lines are written by
//! whoever logs, for a process that may have one thread only until it is confined.
//!
//! Two things are written here that crates exist for. `tracing-journald` sends from the thread that logs and waits when
//! the journal does not read; `syslog` waits as well and looks up the name of the host for messages that do not leave
//! it. Both protocols are a few lines.

mod error;
mod escape;
mod file;
mod handle;
mod journal;
mod layer;
mod level;
mod line;
mod output;
mod queue;
mod repeat;
mod standard_error;
mod syslog;
#[cfg(test)]
mod tests;

pub use error::LogError;
pub use handle::{Handle, Options, System, start};
pub use journal::stderr_is_journal;
pub use level::{Level, UnknownLevel};

#[doc(hidden)]
pub use tracing;

/// Name of the file in the directory of the log; tcmu-runner's, so that what rotates and reads it goes on working.
pub const FILE_NAME: &str = "tcmu-runner.log";

/// The tracing target of messages that are [`Level::CRIT`]: tracing has no such level.
pub const CRIT_TARGET: &str = "lunbox_crit";

/// Logs at [`Level::CRIT`]. Arguments as of `tracing::error!`, without a target.
///
/// ```
/// lunbox_log::crit!("Starting...");
/// lunbox_log::crit!(device = "tcm-user/0/disk/file/a", "serves no more");
/// ```
#[macro_export]
macro_rules! crit {
    ($($arguments:tt)+) => {
        $crate::tracing::error!(target: "lunbox_crit", $($arguments)+)
    };
}
