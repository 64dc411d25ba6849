//! COMPARE AND WRITE (SBC-4): the second half of the data is written if the medium holds the first one. Nothing else
//! may come between comparison and write.

use crate::burst::Burst;
use crate::check::{Against, Check};
use crate::span::{Span, check_start};
use crate::{Ask, Composite, Facts, Failure, Io, Next, Scope, Verb, Verdict, Where};

/// COMPARE AND WRITE.
#[derive(Debug)]
pub struct CompareAndWrite {
    facts: Facts,
    span: Span,
    /// The handler does it in one step.
    native: bool,
    work: u64,
    fua: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Native,
    Comparing(Check),
    Writing(Burst),
}

impl CompareAndWrite {
    /// `span` is what is compared and written; the command's data is twice as long.
    #[must_use]
    pub fn new(facts: &Facts, span: Span, fua: bool) -> Self {
        let native = facts.compare_and_write && span.length <= facts.piece();
        let work = if native { 0 } else { span.length.min(facts.wave()) };
        Self { facts: *facts, span, native, work, fua, stage: Stage::Start }
    }
}

impl Composite for CompareAndWrite {
    fn scope(&self) -> Scope {
        // The native step, too: it is atomic among its kind, but a plain write may be several operations of a store.
        Scope::Alone { offset: self.span.offset, length: self.span.length }
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        if matches!(self.stage, Stage::Start) {
            if let Err(verdict) = check_start(io, &self.facts, self.span, !self.native) {
                return Next::End(verdict);
            }
            if self.native && !self.span.is_empty() {
                let Span { offset, length } = self.span;
                let fua = self.fua || io.facts().write_through;
                io.ask(Ask { verb: Verb::CompareAndWrite, offset, length, fua, buffer: Where::Data(0) });
                self.stage = Stage::Native;
                return Next::Wait;
            }
            self.stage = Stage::Comparing(Check::new(self.span, self.work, Against::Data, false));
        }
        if let Stage::Comparing(check) = &mut self.stage {
            match check.next(io) {
                Ok(true) => return Next::Wait,
                Ok(false) => {
                    // The second half, wherever the pieces of the buffer lie.
                    self.stage = Stage::Writing(Burst::new(self.span, self.span.length, self.fua));
                }
                Err(verdict) => return Next::End(verdict),
            }
        }
        if let Stage::Writing(burst) = &mut self.stage
            && burst.ask(io)
        {
            return Next::Wait;
        }
        Next::End(Verdict::Good)
    }
}
