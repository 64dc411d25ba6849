//! A LUN on the emulated ring.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use lunbox_contract::StoreInfo;
use lunbox_device::{DeviceHandle, DeviceParts, Settings, spawn};
use lunbox_emulator::{Kernel, Options};
use lunbox_engine::{HandlerFactory, Limits};
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Blocks, Bytes};
use lunbox_store::{Backend, Store};
use lunbox_tcmu::{Doorbell, Ring};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The device's thread on the last CPU, whoever starts it on the first: the least spread.
    Apart,
    /// Wherever the kernel likes, as in life.
    Free,
}

/// A running LUN and the kernel's side of its ring.
pub struct Lun {
    /// Queues commands.
    pub kernel: Kernel,
    /// The device loop.
    pub device: DeviceHandle,
}

impl Lun {
    /// Starts a LUN of the store's size. `in_flight` is the most bytes that its commands have at once.
    pub fn start(
        handler: Arc<dyn HandlerFactory>,
        store: Store,
        limits: Limits,
        in_flight: u64,
        placement: Placement,
    ) -> Result<Self> {
        let options = Options {
            ring_bytes: (1 << 20) - 128,
            data_blocks: u32::try_from(in_flight / 4096 + 64)?,
            poison: false,
            ..Options::default()
        };
        let (kernel, user) = Kernel::new(options)?;
        let map = Arc::new(Mapping::shared(user.memory.as_fd(), user.length)?);
        let ring = Ring::attach(map, Doorbell::Event { wait: user.wait, ring: user.ring })?;
        let info = StoreInfo {
            option: String::new(),
            size: store.size(),
            read_only: false,
            discard_zeroes: store.discard_zeroes(),
            can_grow: store.can_grow(),
            physical_block_size: store.physical_block_size(),
            discard_granularity: store.discard_granularity(),
        };
        let size = store.size();
        let parts = DeviceParts {
            name: "bench".to_owned(),
            ring,
            stores: vec![(store, info)],
            options: Vec::new(),
            handler,
            settings: Settings {
                size: Bytes(size),
                block_size: BlockSize::B512,
                read_only: false,
                max_transfer: Blocks(4096),
                limits,
                backend: Backend::Auto,
                command_timeout: None,
                write_cache: None,
                modes: lunbox_device::Modes::default(),
            },
            events: Arc::new(|_| {}),
        };
        let device = match placement {
            Placement::Free => spawn(parts)?,
            Placement::Apart => {
                let cpus = std::thread::available_parallelism()?.get();
                pin(cpus - 1)?;
                let device = spawn(parts);
                pin(0)?;
                device?
            }
        };
        Ok(Self { kernel, device })
    }
}

/// Threads inherit the CPU set of whoever starts them.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
}
