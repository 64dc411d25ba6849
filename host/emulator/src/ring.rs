//! Mailbox and command ring as the kernel keeps them.

use std::collections::VecDeque;
use std::sync::Arc;

use lunbox_memory::Mapping;

use crate::abi::{ALIGN, MAILBOX_VERSION, OP_MASK, Op, RING_START, SENSE_BYTES, entry, mailbox};
use crate::kernel::CommandId;
use crate::violation::Violation;

/// Offsets in this module come from entries that the ring laid out itself, never from what the daemon wrote.
const IN_RANGE: &str = "mailbox and entries lie inside of the mapping, aligned to 8 bytes";

/// An entry that was queued and not yet cleaned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where it starts, in bytes from the start of the ring.
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) op: Op,
    pub(crate) id: CommandId,
}

impl Entry {
    fn len_op(self) -> u32 {
        self.bytes | self.op.code()
    }

    /// Map offset of one of its fields.
    fn field(self, field: u64) -> u64 {
        u64::from(RING_START + self.offset) + field
    }
}

/// What the daemon wrote into an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) id: CommandId,
    pub(crate) flags: u8,
    pub(crate) status: u8,
    pub(crate) read_len: u32,
}

#[derive(Debug)]
pub(crate) struct Ring {
    map: Arc<Mapping>,
    size: u32,
    flags: u16,
    /// Next entry goes here. The kernel reads it back from the mailbox; a copy lets a daemon that wrote there
    /// be found out.
    head: u32,
    /// Entries up to here are done with (`cmdr_last_cleaned`).
    cleaned: u32,
    /// Entries from `cleaned` to `head`, pads included.
    entries: VecDeque<Entry>,
}

impl Ring {
    pub(crate) fn new(map: Arc<Mapping>, size: u32, flags: u16) -> Self {
        map.store_u16(mailbox::VERSION, MAILBOX_VERSION).expect(IN_RANGE);
        map.store_u16(mailbox::FLAGS, flags).expect(IN_RANGE);
        map.store_u32(mailbox::RING_OFFSET, RING_START).expect(IN_RANGE);
        map.store_u32(mailbox::RING_SIZE, size).expect(IN_RANGE);
        map.store_u32(mailbox::HEAD, 0).expect(IN_RANGE);
        map.store_u32(mailbox::TAIL, 0).expect(IN_RANGE);
        Self { map, size, flags, head: 0, cleaned: 0, entries: VecDeque::new() }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Bytes from `from` forward to `to`.
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { self.size - from + to }
    }

    /// Bytes that may be queued. One byte stays free, so that a full ring does not look empty.
    pub(crate) fn free_bytes(&self) -> u32 {
        self.size - self.distance(self.cleaned, self.head) - 1
    }

    /// Whether an entry fits, with the pad that it may need.
    pub(crate) fn has_room(&self, bytes: u32) -> bool {
        let to_end = self.size - self.head;
        let needed = if to_end >= bytes { bytes } else { to_end + bytes };
        needed <= self.free_bytes()
    }

    /// Starts an entry for which there is room: pads if it would wrap, zeroes it and writes its header. Not
    /// visible to the daemon before [`Self::publish`].
    pub(crate) fn begin(&mut self, bytes: u32, op: Op, id: CommandId) -> Entry {
        let to_end = self.size - self.head;
        if to_end < bytes {
            let pad = Entry { offset: self.head, bytes: to_end, op: Op::Pad, id: CommandId(0) };
            self.put_u64(pad, 0, 0);
            self.put_u32(pad, entry::LEN_OP, pad.len_op());
            self.publish(pad);
        }
        let new = Entry { offset: self.head, bytes, op, id };
        for at in (0..bytes).step_by(ALIGN as usize) {
            self.put_u64(new, u64::from(at), 0);
        }
        self.put_u32(new, entry::LEN_OP, new.len_op());
        self.put_u16(new, entry::ID, id.0);
        new
    }

    /// Moves the head over an entry; all that was written before is visible to whoever reads the new head.
    pub(crate) fn publish(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.head = self.after(entry);
        self.map.store_u32(mailbox::HEAD, self.head).expect(IN_RANGE);
    }

    fn after(&self, entry: Entry) -> u32 {
        (entry.offset + entry.bytes) % self.size
    }

    pub(crate) fn put_u64(&self, entry: Entry, field: u64, value: u64) {
        self.map.store_u64(entry.field(field), value).expect(IN_RANGE);
    }

    pub(crate) fn put_u32(&self, entry: Entry, field: u64, value: u32) {
        self.map.store_u32(entry.field(field), value).expect(IN_RANGE);
    }

