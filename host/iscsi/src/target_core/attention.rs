//! Unit attention conditions of one initiator and one LUN (SAM-5 5.14).

use lunbox_scsi::{Sense, SenseKey};

use super::status::opcode;

/// What an initiator has not been told yet. The highest in priority is told first, and takes the lower with it:
/// what a warm reset does includes what a LUN reset does (SAM-5 6.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attention {
    /// Nothing.
    #[default]
    None,
    /// Another session cleared this one's commands: 6/2F/00.
    Cleared,
    /// A session of the same initiator port took the place of the one that had its commands: 6/29/07, I_T NEXUS
    /// LOSS OCCURRED.
    NexusLost,
    /// LOGICAL UNIT RESET: 6/29/03, BUS DEVICE RESET FUNCTION OCCURRED.
    LunReset,
    /// TARGET WARM or COLD RESET: 6/29/02, SCSI BUS RESET OCCURRED.
    TargetReset,
}

impl Attention {
    /// Adds a condition.
    pub(crate) fn raise(&mut self, new: Self) {
        *self = (*self).max(new);
    }

    /// The condition that a command has to report instead of being done, and forgets it. INQUIRY, REPORT LUNS
    /// and REQUEST SENSE are done regardless (SAM-5 5.14).
    pub(crate) fn take_for(&mut self, opcode: u8) -> Option<Sense> {
        match opcode {
            opcode::INQUIRY | opcode::REPORT_LUNS | opcode::REQUEST_SENSE => None,
            _ => self.take(),
        }
    }

    /// The condition as REQUEST SENSE reports it, and forgets it.
    pub(crate) fn take(&mut self) -> Option<Sense> {
        let code = match std::mem::take(self) {
            Self::None => return None,
            Self::Cleared => (0x2f, 0x00),
            Self::NexusLost => (0x29, 0x07),
            Self::LunReset => (0x29, 0x03),
            Self::TargetReset => (0x29, 0x02),
        };
        Some(Sense::new(SenseKey::UnitAttention, code.0, code.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_told_once_and_not_to_the_three_exempt_commands() {
        let mut attention = Attention::None;
        attention.raise(Attention::LunReset);
        for exempt in [0x03, 0x12, 0xa0] {
            assert_eq!(attention.take_for(exempt), None);
        }
        let sense = attention.take_for(0x28).unwrap();
        assert_eq!((sense.key, sense.asc, sense.ascq), (SenseKey::UnitAttention, 0x29, 0x03));
        assert_eq!(attention.take_for(0x28), None);
    }

    #[test]
    fn the_greater_reset_covers_the_lesser() {
        let mut attention = Attention::None;
        attention.raise(Attention::TargetReset);
        attention.raise(Attention::LunReset);
        assert_eq!(attention.take().map(|sense| sense.ascq), Some(0x02));
        assert_eq!(attention.take(), None);
    }
}
