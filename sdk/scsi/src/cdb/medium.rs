//! CDBs of SBC that concern the medium without moving the blocks of a range.

use super::fields::{
    Cdb, LONG, Parsed, SHORT, be16, be32, be64, range_10, range_16, range_32, unprotected, unset,
};
use crate::command::Command;
use crate::sense::FieldPointer;
use crate::units::{Blocks, Lba};

pub(crate) fn format_unit(cdb: &Cdb) -> Parsed {
    let format_data = cdb[1] & 0x10 != 0;
    // FMTPINFO: INQUIRY says PROTECT=0.
    if cdb[1] & 0xc0 != 0 {
        return Err(FieldPointer::cdb_bit(1, 7));
    }
    // CMPLST without a list is reserved. With one it changes nothing: there is no list of defects to add to.
    if !format_data {
        unset(cdb, 1, 3)?;
    }
    // DEFECT LIST FORMAT other than short blocks.
    if cdb[1] & 0x07 != 0 {
        return Err(FieldPointer::cdb_bit(1, 2));
    }
    // FFMT: the blocks would keep their data.
    if cdb[4] & 0x03 != 0 {
        return Err(FieldPointer::cdb_bit(4, 1));
    }
    Ok(Command::FormatUnit { format_data, long_list: format_data && cdb[1] & 0x20 != 0 })
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
    unset(cdb, 1, 0)?;
    unset(cdb, 8, 0)?;
    Ok(Command::ReadCapacity10)
}

pub(crate) fn read_capacity_16(cdb: &Cdb) -> Parsed {
    unset(cdb, 14, 0)?;
    Ok(Command::ReadCapacity16 { allocation: be32(cdb, 10) })
}

pub(crate) fn get_lba_status_16(cdb: &Cdb) -> Parsed {
    // REPORT TYPE: other ones select blocks by kind.
    if cdb[14] != 0 {
        return Err(FieldPointer::cdb(14));
    }
    Ok(Command::GetLbaStatus { lba: Lba(be64(cdb, 2)), allocation: be32(cdb, 10) })
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

pub(crate) fn pre_fetch_10(cdb: &Cdb) -> Parsed {
    Ok(pre_fetch(cdb, range_10(cdb)))
}

pub(crate) fn pre_fetch_16(cdb: &Cdb) -> Parsed {
    Ok(pre_fetch(cdb, range_16(cdb)))
}

fn pre_fetch(cdb: &Cdb, (lba, blocks): (Lba, Blocks)) -> Command {
    Command::PreFetch { lba, blocks, immed: cdb[1] & 0x02 != 0 }
}

pub(crate) fn unmap(cdb: &Cdb) -> Parsed {
    unset(cdb, 1, 0)?; // ANCHOR: VPD page B2h does not say ANC_SUP
    Ok(Command::Unmap { length: u32::from(be16(cdb, 7)) })
}

pub(crate) fn write_same_10(cdb: &Cdb) -> Parsed {
    write_same(cdb, SHORT, range_10(cdb), false)
}

pub(crate) fn write_same_16(cdb: &Cdb) -> Parsed {
    write_same(cdb, SHORT, range_16(cdb), cdb[1] & 0x01 != 0)
}

pub(crate) fn write_same_32(cdb: &Cdb) -> Parsed {
    write_same(cdb, LONG, range_32(cdb), cdb[10] & 0x01 != 0)
}

fn write_same(cdb: &Cdb, at: u8, (lba, blocks): (Lba, Blocks), ndob: bool) -> Parsed {
    unprotected(cdb, at)?;
    unset(cdb, at, 4)?; // ANCHOR: VPD page B2h does not say ANC_SUP
    // PBDATA and LBDATA of SBC-2: each block would get its address.
    unset(cdb, at, 2)?;
    unset(cdb, at, 1)?;
    let unmap = cdb[usize::from(at)] & 0x08 != 0;
    Ok(Command::WriteSame { lba, blocks, unmap, ndob })
}
