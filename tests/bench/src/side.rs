//! One side of the comparison: a device with its emulated kernel.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use lunbox_engine::{HandlerFactory, Limits};
use lunbox_store::{FileOptions, Store};

use crate::load::{Load, Sample};
use crate::lun::{Lun, Placement};
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
    lun: Lun,
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
        let lun =
            Lun::start(handler, medium.store(case.store)?, Limits::default(), in_flight, Placement::Apart)?;
        Ok(Self { lun, load: Load::new(case, SIZE) })
    }

    /// One measured round.
    pub fn round(&mut self, length: Duration) -> Result<Sample> {
        self.load.run(&mut self.lun.kernel, &self.lun.device, length)
    }
}
