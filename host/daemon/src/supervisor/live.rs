//! What changes while the daemon serves: its settings, and what the bus shows of it.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lunbox_bus::BusError;
use lunbox_log::{Handle, Level, LogError};

use crate::bus;
use crate::foreign::{Foreign, Unclaimed};
use crate::handlers::Handlers;
use crate::metrics::Metrics;
use crate::reload::Effects;
use crate::workers::Pool;

/// The service on the bus, once it is there. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct BusName(Arc<OnceLock<lunbox_bus::Handle>>);

impl BusName {
    /// Takes the name. Without a bus it is tried again later.
    pub(super) fn own(&self, setting: bus::Setting) -> Result<(), BusError> {
        let handlers = setting.handlers.clone();
        // Nobody has set it before.
        let _ = self.0.set(bus::start(setting)?);
        // They may have changed since.
        self.show(&handlers);
        Ok(())
    }

    pub(super) fn show(&self, handlers: &Handlers) {
        if let Some(handle) = self.0.get() {
            handle.set_handlers(bus::announced(handlers));
        }
    }
}

/// What changed settings are put into effect with.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) log: Handle,
    pub(super) pool: Arc<Pool>,
    pub(super) foreign: Foreign,
    pub(super) metrics: Arc<Mutex<Metrics>>,
}

impl Live {
    /// Workers log as much as the supervisor, and to the same file.
    pub(super) fn tell_workers(&self) {
        self.pool.set_log(self.log.level(), self.log.file());
    }
}

impl Effects for Live {
    fn level(&mut self, level: Level) {
        self.log.set_level(level);
        self.tell_workers();
    }

    fn log_directory(&mut self, directory: &Path) -> Result<(), LogError> {
        self.log.set_directory(Some(directory))
    }

    fn unclaimed(&mut self, unclaimed: Unclaimed) {
        self.foreign.set_unclaimed(unclaimed);
    }

    fn metrics(&mut self, address: Option<&str>) {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).serve(address);
    }
}
