//! UNMAP (SBC-4): blocks whose contents are no longer needed.

use lunbox_scsi::{Blocks, FieldPointer, Sense, list};

use crate::span::{MAX_ASKS, Span};
use crate::{Ask, Composite, DATA_GONE, Failure, Io, Next, Verb, Verdict, Where, unmap_pieces};

/// Bytes before the first block descriptor, and of one.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

/// UNMAP.
#[derive(Debug)]
pub struct Unmap {
    length: u64,
    max_descriptors: u32,
    max_blocks: u32,
    /// What is left to do; `None` before the list was read.
    left: Option<std::vec::IntoIter<Span>>,
    /// What of the present descriptor has not been asked for.
    rest: Span,
    /// Something was unmapped that has to become durable.
    flush: bool,
}

impl Unmap {
    /// Unmaps what the command's data, a list of `length` bytes, says: nothing at all if one descriptor of it is
    /// wrong. The limits are those of VPD B0: descriptors of a list, and blocks of all of them together.
    #[must_use]
    pub const fn new(length: u64, max_descriptors: u32, max_blocks: u32) -> Self {
        let rest = Span { offset: 0, length: 0 };
        Self { length, max_descriptors, max_blocks, left: None, rest, flush: false }
    }

    /// Reads and checks the whole list.
    fn start(&self, io: &mut dyn Io) -> Result<std::vec::IntoIter<Span>, Verdict> {
        let facts = io.facts();
        if facts.unmap.is_none() {
            return Err(Verdict::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None));
        }
        // Never more than was sent: what lies behind is somebody else's.
        let length = usize::try_from(self.length.min(io.data_length())).map_err(|_| DATA_GONE)?;
        let mut bytes = vec![0; length];
        io.take(Where::Data(0), &mut bytes).map_err(|_| DATA_GONE)?;
        let descriptors =
            list::unmap::parse(&bytes).map_err(|rejected| Verdict::Check(rejected.sense, rejected.field))?;
        if u32::try_from(descriptors.len()).map_or(true, |count| count > self.max_descriptors) {
            return Err(invalid(2));
        }
        let mut sum = 0u64;
        let mut spans = Vec::with_capacity(descriptors.len());
        for (index, (lba, blocks)) in descriptors.enumerate() {
            sum = sum.saturating_add(blocks.0);
            if sum > u64::from(self.max_blocks) {
                return Err(invalid(HEADER + index * DESCRIPTOR + 8));
            }
            let span = facts.span(lba, blocks).map_err(|sense| Verdict::Check(sense, None))?;
            if blocks != Blocks(0) {
                spans.push(span);
            }
        }
        Ok(spans.into_iter())
    }
}

/// 5/26/00 with the byte of the list that is wrong.
fn invalid(byte: usize) -> Verdict {
    let field = u16::try_from(byte).ok().map(FieldPointer::parameter);
    Verdict::Check(Sense::INVALID_FIELD_IN_PARAMETER_LIST, field)
}

impl Composite for Unmap {
    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        let left = match self.left.take().map_or_else(|| self.start(io), Ok) {
            Ok(left) => self.left.insert(left),
            Err(verdict) => return Next::End(verdict),
        };
        let facts = io.facts();
        let mut asked = false;
        for _ in 0..MAX_ASKS {
            if self.rest.is_empty() {
                self.rest = left.next().unwrap_or_default();
            }
            let Some(limits) = facts.unmap.filter(|_| !self.rest.is_empty()) else { break };
            let length = unmap_pieces::piece(limits, u64::from(facts.block_size), self.rest);
            let Span { offset, length } = self.rest.part(0, length);
            io.ask(Ask { verb: Verb::Unmap, offset, length, fua: false, buffer: Where::Nothing });
            self.rest = self.rest.part(length, u64::MAX);
            asked = true;
        }
        if asked {
            self.flush = facts.write_through;
            return Next::Wait;
        }
        if !self.rest.is_empty() {
            // A new instance of the handler can not do it any more.
            return Next::End(Verdict::Check(Sense::INTERNAL_TARGET_FAILURE, None));
        }
        if std::mem::take(&mut self.flush) {
            io.ask(Ask { verb: Verb::Flush, offset: 0, length: 0, fua: false, buffer: Where::Nothing });
            return Next::Wait;
        }
        Next::End(Verdict::Good)
    }
}
