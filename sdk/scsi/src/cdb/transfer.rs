//! CDBs of SBC that move or compare the blocks of a range.

use super::fields::{Cdb, LONG, Parsed, SHORT, be64, check, hints, range_10, range_12, range_16, range_32};
use crate::command::{ByteCheck, Command};
use crate::sense::FieldPointer;
use crate::units::{Blocks, Lba};

/// First block and count.
type Range = (Lba, Blocks);

/// 21-bit address, 8-bit count (SBC-4, READ (6)). A count of 0 means 256.
fn range_6(cdb: &Cdb) -> Range {
    let lba = u32::from_be_bytes([0, cdb[1] & 0x1f, cdb[2], cdb[3]]);
    (Lba(u64::from(lba)), Blocks(if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) }))
}

pub(crate) fn read_6(cdb: &Cdb) -> Parsed {
    let (lba, blocks) = range_6(cdb);
    Ok(Command::Read { lba, blocks, dpo: false, fua: false })
}

pub(crate) fn write_6(cdb: &Cdb) -> Parsed {
    let (lba, blocks) = range_6(cdb);
    Ok(Command::Write { lba, blocks, dpo: false, fua: false })
}

fn read(cdb: &Cdb, at: u8, (lba, blocks): Range) -> Parsed {
    let (dpo, fua) = hints(cdb, at)?;
    Ok(Command::Read { lba, blocks, dpo, fua })
}

pub(crate) fn read_10(cdb: &Cdb) -> Parsed {
    read(cdb, SHORT, range_10(cdb))
}

pub(crate) fn read_12(cdb: &Cdb) -> Parsed {
    read(cdb, SHORT, range_12(cdb))
}

pub(crate) fn read_16(cdb: &Cdb) -> Parsed {
    read(cdb, SHORT, range_16(cdb))
}

pub(crate) fn read_32(cdb: &Cdb) -> Parsed {
    read(cdb, LONG, range_32(cdb))
}

fn write(cdb: &Cdb, at: u8, (lba, blocks): Range) -> Parsed {
    let (dpo, fua) = hints(cdb, at)?;
    Ok(Command::Write { lba, blocks, dpo, fua })
}

pub(crate) fn write_10(cdb: &Cdb) -> Parsed {
    write(cdb, SHORT, range_10(cdb))
}

pub(crate) fn write_12(cdb: &Cdb) -> Parsed {
    write(cdb, SHORT, range_12(cdb))
}

pub(crate) fn write_16(cdb: &Cdb) -> Parsed {
    write(cdb, SHORT, range_16(cdb))
}

pub(crate) fn write_32(cdb: &Cdb) -> Parsed {
    write(cdb, LONG, range_32(cdb))
}

fn write_and_verify(cdb: &Cdb, at: u8, (lba, blocks): Range) -> Parsed {
    let (dpo, check) = check(cdb, at)?;
    // The blocks that were sent are what is compared with; one for all of them is VERIFY's.
    if check == ByteCheck::OneBlock {
        return Err(FieldPointer::cdb_bit(u16::from(at), 2));
    }
    Ok(Command::WriteAndVerify { lba, blocks, dpo, check })
}

pub(crate) fn write_and_verify_10(cdb: &Cdb) -> Parsed {
    write_and_verify(cdb, SHORT, range_10(cdb))
}

pub(crate) fn write_and_verify_12(cdb: &Cdb) -> Parsed {
    write_and_verify(cdb, SHORT, range_12(cdb))
}

pub(crate) fn write_and_verify_16(cdb: &Cdb) -> Parsed {
    write_and_verify(cdb, SHORT, range_16(cdb))
}

pub(crate) fn write_and_verify_32(cdb: &Cdb) -> Parsed {
    write_and_verify(cdb, LONG, range_32(cdb))
}

fn verify(cdb: &Cdb, at: u8, (lba, blocks): Range) -> Parsed {
    let (dpo, check) = check(cdb, at)?;
    Ok(Command::Verify { lba, blocks, dpo, check })
}

pub(crate) fn verify_10(cdb: &Cdb) -> Parsed {
    verify(cdb, SHORT, range_10(cdb))
}

pub(crate) fn verify_12(cdb: &Cdb) -> Parsed {
    verify(cdb, SHORT, range_12(cdb))
}

pub(crate) fn verify_16(cdb: &Cdb) -> Parsed {
    verify(cdb, SHORT, range_16(cdb))
}

pub(crate) fn verify_32(cdb: &Cdb) -> Parsed {
    verify(cdb, LONG, range_32(cdb))
}

pub(crate) fn compare_and_write(cdb: &Cdb) -> Parsed {
    let (dpo, fua) = hints(cdb, SHORT)?;
    // NUMBER OF LOGICAL BLOCKS is one byte.
    Ok(Command::CompareAndWrite { lba: Lba(be64(cdb, 2)), blocks: Blocks(u64::from(cdb[13])), dpo, fua })
}

pub(crate) fn or_write_16(cdb: &Cdb) -> Parsed {
    let (dpo, fua) = hints(cdb, SHORT)?;
    let (lba, blocks) = range_16(cdb);
    Ok(Command::OrWrite { lba, blocks, dpo, fua })
}
