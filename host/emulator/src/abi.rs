//! Where things lie in the map: offsets, flags and lengths (`include/uapi/linux/target_core_user.h`).

/// `TCMU_MAILBOX_VERSION`.
pub(crate) const MAILBOX_VERSION: u16 = 2;
/// Bytes of the mailbox, and so the map offset of the ring.
pub(crate) const RING_START: u32 = 128;
/// Entry lengths and offsets are multiples of this (`TCMU_OP_ALIGN_SIZE`).
pub(crate) const ALIGN: u32 = 8;
/// Low bits of `len_op` that hold the operation (`TCMU_OP_MASK`).
pub(crate) const OP_MASK: u32 = 7;
/// `TCMU_SENSE_BUFFERSIZE`.
pub(crate) const SENSE_BYTES: usize = 96;
/// Longest CDB that the target core passes on (SPC-4 4.2.3: variable length, 260 bytes).
pub(crate) const CDB_MAX: usize = 260;

/// Map offsets of `struct tcmu_mailbox`.
pub(crate) mod mailbox {
    pub(crate) const VERSION: u64 = 0;
    pub(crate) const FLAGS: u64 = 2;
    pub(crate) const RING_OFFSET: u64 = 4;
    pub(crate) const RING_SIZE: u64 = 8;
    pub(crate) const HEAD: u64 = 12;
    pub(crate) const TAIL: u64 = 64;

    pub(crate) const FLAG_OUT_OF_ORDER: u16 = 1;
    pub(crate) const FLAG_READ_LEN: u16 = 2;
    pub(crate) const FLAG_TMR: u16 = 4;
    pub(crate) const FLAG_KEEP_BUF: u16 = 8;
}

/// Offsets inside of an entry; response fields overlay request fields.
pub(crate) mod entry {
    pub(crate) const LEN_OP: u64 = 0;
    pub(crate) const ID: u64 = 4;
    pub(crate) const USER_FLAGS: u64 = 7;

    pub(crate) const VECTORS: u64 = 8;
    pub(crate) const BIDI_VECTORS: u64 = 12;
    pub(crate) const CDB_OFFSET: u64 = 24;
    pub(crate) const VECTOR_TABLE: u64 = 48;
    pub(crate) const VECTOR_BYTES: u64 = 16;

    pub(crate) const STATUS: u64 = 8;
    pub(crate) const READ_LEN: u64 = 12;
    pub(crate) const SENSE: u64 = 16;

    pub(crate) const TMR_TYPE: u64 = 8;
    pub(crate) const TMR_COUNT: u64 = 12;
    pub(crate) const TMR_IDS: u64 = 32;

    /// `sizeof(struct tcmu_cmd_entry)`: the response with its sense is longer than a short request.
    pub(crate) const FIXED_BYTES: u64 = 112;

    pub(crate) const USER_UNKNOWN_OP: u8 = 1;
    pub(crate) const USER_READ_LEN: u8 = 2;
    pub(crate) const USER_KEEP_BUF: u8 = 4;
}

/// What an entry is: the low bits of `len_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Pad,
    Command,
    TaskManagement,
}

impl Op {
    /// `enum tcmu_opcode`.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Pad => 0,
            Self::Command => 1,
            Self::TaskManagement => 2,
        }
    }
}

/// Offset of the CDB inside of an entry with so many vectors.
pub(crate) const fn cdb_offset(vectors: u32) -> u64 {
    let table_end = entry::VECTOR_TABLE + entry::VECTOR_BYTES * vectors as u64;
    if table_end < entry::FIXED_BYTES { entry::FIXED_BYTES } else { table_end }
}

/// Bytes of a command entry.
pub(crate) const fn command_bytes(vectors: u32, cdb: usize) -> u64 {
    cdb_offset(vectors) + (cdb as u64).next_multiple_of(ALIGN as u64)
}

/// Bytes of a task management entry that names so many commands.
pub(crate) const fn task_management_bytes(ids: usize) -> u64 {
    (entry::TMR_IDS + 2 * ids as u64).next_multiple_of(ALIGN as u64)
}

/// SCSI status codes that the kernel itself puts into completions or looks at (SAM-5 5.3.1).
pub(crate) mod status {
    pub(crate) const GOOD: u8 = 0x00;
    pub(crate) const CHECK_CONDITION: u8 = 0x02;
    pub(crate) const BUSY: u8 = 0x08;
    pub(crate) const TASK_SET_FULL: u8 = 0x28;
}

/// Sense that the kernel writes itself: fixed format, current error, 10 additional bytes (SPC-4 4.5.3).
pub(crate) const fn kernel_sense(key: u8, asc: u8, ascq: u8) -> [u8; SENSE_BYTES] {
    let mut sense = [0; SENSE_BYTES];
    sense[0] = 0x70;
    sense[2] = key;
    sense[7] = 10;
    sense[12] = asc;
    sense[13] = ascq;
    sense
}

/// NOT READY, LOGICAL UNIT COMMUNICATION FAILURE: the kernel's answer where the daemon gave none.
pub(crate) const COMMUNICATION_FAILURE: [u8; SENSE_BYTES] = kernel_sense(0x2, 0x08, 0x00);
/// ILLEGAL REQUEST, INVALID FIELD IN CDB: the kernel's answer to a command that can never fit the ring.
pub(crate) const INVALID_FIELD: [u8; SENSE_BYTES] = kernel_sense(0x5, 0x24, 0x00);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_lengths_follow_the_structures_of_the_header() {
        assert_eq!(command_bytes(0, 6), 112 + 8);
        assert_eq!(command_bytes(4, 16), 48 + 64 + 16);
        assert_eq!(command_bytes(5, 16), 48 + 80 + 16);
        assert_eq!(command_bytes(5, 17), 48 + 80 + 24);
        assert_eq!(task_management_bytes(0), 32);
        assert_eq!(task_management_bytes(1), 40);
        assert_eq!(task_management_bytes(4), 40);
        assert_eq!(task_management_bytes(5), 48);
    }
}
