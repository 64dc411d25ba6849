//! Answers for LUNs behind which there is no device: numbers that nobody uses, and the REPORT LUNS well known
//! logical unit (SAM-5 5.11, SPC-5 8).

use lunbox_scsi::{Sense, SenseFormat};

use super::report_luns;
use super::sense::NO_SUCH_LUN;
use super::status::opcode;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// The LUN does not exist.
    Absent {
        /// It is LUN 0, where REPORT LUNS must work (SPC-5 6.33).
        zero: bool,
    },
    /// The REPORT LUNS well known logical unit.
    WellKnown,
}

impl StandIn {
    /// Does a command: GOOD with the data that it appends to `into`, or CHECK CONDITION.
    ///
    /// # Errors
    /// The sense data.
    pub(crate) fn answer(self, cdb: &[u8], luns: u16, into: &mut Vec<u8>) -> Result<(), Sense> {
        match (cdb.first().copied().unwrap_or_default(), self) {
            (opcode::REPORT_LUNS, Self::Absent { zero: true } | Self::WellKnown) => {
                report_luns::report(cdb, luns, into)
            }
            (opcode::INQUIRY, _) => self.inquiry(cdb, into),
            (opcode::REQUEST_SENSE, Self::Absent { .. }) => request_sense(cdb, NO_SUCH_LUN, into),
            (opcode::REQUEST_SENSE, Self::WellKnown) => request_sense(cdb, Sense::NO_SENSE, into),
            (opcode::TEST_UNIT_READY, Self::WellKnown) => Ok(()),
            (_, Self::WellKnown) => Err(Sense::INVALID_COMMAND_OPERATION_CODE),
            (_, Self::Absent { .. }) => Err(NO_SUCH_LUN),
        }
    }

    fn inquiry(self, cdb: &[u8], into: &mut Vec<u8>) -> Result<(), Sense> {
        let (Some(&evpd), Some(&page), Some(&[high, low])) =
            (cdb.get(1), cdb.get(2), cdb.get(3..5).and_then(|at| at.first_chunk()))
        else {
            return Err(Sense::INVALID_FIELD_IN_CDB);
        };
        if evpd & 1 != 0 || page != 0 {
            return Err(Sense::INVALID_FIELD_IN_CDB);
        }
        let mut data = [0u8; 36];
        data[0] = match self {
            Self::Absent { .. } => 0x7f,
            Self::WellKnown => 0x1e,
        };
        data[2] = 0x06; // SPC-4, as the devices say
        data[3] = 0x02; // RESPONSE DATA FORMAT
        data[4] = 31;
        data[7] = 0x02; // CMDQUE
        data[8..36].copy_from_slice(b"LIO-ORG TCMU device     0002");
        let allocation = usize::from(u16::from_be_bytes([high, low]));
        into.extend_from_slice(&data[..allocation.min(data.len())]);
        Ok(())
    }
}

/// REQUEST SENSE (SPC-5 6.39) with sense data that is known here.
///
/// # Errors
/// 5/24/00 for a CDB that is cut short.
pub(crate) fn request_sense(cdb: &[u8], sense: Sense, into: &mut Vec<u8>) -> Result<(), Sense> {
    let (Some(&options), Some(&allocation)) = (cdb.get(1), cdb.get(4)) else {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    };
    let format = if options & 1 != 0 { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    let data = sense.encode(format, None);
    into.extend_from_slice(&data.as_bytes()[..usize::from(allocation).min(data.as_bytes().len())]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: StandIn = StandIn::Absent { zero: false };

    fn ask(who: StandIn, cdb: &[u8]) -> Result<Vec<u8>, Sense> {
        let mut data = Vec::new();
        who.answer(cdb, 1, &mut data).map(|()| data)
    }

    #[test]
    fn inquiry_says_that_nothing_can_be_there() {
        let data = ask(NOBODY, &[0x12, 0, 0, 0, 96, 0]).unwrap();
        assert_eq!((data[0], data.len(), usize::from(data[4]) + 5), (0x7f, 36, 36));
        assert_eq!(ask(NOBODY, &[0x12, 0, 0, 0, 5, 0]).unwrap().len(), 5);
        assert_eq!(ask(NOBODY, &[0x12, 1, 0x80, 0, 96, 0]), Err(Sense::INVALID_FIELD_IN_CDB));
    }

    #[test]
    fn request_sense_says_so_as_data_and_everything_else_as_status() {
        let data = ask(NOBODY, &[0x03, 0, 0, 0, 252, 0]).unwrap();
        assert_eq!((data[0], data[2], data[12], data[13]), (0x70, 5, 0x25, 0));
        let data = ask(NOBODY, &[0x03, 1, 0, 0, 4, 0]).unwrap();
        assert_eq!(data, [0x72, 5, 0x25, 0]);
        for cdb in [[0x00, 0, 0, 0, 0, 0], [0x28, 0, 0, 0, 0, 0], [0xa0, 0, 0, 0, 0, 0]] {
            assert_eq!(ask(NOBODY, &cdb), Err(NO_SUCH_LUN), "{cdb:x?}");
        }
    }

    #[test]
    fn luns_are_reported_where_there_is_no_lun_0_and_by_the_well_known_lun() {
        let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
        for who in [StandIn::Absent { zero: true }, StandIn::WellKnown] {
            assert_eq!(ask(who, &cdb).unwrap().len(), 16);
        }
    }

    #[test]
    fn the_well_known_lun_is_ready_and_does_nothing_else() {
        assert_eq!(ask(StandIn::WellKnown, &[0; 6]), Ok(vec![]));
        assert_eq!(ask(StandIn::WellKnown, &[0x12, 0, 0, 0, 1, 0]), Ok(vec![0x1e]));
        assert_eq!(ask(StandIn::WellKnown, &[0x28; 10]), Err(Sense::INVALID_COMMAND_OPERATION_CODE));
    }

    #[test]
    fn short_cdbs_are_refused() {
        for who in [NOBODY, StandIn::WellKnown] {
            assert_eq!(ask(who, &[0x12, 0]), Err(Sense::INVALID_FIELD_IN_CDB));
            assert_eq!(ask(who, &[0x03]), Err(Sense::INVALID_FIELD_IN_CDB));
        }
    }
}
