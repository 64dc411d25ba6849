//! READ CAPACITY parameter data (SBC-4, READ CAPACITY (10) and (16)).

use crate::logical_unit::{Characteristics, Geometry};

/// READ CAPACITY (10): last LBA, or FFFFFFFFh if it has more than 32 bits, and block length.
#[must_use]
pub fn read_capacity_10(geometry: &Geometry) -> [u8; 8] {
    let last = u32::try_from(geometry.last_lba().0).unwrap_or(u32::MAX);
    let mut data = [0; 8];
    data[..4].copy_from_slice(&last.to_be_bytes());
    data[4..].copy_from_slice(&geometry.block_size().get().to_be_bytes());
    data
}

/// READ CAPACITY (16): no protection information; RC BASIS 00b, since all blocks count. The caller cuts to the
/// allocation length.
#[must_use]
pub fn read_capacity_16(geometry: &Geometry, characteristics: &Characteristics) -> [u8; 32] {
    let mut data = [0; 32];
    data[..8].copy_from_slice(&geometry.last_lba().0.to_be_bytes());
    data[8..12].copy_from_slice(&geometry.block_size().get().to_be_bytes());
    data[13] = geometry.physical_exponent();
    // LOWEST ALIGNED LOGICAL BLOCK ADDRESS has 14 bits, and so has what the geometry tells.
    data[14..16].copy_from_slice(&geometry.lowest_aligned().to_be_bytes());
    if let Some(unmap) = characteristics.unmap {
        data[14] |= 0x80; // LBPME
        data[14] |= if unmap.reads_zeroes { 0x40 } else { 0 }; // LBPRZ
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logical_unit::{Provisioning, Unmap, WriteSame};
    use crate::units::{BlockSize, Bytes, Lba};

    fn geometry(size: u64, block_size: u32) -> Geometry {
        Geometry::new(Bytes(size), BlockSize::new(block_size).unwrap()).unwrap()
    }

    #[test]
    fn capacity_10_saturates() {
        assert_eq!(read_capacity_10(&geometry(1 << 30, 512)), [0, 0x1f, 0xff, 0xff, 0, 0, 2, 0]);
        assert_eq!(read_capacity_10(&geometry(4096, 4096)), [0, 0, 0, 0, 0, 0, 0x10, 0]);
        // 2³² blocks: the last LBA is FFFFFFFFh itself, which already means "ask READ CAPACITY (16)".
        assert_eq!(read_capacity_10(&geometry(1 << 41, 512)), [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
        assert_eq!(read_capacity_10(&geometry(1 << 42, 512)), [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
        assert_eq!(read_capacity_10(&geometry((1 << 41) - 512, 512)), [0xff, 0xff, 0xff, 0xfe, 0, 0, 2, 0]);
    }

    #[test]
    fn capacity_16() {
        let mut expected = [0; 32];
        expected[3..8].fill(0xff); // 2⁴⁰ − 1
        expected[10] = 0x10;
        assert_eq!(read_capacity_16(&geometry(1 << 52, 4096), &Characteristics::default()), expected);
    }

    #[test]
    fn capacity_16_tells_physical_blocks_and_provisioning() {
        let disk = geometry(1 << 20, 512).with_physical_block(BlockSize::B4096).unwrap();
        let thin = |reads_zeroes| Characteristics {
            unmap: Some(Unmap {
                max_blocks: 1,
                max_descriptors: 1,
                granularity: 0,
                alignment: None,
                reads_zeroes,
                write_same: WriteSame::None,
                provisioning: Provisioning::Thin,
            }),
            ..Characteristics::default()
        };
        assert_eq!(read_capacity_16(&disk, &thin(true))[12..16], [0, 3, 0xc0, 0]);
        assert_eq!(read_capacity_16(&disk, &thin(false))[12..16], [0, 3, 0x80, 0]);
        assert_eq!(read_capacity_16(&disk, &Characteristics::default())[12..16], [0, 3, 0, 0]);
        let disk = disk.with_lowest_aligned(Lba(7)).unwrap();
        assert_eq!(read_capacity_16(&disk, &thin(true))[12..16], [0, 3, 0xc0, 7]);
    }

    #[test]
    fn the_lowest_aligned_block_spares_the_bits_beside_it() {
        let physical = BlockSize::new(1 << 23).unwrap();
        let disk = geometry(1 << 30, 512).with_physical_block(physical).unwrap();
        let disk = disk.with_lowest_aligned(Lba((1 << 14) - 1)).unwrap();
        let data = read_capacity_16(&disk, &Characteristics::default());
        assert_eq!(data[12..16], [0, 14, 0x3f, 0xff]);
    }
}
