//! What the host itself knows of the LUN: its size, its names, and everything that SPC and SBC ask of any disk.
//! Says for each CDB whether it is answered here, asked of the handler, or done in several steps.
//!
//! The order of checks is that of the standards: what is no command of this unit (5/20/00), what initiators must hear
//! first (unit attentions, FORMAT UNIT under way), write protection, fields, the range, and the length of the buffer.

mod attention;
mod copies;
mod jobs;
mod nature;
mod space;
#[cfg(test)]
mod tests;

use lunbox_compose::{Composite, Gone};
use lunbox_contract::{BlockKind, DeviceInfo, UnmapLimits};
use lunbox_engine::Abilities;
use lunbox_memory::Extent;
use lunbox_scsi::{
    AccessState, BlockSize, Blocks, Bytes, Command, FieldPointer, Geometry, Identity as Names, Lba,
    LogicalUnit, Sense, SenseFormat, SenseKey, decode, invalid_field, opcode, parameter_data, refused_field,
};

use crate::settings::{Identity, Modes, Settings, StartError};
use crate::table::Direction;
use attention::Attentions;
use copies::Copies;
use jobs::Arrived;
use space::SpaceWatch;

/// 5/0E/03: the initiator offers less data, or room for it, than its CDB asks for, or another length than it must be (SPC-5 annex F: invalid field in
/// command information unit). Nothing is transferred: a part of a WRITE that ends GOOD would be a loss.
const WRONG_BUFFER: Sense = Sense::new(SenseKey::IllegalRequest, 0x0e, 0x03);

/// What is to be done with a command.
#[derive(Debug)]
pub(crate) enum Job {
    /// It ends at once.
    Good,
    /// It ends at once: the initiator sends it again.
    Busy,
    /// It ends at once, with sense data; the pointer says which field is wrong.
    Check(Sense, Option<FieldPointer>),
    /// FORMAT UNIT is this far, in 65,536ths: 2/04/04.
    Formatting { progress: u16 },
    /// The supervisor is asked to change the state of a target port group.
    AccessState { group: u16, state: u8 },
    /// It is done in several steps.
    Compose {
        composite: Box<dyn Composite>,
        direction: Direction,
        /// Bytes of the data buffer that it uses.
        data_length: u64,
    },
    /// The first `length` bytes of the answer buffer are its data.
    Answer { length: usize },
    /// It can not be answered before the supervisor said who the LUN is.
    Identity,
    /// The handler decides.
    Block {
        kind: BlockKind,
        fua: bool,
        /// Bytes.
        offset: u64,
        /// Bytes.
        length: u64,
        direction: Direction,
        /// The buffer is as long as the transfer.
        exact: bool,
        /// GOOD is answered before it is done.
        immediate: bool,
    },
}

/// Data that came with a command, for whoever reads its parameter list.
pub(crate) trait Peek {
    /// The first `length` bytes of the data-out buffer, which must be that long, instead of what is in `out`.
    ///
    /// # Errors
    /// The memory has gone, or the buffer is shorter.
    fn peek(&self, length: u32, out: &mut Vec<u8>) -> Result<(), Gone>;
}

/// The host's view of the LUN.
pub(crate) struct Disk {
    unit: LogicalUnit,
    /// The names are fresh enough for VPD pages 80h and 83h.
    identified: bool,
    /// The names were told at least once.
    known: bool,
    /// The handler holds writes back: without a cache each write asks it not to.
    holds_back: bool,
    /// Physical blocks, where they are larger than logical ones.
    physical: Option<BlockSize>,
    attentions: Attentions,
    abilities: Abilities,
    unmap: Option<UnmapLimits>,
    space: SpaceWatch,
    copies: Copies,
}

impl Disk {
    /// `unmap` is what the handler's instance says of its unmapping, if it can.
    pub(crate) fn new(
        settings: &Settings,
        info: &DeviceInfo,
        abilities: Abilities,
        unmap: Option<UnmapLimits>,
    ) -> Result<Self, StartError> {
        let physical =
            BlockSize::new(info.physical_block_size).ok().filter(|physical| *physical > settings.block_size);
        let geometry = geometry(Bytes(info.size), settings.block_size, physical)
            .map_err(|problem| StartError::Setting { field: "dev_size", problem })?;
        let mut unit = LogicalUnit::new(Names::tcmu(""), geometry);
        nature::first_modes(&mut unit, settings, info.write_cache);
        unit.characteristics.solid_state = info.solid_state;
        let mut disk = Self {
            unit,
            identified: false,
            known: false,
            holds_back: info.write_cache,
            physical,
            attentions: Attentions::default(),
            abilities,
            unmap,
            space: SpaceWatch::new(),
            copies: Copies::default(),
        };
        disk.describe();
        if disk.size() != settings.size {
            disk.attentions.add(Sense::CAPACITY_CHANGED);
        }
        Ok(disk)
    }

