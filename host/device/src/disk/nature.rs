//! What the unit can do, from what its handler can do: VPD pages, the list of operation codes and what composite
//! commands are told come from here, so that they can not contradict each other.

use lunbox_compose::{Facts, MAX_WORK};
use lunbox_contract::UnmapLimits;
use lunbox_scsi::{
    BlockSize, Blocks, Changeable, Characteristics, LogicalUnit, Provisioning, Unmap, WriteSame,
};

use super::Disk;

/// UNMAP block descriptors in one command. LIO's own limit is 1, initiators use a few hundred.
const MAX_DESCRIPTORS: u32 = 256;
/// Most blocks of a COMPARE AND WRITE. Not 255: the field of the CDB has one byte, and an initiator that asks for one
/// block more than there may be is to be refused, not taken for one that asks for none.
const MAX_COMPARED: u8 = 128;
/// Bytes of a WRITE SAME where each of them has to be written: initiators give up on commands that take long.
const SLOW_WRITE_SAME: u64 = 64 << 20;

impl Disk {
    /// What composite commands are told of the unit.
    pub(crate) fn facts(&self) -> Facts {
        let block = u64::from(self.block_size());
        let most = match self.unit.characteristics.max_transfer {
            Blocks(0) => u64::from(u32::MAX) / block,
            Blocks(blocks) => blocks,
        };
        Facts {
            block_size: self.block_size(),
            size: self.size().0,
            max_transfer: most.saturating_mul(block),
            unmap: self.unmap,
            write_zeroes: self.abilities.write_zeroes,
            compare_and_write: self.abilities.compare_and_write,
            lba_status: self.abilities.lba_status,
            write_through: self.holds_back && !self.write_cache(),
        }
    }

    /// Takes over what the handler can do.
    pub(super) fn describe(&mut self) {
        let facts = self.facts();
        let composes = facts.can_compose();
        let unit = &mut self.unit;
        let block = unit.geometry.block_size();
        let is = &mut unit.characteristics;
        is.composites = composes;
        is.third_party_copy = composes;
        is.write_zeroes = facts.write_zeroes;
        is.lba_status = facts.lba_status;
        is.changeable = Changeable {
            write_cache: composes && self.holds_back,
            software_write_protect: composes,
            descriptor_sense: composes,
        };
        is.unmap = if composes { facts.unmap.map(|limits| unmap(limits, block)) } else { None };
        is.max_compare_and_write = if composes { most_compared(&facts) } else { 0 };
        is.max_write_same = most_same(composes, facts.write_zeroes, block);
        is.optimal_granularity = self
            .physical
            .and_then(|physical| u16::try_from(physical.get() / block.get()).ok())
            .filter(|blocks| *blocks > 1)
            .unwrap_or(0);
        // The kernel's target core answers them (unless it was told not to).
        is.reservations = true;
    }
}

/// MAXIMUM COMPARE AND WRITE LENGTH: what is read must fit into the work buffer, and into one transfer.
fn most_compared(facts: &Facts) -> u8 {
    let blocks = facts.max_transfer.min(MAX_WORK) / u64::from(facts.block_size);
    u8::try_from(blocks).unwrap_or(u8::MAX).min(MAX_COMPARED)
}

/// MAXIMUM WRITE SAME LENGTH.
fn most_same(composes: bool, write_zeroes: bool, block: BlockSize) -> Blocks {
    match (composes, write_zeroes) {
        (false, _) => Blocks(0),
        (true, true) => Blocks(u32::MAX.into()),
        (true, false) => Blocks((SLOW_WRITE_SAME / u64::from(block.get())).max(1)),
    }
}

/// The handler's limits in blocks.
fn unmap(limits: UnmapLimits, block: BlockSize) -> Unmap {
    let size = u64::from(block.get());
    let most = match limits.max_length {
        0 => u32::MAX,
        bytes => u32::try_from(bytes / size).unwrap_or(u32::MAX).max(1),
    };
    // A granularity of part of a block would be none.
    let granularity = u32::try_from(limits.granularity / size).unwrap_or(0);
    Unmap {
        max_blocks: most,
        max_descriptors: MAX_DESCRIPTORS,
        granularity,
        // The handler counts from the start of the device.
        alignment: (granularity > 0).then_some(0),
        reads_zeroes: limits.reads_zeroes,
        write_same: WriteSame::TenAndSixteen,
        provisioning: Provisioning::Thin,
    }
}

/// A new unit's mode parameters.
pub(super) fn first_modes(unit: &mut LogicalUnit, settings: &crate::settings::Settings, holds_back: bool) {
    let is: &mut Characteristics = &mut unit.characteristics;
    is.write_cache = holds_back && settings.write_cache != Some(false);
    is.default_write_cache = is.write_cache;
    is.write_protected = settings.read_only;
    is.software_write_protected = settings.modes.software_write_protect;
    is.descriptor_sense = settings.modes.descriptor_sense;
    is.dpo_fua = true;
    is.max_transfer = settings.max_transfer;
    is.optimal_transfer = settings.max_transfer;
}
