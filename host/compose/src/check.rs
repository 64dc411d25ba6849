//! Reading back, and comparing with the command's data.

use lunbox_scsi::Sense;

use crate::span::{Span, ask_all};
use crate::{DATA_GONE, Gone, Io, Verb, Verdict, Where};

/// Bytes that are looked at at a time.
pub(crate) const WINDOW: usize = 64 << 10;

/// What the medium has to hold.
#[derive(Clone, Debug)]
pub(crate) enum Against {
    /// Anything that can be read.
    Nothing,
    /// The command's data, from its first byte on.
    Data,
    /// In each block the one block of the command's data.
    Block,
}

/// Reads a range through the work buffer and compares it.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    span: Span,
    /// Bytes that are read at a time: those of the work buffer.
    work: u64,
    against: Against,
    /// Compared so far.
    done: u64,
    /// In the work buffer, not yet compared.
    asked: u64,
    /// The one block, once it was fetched.
    block: Vec<u8>,
    fua: bool,
}

impl Check {
    pub(crate) const fn new(span: Span, work: u64, against: Against, fua: bool) -> Self {
        Self { span, work, against, done: 0, asked: 0, block: Vec::new(), fua }
    }

    /// Compares what was read, and asks for what comes next. `Ok(false)`: all of it was as it has to be.
    ///
    /// # Errors
    /// E/1D/00 with the byte of the command's data that differs; [`DATA_GONE`].
    pub(crate) fn next(&mut self, io: &mut dyn Io) -> Result<bool, Verdict> {
        let difference = match self.against {
            Against::Nothing => Ok(None),
            Against::Data => self.compare_data(io),
            Against::Block => self.compare_block(io),
        };
        match difference {
            Err(Gone) => return Err(DATA_GONE),
            Ok(Some(byte)) => return Err(Verdict::Check(Sense::MISCOMPARE.with_information(byte), None)),
            Ok(None) => self.done += self.asked,
        }
        let part = self.span.part(self.done, self.work);
        ask_all(io, Verb::Read, part, Where::Work(0), self.fua);
        self.asked = part.length;
        Ok(!part.is_empty())
    }

    fn compare_data(&self, io: &mut dyn Io) -> Result<Option<u64>, Gone> {
        let (mut read, mut wanted) = (Vec::new(), Vec::new());
        windows(self.asked, WINDOW, |at, length| {
            read.resize(length, 0);
            wanted.resize(length, 0);
            io.take(Where::Work(at), &mut read)?;
            io.take(Where::Data(self.done + at), &mut wanted)?;
            Ok(first_difference(&read, &wanted).map(|byte| self.done + at + byte))
        })
    }

    fn compare_block(&mut self, io: &mut dyn Io) -> Result<Option<u64>, Gone> {
        if self.asked == 0 {
            return Ok(None);
        }
        let size = io.facts().block_size;
        if self.block.is_empty() {
            // Blocks that compositions work on are at most 1 MiB long.
            self.block.resize(usize::try_from(size).map_err(|_| Gone)?, 0);
            io.take(Where::Data(0), &mut self.block)?;
        }
        let block = self.block.len();
        let mut read = Vec::new();
        windows(self.asked, (WINDOW / block * block).max(block), |at, length| {
            read.resize(length, 0);
            io.take(Where::Work(at), &mut read)?;
            Ok(read.chunks_exact(block).find_map(|block| first_difference(block, &self.block)))
        })
    }
}

/// Calls `look` for window after window of `length` bytes, until it finds something.
pub(crate) fn windows<T>(
    length: u64,
    window: usize,
    mut look: impl FnMut(u64, usize) -> Result<Option<T>, Gone>,
) -> Result<Option<T>, Gone> {
    let mut at = 0;
    while at < length {
        let bytes = usize::try_from(length - at).map_or(window, |left| left.min(window));
        if let Some(found) = look(at, bytes)? {
            return Ok(Some(found));
        }
        at = at.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
    Ok(None)
}

/// The first byte in which both differ.
fn first_difference(left: &[u8], right: &[u8]) -> Option<u64> {
    if left == right {
        return None;
    }
    let at = left.iter().zip(right).position(|(left, right)| left != right)?;
    u64::try_from(at).ok()
}
