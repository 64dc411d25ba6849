//! GET LBA STATUS (SBC-4): which blocks are backed, from what the handler says of its store.

use lunbox_contract::{EXTENT_SCRATCH_BYTES, ExtentRecord};
use lunbox_scsi::lba_status::{Builder, Provisioned};
use lunbox_scsi::{Blocks, Lba, Sense};

use crate::span::{Span, check_start};
use crate::{Ask, Composite, DATA_GONE, Facts, Failure, Gone, Io, Next, Verb, Verdict, Where};

/// Bytes of the list that the handler fills in one step.
const ROOM: u32 = EXTENT_SCRATCH_BYTES;

/// Runs that the handler is asked for at the most: an answer of a few thousand descriptors is none that an initiator
/// waits for.
const MAX_STEPS: u32 = 64;

/// GET LBA STATUS.
#[derive(Debug)]
pub struct LbaStatus {
    facts: Facts,
    span: Span,
    ask: bool,
    allocation: u32,
    answer: Option<Builder>,
    /// Told so far, in bytes from the beginning of `span`; whole blocks.
    done: u64,
    steps: u32,
}

impl LbaStatus {
    /// Tells of the blocks from `lba` on, in at most `allocation` bytes. Where the handler can not tell, all blocks
    /// are backed.
    ///
    /// # Errors
    /// 5/21/00 if `lba` does not lie on the medium.
    pub fn new(facts: &Facts, lba: Lba, allocation: u32) -> Result<Self, Sense> {
        let Span { offset, .. } = facts.span(lba, Blocks(1))?;
        let span = Span { offset, length: facts.size - offset };
        let answer = Some(Builder::new(allocation));
        Ok(Self { facts: *facts, span, ask: facts.lba_status, allocation, answer, done: 0, steps: 0 })
    }

    /// Takes over what the handler has told. False: more would not fit into the answer, or nothing new was told.
    fn read(&mut self, io: &mut dyn Io) -> Result<bool, Gone> {
        let mut records = vec![0; usize::try_from(ROOM).unwrap_or(0)];
        io.take(Where::Work(0), &mut records)?;
        let before = self.done;
        for record in ExtentRecord::list(&records) {
            // What a handler says is not trusted: no step backwards, nothing beyond the end.
            let end = record.offset.saturating_add(record.length).min(self.span.end());
            let start = self.span.offset + self.done;
            if end <= start {
                continue;
            }
            // What it left out is backed, and so is a block that is only in part.
            let (mapped, gap) = (record.allocated, record.offset.saturating_sub(start));
            let block = u64::from(io.facts().block_size).max(1);
            let gap = gap.checked_next_multiple_of(block).unwrap_or(gap);
            if !self.push(gap, true, block) {
                return Ok(false);
            }
            let start = self.span.offset + self.done;
            let length = end.saturating_sub(start);
            let whole = if mapped { length.next_multiple_of(block) } else { length - length % block };
            if !self.push(whole, mapped, block) {
                return Ok(false);
            }
        }
        Ok(self.done > before)
    }

    /// Adds a run of bytes. False: the answer is full.
    fn push(&mut self, bytes: u64, mapped: bool, block: u64) -> bool {
        let bytes = bytes.min(self.span.length - self.done);
        if bytes == 0 {
            return true;
        }
        let lba = Lba((self.span.offset + self.done) / block);
        let state = if mapped { Provisioned::Mapped } else { Provisioned::Deallocated };
        self.done += bytes;
        self.answer.as_mut().is_some_and(|answer| answer.push(lba, Blocks(bytes / block), state))
    }

    fn end(&mut self, io: &mut dyn Io) -> Next {
        let answer = self.answer.take().map(Builder::finish).unwrap_or_default();
        let room = io.data_length().min(u64::from(self.allocation));
        let length = answer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        match (io.put(Where::Data(0), &answer[..length]), u64::try_from(length)) {
            (Ok(()), Ok(length)) => Next::End(Verdict::Filled(length)),
            _ => Next::End(DATA_GONE),
        }
    }
}

impl Composite for LbaStatus {
    fn work(&self) -> u64 {
        if self.ask { u64::from(ROOM) } else { 0 }
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        let more = if self.steps == 0 {
            if let Err(verdict) = check_start(io, &self.facts, self.span, false) {
                return Next::End(verdict);
            }
            self.ask
        } else {
            match self.read(io) {
                Ok(more) => more && self.done < self.span.length && self.steps < MAX_STEPS,
                Err(Gone) => return Next::End(DATA_GONE),
            }
        };
        if more {
            self.steps += 1;
            // The handler need not fill it, and what was there before is not its answer.
            if io.put(Where::Work(0), &vec![0; usize::try_from(ROOM).unwrap_or(0)]).is_err() {
                return Next::End(DATA_GONE);
            }
            let Span { offset, length } = self.span.part(self.done, u64::MAX);
            let verb = Verb::Status { room: ROOM };
            io.ask(Ask { verb, offset, length, fua: false, buffer: Where::Work(0) });
            return Next::Wait;
        }
        if self.done == 0 {
            // At least one descriptor is due (SBC-4, GET LBA STATUS).
            let block = u64::from(io.facts().block_size).max(1);
            self.push(self.span.length, true, block);
        }
        self.end(io)
    }
}