    /// What a new instance says of its unmapping.
    pub(crate) fn set_abilities(&mut self, unmap: Option<UnmapLimits>) {
        self.unmap = unmap;
        self.describe();
    }

    /// How sense data is laid out.
    pub(crate) const fn sense_format(&self) -> SenseFormat {
        self.unit.sense_format()
    }

    /// FORMAT UNIT is this far, in 65,536ths; None: it is over.
    pub(crate) const fn formatting(&mut self, parts: Option<u16>) {
        self.unit.formatting = parts;
    }

    /// New values of mode parameters, by MODE SELECT. True if the write cache was switched.
    ///
    /// No unit attention: the standard wants one (6/2A/01) for every initiator but the one that changed them, and the
    /// ring does not say who that was. With one for the device it would nearly always be the initiator that changed
    /// them itself who is told, which is what the standard forbids. The operator's way ([`Disk::set_write_cache`])
    /// tells one.
    pub(crate) const fn apply_modes(
        &mut self,
        write_cache: bool,
        software_write_protect: bool,
        descriptor_sense: bool,
    ) -> bool {
        let is = &mut self.unit.characteristics;
        let write_cache = write_cache && self.holds_back;
        let switched = is.write_cache != write_cache;
        is.write_cache = write_cache;
        is.software_write_protected = software_write_protect;
        is.descriptor_sense = descriptor_sense;
        switched
    }

    /// Why writes are refused, if they are.
    pub(crate) const fn write_protection(&self) -> Option<Sense> {
        self.unit.write_protection()
    }

    /// The mode parameters that a loop after this one goes on with.
    pub(crate) const fn modes(&self) -> Modes {
        Modes {
            software_write_protect: self.unit.characteristics.software_write_protected,
            descriptor_sense: self.unit.characteristics.descriptor_sense,
        }
    }

    /// So many bytes were written, or handed out in another way. True: the stores should be asked for their room now
    /// ([`Disk::set_space`]). With 0 at the start.
    pub(crate) const fn written(&mut self, bytes: u64) -> bool {
        self.space.written(bytes) && self.unit.characteristics.unmap.is_some()
    }

    /// Bytes that the unit's stores take and bytes that they can still take. Initiators are warned when that becomes
    /// little (6/38/07), and LOG SENSE tells it.
    pub(crate) fn set_space(&mut self, used: u64, available: u64) {
        let (space, warn) = self.space.learn(self.size(), used, available);
        self.unit.space = Some(space);
        if warn {
            self.attentions.add(Sense::SOFT_THRESHOLD_REACHED);
        }
    }

    /// The stores can not say what room they have.
    pub(crate) const fn set_space_unknown(&mut self) {
        self.space.give_up();
    }

    pub(crate) fn size(&self) -> Bytes {
        self.unit.geometry.size()
    }

    pub(crate) fn block_size(&self) -> u32 {
        self.unit.geometry.block_size().get()
    }

    pub(crate) const fn write_cache(&self) -> bool {
        self.unit.characteristics.write_cache
    }

    /// The handler may hold writes back.
    pub(crate) const fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// With a write cache or without from now on, because the operator wants it; initiators are told.
    pub(crate) fn set_write_cache(&mut self, on: bool) {
        if self.unit.characteristics.write_cache != on {
            self.unit.characteristics.write_cache = on;
            self.attentions.add(Sense::MODE_PARAMETERS_CHANGED);
        }
    }

    /// Whether the LUN could have this size.
    pub(crate) fn check_size(&self, size: Bytes) -> Result<(), String> {
        geometry(size, self.unit.geometry.block_size(), self.physical).map(|_| ())
    }

