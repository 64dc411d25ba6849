//! What changes while the daemon serves: its settings.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use lunbox_conf::Watcher;
use lunbox_log::{Handle, Level, LogError};

use crate::compiler::Compiler;
use crate::foreign::{Foreign, Unclaimed};
use crate::metrics::{Metrics, ServeError};
use crate::reload::Effects;
use crate::watch::Watch;
use crate::workers::Pool;

/// Workers, and what they are told of the log. The log itself, which lives as long as the process, keeps one of these.
#[derive(Clone)]
pub(super) struct WorkersLog {
    pub(super) log: Handle,
    pub(super) pool: Weak<Pool>,
}

impl WorkersLog {
    /// Workers log as much as the supervisor, and to the same file.
    pub(super) fn tell(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.set_log(|| (self.log.level(), self.log.file()));
        }
    }
}

/// What follows changes until it is dropped, and what they are put into effect with.
pub(super) struct Watches {
    pub(super) configuration: Option<Watcher>,
    pub(super) handlers: Option<Watch>,
    pub(super) metrics: Arc<Mutex<Metrics>>,
}

impl Drop for Watches {
    fn drop(&mut self) {
        drop(self.configuration.take());
        drop(self.handlers.take());
        // Their threads may have been left behind, and have it too: its socket goes from the file system now.
        match self.metrics.try_lock() {
            Ok(mut metrics) => metrics.end(),
            Err(TryLockError::Poisoned(metrics)) => metrics.into_inner().end(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// What changed settings are put into effect with.
pub(super) struct Live {
    pub(super) workers: WorkersLog,
    /// Its children log as much as we do.
    pub(super) compiler: Compiler,
    pub(super) foreign: Foreign,
    pub(super) metrics: Arc<Mutex<Metrics>>,
}

impl Effects for Live {
    fn level(&mut self, level: Level) {
        self.workers.log.set_level(level);
        self.compiler.set_level(level.to_string());
        self.workers.tell();
    }

    fn log_directory(&mut self, directory: &Path) -> Result<(), LogError> {
        self.workers.log.set_directory(Some(directory))
    }

    fn unclaimed(&mut self, unclaimed: Unclaimed) {
        self.foreign.set_unclaimed(unclaimed);
    }

    fn metrics(&mut self, address: Option<&str>) -> Result<(), ServeError> {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        match address {
            Some(address) => metrics.serve(address),
            None => {
                metrics.end();
                Ok(())
            }
        }
    }
}
