//! Filling a range with one block over and over: by the handler's own means where that block is zeros, else by
//! writing.

use std::collections::VecDeque;

use lunbox_contract::UnmapLimits;

use crate::check::{WINDOW, windows};
use crate::span::{MAX_ASKS, Span, whole};
use crate::{Ask, Facts, Gone, Io, MAX_WORK, Verb, Where, unmap_pieces};

/// Longest range that the handler zeroes in one step, in bytes: so that a command can be aborted between steps, and
/// progress be told, even where the store has to write the zeros.
pub(crate) const ZERO_STEP: u64 = 1 << 30;

/// Fills a range.
#[derive(Debug)]
pub(crate) struct Fill {
    /// What is still to be done.
    parts: VecDeque<Part>,
    /// The block in the work buffer; taken when it was put there.
    block: Vec<u8>,
    /// Each step is to be durable.
    fua: bool,
    /// A flush at the end makes all of it durable.
    flush: bool,
    may_unmap: bool,
    /// Bytes of a block, and of the longest write.
    block_size: u64,
    piece: u64,
    /// What runs.
    asked: Asked,
    /// Bytes done.
    done: u64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    span: Span,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Zeroes,
    Unmap(UnmapLimits),
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// So many bytes of the first part.
    Bytes(u64),
    Flush,
}

impl Fill {
    /// Fills `span` with `block`, which is repeated to the length of a block and cut to it; empty means zeros.
    /// `may_unmap`: zeros may become unallocated. `flush`: all is durable at the end.
    pub(crate) fn new(facts: &Facts, span: Span, block: &[u8], may_unmap: bool, flush: bool) -> Self {
        let zeros = block.iter().all(|byte| *byte == 0);
        let mut parts = VecDeque::new();
        if zeros && facts.write_zeroes {
            parts.push_back(Part { span, way: Way::Zeroes });
        } else if let Some(limits) = facts.unmap.filter(|limits| zeros && may_unmap && limits.reads_zeroes) {
            // Parts of a unit that the handler does not unmap would keep their bytes.
            let inside = unmap_pieces::inside(limits, u64::from(facts.block_size), span);
            let head = span.part(0, inside.offset - span.offset);
            let tail = span.part(inside.end() - span.offset, u64::MAX);
            parts.push_back(Part { span: head, way: Way::Write });
            parts.push_back(Part { span: inside, way: Way::Unmap(limits) });
            parts.push_back(Part { span: tail, way: Way::Write });
        } else {
            parts.push_back(Part { span, way: Way::Write });
        }
        parts.retain(|part| !part.span.is_empty());
        let single = parts.len() == 1
            && parts.iter().all(|part| match part.way {
                Way::Zeroes => span.length <= ZERO_STEP,
                Way::Write => span.length <= Self::piece(facts),
                Way::Unmap(_) => false,
            });
        // One flush is cheaper than many durable steps.
        let fua = facts.write_through && single && !flush;
        let flush = flush || (facts.write_through && !single);
        let block = repeated(block, facts.block_size);
        let (block_size, piece) = (u64::from(facts.block_size), Self::piece(facts));
        Self { parts, block, fua, flush, may_unmap, block_size, piece, asked: Asked::Nothing, done: 0 }
    }

    /// Bytes of work buffer for a range that may have to be written.
    pub(crate) fn work(facts: &Facts, span: Span) -> u64 {
        span.length.min(Self::piece(facts))
    }

    /// Bytes of one write.
    fn piece(facts: &Facts) -> u64 {
        whole(facts.piece().min(MAX_WORK), u64::from(facts.block_size))
    }

    /// It writes through the work buffer.
    pub(crate) fn needs_work(&self) -> bool {
        self.parts.iter().any(|part| part.way == Way::Write)
    }

    /// Bytes done.
    pub(crate) const fn done(&self) -> u64 {
        self.done
    }

    /// What was asked for has ended well: asks for more. `Ok(false)`: all is done.
    pub(crate) fn next(&mut self, io: &mut dyn Io) -> Result<bool, Gone> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => {}
            Asked::Flush => return Ok(false),
            Asked::Bytes(bytes) => {
                self.done += bytes;
                if let Some(part) = self.parts.front_mut() {
                    part.span = part.span.part(bytes, u64::MAX);
                }
                self.parts.retain(|part| !part.span.is_empty());
            }
        }
        self.ask(io)
    }

    /// Asks once more for what did not end well.
    pub(crate) fn again(&mut self, io: &mut dyn Io) -> Result<bool, Gone> {
        if std::mem::replace(&mut self.asked, Asked::Nothing) == Asked::Flush {
            self.flush = true;
        }
        self.ask(io)
    }

    fn ask(&mut self, io: &mut dyn Io) -> Result<bool, Gone> {
        let Some(Part { span, way }) = self.parts.front().copied() else {
            // The write cache may have been switched off since the first steps.
            let volatile = io.facts().write_through && !self.fua && self.done > 0;
            if std::mem::take(&mut self.flush) || volatile {
                io.ask(Ask { verb: Verb::Flush, offset: 0, length: 0, fua: false, buffer: Where::Nothing });
                self.asked = Asked::Flush;
                return Ok(true);
            }
            return Ok(false);
        };
        if way == Way::Write && !self.block.is_empty() {
            self.put_block(io)?;
        }
        let mut bytes = 0;
        let most = if way == Way::Zeroes { 1 } else { MAX_ASKS };
        for _ in 0..most {
            let rest = span.part(bytes, u64::MAX);
            if rest.is_empty() {
                break;
            }
            let (verb, buffer, length) = match way {
                Way::Zeroes => (Verb::WriteZeroes { may_unmap: self.may_unmap }, Where::Nothing, ZERO_STEP),
                Way::Unmap(limits) => {
                    let length = unmap_pieces::piece(limits, self.block_size, rest);
                    (Verb::Unmap, Where::Nothing, length)
                }
                // All of them write the same bytes.
                Way::Write => (Verb::Write, Where::Work(0), self.piece),
            };
            let Span { offset, length } = rest.part(0, length);
            io.ask(Ask { verb, offset, length, fua: self.fua, buffer });
            bytes += length;
        }
        self.asked = Asked::Bytes(bytes);
        Ok(true)
    }

    /// Fills the work buffer as far as the longest write will need it.
    fn put_block(&mut self, io: &mut dyn Io) -> Result<(), Gone> {
        let written = self.parts.iter().filter(|part| part.way == Way::Write);
        let length = written.map(|part| part.span.length).max().unwrap_or(0);
        let length = length.min(self.piece);
        let block = std::mem::take(&mut self.block);
        let window = block.repeat((WINDOW / block.len().max(1)).max(1));
        windows(length, window.len(), |at, length| {
            let bytes = window.get(..length).ok_or(Gone)?;
            io.put(Where::Work(at), bytes).map(|()| None::<()>)
        })
        .map(|_| ())
    }
}

/// A block of `size` bytes that begins with `pattern`, again and again.
fn repeated(pattern: &[u8], size: u32) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if pattern.is_empty() { vec![0; size] } else { pattern.iter().copied().cycle().take(size).collect() }
}
