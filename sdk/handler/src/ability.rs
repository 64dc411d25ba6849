//! Optional abilities: one trait for each optional interface of the contract.

use lunbox_contract::{Buffers, ConfigError, Event, Outcome, Schema, StoreId, Tag, UnmapLimits};

use crate::Handler;

/// The options as data (`options` in the WIT), for handlers that need more than the path of one store.
///
/// The host divides the text after `<subtype>/` by the schema, checks every value, opens what is granted, and hands
/// over the rest: stores come in [`DeviceConfig::stores`](lunbox_contract::DeviceConfig::stores), each with the name
/// of the field that asked for it, all other values in
/// [`DeviceConfig::options`](lunbox_contract::DeviceConfig::options). A handler thus never reads the text itself, and
/// an operator gets the same messages from every handler.
///
/// ```
/// use lunbox_sdk::{
///     ConfigError, Description, DeviceConfig, DeviceInfo, Field, FieldKind, Grammar, Handler, Options, Schema,
/// };
///
/// struct Cached;
/// # impl Handler for Cached {
/// #     fn describe() -> Description { panic!("never called") }
/// #     fn configure(_: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> { panic!("never called") }
/// # }
///
/// /// `cached//srv/disk.img;journal=/srv/journal.img;mode=back`
/// impl Options for Cached {
///     fn declare() -> Schema {
///         let store = FieldKind::Path { read_only: false, create: true };
///         let modes = FieldKind::Choice(vec!["through".into(), "back".into()]);
///         let field = |name: &str, kind, required, help: &str| Field {
///             name: name.into(), kind, required, help: help.into(),
///         };
///         Schema {
///             grammar: Grammar::Semicolon,
///             fields: vec![
///                 field("path", store.clone(), true, "the disk"),
///                 field("journal", store, true, "where writes go first"),
///                 field("mode", modes, false, "when writes reach the disk; through if it is missing"),
///             ],
///         }
///     }
/// }
/// assert_eq!(Cached::declare().check(), Ok(()));
/// ```
pub trait Options: Handler {
    /// Which options there are. Called in the throw-away instance that also answers [`Handler::describe`]; must not
    /// depend on anything. A schema that [`Schema::check`] refuses makes the host refuse the handler.
    fn declare() -> Schema;
}

/// The operator may change the size (`resize` in the WIT).
pub trait Resize: Handler {
    /// Called while no command is in progress. `size` is in bytes, a multiple of the block size, not 0.
    ///
    /// # Errors
    /// On refusal nothing has changed and the old size stays in force.
    fn resize(&mut self, size: u64) -> Result<(), ConfigError>;
}

/// Thin provisioning (`block-unmap` in the WIT). VPD B2 follows from what [`Self::limits`] answers (SBC-4 6.6.7).
pub trait BlockUnmap: Handler {
    /// What the host may ask for. Called once, after `configure`. `None`: this device can not unmap (its store can not
    /// discard, say), and [`Self::unmap`] is not called.
    fn limits(&mut self) -> Option<UnmapLimits>;

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

/// Which blocks are mapped (`block-lba-status` in the WIT), for GET LBA STATUS.
pub trait BlockLbaStatus: Handler {
    /// Fills buffer 0 with [`ExtentRecord`](lunbox_contract::ExtentRecord)s for `length` bytes from `offset` on, with
    /// offsets on the device. Where those are the offsets of a store,
    /// [`Op::extents`](lunbox_contract::Op::extents) is the whole answer. Same rules as [`crate::Block::submit`], as a
    /// read.
    fn lba_status(&mut self, tag: Tag, offset: u64, length: u64, buffers: &mut dyn Buffers) -> Outcome;
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
