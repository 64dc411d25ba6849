//! The life of a device's handler instances: made, served by, lost, made again.
//!
//! A fault ends an instance. The next one is made at once as long as faults are rare; a handler that fails again
//! and again is given growing pauses, in which its LUN answers BUSY and everybody else's CPU is left alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_contract::{DeviceConfig, DeviceInfo, UnmapLimits};
use lunbox_engine::{Abilities, Fault, Handler, HandlerFactory, Limits, SharedBuffers};

use crate::settings::StartError;

/// Faults in a row that are forgiven without a pause.
const FREE_FAILURES: u32 = 3;
/// First pause; doubles with each further fault.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Commands that must be planned without a fault before earlier faults are forgotten.
const FORGIVEN_AFTER: u32 = 256;

/// The current instance, if there is one, and what it takes to make the next.
pub(crate) struct Guest {
    factory: Arc<dyn HandlerFactory>,
    buffers: SharedBuffers,
    limits: Limits,
    config: DeviceConfig,
    instance: Option<Box<dyn Handler>>,
    /// What the last instance said of its unmapping.
    unmap: Option<UnmapLimits>,
    failures: u32,
    planned: u32,
    retry_at: Option<Instant>,
    lost_at: Option<Instant>,
}

/// What became of an attempt to make an instance.
pub(crate) enum Rebuild {
    /// A new instance serves a LUN of so many bytes.
    Serves(u64),
    /// The pause is not over.
    Wait,
    /// It failed again; try after the pause.
    Failed(String),
}

impl Guest {
    /// Makes the first instance.
    pub(crate) fn start(
        factory: Arc<dyn HandlerFactory>,
        buffers: SharedBuffers,
        limits: Limits,
        config: DeviceConfig,
    ) -> Result<(Self, DeviceInfo), StartError> {
        let mut guest = Self {
            factory,
            buffers,
            limits,
            config,
            instance: None,
            unmap: None,
            failures: 0,
            planned: 0,
            retry_at: None,
            lost_at: None,
        };
        let (instance, info) = guest.make()?;
        guest.instance = Some(instance);
        Ok((guest, info))
    }

    fn make(&mut self) -> Result<(Box<dyn Handler>, DeviceInfo), StartError> {
        let mut instance =
            self.factory.instantiate(&self.config.name, SharedBuffers::clone(&self.buffers), &self.limits)?;
        let info = instance.configure(&self.config)??;
        let (size, block_size) = (info.size, self.config.block_size);
        if size == 0 || !size.is_multiple_of(block_size.into()) {
            return Err(StartError::Setting {
                field: "device-info.size",
                problem: format!(
                    "the handler found a size of {size} bytes, which is 0 or not a multiple of the block size of \
                     {block_size}; create the device with a block size that fits its storage (hw_block_size)"
                ),
            });
        }
        self.unmap = if self.abilities().unmap { instance.unmap_limits()? } else { None };
        Ok((instance, info))
    }

    /// The interfaces that the handler has.
    pub(crate) fn abilities(&self) -> Abilities {
        self.factory.abilities()
    }

    /// What the last instance said of its unmapping; None if it can not on this device.
    pub(crate) const fn unmap_limits(&self) -> Option<UnmapLimits> {
        self.unmap
    }

    /// The instance, unless it was lost.
    pub(crate) fn instance(&mut self) -> Option<&mut (dyn Handler + 'static)> {
        self.instance.as_deref_mut()
    }

    pub(crate) const fn serves(&self) -> bool {
        self.instance.is_some()
    }

    /// It serves and has not failed lately.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.instance.is_some() && self.failures == 0
    }

    /// A command was planned without a fault.
    pub(crate) fn planned(&mut self) {
        if self.failures > 0 {
            self.planned += 1;
            if self.planned >= FORGIVEN_AFTER {
                (self.failures, self.planned) = (0, 0);
            }
        }
    }

    /// The instance failed: it is dropped, and the pause before the next one begins.
    pub(crate) fn lose(&mut self, now: Instant) {
        self.instance = None;
        self.failures = self.failures.saturating_add(1);
        self.planned = 0;
        self.retry_at = Some(now + self.pause());
        self.lost_at.get_or_insert(now);
    }

    fn pause(&self) -> Duration {
        match self.failures.saturating_sub(FREE_FAILURES) {
            0 => Duration::ZERO,
            more => FIRST_PAUSE.saturating_mul(1 << (more - 1).min(16)).min(LAST_PAUSE),
        }
    }

    /// Time until a new instance may be made; zero if now.
    pub(crate) fn pause_left(&self, now: Instant) -> Duration {
        self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// How long there has been no instance.
    pub(crate) fn down_for(&self, now: Instant) -> Duration {
        self.lost_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Makes a new instance if the pause is over. The operations of the lost instance's commands must have ended.
    pub(crate) fn rebuild(&mut self, now: Instant) -> Rebuild {
        if self.pause_left(now) > Duration::ZERO {
            return Rebuild::Wait;
        }
        match self.make() {
            Ok((instance, info)) => {
                self.instance = Some(instance);
                (self.retry_at, self.lost_at) = (None, None);
                Rebuild::Serves(info.size)
            }
            Err(error) => {
                self.lose(now);
                Rebuild::Failed(error.to_string())
            }
        }
    }

    /// The size that later instances are configured with.
    pub(crate) const fn set_size(&mut self, bytes: u64) {
        self.config.size = bytes;
    }

    /// Asks the instance to take a new size.
    pub(crate) fn resize(
        &mut self,
        bytes: u64,
    ) -> Option<Result<Result<(), lunbox_contract::ConfigError>, Fault>> {
        self.instance.as_mut().map(|instance| instance.resize(bytes))
    }

    pub(crate) fn can_resize(&self) -> bool {
        self.factory.abilities().resize
    }
}
