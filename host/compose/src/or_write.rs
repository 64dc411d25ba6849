//! ORWRITE (SBC-4): the medium holds its own bits and those of the data afterwards.

use crate::check::{WINDOW, windows};
use crate::span::{Span, ask_all, check_start};
use crate::{Composite, DATA_GONE, Facts, Failure, Gone, Io, Next, Scope, Verb, Verdict, Where};

/// ORWRITE (16), set operation.
#[derive(Debug)]
pub struct OrWrite {
    facts: Facts,
    span: Span,
    work: u64,
    fua: bool,
    /// Written so far.
    done: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Reading,
    Writing,
}

impl OrWrite {
    /// `span` is as long as the command's data.
    #[must_use]
    pub fn new(facts: &Facts, span: Span, fua: bool) -> Self {
        Self { facts: *facts, span, work: span.length.min(facts.wave()), fua, done: 0, stage: Stage::Start }
    }

    fn part(&self) -> Span {
        self.span.part(self.done, self.work)
    }

    /// Sets the bits of the data in what was read.
    fn set_bits(&self, length: u64, io: &mut dyn Io) -> Result<(), Gone> {
        let (mut read, mut set) = (Vec::new(), Vec::new());
        windows(length, WINDOW, |at, window| {
            read.resize(window, 0);
            set.resize(window, 0);
            io.take(Where::Work(at), &mut read)?;
            io.take(Where::Data(self.done + at), &mut set)?;
            for (byte, bits) in read.iter_mut().zip(&set) {
                *byte |= bits;
            }
            io.put(Where::Work(at), &read)?;
            Ok(None::<()>)
        })
        .map(|_| ())
    }
}

impl Composite for OrWrite {
    fn scope(&self) -> Scope {
        // Bits that somebody sets between our reading and our writing would be lost.
        Scope::Alone { offset: self.span.offset, length: self.span.length }
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        let part = self.part();
        match self.stage {
            Stage::Start => {
                if let Err(verdict) = check_start(io, &self.facts, self.span, true) {
                    return Next::End(verdict);
                }
            }
            Stage::Reading => {
                if self.set_bits(part.length, io).is_err() {
                    return Next::End(DATA_GONE);
                }
                let fua = self.fua || io.facts().write_through;
                ask_all(io, Verb::Write, part, Where::Work(0), fua);
                self.stage = Stage::Writing;
                return Next::Wait;
            }
            Stage::Writing => self.done += part.length,
        }
        let part = self.part();
        if part.is_empty() {
            return Next::End(Verdict::Good);
        }
        ask_all(io, Verb::Read, part, Where::Work(0), false);
        self.stage = Stage::Reading;
        Next::Wait
    }
}
