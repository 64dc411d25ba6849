//! FORMAT UNIT (SBC-4): the whole medium reads as zeros, or as the initialization pattern, afterwards.

use lunbox_contract::Status;

use crate::fill::Fill;
use crate::span::{Span, check_start};
use crate::{Composite, DATA_GONE, Facts, Failure, Io, Next, Scope, Verdict};

/// How often in succession a step that ended BUSY is asked for again when nobody is there any more to repeat the
/// command.
const MAX_BUSY: u32 = 1000;

/// FORMAT UNIT.
#[derive(Debug)]
pub struct FormatUnit {
    facts: Facts,
    span: Span,
    pattern: Vec<u8>,
    immediate: bool,
    work: u64,
    fill: Option<Fill>,
    busy: u32,
}

impl FormatUnit {
    /// Fills each block of the medium with `pattern`, repeated and cut to a block; empty means zeros, which may become
    /// unallocated. `immediate`: GOOD is told at the beginning (IMMED).
    #[must_use]
    pub fn new(facts: &Facts, pattern: Vec<u8>, immediate: bool) -> Self {
        let span = Span { offset: 0, length: facts.size };
        let zeros = pattern.iter().all(|byte| *byte == 0);
        let work = if zeros && facts.write_zeroes { 0 } else { Fill::work(facts, span) };
        Self { facts: *facts, span, pattern, immediate, work, fill: None, busy: 0 }
    }

    fn start(&self, io: &mut dyn Io) -> Result<Fill, Verdict> {
        check_start(io, &self.facts, self.span, false)?;
        let fill = Fill::new(&io.facts(), self.span, &self.pattern, true, true);
        check_start(io, &self.facts, self.span, fill.needs_work())?;
        Ok(fill)
    }
}

impl Composite for FormatUnit {
    fn scope(&self) -> Scope {
        Scope::Alone { offset: self.span.offset, length: self.span.length }
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn is_immediate(&self) -> bool {
        self.immediate
    }

    fn occupies_unit(&self) -> bool {
        true
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        let fill = match self.fill.take().map_or_else(|| self.start(io), Ok) {
            Ok(fill) => self.fill.insert(fill),
            Err(verdict) => return Next::End(verdict),
        };
        let asked = match last {
            Ok(()) => {
                self.busy = 0;
                fill.next(io)
            }
            Err(Failure::Status(Status::Busy | Status::TaskSetFull))
                if self.immediate && self.busy < MAX_BUSY =>
            {
                self.busy += 1;
                fill.again(io)
            }
            Err(failure) => return Next::End(failure.into()),
        };
        io.progress(parts(fill.done(), self.span.length));
        match asked {
            Ok(true) => Next::Wait,
            Ok(false) => Next::End(Verdict::Good),
            Err(_) => Next::End(DATA_GONE),
        }
    }
}

/// `done` of `all` in 65536ths.
fn parts(done: u64, all: u64) -> u16 {
    let parts = u128::from(done) * 65_536 / u128::from(all.max(1));
    u16::try_from(parts).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::parts;

    /// tcmu-runner counted in 32 bits.
    #[test]
    fn progress_of_any_size_rises_to_the_end() {
        for all in [512, 1 << 32, (1 << 32) * 512, u64::MAX] {
            assert_eq!(parts(0, all), 0);
            assert_eq!(parts(all / 2, all) / 0x100, if all == u64::MAX { 0x7f } else { 0x80 });
            assert_eq!(parts(all, all), u16::MAX);
        }
        assert_eq!(parts(0, 0), 0);
    }
}
