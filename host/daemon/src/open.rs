//! Starting a device for real: configfs says how large it is, the cfgstring what it stands on, and
//! [`lunbox_device`] serves it.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lunbox_device::{DeviceHandle, DeviceParts, Event, Identity, ResizeError, Settings, StopError};
use lunbox_engine::{Catalogue, Limits};
use lunbox_grant::{Access, Cfgstring, Claim, Claims, Geometry, Opened, Wording, open_grant};
use lunbox_memory::Mapping;
use lunbox_scsi::Bytes;
use lunbox_store::Backend;
use lunbox_tcmu::{Configfs, DeviceName, Doorbell, Minor, Ring, Uio, UioError, UioNode};
use nix::errno::Errno;

use crate::control::Message;
use crate::mailbox::Mailbox;
use crate::service::{Notice, Refusal, Running, Starter};

/// How long commands in progress may take before a change of size is given up.
const RESIZE_PATIENCE: Duration = Duration::from_secs(5);

/// Starts devices on the system's UIO nodes.
pub struct Opener {
    handlers: Catalogue,
    uio: Uio,
    configfs: Configfs,
    claims: Arc<Claims>,
    mailbox: Mailbox<Message<Device>>,
}

/// A device loop and what it holds outside of its own thread.
pub struct Device {
    handle: DeviceHandle,
    claim: Option<Claim>,
}

impl Opener {
    /// Devices report through `mailbox`.
    pub fn new(handlers: Catalogue, uio: Uio, configfs: Configfs, mailbox: Mailbox<Message<Device>>) -> Self {
        Self { handlers, uio, configfs, claims: Arc::default(), mailbox }
    }

    fn geometry(&self, name: &DeviceName) -> Result<Geometry, String> {
        let directory = self.configfs.device(name);
        let size = directory.size().map_err(text)?;
        let block_size = directory.block_size().map_err(text)?;
        let max_sectors = directory.max_sectors().map_err(text)?;
        Geometry::check(Wording::Configfs, size, block_size, max_sectors).map_err(text)
    }

    /// Opens what the cfgstring grants.
    fn grant(&self, name: &DeviceName) -> Result<Opened, String> {
        let config = Cfgstring::parse(&name.config);
        if let Some(seconds) = config.command_timeout {
            tracing::warn!(
                device = %name,
                "tcmur_cmd_time_out={seconds} is ignored; the kernel's attrib/cmd_time_out limits commands"
            );
        }
        open_grant(&config.text, &name.to_string(), &self.claims, Access::Create).map_err(text)
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Maps the ring of a node.
fn attach(node: &UioNode, uio: OwnedFd) -> Result<Ring, String> {
    let length =
        usize::try_from(node.map_bytes).map_err(|_| "the ring is too large to be mapped".to_owned())?;
    let map = Mapping::shared(uio.as_fd(), length).map_err(|errno| {
        format!(
            "mapping {length} bytes of /dev/{}: {errno}; check the limit of address space (ulimit -v)",
            node.minor
        )
    })?;
    Ring::attach(Arc::new(map), Doorbell::Uio(uio))
        .map_err(|error| format!("ring of {}: {error}", node.minor))
}

impl Starter for Opener {
    type Device = Device;

    fn serves(&self, subtype: &str) -> bool {
        self.handlers.get(subtype).is_some()
    }

    fn subtypes(&self) -> String {
        self.handlers.subtypes()
    }

    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        self.uio.open(minor)
    }

    fn start(&self, node: &UioNode, uio: OwnedFd) -> Result<Device, String> {
        let name = &node.name;
        let failed = |reason: String| format!("{name}: {reason}");
        let handler =
            self.handlers.get(&name.subtype).ok_or_else(|| failed("its handler has gone".to_owned()))?;
        let geometry = self.geometry(name).map_err(failed)?;
        let Opened { claim, stores, .. } = self.grant(name).map_err(failed)?;
        let ring = attach(node, uio).map_err(failed)?;
        let (minor, mailbox) = (node.minor, self.mailbox.clone());
        let parts = DeviceParts {
            name: name.to_string(),
            ring,
            stores: stores.into_iter().map(|opened| (opened.store, opened.info)).collect(),
            options: Vec::new(),
            handler: Arc::clone(handler),
            settings: Settings {
                size: geometry.size,
                block_size: geometry.block_size,
                read_only: false,
                max_transfer: geometry.max_transfer,
                limits: Limits::default(),
                backend: Backend::Auto,
            },
            events: Arc::new(move |event| mailbox.send(Message::Notice(minor, notice(event)))),
        };
        let handle = lunbox_device::spawn(parts).map_err(|error| failed(error.to_string()))?;
        Ok(Device { handle, claim })
    }
}

fn notice(event: Event) -> Notice {
    match event {
        Event::IdentityWanted => Notice::IdentityWanted,
        Event::HandlerFailed(reason) => Notice::Trouble(format!("handler failed: {reason}")),
        Event::HandlerServes => Notice::Recovered,
        Event::Ended(reason) => Notice::Ended(reason),
    }
}

impl Running for Device {
    fn set_serial(&self, serial: String) {
        self.handle.set_identity(Identity { serial });
    }

    fn resize(&self, bytes: u64) -> Result<(), Refusal> {
        self.handle.resize(Bytes(bytes), RESIZE_PATIENCE).map_err(|error| Refusal {
            errno: match error {
                ResizeError::Invalid(_) => Errno::EINVAL,
                ResizeError::Refused(_) => Errno::EOPNOTSUPP,
                ResizeError::Stopped => Errno::ENODEV,
                ResizeError::TimedOut => Errno::EAGAIN,
            },
            reason: error.to_string(),
        })
    }

    fn stop(self, patience: Duration) -> Result<(), String> {
        let Self { handle, claim } = self;
        handle.stop(patience).map_err(|error| {
            if let (StopError::StoreBusy(_), Some(claim)) = (&error, claim) {
                claim.keep_for_good();
            }
            error.to_string()
        })
    }
}

#[cfg(test)]
mod tests;
