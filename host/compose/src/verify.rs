//! VERIFY (SBC-4): the medium can be read, or holds what the initiator sent.

use crate::check::{Against, Check};
use crate::span::{Span, check_start};
use crate::{Composite, Facts, Failure, Io, Next, Verdict};

/// VERIFY (10), (12), (16), (32).
#[derive(Debug)]
pub struct Verify {
    facts: Facts,
    span: Span,
    work: u64,
    check: Check,
    begun: bool,
}

impl Verify {
    /// BYTCHK 00b: the range can be read from the medium. No data.
    #[must_use]
    pub fn medium(facts: &Facts, span: Span) -> Self {
        Self::new(facts, span, Against::Nothing)
    }

    /// BYTCHK 01b: the range holds the command's data, which is as long.
    #[must_use]
    pub fn whole(facts: &Facts, span: Span) -> Self {
        Self::new(facts, span, Against::Data)
    }

    /// BYTCHK 11b: each block of the range holds the command's data, one block.
    #[must_use]
    pub fn one_block(facts: &Facts, span: Span) -> Self {
        Self::new(facts, span, Against::Block)
    }

    fn new(facts: &Facts, span: Span, against: Against) -> Self {
        // From the medium: what a volatile cache holds is written before it is verified (SBC-4, VERIFY (10)).
        let work = span.length.min(facts.wave());
        let check = Check::new(span, work, against, true);
        Self { facts: *facts, span, work, check, begun: false }
    }
}

impl Composite for Verify {
    fn work(&self) -> u64 {
        self.work
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Err(verdict) = check_start(io, &self.facts, self.span, true)
        {
            return Next::End(verdict);
        }
        match self.check.next(io) {
            Ok(true) => Next::Wait,
            Ok(false) => Next::End(Verdict::Good),
            Err(verdict) => Next::End(verdict),
        }
    }
}
