//! What the initiator sees of a command.

use lunbox_sdk::{Sense, Status};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Status(Status),
    /// With CHECK CONDITION.
    Check(Sense),
    /// Not at all: the handler left the CDB to the host's generic layer.
    NotHandled,
}

/// What the initiator sees of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a reply may be CHECK CONDITION"]
pub struct Reply {
    /// How the command ended.
    pub ending: Ending,
    /// Data for the initiator; what the handler left unfilled is zero. Empty unless the command ended GOOD.
    pub data: Vec<u8>,
}

/// A command ended otherwise than GOOD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command did not end GOOD but {0:?}")]
pub struct NotGood(pub Ending);

impl Reply {
    /// The data of a command that ended GOOD.
    ///
    /// # Errors
    /// [`NotGood`] says how it ended instead.
    pub fn good(self) -> Result<Vec<u8>, NotGood> {
        if self.ending == Ending::Status(Status::Good) { Ok(self.data) } else { Err(NotGood(self.ending)) }
    }

    /// The sense data of a command that ended with CHECK CONDITION.
    #[must_use]
    pub fn sense(&self) -> Option<Sense> {
        match self.ending {
            Ending::Check(sense) => Some(sense),
            Ending::Status(_) | Ending::NotHandled => None,
        }
    }
}
