//! The fields of each command. The CDB is zero-filled to 16 bytes, its length and NACA have been checked.

use crate::command::{Command, ModeSense, PageControl};
use crate::opcode::MAX_FIXED_CDB;
use crate::sense::FieldPointer;
use crate::units::{Blocks, Lba};

pub(crate) type Cdb = [u8; MAX_FIXED_CDB];
type Parsed = Result<Command, FieldPointer>;

pub(crate) fn test_unit_ready(_: &Cdb) -> Parsed {
    Ok(Command::TestUnitReady)
}

pub(crate) fn request_sense(cdb: &Cdb) -> Parsed {
    Ok(Command::RequestSense { descriptor: cdb[1] & 0x01 != 0, allocation: cdb[4] })
}

pub(crate) fn inquiry(cdb: &Cdb) -> Parsed {
    let evpd = cdb[1] & 0x01 != 0;
    // CMDDT of SPC-2: the answer would be another kind of data than what is sent.
    if cdb[1] & 0x02 != 0 {
        return Err(FieldPointer::cdb_bit(1, 1));
    }
    if !evpd && cdb[2] != 0 {
        return Err(FieldPointer::cdb(2));
    }
    Ok(Command::Inquiry { vpd: evpd.then_some(cdb[2]), allocation: u16::from_be_bytes([cdb[3], cdb[4]]) })
}

pub(crate) fn mode_sense_6(cdb: &Cdb) -> Parsed {
    Ok(Command::ModeSense(ModeSense {
        ten: false,
        llbaa: false,
        dbd: cdb[1] & 0x08 != 0,
        control: page_control(cdb[2]),
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation: u16::from(cdb[4]),
    }))
}

pub(crate) fn mode_sense_10(cdb: &Cdb) -> Parsed {
    Ok(Command::ModeSense(ModeSense {
        ten: true,
        llbaa: cdb[1] & 0x10 != 0,
        dbd: cdb[1] & 0x08 != 0,
        control: page_control(cdb[2]),
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation: u16::from_be_bytes([cdb[7], cdb[8]]),
    }))
}

fn page_control(byte: u8) -> PageControl {
    match byte >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    }
}

pub(crate) fn start_stop_unit(cdb: &Cdb) -> Parsed {
    Ok(Command::StartStopUnit {
        immed: cdb[1] & 0x01 != 0,
        power_condition: cdb[4] >> 4,
        no_flush: cdb[4] & 0x04 != 0,
        loej: cdb[4] & 0x02 != 0,
        start: cdb[4] & 0x01 != 0,
    })
}

pub(crate) fn read_capacity_10(cdb: &Cdb) -> Parsed {
    // RELADR and PMI of SBC-2 ask for another number than the capacity.
    if cdb[1] & 0x01 != 0 {
        return Err(FieldPointer::cdb_bit(1, 0));
    }
    if cdb[8] & 0x01 != 0 {
        return Err(FieldPointer::cdb_bit(8, 0));
    }
    Ok(Command::ReadCapacity10)
}

pub(crate) fn read_capacity_16(cdb: &Cdb) -> Parsed {
    if cdb[14] & 0x01 != 0 {
        return Err(FieldPointer::cdb_bit(14, 0));
    }
    Ok(Command::ReadCapacity16 { allocation: be32([cdb[10], cdb[11], cdb[12], cdb[13]]) })
}

/// A range of blocks and the two cache hints, which READ and WRITE share.
struct Transfer {
    lba: Lba,
    blocks: Blocks,
    dpo: bool,
    fua: bool,
}

impl Transfer {
    /// 21-bit address, 8-bit count, no hints (SBC-4, READ (6)). A count of 0 means 256.
    fn six(cdb: &Cdb) -> Self {
        Self {
            lba: Lba(u64::from(be32([0, cdb[1] & 0x1f, cdb[2], cdb[3]]))),
            blocks: Blocks(if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) }),
            dpo: false,
            fua: false,
        }
    }

    /// With the byte 1 that the longer forms share: RDPROTECT or WRPROTECT, DPO, FUA.
    fn hinted(cdb: &Cdb, (lba, blocks): (Lba, Blocks)) -> Result<Self, FieldPointer> {
        // The medium is not formatted with protection information (SBC-4 tables of RDPROTECT and WRPROTECT).
        if cdb[1] & 0xe0 != 0 {
            return Err(FieldPointer::cdb_bit(1, 7));
        }
        Ok(Self { lba, blocks, dpo: cdb[1] & 0x10 != 0, fua: cdb[1] & 0x08 != 0 })
    }

    fn read(self) -> Command {
        let Self { lba, blocks, dpo, fua } = self;
        Command::Read { lba, blocks, dpo, fua }
    }

    fn write(self) -> Command {
        let Self { lba, blocks, dpo, fua } = self;
        Command::Write { lba, blocks, dpo, fua }
    }
}

pub(crate) fn read_6(cdb: &Cdb) -> Parsed {
    Ok(Transfer::six(cdb).read())
}

pub(crate) fn write_6(cdb: &Cdb) -> Parsed {
    Ok(Transfer::six(cdb).write())
}

pub(crate) fn read_10(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_10(cdb)).map(Transfer::read)
}

pub(crate) fn write_10(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_10(cdb)).map(Transfer::write)
}

pub(crate) fn read_12(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_12(cdb)).map(Transfer::read)
}

pub(crate) fn write_12(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_12(cdb)).map(Transfer::write)
}

pub(crate) fn read_16(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_16(cdb)).map(Transfer::read)
}

pub(crate) fn write_16(cdb: &Cdb) -> Parsed {
    Transfer::hinted(cdb, range_16(cdb)).map(Transfer::write)
}

pub(crate) fn synchronize_cache_10(cdb: &Cdb) -> Parsed {
    Ok(synchronize_cache(cdb, range_10(cdb)))
}

pub(crate) fn synchronize_cache_16(cdb: &Cdb) -> Parsed {
    Ok(synchronize_cache(cdb, range_16(cdb)))
}

fn synchronize_cache(cdb: &Cdb, (lba, blocks): (Lba, Blocks)) -> Command {
    Command::SynchronizeCache { lba, blocks, immed: cdb[1] & 0x02 != 0 }
}

/// LOGICAL BLOCK ADDRESS in bytes 2 to 5, TRANSFER LENGTH in 7 and 8.
fn range_10(cdb: &Cdb) -> (Lba, Blocks) {
    let lba = be32([cdb[2], cdb[3], cdb[4], cdb[5]]);
    (Lba(u64::from(lba)), Blocks(u64::from(u16::from_be_bytes([cdb[7], cdb[8]]))))
}

/// LOGICAL BLOCK ADDRESS in bytes 2 to 5, TRANSFER LENGTH in 6 to 9.
fn range_12(cdb: &Cdb) -> (Lba, Blocks) {
    let lba = be32([cdb[2], cdb[3], cdb[4], cdb[5]]);
    (Lba(u64::from(lba)), Blocks(u64::from(be32([cdb[6], cdb[7], cdb[8], cdb[9]]))))
}

/// LOGICAL BLOCK ADDRESS in bytes 2 to 9, TRANSFER LENGTH in 10 to 13.
fn range_16(cdb: &Cdb) -> (Lba, Blocks) {
    let lba = u64::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5], cdb[6], cdb[7], cdb[8], cdb[9]]);
    (Lba(lba), Blocks(u64::from(be32([cdb[10], cdb[11], cdb[12], cdb[13]]))))
}

fn be32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}
