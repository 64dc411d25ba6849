//! Whether the numbers in configfs make a LUN.

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

/// Why the numbers make no LUN. The kernel takes any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// `hw_block_size`.
    #[error(
        "hw_block_size={block_size} is not a power of two of at least 512 (dev_size={size}); remove the device and \
         create it with hw_block_size=512 or 4096"
    )]
    BlockSize {
        /// Bytes.
        block_size: u32,
        /// Bytes.
        size: u64,
    },
    /// `dev_size`.
    #[error(
        "dev_size={size} is not a multiple of hw_block_size={block_size}, or is 0; remove the device and create it \
         with dev_size={}", suggestion(*size, *block_size)
    )]
    Size {
        /// Bytes.
        size: u64,
        /// Bytes.
        block_size: u32,
    },
    /// `hw_max_sectors`.
    #[error("hw_max_sectors=0 allows no transfer at all; set it to 128, the kernel's default, or more")]
    NoTransfer,
}

/// The nearest size that would do, rounded up.
fn suggestion(size: u64, block_size: u32) -> u64 {
    size.max(1).checked_next_multiple_of(block_size.into()).unwrap_or(u64::from(block_size))
}

impl Geometry {
    /// Checks what configfs says: bytes, bytes and blocks.
    ///
    /// # Errors
    /// Names the field, both numbers and the remedy.
    pub fn check(size: u64, block_size: u32, max_sectors: u32) -> Result<Self, GeometryError> {
        let Ok(blocks) = BlockSize::new(block_size) else {
            return Err(GeometryError::BlockSize { block_size, size });
        };
        if size == 0 || blocks.blocks(Bytes(size)).is_none() {
            return Err(GeometryError::Size { size, block_size });
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
        let found = Geometry::check(1 << 40, 4096, 128).unwrap();
        assert_eq!(
            (found.size, found.block_size.get(), found.max_transfer),
            (Bytes(1 << 40), 4096, Blocks(128))
        );
    }

    #[test]
    fn bad_numbers_are_refused_with_both_of_them_and_a_remedy() {
        for block_size in [0, 1, 511, 513, 1000] {
            let error = Geometry::check(4096, block_size, 128).unwrap_err();
            assert_eq!(error, GeometryError::BlockSize { block_size, size: 4096 });
        }
        for (size, suggested) in [(0, 512), (12345, 12800), (511, 512), (u64::MAX, 512)] {
            let error = Geometry::check(size, 512, 128).unwrap_err();
            assert_eq!(error, GeometryError::Size { size, block_size: 512 });
            let text = error.to_string();
            assert!(
                text.contains(&format!("dev_size={size} ")) && text.contains("hw_block_size=512"),
                "{text}"
            );
            assert!(text.ends_with(&format!("dev_size={suggested}")), "{text}");
        }
        assert_eq!(Geometry::check(4096, 512, 0), Err(GeometryError::NoTransfer));
    }
}
