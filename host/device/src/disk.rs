//! What the host itself knows of the LUN: its size, its names, and everything that SPC and SBC ask of any disk.
//! Says for each CDB whether it is answered here or asked of the handler.

use lunbox_contract::{BlockKind, DeviceInfo};
use lunbox_memory::Extent;
use lunbox_scsi::{
    Blocks, Bytes, Command, Geometry, Identity as Names, Lba, LogicalUnit, Sense, SenseKey, decode,
    parameter_data,
};

use crate::settings::{Identity, Settings, StartError};
use crate::table::Direction;

/// 6/2A/01: mode parameters changed (SPC-5 table F.1).
const MODE_PARAMETERS_CHANGED: Sense = Sense::new(SenseKey::UnitAttention, 0x2a, 0x01);

/// What is to be done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// It ends at once.
    Good,
    /// It ends at once, with sense data.
    Check(Sense),
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

/// The host's view of the LUN.
pub(crate) struct Disk {
    unit: LogicalUnit,
    /// VPD pages 80h and 83h may be answered.
    identified: bool,
    /// The names were told at least once.
    known: bool,
    read_only: bool,
    /// The handler holds writes back: without a cache each write asks it not to.
    holds_back: bool,
    /// Mode parameters have changed and no command has reported it yet (6/2A/01).
    mode_changed: bool,
    /// The capacity has changed and no command has reported it yet (6/2A/09). One for the device, since the ring
    /// does not say which initiator a command came from.
    capacity_changed: bool,
}

impl Disk {
    pub(crate) fn new(settings: &Settings, info: &DeviceInfo) -> Result<Self, StartError> {
        let geometry = Geometry::new(Bytes(info.size), settings.block_size)
            .map_err(|error| StartError::Setting { field: "dev_size", problem: error.to_string() })?;
        let mut unit = LogicalUnit::new(Names::tcmu(""), geometry);
        unit.characteristics.write_cache = info.write_cache && settings.write_cache != Some(false);
        unit.characteristics.solid_state = info.solid_state;
        unit.characteristics.write_protected = settings.read_only;
        unit.characteristics.dpo_fua = true;
        unit.characteristics.max_transfer = settings.max_transfer;
        unit.characteristics.optimal_transfer = settings.max_transfer;
        Ok(Self {
            unit,
            identified: false,
            known: false,
            read_only: settings.read_only,
            holds_back: info.write_cache,
            mode_changed: false,
            capacity_changed: Bytes(info.size) != settings.size,
        })
    }

    pub(crate) fn size(&self) -> Bytes {
        self.unit.geometry.size()
    }

    pub(crate) fn block_size(&self) -> u32 {
        self.unit.geometry.block_size().get()
    }

    pub(crate) fn write_cache(&self) -> bool {
        self.unit.characteristics.write_cache
    }

    /// The handler may hold writes back.
    pub(crate) const fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// With a write cache or without from now on; initiators are told.
    pub(crate) const fn set_write_cache(&mut self, on: bool) {
        if self.unit.characteristics.write_cache != on {
            self.unit.characteristics.write_cache = on;
            self.mode_changed = true;
        }
    }

