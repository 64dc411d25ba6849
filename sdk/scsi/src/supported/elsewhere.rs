//! Commands that a unit supports and this target never sees: whoever stands before it answers them. With a kernel
//! ring that is the kernel's target core.

use super::Entry;
use crate::logical_unit::LogicalUnit;
use crate::opcode::MAX_FIXED_CDB;

/// REPORT LUNS: every target has it. SELECT REPORT and ALLOCATION LENGTH.
const REPORT_LUNS: Entry = entry(0xa0, None, &[0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], 12);

/// PERSISTENT RESERVE IN. ALLOCATION LENGTH.
const IN: [u8; 8] = [0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// PERSISTENT RESERVE OUT. SCOPE and TYPE, PARAMETER LIST LENGTH.
const OUT: [u8; 8] = [0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// RESERVE and RELEASE, each with 6 and 10 bytes, and the service actions of PERSISTENT RESERVE.
const RESERVATIONS: [Entry; 16] = [
    entry(0x16, None, &[], 6),
    entry(0x17, None, &[], 6),
    entry(0x56, None, &[], 10),
    entry(0x57, None, &[], 10),
    entry(0x5e, Some(0x00), &IN, 10),  // READ KEYS
    entry(0x5e, Some(0x01), &IN, 10),  // READ RESERVATION
    entry(0x5e, Some(0x02), &IN, 10),  // REPORT CAPABILITIES
    entry(0x5e, Some(0x03), &IN, 10),  // READ FULL STATUS
    entry(0x5f, Some(0x00), &OUT, 10), // REGISTER
    entry(0x5f, Some(0x01), &OUT, 10), // RESERVE
    entry(0x5f, Some(0x02), &OUT, 10), // RELEASE
    entry(0x5f, Some(0x03), &OUT, 10), // CLEAR
    entry(0x5f, Some(0x04), &OUT, 10), // PREEMPT
    entry(0x5f, Some(0x05), &OUT, 10), // PREEMPT AND ABORT
    entry(0x5f, Some(0x06), &OUT, 10), // REGISTER AND IGNORE EXISTING KEY
    entry(0x5f, Some(0x07), &OUT, 10), // REGISTER AND MOVE
];

/// `usage` is that of the bytes behind the opcode. The service action is added to it.
const fn entry(opcode: u8, service_action: Option<u16>, usage: &[u8], length: u8) -> Entry {
    let mut map = [0; MAX_FIXED_CDB];
    map[0] = opcode;
    let mut at = 0;
    while at < usage.len() {
        map[at + 1] = usage[at];
        at += 1;
    }
    if let Some(action) = service_action {
        let [_, low] = action.to_be_bytes();
        map[1] |= low;
    }
    Entry { opcode, service_action, length, usage: map }
}

/// Those that the unit has.
pub(super) fn entries(unit: &LogicalUnit) -> impl Iterator<Item = Entry> {
    let reservations: &[Entry] = if unit.characteristics.reservations { &RESERVATIONS } else { &[] };
    std::iter::once(REPORT_LUNS).chain(reservations.iter().copied())
}

/// Those that any unit has.
pub(super) fn all() -> impl Iterator<Item = Entry> {
    std::iter::once(REPORT_LUNS).chain(RESERVATIONS)
}
