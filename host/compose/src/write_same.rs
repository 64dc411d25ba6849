//! WRITE SAME (SBC-4): one block over a whole range.

use lunbox_scsi::Sense;

use crate::fill::Fill;
use crate::span::{Span, check_start};
use crate::{Composite, DATA_GONE, Facts, Failure, Io, Next, Verdict, Where};

/// WRITE SAME (10), (16), (32).
#[derive(Debug)]
pub struct WriteSame {
    facts: Facts,
    span: Span,
    ndob: bool,
    unmap: bool,
    work: u64,
    fill: Option<Fill>,
}

impl WriteSame {
    /// Fills `span` with the one block of the command's data, or with zeros if it has none (`ndob`). `unmap`: blocks of
    /// zeros may become unallocated; others are written, whatever it says, since they have to read as sent.
    ///
    /// An empty `span` is 5/24/00: VPD B0 says WSNZ.
    #[must_use]
    pub fn new(facts: &Facts, span: Span, ndob: bool, unmap: bool) -> Self {
        let work = if ndob && facts.write_zeroes { 0 } else { Fill::work(facts, span) };
        Self { facts: *facts, span, ndob, unmap, work, fill: None }
    }

    fn start(&self, io: &mut dyn Io) -> Result<Fill, Verdict> {
        if self.span.is_empty() {
            return Err(Verdict::Check(Sense::INVALID_FIELD_IN_CDB, None));
        }
        check_start(io, &self.facts, self.span, false)?;
        let facts = io.facts();
        let mut block = Vec::new();
        if !self.ndob {
            let size = usize::try_from(facts.block_size).map_err(|_| DATA_GONE)?;
            block.resize(size, 0);
            io.take(Where::Data(0), &mut block).map_err(|_| DATA_GONE)?;
        }
        let fill = Fill::new(&facts, self.span, &block, self.unmap, false);
        check_start(io, &self.facts, self.span, fill.needs_work())?;
        Ok(fill)
    }
}

impl Composite for WriteSame {
    fn work(&self) -> u64 {
        self.work
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        let fill = match self.fill.take().map_or_else(|| self.start(io), Ok) {
            Ok(fill) => self.fill.insert(fill),
            Err(verdict) => return Next::End(verdict),
        };
        match fill.next(io) {
            Ok(true) => Next::Wait,
            Ok(false) => Next::End(Verdict::Good),
            Err(_) => Next::End(DATA_GONE),
        }
    }
}
