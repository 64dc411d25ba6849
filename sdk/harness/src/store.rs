//! A store in memory that remembers which writes are durable.

use lunbox_sdk::{ExtentRecord, OpError, StoreInfo, Tag};

/// What a discarded range of a store reads as that promises no zeros: unlikely data, so that relying on it shows.
const DISCARDED: u8 = 0xdc;

/// Bytes of the smallest unit that is allocated and given back.
const UNIT: usize = 512;

/// A store in memory. Writes are volatile until a flush or until they are made durable themselves.
///
/// Offsets and lengths are in bytes. All of the store is held in memory twice: keep it small.
#[derive(Clone, Debug)]
pub struct MemStore {
    /// What survives a power cut for sure.
    durable: Vec<u8>,
    /// What reads see.
    current: Vec<u8>,
    /// Which units of [`UNIT`] bytes take up space; those beyond are holes.
    allocated: Vec<bool>,
    /// Changes since the last flush, oldest first.
    journal: Vec<Change>,
    option: String,
    read_only: bool,
    discard_zeroes: bool,
    can_grow: bool,
    physical_block_size: u32,
    discard_granularity: u32,
}

/// A change that a power cut may undo.
#[derive(Clone, Debug)]
struct Change {
    by: Tag,
    offset: usize,
    data: Vec<u8>,
    durable: bool,
}

impl MemStore {
    /// A store of `size` bytes, all zero, that grows when written beyond its end, like a regular file.
    #[must_use]
    pub fn growing(size: usize) -> Self {
        Self::with_contents(vec![0; size])
    }

    /// A store of `size` bytes, all zero, that never grows, like a block device.
    #[must_use]
    pub fn fixed(size: usize) -> Self {
        Self { can_grow: false, allocated: vec![true; size.div_ceil(UNIT)], ..Self::growing(size) }
    }

    /// A growing store with these contents, all of them durable. What is zero is a hole.
    #[must_use]
    pub fn with_contents(contents: Vec<u8>) -> Self {
        Self {
            allocated: contents.chunks(UNIT).map(|unit| unit.iter().any(|&byte| byte != 0)).collect(),
            durable: contents.clone(),
            current: contents,
            journal: Vec::new(),
            option: String::new(),
            read_only: false,
            discard_zeroes: true,
            can_grow: true,
            physical_block_size: 0,
            discard_granularity: 512,
        }
    }

    /// The same, granted for this option instead of for the whole cfgstring.
    #[must_use]
    pub fn for_option(mut self, option: &str) -> Self {
        option.clone_into(&mut self.option);
        self
    }

    /// The same, but not writable.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The same, but discarded ranges read as anything.
    #[must_use]
    pub fn discards_to_anything(mut self) -> Self {
        self.discard_zeroes = false;
        self
    }

    /// The same, unable to discard.
    #[must_use]
    pub fn without_discard(mut self) -> Self {
        self.discard_granularity = 0;
        self
    }

    /// The same, with physical blocks of so many bytes.
    #[must_use]
    pub fn physical_blocks(mut self, bytes: u32) -> Self {
        self.physical_block_size = bytes;
        self
    }

