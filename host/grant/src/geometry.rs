//! Whether some numbers make a LUN.

use std::fmt;

use lunbox_scsi::{BlockSize, Blocks, Bytes};

/// Size, block size and transfer limit of a device, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Not 0, a multiple of the block size.
    pub size: Bytes,
    /// A power of two, 512 or more.
    pub block_size: BlockSize,
    /// Longest transfer; not 0.
    pub max_transfer: Blocks,
}

/// Where the numbers come from, and so what they are called in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// The kernel's attributes: `dev_size`, `hw_block_size`, `hw_max_sectors`.
    Configfs,
    /// Options of a command: `--size`, `--block-size`.
    CommandLine,
}

/// Why the numbers make no LUN. The kernel takes any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The block size.
    #[error("{}", block_size_problem(*.wording, *.block_size, *.size))]
    BlockSize {
        /// Whose words to use.
        wording: Wording,
        /// Bytes.
        block_size: u32,
        /// Bytes.
        size: u64,
    },
    /// The size.
    #[error("{}", size_problem(*.wording, *.size, *.block_size))]
    Size {
        /// Whose words to use.
        wording: Wording,
        /// Bytes.
        size: u64,
        /// Bytes.
        block_size: u32,
    },
    /// The transfer limit. A command line has none, so there is one wording.
    #[error("hw_max_sectors=0 allows no transfer at all; set it to 128, the kernel's default, or more")]
    NoTransfer,
}

fn block_size_problem(wording: Wording, block_size: u32, size: u64) -> impl fmt::Display {
    match wording {
        Wording::Configfs => format!(
            "hw_block_size={block_size} is not a power of two of at least 512 (dev_size={size}); remove the device \
             and create it with hw_block_size=512 or 4096"
        ),
        Wording::CommandLine => format!(
            "--block-size {block_size} is not a power of two of at least 512; use --block-size 512 or 4096"
        ),
    }
}

fn size_problem(wording: Wording, size: u64, block_size: u32) -> impl fmt::Display {
    let nearest = suggestion(size, block_size);
    match wording {
        Wording::Configfs => format!(
            "dev_size={size} is not a multiple of hw_block_size={block_size}, or is 0; remove the device and create it \
             with dev_size={nearest}"
        ),
        Wording::CommandLine => format!(
            "a size of {size} bytes is not a multiple of --block-size {block_size}, or is 0; use --size {nearest}"
        ),
    }
}

/// The nearest size that would do, rounded up.
fn suggestion(size: u64, block_size: u32) -> u64 {
    size.max(1).checked_next_multiple_of(block_size.into()).unwrap_or(u64::from(block_size))
}

impl Geometry {
    /// Checks what `wording` names: bytes, bytes and blocks.
    ///
    /// # Errors
    /// Names the field, both numbers and the remedy.
    pub fn check(
        wording: Wording,
        size: u64,
        block_size: u32,
        max_sectors: u32,
    ) -> Result<Self, GeometryError> {
        let Ok(blocks) = BlockSize::new(block_size) else {
            return Err(GeometryError::BlockSize { wording, block_size, size });
        };
        if size == 0 || blocks.blocks(Bytes(size)).is_none() {
            return Err(GeometryError::Size { wording, size, block_size });
        }
        if max_sectors == 0 {
            return Err(GeometryError::NoTransfer);
        }
        Ok(Self { size: Bytes(size), block_size: blocks, max_transfer: Blocks(max_sectors.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_numbers_pass() {
        let found = Geometry::check(Wording::Configfs, 1 << 40, 4096, 128).unwrap();
        assert_eq!(
            (found.size, found.block_size.get(), found.max_transfer),
            (Bytes(1 << 40), 4096, Blocks(128))
        );
    }

    #[test]
    fn bad_numbers_are_refused_with_both_of_them_and_a_remedy() {
        let wording = Wording::Configfs;
        for block_size in [0, 1, 511, 513, 1000] {
            let error = Geometry::check(wording, 4096, block_size, 128).unwrap_err();
            assert_eq!(error, GeometryError::BlockSize { wording, block_size, size: 4096 });
            assert!(error.to_string().starts_with(&format!("hw_block_size={block_size} ")), "{error}");
        }
        for (size, suggested) in [(0, 512), (12345, 12800), (511, 512), (u64::MAX, 512)] {
            let error = Geometry::check(wording, size, 512, 128).unwrap_err();
            assert_eq!(error, GeometryError::Size { wording, size, block_size: 512 });
            let text = error.to_string();
            assert!(
                text.contains(&format!("dev_size={size} ")) && text.contains("hw_block_size=512"),
                "{text}"
            );
            assert!(text.ends_with(&format!("dev_size={suggested}")), "{text}");
        }
        assert_eq!(Geometry::check(wording, 4096, 512, 0), Err(GeometryError::NoTransfer));
    }

    #[test]
    fn a_command_line_hears_of_its_own_options() {
        let refused = |size, block_size| {
            Geometry::check(Wording::CommandLine, size, block_size, 1).unwrap_err().to_string()
        };
        let text = refused(1000, 512);
        assert!(text.contains("1000 bytes") && text.ends_with("use --size 1024"), "{text}");
        let text = refused(4096, 1000);
        assert!(text.contains("--block-size 1000") && !text.contains("hw_block_size"), "{text}");
    }
}
