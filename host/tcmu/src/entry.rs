//! Layout of the ring's entries: reading requests, writing responses. Everything here was checked by the
//! caller against the ring's end and cmd_head, or is checked here against the entry's own length.
//! Source: struct tcmu_cmd_entry_hdr, tcmu_cmd_entry and tcmu_tmr_entry,
//! include/uapi/linux/target_core_user.h.

use lunbox_memory::{Extent, Mapping};

use crate::mailbox::Geometry;
use crate::request::{CDB_MAX, Request, Response, SENSE_SIZE, TmrFunction};
use crate::ring_error::RingError;

const LEN_OP: u64 = 0;
const CMD_ID: u64 = 4;
const UFLAGS: u64 = 7;
const IOV_CNT: u64 = 8;
const IOV_DIF_CNT: u64 = 16;
const CDB_OFF: u64 = 24;
/// First reserved word of a command: zeroed by the kernel in each entry that it queues, read by nobody. Under
/// the sense data of a response.
const RESERVED: u64 = 32;
const IOV: u64 = 48;
const IOV_SIZE: u64 = 16;

const TMR_TYPE: u64 = 8;
const TMR_CMD_CNT: u64 = 12;
const TMR_CMD_IDS: u64 = 32;

/// Bytes of the response fields behind the header: status, read_len, sense.
const RESPONSE: u64 = 8;
const RESPONSE_SIZE: usize = 8 + SENSE_SIZE;

const UFLAG_UNKNOWN_OP: u8 = 1;
const UFLAG_READ_LEN: u8 = 2;
const UFLAG_KEEP_BUF: u8 = 4;

/// What an entry is (low three bits of len_op).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pad,
    Command,
    TaskManagement,
    Unknown,
}

/// The only part that every entry has: a PAD may end with it, right at the ring's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Bytes of the whole entry, a multiple of 8 by construction.
    pub(crate) length: u32,
    pub(crate) id: u16,
}

impl Header {
    /// Reads the header at `at`. `room` is what the ring still has there, `published` how much of that the
    /// kernel has handed over.
    pub(crate) fn load(map: &Mapping, at: u64, room: u32, published: u32) -> Result<Self, RingError> {
        let [a, b, c, d, e, f, ..] = map.load_u64(at)?.to_ne_bytes();
        let len_op = u32::from_ne_bytes([a, b, c, d]);
        let length = len_op & !7;
        let (kind, smallest) = match len_op & 7 {
            0 => (Kind::Pad, 8),
            1 => (Kind::Command, 112),
            2 => (Kind::TaskManagement, 32),
            _ => (Kind::Unknown, 8),
        };
        let rule = if length < smallest {
            Some("at least the fixed part of its kind (PAD 8, CMD 112, TMR 32 bytes)")
        } else if length > room {
            Some("short enough for the entry not to wrap")
        } else if length > published {
            Some("short enough for the entry to end at or before cmd_head")
        } else {
            None
        };
        match rule {
            Some(expected) => Err(wrong("len_op", u64::from(len_op), at + LEN_OP, expected)),
            None => Ok(Self { kind, length, id: u16::from_ne_bytes([e, f]) }),
        }
    }
}

fn wrong(field: &'static str, value: u64, at: u64, expected: &'static str) -> RingError {
    RingError::Inconsistent { field, value, at, expected }
}

/// The error of a cmd_id that can not be: 0, or one that is outstanding already.
pub(crate) fn wrong_id(at: u64, id: u16) -> RingError {
    wrong("cmd_id", u64::from(id), at + CMD_ID, "neither 0 nor the id of an outstanding command")
}

/// Copies a command's CDB and vectors. `length` is that of the checked header.
pub(crate) fn copy_command(
    map: &Mapping,
    geometry: &Geometry,
    at: u64,
    length: u32,
    request: &mut Request,
) -> Result<(), RingError> {
    request.clear();
    let end = at + u64::from(length);
    let (data, bidi) = halves(map.load_u64(at + IOV_CNT)?);
    let (protection, _) = halves(map.load_u64(at + IOV_DIF_CNT)?);
    if protection != 0 {
        let at = at + IOV_DIF_CNT;
        return Err(wrong("iov_dif_cnt", u64::from(protection), at, "0 (no protection information)"));
    }
    let vectors = u64::from(data) + u64::from(bidi);
    let vectors_end = at + IOV + vectors * IOV_SIZE;
    if vectors_end > end {
        return Err(wrong(
            "iov_cnt + iov_bidi_cnt",
            vectors,
            at + IOV_CNT,
            "few enough to fit into the entry",
        ));
    }
    let cdb_off = map.load_u64(at + CDB_OFF)?;
    if cdb_off < vectors_end || cdb_off >= end {
        let expected = "inside of its entry, behind the vectors";
        return Err(wrong("cdb_off", cdb_off, at + CDB_OFF, expected));
    }
    // In range by the checks above; a longer rest than any CDB is padding of no meaning.
    let cdb_length = usize::try_from(end - cdb_off).unwrap_or(CDB_MAX);
    map.load_bytes(cdb_off, request.cdb.refill(cdb_length))?;

    let first_bidi = at + IOV + u64::from(data) * IOV_SIZE;
    copy_vectors(map, geometry, at + IOV, first_bidi, &mut request.data)?;
    copy_vectors(map, geometry, first_bidi, vectors_end, &mut request.bidi)
}

