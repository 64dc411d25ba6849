//! The log of a worker: standard error, and the file that the supervisor sends. Neither is waited for: a log that nobody
//! takes must not stop LUNs.

use std::time::Duration;

use lunbox_log::{Handle, Level, LogError, Options};

use crate::control::{SetLevel, SetLog};

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The log of this process, if it is this process's.
pub(crate) struct Log {
    handle: Option<Handle>,
}

impl Log {
    /// Starts logging at `level` (a word of [`Level`]; anything else is `info`), without a thread: the jail wants a
    /// process that has one only. The time zone is read here, since later there are no files.
    pub(crate) fn start(level: &str) -> Self {
        let options = Options { thread: false, ..Options::new(read(level)) };
        // Fails where the process logs already: then that log it is.
        Self { handle: lunbox_log::start(options).ok() }
    }

    /// From now on a thread writes.
    pub(crate) fn confined(&self) -> Result<(), LogError> {
        self.handle.as_ref().map_or(Ok(()), Handle::start_thread)
    }

    pub(crate) fn set_level(&self) -> SetLevel {
        let handle = self.handle.clone();
        Box::new(move |level| {
            if let Some(handle) = &handle {
                handle.set_level(read(level));
            }
        })
    }

    pub(crate) fn set_file(&self) -> SetLog {
        let handle = self.handle.clone();
        Box::new(move |file| {
            if let Some(handle) = &handle {
                handle.set_file(file);
            }
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            // What hangs is not waited for, and there is nobody to tell.
            let _ = handle.flush(LAST_LINES);
        }
    }
}

fn read(level: &str) -> Level {
    level.parse().unwrap_or(Level::INFO)
}
