//! Memory that somebody else changes: the ring of a TCM-User device, its emulation, or plain anonymous memory
//! that stores and buffers use. It is never a Rust slice: words are read and written atomically, bytes are
//! copied, and kernel I/O gets addresses that this process does not dereference.
//!
//! Two kinds of access:
//! * **resident** ([`Mapping::load_u32`] and its like): for pages that are always there (mailbox and command
//!   ring). On a page that has gone they raise SIGBUS.
//! * **fallible** ([`Mapping::copy_in`], [`Mapping::copy_out`], [`Mapping::zero`] and kernel I/O on
//!   [`Mapping::span`]): for the data area, whose pages the kernel may reclaim. A page that has gone is an
//!   error of that one access ([`AccessError::Vanished`]).

mod mapping;

pub use mapping::{AccessError, Mapping, Span};

/// A piece of a scattered buffer: a range inside of a [`Mapping`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Byte offset from the start of the mapping.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}
