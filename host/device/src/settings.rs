//! What a device is started with.

use std::sync::Arc;
use std::time::Duration;

use lunbox_contract::StoreInfo;
use lunbox_engine::{Fault, HandlerFactory, Limits};
use lunbox_scsi::{BlockSize, Blocks, Bytes, TargetPort, TargetPortGroup};
use lunbox_store::{Backend, ExecutorError, Store};
use lunbox_tcmu::Ring;

use crate::control::Event;

/// How a LUN presents itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Size of the LUN; a multiple of the block size, not 0. The handler may know better ([`Event::Resized`]).
    pub size: Bytes,
    /// Logical block size.
    pub block_size: BlockSize,
    /// Writes are answered 7/27/00.
    pub read_only: bool,
    /// Longest transfer that VPD B0 advertises (the kernel's `hw_max_sectors`, in logical blocks).
    pub max_transfer: Blocks,
    /// Limits of the handler.
    pub limits: Limits,
    /// How file stores are driven.
    pub backend: Backend,
    /// Commands that take longer are counted and logged, and go on. None or zero: no command is late.
    pub command_timeout: Option<Duration>,
    /// Whether the LUN has a write cache ([`crate::DeviceHandle::set_write_cache`]). None: as the handler says.
    pub write_cache: Option<bool>,
    /// The other mode parameters that an earlier loop was left with.
    pub modes: Modes,
}

/// Mode parameters that initiators set (MODE SELECT) and that nothing but a power cycle takes back: a loop that
/// follows another one goes on with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// SWP of the control mode page: writes are answered 7/27/02.
    pub software_write_protect: bool,
    /// D_SENSE of the control mode page: sense data is in descriptor format.
    pub descriptor_sense: bool,
}

/// Names of the LUN that initiators see. They can change while the device lives, so the loop asks for them
/// ([`Event::IdentityWanted`]) whenever an INQUIRY needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Unit serial number, as configfs has it; may be empty.
    pub serial: String,
    /// The target port that initiators use, if the supervisor knows which one it is.
    pub ports: Vec<TargetPort>,
    /// The target port groups that the administrator made. None: no asymmetric access.
    pub groups: Vec<TargetPortGroup>,
}

/// Everything that a device loop needs; no paths.
pub struct DeviceParts {
    /// The device's name for log lines.
    pub name: String,
    /// The ring, mapped and checked.
    pub ring: Ring,
    /// The granted stores; the index is the handler's store id.
    pub stores: Vec<(Store, StoreInfo)>,
    /// Other option values of the cfgstring.
    pub options: Vec<(String, String)>,
    /// Makes instances of the handler.
    pub handler: Arc<dyn HandlerFactory>,
    /// How the LUN presents itself.
    pub settings: Settings,
    /// Called on the device's thread; must not block. Dropped when the loop has ended, however that came about, and
    /// no operation refers to the ring's data any more; so is that of a device that does not start.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
}

/// Why a device does not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("{field}: {problem}")]
    Setting {
        /// Which one.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The handler refused the configuration.
    #[error("handler refuses: {0}")]
    Refused(#[from] lunbox_contract::ConfigError),
    /// The handler failed while it was configured.
    #[error("handler failed while being configured: {0}")]
    Fault(#[from] Fault),
    /// The handler has no block interface.
    #[error("handler {0:?} exports no block interface; this host serves block handlers only")]
    NoBlock(String),
    /// The executor could not be made.
    #[error("stores: {0}")]
    Executor(#[from] ExecutorError),
    /// The ring broke before the start.
    #[error("ring: {0}")]
    Ring(#[from] lunbox_tcmu::RingError),
    /// A thread or a descriptor could not be had.
    #[error("starting the device's thread: {0}")]
    Thread(#[from] std::io::Error),
}
