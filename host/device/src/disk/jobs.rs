//! Commands that are made of several steps: what is checked before they begin.
//!
//! Everything that follows from the CDB, the unit and the length of the buffer is decided here; what the parameter
//! list says by the list's parser; what the medium says by the composite.

use lunbox_compose::{
    CompareAndWrite, Composite, ExtendedCopy, Facts, FormatUnit, LbaStatus, Modes, OrWrite, SetModes, Span,
    Unmap, Verify, WriteAndVerify, WriteSame,
};
use lunbox_memory::Extent;
use lunbox_scsi::{BlockSize, Blocks, ByteCheck, Command, FieldPointer, Lba, Sense, list, vpd};

use super::{Disk, Job, Peek, WRONG_BUFFER, room};
use crate::table::Direction;

/// Longest parameter list that is looked at in bytes: FORMAT UNIT does not say how long its list is.
const MAX_LIST: u32 = 64 << 10;

/// CHECK CONDITION instead of a job.
#[derive(Debug)]
pub(super) struct Refused(Sense, Option<FieldPointer>);

impl From<Sense> for Refused {
    fn from(sense: Sense) -> Self {
        Self(sense, None)
    }
}

impl From<list::Rejected> for Refused {
    fn from(rejected: list::Rejected) -> Self {
        Self(rejected.sense, rejected.field)
    }
}

/// 5/24/00 for a field of the CDB.
const fn field(pointer: FieldPointer) -> Refused {
    Refused(Sense::INVALID_FIELD_IN_CDB, Some(pointer))
}

type Decision = Result<Job, Refused>;

/// What a command comes with.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub cdb: &'a [u8],
    pub data: &'a [Extent],
    pub peek: &'a dyn Peek,
}

impl Arrived<'_> {
    /// The buffer holds at least `length` bytes. The fabric may offer more than the CDB asks for.
    fn needs(&self, length: u64) -> Result<(), Refused> {
        if room(self.data) < length { Err(WRONG_BUFFER.into()) } else { Ok(()) }
    }

    /// The buffer holds exactly `length` bytes: where the data is not as long as the blocks, another length means
    /// that the initiator meant something else.
    fn is_exactly(&self, length: u64) -> Result<(), Refused> {
        if room(self.data) == length { Ok(()) } else { Err(WRONG_BUFFER.into()) }
    }

    /// The parameter list, of which so many bytes are promised. None: its memory has gone.
    fn list(&self, length: u32) -> Result<Option<Vec<u8>>, Refused> {
        if room(self.data) < u64::from(length) {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let mut bytes = Vec::new();
        Ok(self.peek.peek(length, &mut bytes).is_ok().then_some(bytes))
    }
}

/// A composite that takes data of the initiator.
fn out(composite: impl Composite + 'static, length: u64) -> Decision {
    compose(composite, Direction::FromInitiator, length)
}

/// One without data.
fn alone(composite: impl Composite + 'static) -> Decision {
    compose(composite, Direction::None, 0)
}

fn compose(composite: impl Composite + 'static, direction: Direction, data_length: u64) -> Decision {
    Ok(Job::Compose { composite: Box::new(composite), direction, data_length })
}

impl Disk {
    /// Decides about a command of several steps; `None` if it is not one.
    pub(super) fn compose(&mut self, command: &Command, arrived: Arrived<'_>) -> Option<Job> {
        self.decide(command, arrived)
            .map(|decision| decision.unwrap_or_else(|Refused(sense, pointer)| Job::Check(sense, pointer)))
    }