fn copy_vectors(
    map: &Mapping,
    geometry: &Geometry,
    from: u64,
    to: u64,
    out: &mut Vec<Extent>,
) -> Result<(), RingError> {
    let mut at = from;
    while at < to {
        let (offset, length) = (map.load_u64(at)?, map.load_u64(at + 8)?);
        if offset < geometry.data_start() || offset > geometry.data_end() {
            return Err(wrong("iov_base", offset, at, "in the data area"));
        }
        if length > geometry.data_end() - offset {
            return Err(wrong("iov_len", length, at + 8, "short enough to end in the data area"));
        }
        out.push(Extent { offset, length });
        at += IOV_SIZE;
    }
    Ok(())
}

/// Copies a task management notice. `length` is that of the checked header.
pub(crate) fn copy_task_management(
    map: &Mapping,
    at: u64,
    length: u32,
    request: &mut Request,
) -> Result<TmrFunction, RingError> {
    request.clear();
    let function = TmrFunction::from(map.load_u8(at + TMR_TYPE)?);
    let count = u64::from(map.load_u32(at + TMR_CMD_CNT)?);
    if TMR_CMD_IDS + 2 * count > u64::from(length) {
        return Err(wrong("cmd_cnt", count, at + TMR_CMD_CNT, "few enough ids to fit into the entry"));
    }
    for index in 0..count {
        request.aborted.push(map.load_u16(at + TMR_CMD_IDS + 2 * index)?);
    }
    Ok(function)
}

/// Refuses an entry that was taken before: by a predecessor that died, or (for the moment between the kernel's
/// stores to cmd_tail and cmd_head in a reset) by ourselves. Its buffer may belong to another command by now.
pub(crate) fn check_unmarked(map: &Mapping, at: u64) -> Result<(), RingError> {
    match load_nonce(map, at)? {
        0 => Ok(()),
        mark => Err(wrong("reserved", mark, at + RESERVED, "0 (else the entry was taken before)")),
    }
}

/// Marks a command entry as copied.
pub(crate) fn store_nonce(map: &Mapping, at: u64, nonce: u64) -> Result<(), RingError> {
    Ok(map.store_u64(at + RESERVED, nonce)?)
}

/// What [`store_nonce`] left there, unless the kernel has queued over it.
pub(crate) fn load_nonce(map: &Mapping, at: u64) -> Result<u64, RingError> {
    Ok(map.load_u64(at + RESERVED)?)
}

/// Tells the kernel that the entry's operation is not known here.
pub(crate) fn mark_unknown(map: &Mapping, at: u64) -> Result<(), RingError> {
    Ok(map.store_u8(at + UFLAGS, UFLAG_UNKNOWN_OP)?)
}

/// Writes the response of command `id` over the command entry at `at`, whichever command that carried.
/// `read_len_offered`: whether the kernel looks at that field.
pub(crate) fn store_response(
    map: &Mapping,
    at: u64,
    id: u16,
    response: &Response<'_>,
    read_len_offered: bool,
) -> Result<(), RingError> {
    let mut body = [0; RESPONSE_SIZE];
    let mut uflags = 0;
    body[0] = response.status;
    if let Some(length) = response.read_len.filter(|_| read_len_offered) {
        body[4..8].copy_from_slice(&length.to_ne_bytes());
        uflags |= UFLAG_READ_LEN;
    }
    if response.keep_buf {
        uflags |= UFLAG_KEEP_BUF;
    }
    // The kernel takes all 96 bytes as they are, and the entry still holds the request: the rest must be zero.
    let sense = response.sense.unwrap_or_default();
    let sense = &sense[..sense.len().min(SENSE_SIZE)];
    body[8..8 + sense.len()].copy_from_slice(sense);
    map.store_bytes(at + RESPONSE, &body)?;
    map.store_u16(at + CMD_ID, id)?;
    Ok(map.store_u8(at + UFLAGS, uflags)?)
}

/// The two u32 that one aligned u64 of memory holds, lower address first.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}