    /// Takes a size over and remembers to tell initiators.
    pub(crate) fn set_size(&mut self, size: Bytes) {
        if let Ok(geometry) = geometry(size, self.unit.geometry.block_size(), self.physical) {
            self.unit.geometry = geometry;
            self.attentions.add(Sense::CAPACITY_CHANGED);
        }
    }

    pub(crate) fn set_identity(&mut self, identity: Identity) {
        let Identity { serial, ports, groups } = identity;
        self.unit.identity = Names::tcmu(&serial);
        (self.unit.ports, self.unit.groups) = (ports, groups);
        (self.identified, self.known) = (true, true);
    }

    /// SET TARGET PORT GROUPS was done: true until the next identity comes.
    pub(crate) fn access_state_set(&mut self, group: u16, state: u8) {
        let known = self.unit.groups.iter_mut().find(|known| known.id == group);
        if let (Some(known), Ok(state)) = (known, AccessState::try_from(state)) {
            known.state = state;
            // Altered by SET TARGET PORT GROUPS.
            known.status = 1;
        }
    }

    /// Makes do with the names that were told last. False if there are none.
    pub(crate) const fn recall_identity(&mut self) -> bool {
        self.identified = self.known;
        self.known
    }

    /// The names may change; the next INQUIRY asks again.
    pub(crate) const fn forget_identity(&mut self) {
        self.identified = false;
    }

