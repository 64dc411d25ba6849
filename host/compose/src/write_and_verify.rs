//! WRITE AND VERIFY (SBC-4): written durably, and read back.

use crate::burst::Burst;
use crate::check::{Against, Check};
use crate::span::{Span, check_start};
use crate::{Composite, Facts, Failure, Io, Next, Scope, Verdict};

/// WRITE AND VERIFY (10), (12), (16), (32).
#[derive(Debug)]
pub struct WriteAndVerify {
    facts: Facts,
    span: Span,
    work: u64,
    compare: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Writing(Burst),
    Verifying(Check),
}

impl WriteAndVerify {
    /// Writes the command's data to `span`, which is as long. `compare` (BYTCHK 01b): what is read back is compared with it,
    /// else it only has to be readable.
    #[must_use]
    pub fn new(facts: &Facts, span: Span, compare: bool) -> Self {
        Self { facts: *facts, span, work: span.length.min(facts.wave()), compare, stage: Stage::Start }
    }
}

impl Composite for WriteAndVerify {
    fn scope(&self) -> Scope {
        if self.compare {
            // A write of somebody else between ours and the comparison would be taken for a fault of the medium.
            Scope::Alone { offset: self.span.offset, length: self.span.length }
        } else {
            Scope::Shared
        }
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        if matches!(self.stage, Stage::Start) {
            if let Err(verdict) = check_start(io, &self.facts, self.span, true) {
                return Next::End(verdict);
            }
            self.stage = Stage::Writing(Burst::new(self.span, 0, true));
        }
        if let Stage::Writing(burst) = &mut self.stage {
            if burst.ask(io) {
                return Next::Wait;
            }
            let against = if self.compare { Against::Data } else { Against::Nothing };
            self.stage = Stage::Verifying(Check::new(self.span, self.work, against, true));
        }
        match &mut self.stage {
            Stage::Verifying(check) => match check.next(io) {
                Ok(true) => Next::Wait,
                Ok(false) => Next::End(Verdict::Good),
                Err(verdict) => Next::End(verdict),
            },
            Stage::Start | Stage::Writing(_) => Next::End(Verdict::Good),
        }
    }
}
