//! The mode pages. Each is written at the offsets that the standard gives, header included.

use crate::logical_unit::{Changeable, Characteristics, LogicalUnit};

/// One page.
pub(super) struct Page {
    /// PAGE CODE.
    pub(super) code: u8,
    /// SUBPAGE CODE; 00h for a page without.
    pub(super) subpage: u8,
    /// Bytes, header included.
    length: u8,
    exists: fn(&LogicalUnit) -> bool,
    /// Sets the values that are not 0. They are taken from the second argument where MODE SELECT changes them.
    values: fn(&LogicalUnit, &Characteristics, &mut [u8]),
    /// Sets the bits that MODE SELECT may change.
    mask: fn(&Changeable, &mut [u8]),
}

/// Which values a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Current,
    Changeable,
    Default,
}

/// Every page in ascending order.
pub(super) const PAGES: &[Page] = &[
    // Read-write error recovery: no retries to steer, nothing reported.
    Page { code: 0x01, subpage: 0x00, length: 12, exists: always, values: |_, _, _| (), mask: |_, _| () },
    Page { code: 0x08, subpage: 0x00, length: 20, exists: always, values: caching, mask: caching_mask },
    Page { code: 0x0a, subpage: 0x00, length: 12, exists: always, values: control, mask: control_mask },
    Page {
        code: 0x1c,
        subpage: 0x00,
        length: 12,
        exists: always,
        values: informational_exceptions,
        mask: |_, _| (),
    },
    Page {
        code: 0x1c,
        subpage: 0x02,
        length: 24,
        exists: |unit| unit.thin_space().is_some(),
        values: logical_block_provisioning,
        mask: |_, _| (),
    },
];

impl Page {
    /// The unit has the page.
    pub(super) fn exists(&self, unit: &LogicalUnit) -> bool {
        (self.exists)(unit)
    }

    /// Appends the page.
    pub(super) fn append(&self, values: Values, unit: &LogicalUnit, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + usize::from(self.length), 0);
        let page = &mut out[start..];
        page[0] = self.code;
        if self.subpage == 0 {
            page[1] = self.length - 2;
        } else {
            page[0] |= 0x40; // SPF
            page[1] = self.subpage;
            page[3] = self.length - 4; // the high byte of PAGE LENGTH stays 0
        }
        let own = &unit.characteristics;
        match values {
            Values::Current => (self.values)(unit, own, page),
            Values::Default => (self.values)(unit, &after_power_on(own), page),
            Values::Changeable => (self.mask)(&own.changeable, page),
        }
    }
}

/// The same unit before any MODE SELECT.
fn after_power_on(own: &Characteristics) -> Characteristics {
    Characteristics {
        write_cache: own.default_write_cache,
        software_write_protected: false,
        descriptor_sense: false,
        ..*own
    }
}

fn always(_: &LogicalUnit) -> bool {
    true
}

/// Caching page: WCE.
fn caching(_: &LogicalUnit, own: &Characteristics, page: &mut [u8]) {
    page[2] = if own.write_cache { 0x04 } else { 0 };
}

fn caching_mask(changeable: &Changeable, page: &mut [u8]) {
    page[2] = if changeable.write_cache { 0x04 } else { 0 };
}

/// Control page.
fn control(_: &LogicalUnit, own: &Characteristics, page: &mut [u8]) {
    page[2] = 0x02; // GLTSD: log parameters are not saved
    page[2] |= if own.descriptor_sense { 0x04 } else { 0 }; // D_SENSE
    page[3] = 0x10; // QUEUE ALGORITHM MODIFIER: commands run side by side and end in any order
    page[4] = if own.software_write_protected { 0x08 } else { 0 }; // SWP
    page[5] = 0x40; // TAS: the kernel's target core answers aborted commands with TASK ABORTED
    page[8..10].fill(0xff); // BUSY TIMEOUT PERIOD: unlimited
}

fn control_mask(changeable: &Changeable, page: &mut [u8]) {
    page[2] = if changeable.descriptor_sense { 0x04 } else { 0 };
    page[4] = if changeable.software_write_protect { 0x08 } else { 0 };
}

/// Informational exceptions control page: failures are reported by the commands that meet them, and there is
/// nothing that could be predicted.
fn informational_exceptions(_: &LogicalUnit, _: &Characteristics, page: &mut [u8]) {
    page[2] = 0x08; // DEXCPT
}

/// Logical block provisioning page (SBC-4 6.5.8): one threshold, of what is available.
fn logical_block_provisioning(unit: &LogicalUnit, _: &Characteristics, page: &mut [u8]) {
    // SITUA: the unit attention goes to one initiator, the one whose command comes next.
    page[4] = 0x01;
    // THRESHOLD TYPE 000b counts threshold sets, THRESHOLD ARMING 000b is armed while they become fewer.
    page[17] = 0x01; // THRESHOLD RESOURCE: available LBA mapping resources
    if let Some(threshold) = unit.thin_space().and_then(|space| space.threshold) {
        page[16] = 0x80; // ENABLED
        page[20..24].copy_from_slice(&unit.geometry.whole_threshold_sets(threshold).to_be_bytes());
    }
}