    /// All bytes as reads see them.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.current
    }

    /// Changes that no flush and no durable write covers.
    #[must_use]
    pub fn volatile_writes(&self) -> usize {
        self.journal.iter().filter(|change| !change.durable).count()
    }

    /// Cuts the power: of the volatile changes survive those, counted from the oldest, for which `survives` says
    /// so. What survived is durable afterwards.
    pub fn power_cut(&mut self, mut survives: impl FnMut(usize) -> bool) {
        let mut volatile = 0;
        for change in std::mem::take(&mut self.journal) {
            let survived = change.durable || {
                volatile += 1;
                survives(volatile - 1)
            };
            if survived {
                overwrite(&mut self.durable, change.offset, &change.data);
            }
        }
        self.current.clone_from(&self.durable);
    }

    /// What the handler is told about this store.
    #[must_use]
    pub fn info(&self) -> StoreInfo {
        StoreInfo {
            option: self.option.clone(),
            size: u64::try_from(self.current.len()).unwrap_or(u64::MAX),
            read_only: self.read_only,
            discard_zeroes: self.discard_zeroes,
            can_grow: self.can_grow,
            physical_block_size: self.physical_block_size,
            discard_granularity: self.discard_granularity,
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Fills `out` from `offset` on.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8], zero_at_eof: bool) -> Result<(), OpError> {
        let stored = usize::try_from(offset).ok().and_then(|start| self.current.get(start..)).unwrap_or(&[]);
        let available = stored.len().min(out.len());
        if available < out.len() && !zero_at_eof {
            return Err(OpError::EndOfStore);
        }
        out[..available].copy_from_slice(&stored[..available]);
        out[available..].fill(0);
        Ok(())
    }

    /// Replaces the bytes from `offset` on, for command `by`.
    pub(crate) fn write(
        &mut self,
        by: Tag,
        offset: u64,
        data: Vec<u8>,
        durable: bool,
    ) -> Result<(), OpError> {
        let offset = self.place(offset, data.len())?;
        let end = (offset + data.len()).div_ceil(UNIT);
        if self.allocated.len() < end {
            self.allocated.resize(end, false);
        }
        self.allocated[offset / UNIT..end].fill(true);
        self.change(by, offset, data, durable);
        Ok(())
    }

    fn change(&mut self, by: Tag, offset: usize, data: Vec<u8>, durable: bool) {
        overwrite(&mut self.current, offset, &data);
        self.journal.push(Change { by, offset, data, durable });
    }

    /// Gives the whole units of a range back.
    fn give_back(&mut self, offset: usize, length: usize) {
        let end = ((offset + length) / UNIT).min(self.allocated.len());
        let start = offset.div_ceil(UNIT).min(end);
        if self.can_grow {
            self.allocated[start..end].fill(false);
        }
    }

    /// What of a range is allocated, as a list of at most `room` bytes.
    pub(crate) fn extents(&self, offset: u64, length: u64, room: usize) -> Vec<u8> {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let end = offset.saturating_add(length);
        let is_allocated = |at: u64| {
            let unit = usize::try_from(at).ok().map(|at| at / UNIT);
            unit.and_then(|unit| self.allocated.get(unit)).copied().unwrap_or(!self.can_grow)
        };
        let mut list = Vec::new();
        let mut at = offset;
        while at < end && list.len() + ExtentRecord::BYTES <= room {
            let allocated = is_allocated(at);
            let mut until = at;
            while until < end && is_allocated(until) == allocated {
                let known = until < wide(self.allocated.len() * UNIT);
                until = if known { end.min((until / wide(UNIT) + 1) * wide(UNIT)) } else { end };
            }
            list.extend(ExtentRecord { offset: at, length: until - at, allocated }.to_bytes());
            at = until;
        }
        if list.len() + ExtentRecord::BYTES <= room {
            list.extend([0; ExtentRecord::BYTES]);
        }
        list
    }

    /// Makes a range read as zeros. What was a hole stays one.
    pub(crate) fn write_zeroes(
        &mut self,
        by: Tag,
        offset: u64,
        length: u64,
        durable: bool,
        may_unmap: bool,
    ) -> Result<(), OpError> {
        let length = usize::try_from(length).map_err(|_| OpError::NoSpace)?;
        let offset = self.place(offset, length)?;
        self.change(by, offset, vec![0; length], durable);
        if may_unmap {
            self.give_back(offset, length);
        }
        Ok(())
    }

    /// Gives up a range; what lies beyond the end needs no giving up.
    pub(crate) fn discard(
        &mut self,
        by: Tag,
        offset: u64,
        length: u64,
        durable: bool,
    ) -> Result<(), OpError> {
        if self.discard_granularity == 0 {
            return Err(OpError::Unsupported);
        }
        let end = offset.saturating_add(length).min(self.info().size);
        let Some(length) = end.checked_sub(offset).filter(|length| *length > 0) else { return Ok(()) };
        let length = usize::try_from(length).map_err(|_| OpError::NoSpace)?;
        let offset = self.place(offset, length)?;
        let filler = if self.discard_zeroes { 0 } else { DISCARDED };
        self.change(by, offset, vec![filler; length], durable);
        self.give_back(offset, length);
        Ok(())
    }

    /// Makes all changes so far durable.
    pub(crate) fn flush(&mut self) {
        self.power_cut(|_| true);
    }

    /// Whether a change by one of these commands could still be lost.
    pub(crate) fn could_lose(&self, mut by: impl FnMut(Tag) -> bool) -> bool {
        self.journal.iter().any(|change| !change.durable && by(change.by))
    }

    /// Where a change goes, if it may go there.
    fn place(&self, offset: u64, length: usize) -> Result<usize, OpError> {
        // More than this in a test is a mistake, and on a real machine a full disk.
        const LIMIT: usize = 1 << 30;
        let start = usize::try_from(offset).map_err(|_| OpError::NoSpace)?;
        let end = start.checked_add(length).ok_or(OpError::NoSpace)?;
        if end <= self.current.len() {
            Ok(start)
        } else if !self.can_grow {
            Err(OpError::EndOfStore)
        } else if end > LIMIT {
            Err(OpError::NoSpace)
        } else {
            Ok(start)
        }
    }
}

/// Copies `data` to `offset` and grows `bytes` if need be.
fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}
