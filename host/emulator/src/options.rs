//! How big the emulated device is and how it behaves.

use crate::BLOCK_BYTES;
use crate::abi::{ALIGN, RING_START, mailbox};

/// Configuration of an emulated device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of the command ring (`cmdr_size`) in bytes: a multiple of 8 from 512 to 8 MiB − 128. The data area
    /// starts at the next page after it. (The kernel picks its sizes so that there is no gap.)
    pub ring_bytes: u32,
    /// Size of the data area in blocks of [`BLOCK_BYTES`], 1 to 2^20. As in the kernel a block gets its page
    /// when it is first used; until then an access of the daemon raises SIGBUS.
    pub data_blocks: u32,
    /// What the mailbox offers. A feature that is off is also not understood: its flag in a completion is
    /// ignored, as an older kernel would.
    pub features: Features,
    /// Which free data block a command gets.
    pub placement: Placement,
    /// Fills blocks that nobody uses with a pattern and watches it. Costs a pass over each block per command:
    /// off for benches, on for everything else.
    pub poison: bool,
}

impl Default for Options {
    /// A ring of one 64 KiB region with the mailbox, 4 MiB of data, all features, poison on.
    fn default() -> Self {
        Self {
            ring_bytes: 64 * 1024 - RING_START,
            data_blocks: 1024,
            features: Features::default(),
            placement: Placement::default(),
            poison: true,
        }
    }
}

/// Mailbox flags (`TCMU_MAILBOX_FLAG_CAP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// OOOC: completions may come in another order than the commands. When off, one that does is a
    /// [`crate::Violation::OutOfOrder`].
    pub ooo: bool,
    /// READ_LEN: a completion may say how many bytes of a data-in command count.
    pub read_len: bool,
    /// TMR: task management entries may appear in the ring.
    pub tmr: bool,
    /// KEEP_BUF: a completion may keep the command's data blocks and id.
    pub keep_buf: bool,
}

impl Default for Features {
    /// All four, as Linux 6.1.
    fn default() -> Self {
        Self { ooo: true, read_len: true, tmr: true, keep_buf: true }
    }
}

impl Features {
    pub(crate) fn flags(self) -> u16 {
        let bit = |on: bool, flag: u16| if on { flag } else { 0 };
        bit(self.ooo, mailbox::FLAG_OUT_OF_ORDER)
            | bit(self.read_len, mailbox::FLAG_READ_LEN)
            | bit(self.tmr, mailbox::FLAG_TMR)
            | bit(self.keep_buf, mailbox::FLAG_KEEP_BUF)
    }
}

/// Which free data blocks a command gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The lowest ones, as the kernel does; neighbours share a vector. A freed block is soon used again.
    #[default]
    LowestFirst,
    /// The ones after those that were taken last, going round. A freed block stays free for long, which gives
    /// a late write time to be seen for what it is.
    RoundRobin,
    /// Never two neighbours in a row where it can be avoided, and one vector for each block in any case: the
    /// most scattered buffers that the kernel could produce.
    Scattered,
}

/// Why a device could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// An option is out of range.
    #[error("{field} is {value}: {remedy}")]
    Option {
        /// Name of the field in [`Options`].
        field: &'static str,
        /// What it was.
        value: u32,
        /// What it may be.
        remedy: &'static str,
    },
    /// A system call failed.
    #[error("{what}: {errno}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        errno: nix::Error,
    },
}

impl SetupError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |errno| Self::System { what, errno }
    }
}

impl Options {
    pub(crate) fn validate(&self) -> Result<(), SetupError> {
        let largest = 8 * 1024 * 1024 - RING_START;
        if !self.ring_bytes.is_multiple_of(ALIGN) || !(512..=largest).contains(&self.ring_bytes) {
            return Err(SetupError::Option {
                field: "ring_bytes",
                value: self.ring_bytes,
                remedy: "choose a multiple of 8 from 512 to 8388480",
            });
        }
        if !(1..=1 << 20).contains(&self.data_blocks) {
            return Err(SetupError::Option {
                field: "data_blocks",
                value: self.data_blocks,
                remedy: "choose 1 to 1048576 blocks",
            });
        }
        Ok(())
    }

    /// Map offset of the first data block.
    pub(crate) fn data_start(&self) -> u32 {
        (RING_START + self.ring_bytes).next_multiple_of(BLOCK_BYTES)
    }
}
