use super::*;
use crate::units::{BlockSize, Blocks, Bytes, Lba};

#[test]
fn sizes_are_whole_blocks_and_not_empty() {
    let geometry = Geometry::new(Bytes(1 << 30), BlockSize::B4096).unwrap();
    assert_eq!(geometry.capacity(), Blocks(1 << 18));
    assert_eq!(geometry.last_lba(), Lba((1 << 18) - 1));
    assert_eq!(geometry.size(), Bytes(1 << 30));
    assert_eq!(Geometry::new(Bytes(0), BlockSize::B512), Err(GeometryError::Empty));

    let error = Geometry::new(Bytes(5000), BlockSize::B4096).unwrap_err();
    assert_eq!(error, GeometryError::PartialBlock { size: Bytes(5000), block_size: BlockSize::B4096 });
    assert_eq!(
        error.to_string(),
        "size: 5000 bytes is not a multiple of the block size 4096; use 4096 or a smaller block size"
    );
}

#[test]
fn physical_blocks_are_not_smaller_than_logical_ones() {
    let small = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    assert_eq!(small.physical_exponent(), 0);
    assert_eq!(small.with_physical_block(BlockSize::B4096).unwrap().physical_exponent(), 3);
    let largest = BlockSize::new(1 << 23).unwrap();
    assert_eq!(small.with_physical_block(largest).unwrap().physical_exponent(), 14);

    let large = Geometry::new(Bytes(1 << 20), BlockSize::B4096).unwrap();
    assert_eq!(
        large.with_physical_block(BlockSize::B512),
        Err(GeometryError::PhysicalBelowLogical { physical: BlockSize::B512, logical: BlockSize::B4096 })
    );
}

#[test]
fn ranges_end_at_the_end_of_the_medium() {
    let geometry = Geometry::new(Bytes(512 * 100), BlockSize::B512).unwrap();
    for (lba, blocks) in [(0, 0), (0, 100), (99, 1), (100, 0), (50, 50)] {
        assert_eq!(geometry.check_range(Lba(lba), Blocks(blocks)), Ok(()), "{lba} + {blocks}");
    }
    for (lba, blocks) in [(0, 101), (99, 2), (100, 1), (101, 0), (u64::MAX, 0), (u64::MAX, 1), (1, u64::MAX)]
    {
        assert_eq!(
            geometry.check_range(Lba(lba), Blocks(blocks)),
            Err(Sense::LBA_OUT_OF_RANGE),
            "{lba} + {blocks}"
        );
    }
}

#[test]
fn the_lowest_aligned_block_is_in_the_first_physical_one() {
    let disk = Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap();
    assert_eq!(
        disk.with_lowest_aligned(Lba(1)),
        Err(GeometryError::AlignmentBeyondPhysical { lba: Lba(1), limit: Blocks(1) })
    );
    let large = disk.with_physical_block(BlockSize::B4096).unwrap();
    assert_eq!(large.lowest_aligned(), 0);
    assert_eq!(large.with_lowest_aligned(Lba(7)).unwrap().lowest_aligned(), 7);
    for lba in [8, 1 << 20, u64::MAX] {
        let error = large.with_lowest_aligned(Lba(lba)).unwrap_err();
        assert_eq!(error, GeometryError::AlignmentBeyondPhysical { lba: Lba(lba), limit: Blocks(8) });
    }
    assert_eq!(
        large.with_lowest_aligned(Lba(8)).unwrap_err().to_string(),
        "lowest aligned block: 8 is not within the first physical block; use a number below 8"
    );
    // Physical blocks of another size are aligned anew.
    let aligned = large.with_lowest_aligned(Lba(7)).unwrap();
    assert_eq!(aligned.with_physical_block(BlockSize::B512).unwrap().lowest_aligned(), 0);
}

#[test]
fn what_the_modes_say_shows_in_answers() {
    let mut unit =
        LogicalUnit::new(Identity::tcmu("x"), Geometry::new(Bytes(1 << 20), BlockSize::B512).unwrap());
    assert_eq!(unit.sense_format(), SenseFormat::Fixed);
    assert_eq!(unit.write_protection(), None);
    assert_eq!(unit.format_in_progress(), None);
    unit.characteristics.descriptor_sense = true;
    unit.characteristics.software_write_protected = true;
    unit.formatting = Some(0x8000);
    assert_eq!(unit.sense_format(), SenseFormat::Descriptor);
    assert_eq!(unit.write_protection(), Some(Sense::SOFTWARE_WRITE_PROTECTED));
    assert_eq!(
        unit.format_in_progress(),
        Some((Sense::FORMAT_IN_PROGRESS, SenseKeySpecific::Progress(0x8000)))
    );
    unit.characteristics.write_protected = true;
    assert_eq!(unit.write_protection(), Some(Sense::WRITE_PROTECTED));
}