    pub(crate) fn put_u16(&self, entry: Entry, field: u64, value: u16) {
        self.map.store_u16(entry.field(field), value).expect(IN_RANGE);
    }

    pub(crate) fn put_u8(&self, entry: Entry, field: u64, value: u8) {
        self.map.store_u8(entry.field(field), value).expect(IN_RANGE);
    }

    /// Writes the CDB behind the vectors and says where it is.
    pub(crate) fn put_cdb(&self, entry: Entry, at: u64, cdb: &[u8]) {
        self.map.store_bytes(entry.field(at), cdb).expect(IN_RANGE);
        self.put_u64(entry, entry::CDB_OFFSET, entry.field(at));
    }

    /// The next entry that the daemon's tail has passed, if any.
    pub(crate) fn next_passed(&self) -> Result<Option<Entry>, Violation> {
        let tail = self.tail();
        if tail == self.cleaned {
            return Ok(None);
        }
        let astray = Violation::TailAstray { tail };
        let Some(&next) = self.entries.front() else { return Err(astray) };
        if tail >= self.size || self.distance(self.cleaned, tail) < next.bytes {
            return Err(astray);
        }
        let found = self.map.load_u32(next.field(entry::LEN_OP)).expect(IN_RANGE);
        if found != next.len_op() {
            let (offset, expected) = (next.offset, next.len_op());
            return Err(Violation::EntryOverwritten { offset, found, expected });
        }
        debug_assert_eq!(found & OP_MASK, next.op.code(), "lengths leave the low bits alone");
        Ok(Some(next))
    }

    /// Moves the mark over the oldest entry.
    pub(crate) fn clean(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.cleaned = self.after(entry);
        }
    }

    /// The daemon's answer in an entry that its tail has passed.
    pub(crate) fn answer(&self, entry: Entry) -> Answer {
        Answer {
            id: CommandId(self.map.load_u16(entry.field(entry::ID)).expect(IN_RANGE)),
            flags: self.map.load_u8(entry.field(entry::USER_FLAGS)).expect(IN_RANGE),
            status: self.map.load_u8(entry.field(entry::STATUS)).expect(IN_RANGE),
            read_len: self.map.load_u32(entry.field(entry::READ_LEN)).expect(IN_RANGE),
        }
    }

    /// The sense data in such an entry.
    pub(crate) fn sense(&self, entry: Entry) -> [u8; SENSE_BYTES] {
        let mut sense = [0; SENSE_BYTES];
        self.map.load_bytes(entry.field(entry::SENSE), &mut sense).expect(IN_RANGE);
        sense
    }

    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    pub(crate) fn tail(&self) -> u32 {
        self.map.load_u32(mailbox::TAIL).expect(IN_RANGE)
    }

    /// Map offset of the entry in which a command was queued, until it is cleaned.
    pub(crate) fn entry_of(&self, id: CommandId) -> Option<u64> {
        self.entries
            .iter()
            .find(|entry| entry.op == Op::Command && entry.id == id)
            .map(|entry| entry.field(0))
    }

    /// Forgets all entries and starts at 0 again.
    pub(crate) fn reset(&mut self) {
        self.entries.clear();
        (self.head, self.cleaned) = (0, 0);
        self.map.store_u32(mailbox::TAIL, 0).expect(IN_RANGE);
        self.map.store_u32(mailbox::HEAD, 0).expect(IN_RANGE);
    }

    /// Puts fields that the daemon has no business with right again and tells which were wrong.
    pub(crate) fn mend_mailbox(&self, mut report: impl FnMut(Violation)) {
        let words = [
            ("cmdr_off", mailbox::RING_OFFSET, RING_START),
            ("cmdr_size", mailbox::RING_SIZE, self.size),
            ("cmd_head", mailbox::HEAD, self.head),
        ];
        for (field, at, expected) in words {
            let found = self.map.load_u32(at).expect(IN_RANGE);
            if found != expected {
                report(Violation::MailboxOverwritten { field, found, expected });
                self.map.store_u32(at, expected).expect(IN_RANGE);
            }
        }
        let halves = [("version", mailbox::VERSION, MAILBOX_VERSION), ("flags", mailbox::FLAGS, self.flags)];
        for (field, at, expected) in halves {
            let found = self.map.load_u16(at).expect(IN_RANGE);
            if found != expected {
                report(Violation::MailboxOverwritten {
                    field,
                    found: found.into(),
                    expected: expected.into(),
                });
                self.map.store_u16(at, expected).expect(IN_RANGE);
            }
        }
    }
}
