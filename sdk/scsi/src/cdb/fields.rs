//! Fields that many CDBs share. The CDB is zero-filled, its length and NACA have been checked.

use crate::command::{ByteCheck, Command};
use crate::opcode::MAX_FIXED_CDB;
use crate::sense::FieldPointer;
use crate::units::{Blocks, Lba};

pub(crate) type Cdb = [u8; MAX_FIXED_CDB];
pub(crate) type Parsed = Result<Command, FieldPointer>;

/// Where the byte with the protection field and the cache hints stands: in all forms but the 32-byte ones.
pub(super) const SHORT: u8 = 1;
/// The same for the 32-byte forms.
pub(super) const LONG: u8 = 10;

/// LOGICAL BLOCK ADDRESS in bytes 2 to 5, TRANSFER LENGTH in 7 and 8.
pub(super) fn range_10(cdb: &Cdb) -> (Lba, Blocks) {
    (Lba(u64::from(be32(cdb, 2))), Blocks(u64::from(be16(cdb, 7))))
}

/// LOGICAL BLOCK ADDRESS in bytes 2 to 5, TRANSFER LENGTH in 6 to 9.
pub(super) fn range_12(cdb: &Cdb) -> (Lba, Blocks) {
    (Lba(u64::from(be32(cdb, 2))), Blocks(u64::from(be32(cdb, 6))))
}

/// LOGICAL BLOCK ADDRESS in bytes 2 to 9, TRANSFER LENGTH in 10 to 13.
pub(super) fn range_16(cdb: &Cdb) -> (Lba, Blocks) {
    (Lba(be64(cdb, 2)), Blocks(u64::from(be32(cdb, 10))))
}

/// LOGICAL BLOCK ADDRESS in bytes 12 to 19, TRANSFER LENGTH in 28 to 31. The expected reference and application
/// tags between them belong to protection information, which there is not.
pub(super) fn range_32(cdb: &Cdb) -> (Lba, Blocks) {
    (Lba(be64(cdb, 12)), Blocks(u64::from(be32(cdb, 28))))
}

/// Refuses RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT in byte `at`: the medium is not formatted with protection
/// information (SBC-4, the tables of these fields).
pub(super) fn unprotected(cdb: &Cdb, at: u8) -> Result<(), FieldPointer> {
    if cdb[usize::from(at)] & 0xe0 != 0 {
        return Err(FieldPointer::cdb_bit(u16::from(at), 7));
    }
    Ok(())
}

/// DPO and FUA in byte `at`, behind a protection field that is 0.
pub(super) fn hints(cdb: &Cdb, at: u8) -> Result<(bool, bool), FieldPointer> {
    unprotected(cdb, at)?;
    let byte = cdb[usize::from(at)];
    Ok((byte & 0x10 != 0, byte & 0x08 != 0))
}

/// DPO and BYTCHK in byte `at`, behind a protection field that is 0.
pub(super) fn check(cdb: &Cdb, at: u8) -> Result<(bool, ByteCheck), FieldPointer> {
    unprotected(cdb, at)?;
    let byte = cdb[usize::from(at)];
    let check = match (byte >> 1) & 0x03 {
        0b00 => ByteCheck::Medium,
        0b01 => ByteCheck::Whole,
        0b11 => ByteCheck::OneBlock,
        _ => return Err(FieldPointer::cdb_bit(u16::from(at), 2)),
    };
    Ok((byte & 0x10 != 0, check))
}

/// Refuses a bit that asks for what there is not.
pub(super) fn unset(cdb: &Cdb, at: u8, bit: u8) -> Result<(), FieldPointer> {
    if cdb[usize::from(at)] & (1 << bit) != 0 {
        return Err(FieldPointer::cdb_bit(u16::from(at), bit));
    }
    Ok(())
}

pub(super) fn be16(cdb: &Cdb, at: usize) -> u16 {
    u16::from_be_bytes([cdb[at], cdb[at + 1]])
}

pub(super) fn be32(cdb: &Cdb, at: usize) -> u32 {
    u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]])
}

pub(super) fn be64(cdb: &Cdb, at: usize) -> u64 {
    let bytes =
        [cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3], cdb[at + 4], cdb[at + 5], cdb[at + 6], cdb[at + 7]];
    u64::from_be_bytes(bytes)
}
