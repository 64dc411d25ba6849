//! Handler `file`: a LUN in a regular file or on a block device.
//!
//! The text after `file/` is the path; the host opens it and grants it as store 0. Byte n of the LUN is byte n of the
//! store. A regular file may be shorter than the LUN: what is missing reads as zeros, and writing makes the file
//! grow, with holes. A block device can not grow, so it must be as large as the LUN.
//!
//! Every command is one final operation: the host does the I/O and its error becomes the sense data; this code is
//! called once per command. Unmapping punches holes, or discards blocks of a block device that can; what is allocated is
//! what the file system says.

#![forbid(unsafe_code)]

use lunbox_sdk::{
    Block, BlockCommand, BlockKind, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Buffers, ConfigError,
    Description, DeviceConfig, DeviceInfo, Handler, Op, Outcome, Resize, StoreId, StoreInfo, Tag,
    UnmapLimits, export_handler,
};

/// The whole text after `file/` is the only grant.
const STORE: StoreId = StoreId(0);

/// Smallest block size that the contract knows, in bytes.
const MIN_BLOCK_SIZE: u32 = 512;

/// Most logical blocks of a physical one that the contract knows.
const MAX_LOGICAL_PER_PHYSICAL: u32 = 1 << 15;

/// One device.
#[derive(Debug)]
pub struct File {
    block_size: u32,
    store: StoreInfo,
}

impl Handler for File {
    fn describe() -> Description {
        Description {
            subtype: "file".to_owned(),
            name: "File".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_help: "absolute path of a regular file or block device, for example /var/lib/lun0.img"
                .to_owned(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let Some(store) = config.stores.first() else {
            return Err(refused("", "no file was granted; write its path after `file/`".to_owned()));
        };
        if config.block_size < MIN_BLOCK_SIZE || !config.block_size.is_power_of_two() {
            return Err(refused(
                "block-size",
                format!("{} bytes; set hw_block_size to a power of two, 512 or more", config.block_size),
            ));
        }
        if store.read_only && !config.read_only {
            return Err(refused(
                "read-only",
                "the file can not be written; make it writable or the device read-only".to_owned(),
            ));
        }
        let file = Self { block_size: config.block_size, store: store.clone() };
        file.check_size(config.size)?;
        let info = DeviceInfo {
            size: config.size,
            write_cache: true,
            solid_state: false,
            physical_block_size: file.physical_block_size(),
        };
        Ok((file, info))
    }
}

impl Block for File {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(match command.kind {
            BlockKind::Read => Op::read(STORE, command.offset, command.length).zero_at_eof(),
            BlockKind::Write => Op::write(STORE, command.offset, command.length).durable(command.fua),
            BlockKind::Flush => Op::flush(STORE),
        })
    }
}

impl BlockUnmap for File {
    /// One operation takes any range: nothing bounds it. Where the store has its units the LUN has them, too, but they are
    /// never smaller than a block.
    fn limits(&mut self) -> Option<UnmapLimits> {
        let StoreInfo { discard_granularity, discard_zeroes, .. } = self.store;
        (discard_granularity != 0).then(|| UnmapLimits {
            max_length: 0,
            granularity: discard_granularity.max(self.block_size).into(),
            reads_zeroes: discard_zeroes,
        })
    }

    fn unmap(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(Op::discard(STORE, offset, length))
    }
}

impl BlockWriteZeroes for File {
    fn write_zeroes(
        &mut self,
        _tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::Io(Op::write_zeroes(STORE, offset, length).may_unmap(may_unmap).durable(fua))
    }
}

impl BlockLbaStatus for File {
    fn lba_status(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(Op::extents(STORE, offset, length))
    }
}

impl Resize for File {
    fn resize(&mut self, size: u64) -> Result<(), ConfigError> {
        self.check_size(size)
    }
}

impl File {
    /// The store's, where it makes a difference to initiators.
    const fn physical_block_size(&self) -> u32 {
        let physical = self.store.physical_block_size;
        let tells = physical.is_power_of_two()
            && physical > self.block_size
            && physical / self.block_size <= MAX_LOGICAL_PER_PHYSICAL;
        if tells { physical } else { 0 }
    }

    /// Whether the LUN can have `size` bytes. A regular file is left as it is: it grows when written.
    fn check_size(&self, size: u64) -> Result<(), ConfigError> {
        if size == 0 || !size.is_multiple_of(u64::from(self.block_size)) {
            return Err(refused(
                "size",
                format!(
                    "{size} bytes; set dev_size to a multiple of the block size {}, not 0",
                    self.block_size
                ),
            ));
        }
        if !self.store.can_grow && size > self.store.size {
            return Err(refused(
                "size",
                format!(
                    "the device is to have {size} bytes but its block device had {} when it was opened; set dev_size \
                     to no more than that, or grow the block device and open it again",
                    self.store.size
                ),
            ));
        }
        Ok(())
    }
}

fn refused(field: &str, message: String) -> ConfigError {
    ConfigError { field: field.to_owned(), message }
}

export_handler!(File: block, resize, block_unmap, block_write_zeroes, block_lba_status);