    /// Whether the LUN could have this size.
    pub(crate) fn check_size(&self, size: Bytes) -> Result<(), String> {
        Geometry::new(size, self.unit.geometry.block_size()).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Takes a size over and remembers to tell initiators.
    pub(crate) fn set_size(&mut self, size: Bytes) {
        if let Ok(geometry) = Geometry::new(size, self.unit.geometry.block_size()) {
            self.unit.geometry = geometry;
            self.capacity_changed = true;
        }
    }

    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.unit.identity = Names::tcmu(&identity.serial);
        (self.identified, self.known) = (true, true);
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
    pub(crate) fn classify(&mut self, cdb: &[u8], data: &[Extent], answer: &mut Vec<u8>) -> Job {
        let command = match decode(cdb) {
            Ok(command) => command,
            Err(sense) => return Job::Check(sense),
        };
        // SPC-5 5.11: INQUIRY and REPORT LUNS leave a unit attention alone, REQUEST SENSE reports it as data.
        if (self.capacity_changed || self.mode_changed)
            && !matches!(command, Command::Inquiry { .. } | Command::RequestSense { .. })
            && let Some(sense) = self.take_attention()
        {
            return Job::Check(sense);
        }
        match command {
            Command::Read { lba, blocks, fua, .. } => self.transfer(BlockKind::Read, lba, blocks, fua, data),
            Command::Write { lba, blocks, fua, .. } => {
                if self.read_only {
                    return Job::Check(Sense::WRITE_PROTECTED);
                }
                self.transfer(BlockKind::Write, lba, blocks, fua, data)
            }
            Command::SynchronizeCache { lba, blocks, immed, .. } => {
                match self.unit.geometry.check_range(lba, blocks) {
                    Err(sense) => Job::Check(sense),
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
            // No power conditions, no medium to eject, and a unit that others use is not stopped by one of them.
            Command::StartStopUnit { power_condition, start, .. } => {
                if power_condition != 0 || !start {
                    Job::Check(Sense::INVALID_FIELD_IN_CDB)
                } else {
                    Job::Good
                }
            }
            Command::Inquiry { vpd: Some(0x80 | 0x83), .. } if !self.identified => Job::Identity,
            command => self.parameters(&command, answer),
        }
    }

    /// The oldest news for initiators.
    fn take_attention(&mut self) -> Option<Sense> {
        if std::mem::take(&mut self.capacity_changed) {
            Some(Sense::CAPACITY_CHANGED)
        } else {
            std::mem::take(&mut self.mode_changed).then_some(MODE_PARAMETERS_CHANGED)
        }
    }

    fn parameters(&mut self, command: &Command, answer: &mut Vec<u8>) -> Job {
        answer.clear();
        if matches!(command, Command::RequestSense { .. }) {
            self.unit.pending_sense = self.take_attention();
        }
        match parameter_data(command, &self.unit, answer) {
            Some(Ok(())) if answer.is_empty() => Job::Good,
            Some(Ok(())) => Job::Answer { length: answer.len() },
            Some(Err(sense)) => Job::Check(sense),
            None => Job::Good,
        }
    }

    fn transfer(&self, kind: BlockKind, lba: Lba, blocks: Blocks, fua: bool, data: &[Extent]) -> Job {
        if let Err(sense) = self.unit.geometry.check_range(lba, blocks) {
            return Job::Check(sense);
        }
        let size = u64::from(self.block_size());
        // In range, so that neither product can overflow.
        let (offset, length) = (lba.0 * size, blocks.0 * size);
        if length == 0 {
            return Job::Good;
        }
        // The fabric may offer a buffer of another length than the CDB asks for (residuals). More room is fine;
        // with less the command can not be done.
        let room: u64 = data.iter().map(|extent| extent.length).fold(0, u64::saturating_add);
        if room < length {
            return Job::Check(Sense::INTERNAL_TARGET_FAILURE);
        }
        let direction =
            if kind == BlockKind::Read { Direction::ToInitiator } else { Direction::FromInitiator };
        let durable = fua || (kind == BlockKind::Write && self.holds_back && !self.write_cache());
        Job::Block { kind, fua: durable, offset, length, direction, exact: room == length, immediate: false }
    }
}

#[cfg(test)]
mod tests {
    use lunbox_engine::Limits;
    use lunbox_scsi::BlockSize;
    use lunbox_store::Backend;

    use super::*;

    fn disk(handler_holds_back: bool, write_cache: Option<bool>) -> Disk {
        let settings = Settings {
            size: Bytes(1 << 20),
            block_size: BlockSize::B512,
            read_only: false,
            max_transfer: Blocks(128),
            limits: Limits::default(),
            backend: Backend::Auto,
            command_timeout: None,
            write_cache,
        };
        let info = DeviceInfo { size: 1 << 20, write_cache: handler_holds_back, solid_state: true };
        Disk::new(&settings, &info).unwrap()
    }

    /// Whether the handler is asked for a durable transfer.
    fn is_forced(disk: &mut Disk, operation_code: u8) -> bool {
        let cdb = [operation_code, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        match disk.classify(&cdb, &[Extent { offset: 0, length: 512 }], &mut Vec::new()) {
            Job::Block { fua, .. } => fua,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_write_cache_each_write_is_durable_and_no_read_is() {
        const READ: u8 = 0x28;
        const WRITE: u8 = 0x2a;
        for (holds_back, wanted, forced) in [
            (true, None, false),
            (true, Some(true), false),
            (true, Some(false), true),
            // Its writes are durable without being asked.
            (false, None, false),
            (false, Some(false), false),
            (false, Some(true), false),
        ] {
            let mut disk = disk(holds_back, wanted);
            assert_eq!(is_forced(&mut disk, WRITE), forced, "{holds_back} {wanted:?}");
            assert!(!is_forced(&mut disk, READ));
            assert_eq!(disk.write_cache(), holds_back && wanted != Some(false));
        }
    }

    #[test]
    fn a_size_that_the_handler_found_is_told_once() {
        let settings = Settings {
            size: Bytes(1 << 20),
            block_size: BlockSize::B512,
            read_only: false,
            max_transfer: Blocks(128),
            limits: Limits::default(),
            backend: Backend::Auto,
            command_timeout: None,
            write_cache: None,
        };
        for (size, news) in [(1 << 20, None), (1 << 19, Some(Sense::CAPACITY_CHANGED))] {
            let info = DeviceInfo { size, write_cache: true, solid_state: true };
            let mut disk = Disk::new(&settings, &info).unwrap();
            assert_eq!(disk.size(), Bytes(size));
            let mut ready = || disk.classify(&[0; 6], &[], &mut Vec::new());
            if let Some(sense) = news {
                assert_eq!(ready(), Job::Check(sense));
            }
            assert_eq!(ready(), Job::Good);
        }
    }

    #[test]
    fn two_pieces_of_news_are_told_one_after_the_other() {
        let mut disk = disk(true, None);
        disk.set_size(Bytes(2 << 20));
        disk.set_write_cache(false);
        let mut ready = || disk.classify(&[0; 6], &[], &mut Vec::new());
        assert_eq!(ready(), Job::Check(Sense::CAPACITY_CHANGED));
        assert_eq!(ready(), Job::Check(MODE_PARAMETERS_CHANGED));
        assert_eq!(ready(), Job::Good);
    }
}