    fn decide(&mut self, command: &Command, arrived: Arrived<'_>) -> Option<Decision> {
        let facts = self.facts();
        Some(match *command {
            Command::WriteAndVerify { lba, blocks, check, .. } => {
                transfer(&facts, lba, blocks, arrived, |span| {
                    WriteAndVerify::new(&facts, span, check == ByteCheck::Whole)
                })
            }
            Command::OrWrite { lba, blocks, fua, .. } => {
                let fua = fua || facts.write_through;
                transfer(&facts, lba, blocks, arrived, |span| OrWrite::new(&facts, span, fua))
            }
            Command::CompareAndWrite { lba, blocks, fua, .. } => {
                if blocks.0 > u64::from(self.unit.characteristics.max_compare_and_write) {
                    return Some(Err(field(FieldPointer::cdb(13))));
                }
                compare_and_write(&facts, lba, blocks, fua, arrived)
            }
            Command::Verify { lba, blocks, check, .. } => verify(&facts, lba, blocks, check, arrived),
            // There is no cache of our own that could be filled: GOOD says that not all of it is in one.
            Command::PreFetch { lba, blocks, .. } => {
                facts.span(lba, blocks).map(|_| Job::Good).map_err(Refused::from)
            }
            Command::WriteSame { lba, blocks, unmap, ndob } => {
                self.write_same(&facts, (lba, blocks), unmap, ndob, arrived)
            }
            Command::Unmap { length } => self.unmap(length, arrived),
            Command::GetLbaStatus { lba, allocation } => lba_status(&facts, lba, allocation, arrived),
            Command::FormatUnit { format_data, long_list } => {
                let block_size = self.unit.geometry.block_size();
                format(&facts, block_size, format_data, long_list, arrived)
            }
            Command::ModeSelect { ten, length } => self.mode_select(&facts, ten, length, arrived),
            Command::ExtendedCopy { length } => self.extended_copy(&facts, length, arrived),
            Command::SetTargetPortGroups { length } => self.set_target_port_groups(length, arrived),
            _ => return None,
        })
    }

    fn write_same(
        &self,
        facts: &Facts,
        (lba, blocks): (Lba, Blocks),
        unmap: bool,
        ndob: bool,
        arrived: Arrived<'_>,
    ) -> Decision {
        let (unmap_bit, length) = match arrived.cdb.first() {
            Some(0x41) => (FieldPointer::cdb_bit(1, 3), FieldPointer::cdb(7)),
            Some(0x93) => (FieldPointer::cdb_bit(1, 3), FieldPointer::cdb(10)),
            _ => (FieldPointer::cdb_bit(10, 3), FieldPointer::cdb(28)),
        };
        if unmap && facts.unmap.is_none() {
            return Err(field(unmap_bit));
        }
        let most = self.unit.characteristics.max_write_same;
        // VPD B0 says WSNZ: no length does not mean all the rest.
        if blocks == Blocks(0) || (most != Blocks(0) && blocks > most) {
            return Err(field(length));
        }
        let span = facts.span(lba, blocks)?;
        if ndob {
            return alone(WriteSame::new(facts, span, true, unmap));
        }
        let block = u64::from(facts.block_size);
        arrived.is_exactly(block)?;
        out(WriteSame::new(facts, span, false, unmap), block)
    }

    fn unmap(&self, length: u32, arrived: Arrived<'_>) -> Decision {
        let Some(limits) = self.unit.characteristics.unmap else {
            return Err(Sense::INVALID_COMMAND_OPERATION_CODE.into());
        };
        if length == 0 {
            return Ok(Job::Good);
        }
        if room(arrived.data) < u64::from(length) {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
        }
        let length = u64::from(length);
        out(Unmap::new(length, limits.max_descriptors, limits.max_blocks), length)
    }

    fn mode_select(&self, facts: &Facts, ten: bool, length: u32, arrived: Arrived<'_>) -> Decision {
        if length == 0 {
            return Ok(Job::Good);
        }
        let Some(bytes) = arrived.list(length)? else { return Ok(Job::Busy) };
        let change = list::mode_select::parse(&bytes, ten, &self.unit)?;
        let is = &self.unit.characteristics;
        if (change.write_cache, change.software_write_protect, change.descriptor_sense)
            == (is.write_cache, is.software_write_protected, is.descriptor_sense)
        {
            return Ok(Job::Good);
        }
        let flush = is.write_cache && !change.write_cache;
        let modes = Modes {
            write_cache: change.write_cache,
            software_write_protect: change.software_write_protect,
            descriptor_sense: change.descriptor_sense,
        };
        alone(SetModes::new(facts, modes, flush))
    }

