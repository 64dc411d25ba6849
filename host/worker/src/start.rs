//! From descriptors and values to a running device loop.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lunbox_contract::StoreInfo;
use lunbox_device::{DeviceHandle, DeviceParts, Event, Settings};
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Blocks, Bytes};
use lunbox_store::{Backend, FileOptions, Store};
use lunbox_tcmu::{Doorbell, Ring};
use lunbox_wire::{Device, Refusal, RingKind, StoreKind};

use crate::handlers::Handlers;

/// Why a request was not carried out: for [`lunbox_wire::Report::Refused`].
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) kind: Refusal,
    pub(crate) reason: String,
}

impl Refused {
    pub(crate) fn new(kind: Refusal, reason: impl std::fmt::Display) -> Self {
        Self { kind, reason: reason.to_string() }
    }

    fn failed(reason: impl std::fmt::Display) -> Self {
        Self::new(Refusal::Failed, reason)
    }
}

/// Number of descriptors that a device comes with.
pub(crate) fn descriptors(device: &Device) -> usize {
    let files = device.stores.iter().filter(|store| store.kind == StoreKind::File).count();
    device.ring.descriptors() + 1 + files
}

/// Starts the loop. Blocks until the handler is configured. The descriptors stand in the order of
/// [`lunbox_wire::Request::Start`] and are as many as [`descriptors`] says.
pub(crate) fn start(
    device: &Device,
    descriptors: Vec<OwnedFd>,
    handlers: &Handlers,
    events: Arc<dyn Fn(Event) + Send + Sync>,
) -> Result<DeviceHandle, Refused> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        descriptors
            .next()
            .ok_or_else(|| Refused::new(Refusal::Invalid, "fewer descriptors than the device needs"))
    };
    let ring = attach(device, &mut next)?;
    let container = File::from(next()?);
    let handler = handlers.get(&device.handler.digest, &container).map_err(Refused::failed)?;
    let mut stores = Vec::with_capacity(device.stores.len());
    for wanted in &device.stores {
        let store = match wanted.kind {
            StoreKind::File => Store::file(next()?, FileOptions { read_only: wanted.read_only }),
            StoreKind::Memory { bytes } => Store::memory(bytes),
        };
        let store = store.map_err(|error| Refused::failed(format!("{}: {error}", wanted.locator)))?;
        let info = StoreInfo {
            option: wanted.option.clone(),
            size: store.size(),
            read_only: wanted.read_only,
            discard_zeroes: store.discard_zeroes(),
            can_grow: store.can_grow(),
            physical_block_size: store.physical_block_size(),
            discard_granularity: store.discard_granularity(),
        };
        stores.push((store, info));
    }
    let invalid = |error: &dyn std::fmt::Display| Refused::new(Refusal::Invalid, error);
    let parts = DeviceParts {
        name: device.name.clone(),
        ring,
        stores,
        options: device.options.clone(),
        handler,
        settings: Settings {
            size: Bytes(device.size),
            block_size: BlockSize::new(device.block_size).map_err(|error| invalid(&error))?,
            read_only: device.read_only,
            max_transfer: Blocks(device.max_transfer.into()),
            limits: limits(&device.limits),
            backend: Backend::Auto,
            command_timeout: Some(Duration::from_secs(device.command_timeout_s.into())),
            write_cache: device.write_cache,
            modes: lunbox_device::Modes {
                software_write_protect: device.modes.software_write_protect,
                descriptor_sense: device.modes.descriptor_sense,
            },
        },
        events,
    };
    lunbox_device::spawn(parts).map_err(Refused::failed)
}

fn attach(device: &Device, next: &mut impl FnMut() -> Result<OwnedFd, Refused>) -> Result<Ring, Refused> {
    let length = usize::try_from(device.map_bytes)
        .map_err(|_| Refused::new(Refusal::Invalid, "map_bytes: more than the address space"))?;
    let memory = next()?;
    // Another process may have it mapped as well: only one loop at a time may serve it, and that is the supervisor's
    // affair.
    let map = Mapping::shared(memory.as_fd(), length)
        .map_err(|error| Refused::failed(format!("mapping {length} bytes of the ring: {error}")))?;
    let doorbell = match device.ring {
        RingKind::Uio => Doorbell::Uio(memory),
        RingKind::Emulated => Doorbell::Event { wait: next()?, ring: next()? },
    };
    Ring::attach(Arc::new(map), doorbell).map_err(|error| Refused::failed(format!("ring: {error}")))
}

fn limits(limits: &lunbox_wire::Limits) -> lunbox_engine::Limits {
    lunbox_engine::Limits {
        memory_bytes: limits.memory_bytes,
        table_elements: limits.table_elements,
        cpu_per_call: Duration::from_micros(limits.cpu_per_call_us),
        wall_per_call: Duration::from_millis(limits.wall_per_call_ms),
        hostcall_bytes: limits.hostcall_bytes,
        log_lines_per_second: limits.log_lines_per_second,
        log_burst: limits.log_lines_per_second.max(1),
        ..lunbox_engine::Limits::default()
    }
}
