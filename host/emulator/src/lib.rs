//! The kernel side of the TCM-User ring in user space, with an initiator, for tests and benches.
//!
//! [`Kernel`] plays `target_core_user`: it owns mailbox, command ring and data area in a memfd, hands a daemon
//! the other end ([`UserSide`]) and does to it what the kernel would do: pad at the end of the ring, reuse the
//! lowest command id and data block first, walk the ring only from its own mark to the tail, call the device
//! broken after an unknown id, take data pages away. [`Initiator`] sits on top and speaks SCSI to whatever
//! serves the ring.
//!
//! # What it catches
//! Completing a command gives its buffer away. A daemon that still reads or writes that buffer corrupts
//! somebody else's data, and on a real kernel nobody sees it happen. Here every data block that is not in use
//! is filled with a pattern that names the block and its last user ([`Options::poison`], on by default). A
//! changed pattern is a late write; a pattern that turns up in the data of a later read is a late read or a
//! buffer that was never filled. [`Kernel::check`] reports them, with every other breach of the protocol.
//!
//! # Differences from the kernel
//! * A command that finds no room is refused ([`QueueError::Full`]) instead of waiting inside; [`Initiator`]
//!   does the waiting.
//! * Nothing expires by itself: [`Kernel::expire`] stands for the timer.
//! * Bytes written to the ring by the daemon are believed only where the kernel believes them. Where the kernel
//!   would run into garbage (a tail between two entries, an overwritten length), the device becomes broken.
//!
//! Sources: Linux `include/uapi/linux/target_core_user.h`, `Documentation/target/tcmu-design.rst`.

mod abi;
mod bitmap;
mod completion;
mod data_area;
pub mod initiator;
mod kernel;
mod options;
mod poison;
mod ring;
mod violation;

pub use completion::{By, Completion, CompletionRef};
pub use initiator::Initiator;
pub use kernel::{
    CommandId, CommandSpec, ControlError, Data, Kernel, QueueError, ResetMode, TaskManagement, UserSide,
};
pub use options::{Features, Options, Placement, SetupError};
pub use violation::{LastUser, Report, Violation};

/// Bytes of a data block: one page, as the kernel does with its default `data_pages_per_blk=1`.
pub const BLOCK_BYTES: u32 = 4096;
