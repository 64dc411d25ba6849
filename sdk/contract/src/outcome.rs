//! What happens next with a command.

use lunbox_scsi::Sense;

use crate::{Op, OpError, OpKind};

/// SCSI status of a command that ends without sense data (SAM-5 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 00h.
    Good,
    /// 08h: the initiator tries again.
    Busy,
    /// 18h.
    ReservationConflict,
    /// 28h.
    TaskSetFull,
    /// 40h.
    TaskAborted,
}

/// What happens next with a command. Every outcome but `More` is the handler's last word on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ends with this status.
    Done(Status),
    /// The command ends with CHECK CONDITION.
    Check(Sense),
    /// One last operation; the host turns its result into the status.
    Io(Op),
    /// These operations (1 to [`MAX_OPS`](crate::MAX_OPS)), then one `resume`.
    More(Vec<Op>),
    /// Only from a CDB handler's `submit`: the host's generic layer takes over.
    NotHandled,
}

impl Outcome {
    /// The command ends well.
    pub const GOOD: Self = Self::Done(Status::Good);

    /// The initiator is to try again.
    pub const BUSY: Self = Self::Done(Status::Busy);

    /// The handler or its host is at fault: HARDWARE ERROR, INTERNAL TARGET FAILURE (SPC-5 annex F, 44h/00h).
    pub const INTERNAL: Self = Self::Check(Sense::INTERNAL_TARGET_FAILURE);

    /// How a command ends when an operation of `kind` failed with `error` and the handler knows nothing better.
    /// Hosts end a failed final operation ([`Outcome::Io`]) with it; a handler's `resume` may do the same, so that
    /// both ways look alike to the initiator.
    ///
    /// What may pass by itself (time-out, cancellation, a reclaimed buffer) is answered BUSY: the initiator repeats
    /// the command. Codes: SPC-5 annex F.
    #[must_use]
    pub const fn of_failure(kind: OpKind, error: OpError) -> Self {
        match error {
            OpError::Io | OpError::EndOfStore => Self::Check(match kind {
                OpKind::Read | OpKind::Extents => Sense::UNRECOVERED_READ_ERROR,
                OpKind::Write | OpKind::Flush | OpKind::Discard | OpKind::WriteZeroes => Sense::WRITE_ERROR,
            }),
            OpError::NoSpace => Self::Check(Sense::SPACE_ALLOCATION_FAILED),
            OpError::ReadOnly => Self::Check(Sense::WRITE_PROTECTED),
            OpError::TimedOut | OpError::Cancelled | OpError::BufferLost => Self::BUSY,
            OpError::Unsupported | OpError::Invalid => Self::INTERNAL,
        }
    }
}

impl From<Sense> for Outcome {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Self::Done(status)
    }
}

impl From<Op> for Outcome {
    fn from(op: Op) -> Self {
        Self::Io(op)
    }
}

impl From<Vec<Op>> for Outcome {
    fn from(ops: Vec<Op>) -> Self {
        Self::More(ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sense(outcome: Outcome) -> (u8, u8, u8) {
        match outcome {
            Outcome::Check(sense) => (sense.key as u8, sense.asc, sense.ascq),
            other => panic!("expected sense data, got {other:?}"),
        }
    }

    #[test]
    fn failures_of_the_medium_are_told_apart_by_direction() {
        for kind in [OpKind::Read, OpKind::Extents] {
            assert_eq!(sense(Outcome::of_failure(kind, OpError::Io)), (3, 0x11, 0), "{kind:?}");
        }
        for kind in [OpKind::Write, OpKind::Flush, OpKind::Discard, OpKind::WriteZeroes] {
            assert_eq!(sense(Outcome::of_failure(kind, OpError::Io)), (3, 0x0c, 0), "{kind:?}");
        }
    }

    #[test]
    fn a_full_or_write_protected_store_says_so() {
        assert_eq!(sense(Outcome::of_failure(OpKind::Write, OpError::NoSpace)), (7, 0x27, 7));
        assert_eq!(sense(Outcome::of_failure(OpKind::Write, OpError::ReadOnly)), (7, 0x27, 0));
    }

    #[test]
    fn what_may_pass_by_itself_is_busy_and_what_is_our_fault_is_internal() {
        for error in [OpError::TimedOut, OpError::Cancelled, OpError::BufferLost] {
            assert_eq!(Outcome::of_failure(OpKind::Write, error), Outcome::BUSY, "{error:?}");
        }
        for error in [OpError::Unsupported, OpError::Invalid] {
            assert_eq!(Outcome::of_failure(OpKind::Read, error), Outcome::INTERNAL, "{error:?}");
        }
    }
}
