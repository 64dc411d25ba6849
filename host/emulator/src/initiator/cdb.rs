//! Command descriptor blocks of the commands that tests send most (SPC-4, SBC-3). Flags and fields not named in
//! the arguments are 0; change the bytes for anything else.

/// TEST UNIT READY (SPC-4 6.47).
#[must_use]
pub fn test_unit_ready() -> [u8; 6] {
    [0; 6]
}

/// INQUIRY, standard data (SPC-4 6.6).
#[must_use]
pub fn inquiry(allocation: u16) -> [u8; 6] {
    let [high, low] = allocation.to_be_bytes();
    [0x12, 0, 0, high, low, 0]
}

/// INQUIRY, a VPD page (SPC-4 6.6, EVPD set).
#[must_use]
pub fn inquiry_page(page: u8, allocation: u16) -> [u8; 6] {
    let [high, low] = allocation.to_be_bytes();
    [0x12, 1, page, high, low, 0]
}

/// READ CAPACITY (10) (SBC-3 5.15).
#[must_use]
pub fn read_capacity_10() -> [u8; 10] {
    [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// READ CAPACITY (16) (SBC-3 5.16).
#[must_use]
pub fn read_capacity_16(allocation: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x9e, 0x10);
    cdb[10..14].copy_from_slice(&allocation.to_be_bytes());
    cdb
}

fn ten(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn sixteen(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// READ (10) (SBC-3 5.11).
#[must_use]
pub fn read_10(lba: u32, blocks: u16) -> [u8; 10] {
    ten(0x28, lba, blocks)
}

/// READ (16) (SBC-3 5.13).
#[must_use]
pub fn read_16(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x88, lba, blocks)
}

/// WRITE (10) (SBC-3 5.32).
#[must_use]
pub fn write_10(lba: u32, blocks: u16) -> [u8; 10] {
    ten(0x2a, lba, blocks)
}

/// WRITE (16) (SBC-3 5.34).
#[must_use]
pub fn write_16(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, lba, blocks)
}

/// SYNCHRONIZE CACHE (10) (SBC-3 5.23); `blocks` = 0 means to the end.
#[must_use]
pub fn synchronize_cache_10(lba: u32, blocks: u16) -> [u8; 10] {
    ten(0x35, lba, blocks)
}
