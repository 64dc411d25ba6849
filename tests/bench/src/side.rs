//! One side of the comparison: a device with its emulated kernel.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use lunbox_contract::StoreInfo;
use lunbox_device::{DeviceHandle, DeviceParts, Settings, spawn};
use lunbox_emulator::{Kernel, Options};
use lunbox_engine::{HandlerFactory, Limits};
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Blocks, Bytes};
use lunbox_store::{Backend, FileOptions, Store};
use lunbox_tcmu::{Doorbell, Ring};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::load::{Load, Sample};
use crate::report::Case;

/// What the LUN keeps its bytes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// Nothing: writes vanish, reads are zeros.
    Null,
    /// Memory.
    Memory,
    /// A file through the page cache, by io_uring.
    File,
}

/// A running LUN under load.
pub struct Side {
    kernel: Kernel,
    device: DeviceHandle,
    load: Load,
}

const SIZE: u64 = 256 << 20;

/// What outlives the devices of one side: the file, if there is one.
pub struct Medium(Option<File>);

impl Medium {
    /// For one side of a case.
    pub fn new(case: &Case, dir: &Path) -> Result<Self> {
        if case.store != StoreKind::File {
            return Ok(Self(None));
        }
        let file = tempfile::tempfile_in(dir).with_context(|| dir.display().to_string())?;
        // Allocated beforehand: the bench is about commands, not about the file system's allocator.
        let chunk = vec![0x5a; 1 << 20];
        let mut left = SIZE;
        while left > 0 {
            (&file).write_all(&chunk)?;
            left -= chunk.len() as u64;
        }
        Ok(Self(Some(file)))
    }

    fn store(&self, kind: StoreKind) -> Result<Store> {
        Ok(match (kind, &self.0) {
            (StoreKind::Null, _) => Store::null(SIZE),
            (StoreKind::File, Some(file)) => {
                Store::file(file.try_clone()?.into(), FileOptions { read_only: false })?
            }
            _ => Store::memory(SIZE)?,
        })
    }
}

impl Side {
    /// Starts a LUN; the device's thread gets the last CPU, the load generator the first.
    pub fn start(handler: Arc<dyn HandlerFactory>, case: &Case, medium: &Medium) -> Result<Self> {
        let in_flight = u64::from(case.size) * case.depth as u64;
        let kernel = Options {
            ring_bytes: (1 << 20) - 128,
            data_blocks: u32::try_from(in_flight / 4096 + 64)?,
            poison: false,
            ..Options::default()
        };
        let (kernel, user) = Kernel::new(kernel)?;
        let map = Arc::new(Mapping::shared(user.memory.as_fd(), user.length)?);
        let ring = Ring::attach(map, Doorbell::Event { wait: user.wait, ring: user.ring })?;
        let store = medium.store(case.store)?;
        let info = StoreInfo {
            option: String::new(),
            size: store.size(),
            read_only: false,
            discard_zeroes: store.discard_zeroes(),
            can_grow: store.can_grow(),
        };
        let parts = DeviceParts {
            name: "bench".to_owned(),
            ring,
            stores: vec![(store, info)],
            options: Vec::new(),
            handler,
            settings: Settings {
                size: Bytes(SIZE),
                block_size: BlockSize::B512,
                read_only: false,
                max_transfer: Blocks(4096),
                limits: Limits::default(),
                backend: Backend::Auto,
            },
            events: Arc::new(|_| {}),
        };
        let cpus = std::thread::available_parallelism()?.get();
        pin(cpus - 1)?;
        let device = spawn(parts)?;
        pin(0)?;
        let load = Load::new(case, SIZE);
        Ok(Self { kernel, device, load })
    }

    /// One measured round.
    pub fn round(&mut self, length: Duration) -> Result<Sample> {
        self.load.run(&mut self.kernel, &self.device, length)
    }
}

/// Threads inherit the CPU set of whoever starts them.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
}
