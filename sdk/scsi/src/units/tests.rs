use super::*;

#[test]
fn block_sizes_are_powers_of_two_in_bounds() {
    for good in [512, 1024, 4096, 1 << 23] {
        assert_eq!(BlockSize::new(good).map(BlockSize::get), Ok(good));
    }
    for bad in [0, 1, 256, 511, 513, 520, 4095, 1 << 24, 1 << 31, u32::MAX] {
        assert_eq!(BlockSize::new(bad), Err(InvalidBlockSize(bad)));
    }
}

#[test]
fn a_refused_block_size_names_number_and_remedy() {
    let message = InvalidBlockSize(520).to_string();
    assert!(message.contains("block size: 520 bytes"), "{message}");
    assert!(message.contains("use a power of two from 512 to 8388608"), "{message}");
}

#[test]
fn sums_beyond_64_bits_are_refused() {
    assert_eq!(Lba(u64::MAX - 1).checked_add(Blocks(1)), Some(Lba(u64::MAX)));
    assert_eq!(Lba(u64::MAX).checked_add(Blocks(1)), None);
    assert_eq!(Blocks(u64::MAX).checked_add(Blocks(1)), None);
    assert_eq!(Bytes(u64::MAX).checked_add(Bytes(1)), None);
    assert_eq!(Bytes(1).checked_add(Bytes(2)), Some(Bytes(3)));
    assert_eq!(Lba(5).blocks_since(Lba(2)), Some(Blocks(3)));
    assert_eq!(Lba(2).blocks_since(Lba(5)), None);
}

#[test]
fn conversions_are_exact_or_nothing() {
    let size = BlockSize::B4096;
    assert_eq!(size.bytes(Blocks(3)), Some(Bytes(12288)));
    assert_eq!(size.offset(Lba(3)), Some(Bytes(12288)));
    assert_eq!(size.bytes(Blocks(1 << 52)), None);
    assert_eq!(size.offset(Lba(1 << 52)), None);
    assert_eq!(size.blocks(Bytes(12288)), Some(Blocks(3)));
    assert_eq!(size.blocks(Bytes(12289)), None);
    assert_eq!(size.lba(Bytes(8192)), Some(Lba(2)));
    assert_eq!(size.lba(Bytes(512)), None);
}