    fn extended_copy(&mut self, facts: &Facts, length: u32, arrived: Arrived<'_>) -> Decision {
        if length == 0 {
            return Ok(Job::Good);
        }
        let Some(bytes) = arrived.list(length)? else { return Ok(Job::Busy) };
        let own = vpd::naa_designator(&self.unit.identity.serial);
        // Whoever is not this unit is refused here, by name: no copy ever reaches another unit (CVE-2020-28374).
        let copy = list::extended_copy::parse(&bytes, &own, self.unit.geometry.block_size())?;
        let bytes = copy
            .segments
            .iter()
            .fold(0_u64, |sum, one| sum.saturating_add(one.blocks.0.saturating_mul(facts.block_size.into())));
        let number = u16::try_from(copy.segments.len()).unwrap_or(u16::MAX);
        let composite: Box<dyn Composite> = Box::new(ExtendedCopy::new(facts, &copy.segments)?);
        let composite = match copy.list_id {
            Some(list_id) => self.copies.watch(list_id, composite, number, bytes),
            None => composite,
        };
        Ok(Job::Compose { composite, direction: Direction::None, data_length: 0 })
    }

    /// The state of the group that this unit's port belongs to is the supervisor's to change. Of several descriptors
    /// for it the last one counts.
    fn set_target_port_groups(&self, length: u32, arrived: Arrived<'_>) -> Decision {
        if length == 0 {
            return Ok(Job::Good);
        }
        let Some(bytes) = arrived.list(length)? else { return Ok(Job::Busy) };
        let mut wanted = None;
        for set in list::target_port_groups::parse(&bytes)? {
            let Some(group) = self.unit.groups.iter().find(|group| group.id == set.group) else {
                return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.into());
            };
            let is_supported = lunbox_scsi::AccessState::try_from(set.state)
                .is_ok_and(|state| state.code() <= 2 && group.supported & state.support_bit() != 0);
            if !is_supported {
                return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.into());
            }
            if !self.unit.ports.iter().any(|port| port.group == set.group) {
                return Err(Sense::SET_TARGET_PORT_GROUPS_FAILED.into());
            }
            wanted = Some((set.group, set.state));
        }
        Ok(wanted.map_or(Job::Good, |(group, state)| Job::AccessState { group, state }))
    }
}

/// A command whose data is as long as its blocks.
fn transfer<C: Composite + 'static>(
    facts: &Facts,
    lba: Lba,
    blocks: Blocks,
    arrived: Arrived<'_>,
    make: impl FnOnce(Span) -> C,
) -> Decision {
    let span = facts.span(lba, blocks)?;
    if span.is_empty() {
        return Ok(Job::Good);
    }
    arrived.needs(span.length)?;
    out(make(span), span.length)
}

fn compare_and_write(facts: &Facts, lba: Lba, blocks: Blocks, fua: bool, arrived: Arrived<'_>) -> Decision {
    let span = facts.span(lba, blocks)?;
    if span.is_empty() {
        return Ok(Job::Good);
    }
    let both = span.length.saturating_mul(2);
    arrived.is_exactly(both)?;
    out(CompareAndWrite::new(facts, span, fua || facts.write_through), both)
}

fn verify(facts: &Facts, lba: Lba, blocks: Blocks, check: ByteCheck, arrived: Arrived<'_>) -> Decision {
    let span = facts.span(lba, blocks)?;
    if span.is_empty() {
        return Ok(Job::Good);
    }
    match check {
        ByteCheck::Medium => alone(Verify::medium(facts, span)),
        ByteCheck::Whole => {
            arrived.needs(span.length)?;
            out(Verify::whole(facts, span), span.length)
        }
        ByteCheck::OneBlock => {
            let block = u64::from(facts.block_size);
            arrived.needs(block)?;
            out(Verify::one_block(facts, span), block)
        }
    }
}

fn lba_status(facts: &Facts, lba: Lba, allocation: u32, arrived: Arrived<'_>) -> Decision {
    let status = LbaStatus::new(facts, lba, allocation)?;
    let length = room(arrived.data).min(u64::from(allocation));
    if length == 0 {
        return Ok(Job::Good);
    }
    compose(status, Direction::ToInitiator, length)
}

fn format(
    facts: &Facts,
    block_size: BlockSize,
    format_data: bool,
    long_list: bool,
    arrived: Arrived<'_>,
) -> Decision {
    if !format_data {
        return alone(FormatUnit::new(facts, Vec::new(), false));
    }
    let length = u32::try_from(room(arrived.data)).unwrap_or(MAX_LIST).min(MAX_LIST);
    let Some(bytes) = arrived.list(length)? else { return Ok(Job::Busy) };
    let format = list::format::parse(&bytes, long_list, block_size)?;
    alone(FormatUnit::new(facts, format.pattern.unwrap_or_default(), format.immed))
}
