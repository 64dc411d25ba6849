//! Optional abilities: one trait for each optional interface of the contract.

use lunbox_contract::{Buffers, ConfigError, Event, Outcome, StoreId, Tag, UnmapLimits};

use crate::Handler;

/// The operator may change the size (`resize` in the WIT).
pub trait Resize: Handler {
    /// Called while no command is in progress. `size` is in bytes, a multiple of the block size, not 0.
    ///
    /// # Errors
    /// On refusal nothing has changed and the old size stays in force.
    fn resize(&mut self, size: u64) -> Result<(), ConfigError>;
}

/// Thin provisioning (`block-unmap` in the WIT). Its presence sets LBPU in VPD B2 (SBC-3 6.6.4).
pub trait BlockUnmap: Handler {
    /// What the host may ask for. Called once, after `configure`.
    fn limits(&mut self) -> UnmapLimits;

    /// One descriptor of an UNMAP, or a WRITE SAME with the UNMAP bit; offset and length in bytes. Same rules as
    /// [`crate::Block::submit`].
    fn unmap(&mut self, tag: Tag, offset: u64, length: u64, buffers: &mut dyn Buffers) -> Outcome;
}

/// Writing zeros without moving them (`block-write-zeroes` in the WIT).
pub trait BlockWriteZeroes: Handler {
    /// Offset and length in bytes. `may_unmap`: the range may become unallocated. `fua`: durable before it is
    /// answered. Same rules as [`crate::Block::submit`].
    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
        buffers: &mut dyn Buffers,
    ) -> Outcome;
}

/// Atomic COMPARE AND WRITE by the store itself (`block-compare-and-write` in the WIT).
pub trait BlockCompareAndWrite: Handler {
    /// Buffer 0 holds `length` bytes to compare, then `length` bytes to write. A difference is MISCOMPARE
    /// (0Eh, 1Dh/00h) with the byte offset of the first difference in INFORMATION.
    fn compare_and_write(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        fua: bool,
        buffers: &mut dyn Buffers,
    ) -> Outcome;
}

/// Volatile state that a newer version of the same handler takes over (`state` in the WIT).
pub trait State: Handler {
    /// The last call of the old instance, while no command is in progress: at most 16 MiB, in a form that later
    /// versions understand.
    ///
    /// # Errors
    /// A text for the operator; the old instance stays in service.
    fn save(&mut self) -> Result<Vec<u8>, String>;

    /// The first call after `configure` of the new instance.
    ///
    /// # Errors
    /// A text for the operator; the old instance stays in service.
    fn restore(&mut self, state: &[u8]) -> Result<(), String>;
}

/// Wants to know what happened to the device (`events` in the WIT).
pub trait Events: Handler {
    /// `store` is the store concerned; without meaning for [`Event::Idle`].
    fn notify(&mut self, event: Event, store: StoreId);
}
