//! What can go wrong with a ring as a whole. What goes wrong with one command is data (status and sense).

use lunbox_memory::AccessError;
use nix::errno::Errno;

/// The ring can not be used, or not in the way that was asked for. Concerns one device only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A field that the kernel wrote contradicts the ring's rules. Nothing behind it can be trusted, so the
    /// device stops here; commands already taken can still be completed.
    #[error(
        "ring is inconsistent: {field} at offset {at:#x} is {value:#x}, must be {expected}; \
         the device takes no more commands until action/reset_ring"
    )]
    Inconsistent {
        /// Name as in include/uapi/linux/target_core_user.h.
        field: &'static str,
        /// What was read.
        value: u64,
        /// Byte offset from the start of the mapping.
        at: u64,
        /// The rule.
        expected: &'static str,
    },
    /// The mailbox has another layout than the one known here (version 2).
    #[error(
        "mailbox version {found} is not supported, only 2 is: use a kernel whose target_core_user has it"
    )]
    Version {
        /// Version field of the mailbox.
        found: u16,
    },
    /// The kernel's side lacks something that is needed.
    #[error("the kernel does not offer {feature} for this ring: use a newer kernel, or do without")]
    NotOffered {
        /// The flag's meaning.
        feature: &'static str,
    },
    /// The fd would block the device's thread.
    #[error("the ring's {fd} fd is in blocking mode: open it with O_NONBLOCK")]
    Blocking {
        /// Which fd of the doorbell.
        fd: &'static str,
    },
    /// A command that this ring did not hand out, or not in this generation.
    #[error("command {id} is not outstanding on this ring: complete it on the ring that it came from")]
    NotOutstanding {
        /// cmd_id.
        id: u16,
    },
    /// The device was removed, or its fd is not a doorbell.
    #[error("the ring's doorbell has gone: {0}")]
    Gone(Errno),
    /// An offset was not inside of the mapping although it had been checked. Contents of the ring can not
    /// cause it.
    #[error("ring access: {0}")]
    Access(#[from] AccessError),
}