    /// Decides what a CDB means; parameter data goes into `answer`.
    pub(crate) fn classify(
        &mut self,
        cdb: &[u8],
        data: &[Extent],
        peek: &dyn Peek,
        answer: &mut Vec<u8>,
    ) -> Job {
        let command = match decode(cdb) {
            Ok(command) => command,
            Err(sense) => return self.refuse(cdb, sense),
        };
        // READs and WRITEs are on every unit, and nothing is asked of the table on their way.
        let is_plain = matches!(command, Command::Read { .. } | Command::Write { .. });
        if !is_plain {
            if self.lacks_names(&command) {
                return Job::Identity;
            }
            if !self.supports(cdb) {
                return Job::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None);
            }
        }
        if (!self.attentions.is_empty() || self.unit.formatting.is_some())
            && let Some(job) = self.interruption(cdb)
        {
            return job;
        }
        match command {
            Command::Read { lba, blocks, fua, .. } => self.transfer(BlockKind::Read, lba, blocks, fua, data),
            Command::Write { lba, blocks, fua, .. } => match self.unit.write_protection() {
                Some(sense) => Job::Check(sense, None),
                None => self.transfer(BlockKind::Write, lba, blocks, fua, data),
            },
            Command::SynchronizeCache { lba, blocks, immed, .. } => self.synchronize(lba, blocks, immed),
            // No power conditions, no medium to eject, and a unit that others use is not stopped by one of them.
            Command::StartStopUnit { power_condition: 1.., .. } => {
                Job::Check(Sense::INVALID_FIELD_IN_CDB, Some(FieldPointer::cdb_bit(4, 7)))
            }
            Command::StartStopUnit { start: false, .. } => {
                Job::Check(Sense::INVALID_FIELD_IN_CDB, Some(FieldPointer::cdb_bit(4, 0)))
            }
            Command::StartStopUnit { .. } | Command::TestUnitReady => Job::Good,
            command => self.other(&command, Arrived { cdb, data, peek }, answer),
        }
    }

    /// A CDB that says nothing that this unit does.
    fn refuse(&mut self, cdb: &[u8], sense: Sense) -> Job {
        // What is no command at all tells no news either (SAM-5 5.14.2 leaves the choice), and a command that the
        // unit does not have has no fields.
        if !self.supports(cdb) {
            return Job::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None);
        }
        self.interruption(cdb).unwrap_or_else(|| Job::Check(sense, invalid_field(cdb)))
    }

    /// The unit has this command.
    fn supports(&self, cdb: &[u8]) -> bool {
        opcode::find(cdb).is_some_and(|operation| opcode::is_supported(operation, &self.unit))
    }

    /// What stands before a command: the oldest news, FORMAT UNIT under way.
    fn interruption(&mut self, cdb: &[u8]) -> Option<Job> {
        // REQUEST SENSE, INQUIRY, REPORT LUNS (SPC-5 5.11, SBC-4 4.33): they leave news alone or report it as data.
        if matches!(cdb.first(), Some(0x03 | 0x12 | 0xa0)) {
            return None;
        }
        if let Some(sense) = self.attentions.take() {
            return Some(Job::Check(sense, None));
        }
        self.unit.formatting.map(|progress| Job::Formatting { progress })
    }

    /// It needs names that have not been told.
    const fn lacks_names(&self, command: &Command) -> bool {
        match command {
            Command::Inquiry { vpd: Some(0x80 | 0x83), .. }
            | Command::ReportTargetPortGroups { .. }
            | Command::SetTargetPortGroups { .. } => !self.identified,
            // TPGS, which operation codes there are, and who a copy is from and to.
            Command::Inquiry { vpd: None, .. }
            | Command::ReportSupportedOperationCodes { .. }
            | Command::ExtendedCopy { .. } => !self.known,
            _ => false,
        }
    }

    fn other(&mut self, command: &Command, arrived: Arrived<'_>, answer: &mut Vec<u8>) -> Job {
        if writes(command)
            && let Some(sense) = self.unit.write_protection()
        {
            return Job::Check(sense, None);
        }
        match self.compose(command, arrived) {
            Some(job) => job,
            None => self.parameters(command, answer),
        }
    }

    fn synchronize(&self, lba: Lba, blocks: Blocks, immed: bool) -> Job {
        match self.unit.geometry.check_range(lba, blocks) {
            Err(sense) => Job::Check(sense, None),
            Ok(()) if !self.holds_back => Job::Good,
            Ok(()) => Job::Block {
                kind: BlockKind::Flush,
                fua: false,
                offset: 0,
                length: 0,
                direction: Direction::None,
                exact: true,
                immediate: immed,
            },
        }
    }

    fn parameters(&mut self, command: &Command, answer: &mut Vec<u8>) -> Job {
        answer.clear();
        match command {
            Command::RequestSense { .. } => self.unit.pending_sense = self.attentions.take(),
            Command::ReceiveCopyResults { .. } => self.copies.list(&mut self.unit.copies),
            _ => {}
        }
        match parameter_data(command, &self.unit, answer) {
            Some(Ok(())) if answer.is_empty() => Job::Good,
            Some(Ok(())) => Job::Answer { length: answer.len() },
            Some(Err(sense)) => Job::Check(sense, refused_field(command, &self.unit)),
            // It is in the table of commands, and nobody does it: never GOOD for what was not done.
            None => Job::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None),
        }
    }

    fn transfer(&self, kind: BlockKind, lba: Lba, blocks: Blocks, fua: bool, data: &[Extent]) -> Job {
        if let Err(sense) = self.unit.geometry.check_range(lba, blocks) {
            return Job::Check(sense, None);
        }
        let size = u64::from(self.block_size());
        // In range, so that neither product can overflow.
        let (offset, length) = (lba.0 * size, blocks.0 * size);
        if length == 0 {
            return Job::Good;
        }
        // The fabric may offer a buffer of another length than the CDB asks for (residuals). More room is fine;
        // with less the command can not be done.
        let room = room(data);
        if room < length {
            return Job::Check(WRONG_BUFFER, None);
        }
        let direction =
            if kind == BlockKind::Read { Direction::ToInitiator } else { Direction::FromInitiator };
        let durable = fua || (kind == BlockKind::Write && self.holds_back && !self.write_cache());
        Job::Block { kind, fua: durable, offset, length, direction, exact: room == length, immediate: false }
    }
}

/// The command changes the medium, so write protection is against it.
const fn writes(command: &Command) -> bool {
    matches!(
        command,
        Command::Write { .. }
            | Command::WriteAndVerify { .. }
            | Command::WriteSame { .. }
            | Command::CompareAndWrite { .. }
            | Command::OrWrite { .. }
            | Command::Unmap { .. }
            | Command::FormatUnit { .. }
            | Command::ExtendedCopy { .. }
    )
}

/// Bytes of the data buffer.
fn room(data: &[Extent]) -> u64 {
    data.iter().map(|extent| extent.length).fold(0, u64::saturating_add)
}

fn geometry(size: Bytes, block_size: BlockSize, physical: Option<BlockSize>) -> Result<Geometry, String> {
    let geometry = Geometry::new(size, block_size).map_err(|error| error.to_string())?;
    match physical {
        Some(physical) => geometry.with_physical_block(physical).map_err(|error| error.to_string()),
        None => Ok(geometry),
    }
}
