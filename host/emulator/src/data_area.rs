//! Data blocks: who owns which, what is in them, and whether their pages are there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use lunbox_memory::Mapping;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;

use crate::abi::RING_START;
use crate::bitmap::Bitmap;
use crate::kernel::{CommandId, QueueError};
use crate::options::{Options, Placement};
use crate::poison::{BLOCK, Poison, find};
use crate::violation::{LastUser, Report, Violation};
use crate::{BLOCK_BYTES, SetupError};

/// Only blocks below `populated` are accessed, and only this side changes the size of the file.
const PRESENT: &str = "populated blocks lie inside of the file and can be read and written in full";

/// How many blocks hold so many bytes.
pub(crate) fn blocks_for(bytes: u32) -> u32 {
    bytes.div_ceil(BLOCK_BYTES)
}

#[derive(Debug)]
pub(crate) struct DataArea {
    /// The memory of the device. Data goes through the file: for whole blocks that is three times as fast as
    /// copying word by word through a mapping, and a missing page can not raise SIGBUS.
    file: OwnedFd,
    /// Map offset of block 0.
    start: u32,
    used: Bitmap,
    placement: Placement,
    /// Where [`Placement::RoundRobin`] goes on.
    cursor: u32,
    /// Blocks below this have a page; behind it the file ends.
    populated: u32,
    /// Set while pages were taken by force: blocks from here on stay away until they are given back.
    withheld: Option<u32>,
    poison: Option<Poison>,
}

impl DataArea {
    /// Takes over a file that ends with the ring region: no data page is there yet.
    pub(crate) fn new(file: OwnedFd, options: &Options) -> Self {
        Self {
            file,
            start: options.data_start(),
            used: Bitmap::new(options.data_blocks),
            placement: options.placement,
            cursor: 0,
            populated: 0,
            withheld: None,
            poison: options.poison.then(|| Poison::new(options.data_blocks)),
        }
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(crate) fn total(&self) -> u32 {
        self.used.size()
    }

    fn limit(&self) -> u32 {
        self.withheld.unwrap_or(self.total())
    }

    /// Blocks that a command could get now.
    pub(crate) fn free(&self) -> u32 {
        self.used.free_below(self.limit())
    }

    pub(crate) fn populated(&self) -> u32 {
        self.populated
    }

    fn offset(&self, block: u32) -> u64 {
        u64::from(self.start) + u64::from(block) * u64::from(BLOCK_BYTES)
    }

    fn resize(&mut self, blocks: u32) -> nix::Result<()> {
        let bytes = i64::try_from(self.offset(blocks)).map_err(|_| nix::Error::EFBIG)?;
        ftruncate(&self.file, bytes)?;
        if let Some(poison) = &mut self.poison {
            let fresh = blocks.min(self.populated) as usize;
            for mark in &mut poison.marks[fresh..] {
                mark.poisoned = false;
            }
        }
        self.populated = blocks;
        Ok(())
    }

    /// Picks free blocks, appends them to `into` and gives them pages. With poison on they hold the pattern
    /// afterwards; a changed one is reported.
    ///
    /// # Errors
    /// [`QueueError::Full`], or the errno of growing the file; then nothing was taken.
    pub(crate) fn take(
        &mut self,
        count: u32,
        into: &mut Vec<u32>,
        report: &mut Report,
    ) -> Result<(), QueueError> {
        if count > self.free() {
            return Err(QueueError::Full);
        }
        let old = into.len();
        let mut previous = None;
        for _ in 0..count {
            let block = self.pick(previous).ok_or(QueueError::Full)?;
            self.used.set(block);
            into.push(block);
            previous = Some(block);
        }
        let taken = &into[old..];
        let needed = taken.iter().max().map_or(0, |highest| highest + 1);
        if needed > self.populated
            && let Err(errno) = self.resize(needed)
        {
            self.untake(taken);
            into.truncate(old);
            return Err(QueueError::Memory(errno));
        }
        for &block in taken {
            self.judge_free(block, report);
            self.mark_taken(block);
        }
        Ok(())
    }

    fn pick(&self, previous: Option<u32>) -> Option<u32> {
        let from = match (self.placement, previous) {
            (Placement::LowestFirst, _) | (Placement::Scattered, None) => 0,
            (Placement::RoundRobin, previous) => previous.map_or(self.cursor, |block| block + 1),
            (Placement::Scattered, Some(previous)) => previous + 2,
        };
        self.used.lowest_free(from, self.limit()).or_else(|| self.used.lowest_free(0, self.limit()))
    }

    /// Takes back a [`Self::take`] whose command was never shown to the daemon.
    pub(crate) fn untake(&mut self, blocks: &[u32]) {
        for &block in blocks {
            self.used.clear(block);
        }
    }

    /// The blocks now belong to a command that is in the ring.
    pub(crate) fn settle(&mut self, blocks: &[u32]) {
        if let Some(last) = blocks.last() {
            self.cursor = last + 1;
        }
    }

    /// Frees the blocks of a command that is over.
    pub(crate) fn give_back(&mut self, blocks: &[u32], user: LastUser) {
        for &block in blocks {
            self.used.clear(block);
            let present = block < self.populated;
            let Some(poison) = &mut self.poison else { continue };
            let mark = &mut poison.marks[block as usize];
            mark.generation = mark.generation.wrapping_add(1);
            mark.last_user = user;
            mark.doubtful = false;
            if present {
                self.lay(block);
            }
        }
    }

    /// Frees blocks whose command the daemon may still be working on (ring reset). They are poisoned when
    /// somebody takes them, not now: what is written until then is nobody's fault.
    pub(crate) fn give_back_doubtful(&mut self, blocks: &[u32], user: LastUser) {
        for &block in blocks {
            self.used.clear(block);
            if let Some(poison) = &mut self.poison {
                let mark = &mut poison.marks[block as usize];
                mark.generation = mark.generation.wrapping_add(1);
                mark.last_user = user;
                mark.doubtful = true;
                mark.poisoned = false;
            }
        }
    }

    /// Writes the pattern into a block that has a page.
    fn lay(&mut self, block: u32) {
        let offset = self.offset(block);
        let Some(poison) = &mut self.poison else { return };
        poison.stamp(block).fill(&mut poison.buffer[..]);
        store(&self.file, offset, &poison.buffer[..]);
        poison.marks[block as usize].poisoned = true;
    }

    /// Prepares a block for its new owner: it holds the pattern, whatever it held before. (The kernel leaves
    /// the bytes of earlier commands there; any content is legal.)
    fn mark_taken(&mut self, block: u32) {
        if self.poison.as_ref().is_some_and(|poison| !poison.marks[block as usize].poisoned) {
            self.lay(block);
        }
    }

    /// Looks at the pattern of one free block, reports and repairs it.
    fn judge_free(&mut self, block: u32, report: &mut Report) {
        let offset = self.offset(block);
        let Some(poison) = &mut self.poison else { return };
        let mark = poison.marks[block as usize];
        if !mark.poisoned || block >= self.populated {
            return;
        }
        load(&self.file, offset, &mut poison.buffer[..]);
        if let Some(at) = poison.stamp(block).first_change(&poison.buffer[..], 0) {
            let offset = u32::try_from(at).unwrap_or(u32::MAX);
            report.add(Violation::LateWrite { block, offset, last_user: mark.last_user });
            self.lay(block);
        }
    }

    /// Looks at the pattern of every free block.
    pub(crate) fn judge_all_free(&mut self, report: &mut Report) {
        for block in 0..self.populated {
            if !self.used.is_used(block) {
                self.judge_free(block, report);
            }
        }
    }

    /// Looks behind the end of `bytes` of data in a command's blocks: the daemon has no business there.
    pub(crate) fn judge_rest(&mut self, id: CommandId, blocks: &[u32], bytes: u32, report: &mut Report) {
        let from = (bytes % BLOCK_BYTES) as usize;
        let Some(&block) = blocks.last().filter(|_| from > 0) else { return };
        let offset = self.offset(block);
        let Some(poison) = &mut self.poison else { return };
        let mark = poison.marks[block as usize];
        if !mark.poisoned || mark.doubtful || block >= self.populated {
            return;
        }
        load(&self.file, offset + from as u64, &mut poison.buffer[from..]);
        if let Some(at) = poison.stamp(block).first_change(&poison.buffer[from..], from) {
            report.add(Violation::BeyondVector { id, block, offset: u32::try_from(at).unwrap_or(u32::MAX) });
        }
    }

    /// Looks for the pattern in data that a command returned: its own blocks' means never filled, another's
    /// means that a store read a freed buffer.
    pub(crate) fn judge_data(&self, id: CommandId, blocks: &[u32], data: &[u8], report: &mut Report) {
        let Some(poison) = &self.poison else { return };
        let own = |at: usize| poison.stamp(blocks[at / BLOCK]);
        let Some((at, stamp)) = find(data, own) else { return };
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        let block = stamp.block;
        let violation = if own(at) == stamp {
            Violation::Unfilled { id, offset }
        } else {
            let unknown = LastUser { id: CommandId(0), opcode: 0 };
            let last_user = poison.marks.get(block as usize).map_or(unknown, |mark| mark.last_user);
            Violation::LateRead { id, offset, block, last_user }
        };
        report.add(violation);
    }

    /// Whether `next` goes into the same vector as `previous`.
    fn joins(&self, previous: u32, next: u32) -> bool {
        self.placement != Placement::Scattered && next == previous + 1
    }

    /// How many vectors describe these blocks.
    pub(crate) fn count_vectors(&self, blocks: &[u32]) -> u32 {
        let breaks = blocks.windows(2).filter(|pair| !self.joins(pair[0], pair[1])).count();
        u32::try_from(breaks).unwrap_or(u32::MAX - 1) + u32::from(!blocks.is_empty())
    }

    /// Calls `vector` with map offset and length of each vector for `bytes` of data in these blocks.
    pub(crate) fn vectors(&self, blocks: &[u32], bytes: u32, mut vector: impl FnMut(u64, u64)) {
        let mut left = u64::from(bytes);
        let mut rest = blocks;
        while let Some(&first) = rest.first() {
            let joined = rest.windows(2).take_while(|pair| self.joins(pair[0], pair[1])).count() + 1;
            let length = left.min((joined * BLOCK) as u64);
            vector(self.offset(first), length);
            left -= length;
            rest = &rest[joined..];
        }
    }

    /// Copies a data-out buffer into its blocks.
    pub(crate) fn write(&self, blocks: &[u32], data: &[u8]) {
        let mut rest = data;
        for run in blocks.chunk_by(|previous, next| *next == previous + 1) {
            let (part, left) = rest.split_at(rest.len().min(run.len() * BLOCK));
            store(&self.file, self.offset(run[0]), part);
            rest = left;
        }
    }

    /// Copies a data-in buffer out of its blocks; zeros for blocks that have gone. Says whether all were there.
    pub(crate) fn read(&self, blocks: &[u32], data: &mut [u8]) -> bool {
        let mut rest = data;
        let mut complete = true;
        // The border between present and gone blocks is the end of the file, and so cuts a run in two.
        for run in blocks.chunk_by(|previous, next| *next == previous + 1 && *next != self.populated) {
            let (part, left) = rest.split_at_mut(rest.len().min(run.len() * BLOCK));
            if part.is_empty() {
                break;
            }
            if run[0] < self.populated {
                load(&self.file, self.offset(run[0]), part);
            } else {
                part.fill(0);
                complete = false;
            }
            rest = left;
        }
        complete
    }

    /// Takes away the pages behind the highest block in use; says how many.
    pub(crate) fn reclaim(&mut self) -> nix::Result<u32> {
        let keep = self.used.highest_used().map_or(0, |highest| highest + 1).min(self.populated);
        let gone = self.populated - keep;
        if gone > 0 {
            self.resize(keep)?;
        }
        Ok(gone)
    }

    /// Takes away the pages from a block on, used or not.
    pub(crate) fn withhold(&mut self, from: u32) -> nix::Result<()> {
        if from < self.populated {
            self.resize(from)?;
        }
        self.withheld = Some(from.min(self.limit()));
        Ok(())
    }

    /// Gives such pages back, zeroed.
    pub(crate) fn restore(&mut self) -> nix::Result<()> {
        let needed = self.used.highest_used().map_or(0, |highest| highest + 1);
        if needed > self.populated {
            self.resize(needed)?;
        }
        self.withheld = None;
        Ok(())
    }
}

fn load(file: &OwnedFd, offset: u64, into: &mut [u8]) {
    let offset = i64::try_from(offset).expect(PRESENT);
    assert_eq!(pread(file, into, offset), Ok(into.len()), "{PRESENT}");
}

fn store(file: &OwnedFd, offset: u64, data: &[u8]) {
    let offset = i64::try_from(offset).expect(PRESENT);
    assert_eq!(pwrite(file, data, offset), Ok(data.len()), "{PRESENT}");
}

/// Creates the memory of a device: a file that ends behind the ring, and its mapping with room for all data.
pub(crate) fn allocate(options: &Options) -> Result<(OwnedFd, Arc<Mapping>), SetupError> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    debug_assert!(options.data_start() >= RING_START + options.ring_bytes, "regions do not overlap");
    let file = memfd_create("tcmu-emulator", MFdFlags::MFD_CLOEXEC)
        .map_err(SetupError::system("create the memory file"))?;
    ftruncate(&file, i64::from(options.data_start()))
        .map_err(SetupError::system("size the memory file for the ring"))?;
    let length = options.data_start() as usize + options.data_blocks as usize * BLOCK;
    let map = Mapping::shared(file.as_fd(), length).map_err(SetupError::system("map the memory file"))?;
    Ok((file, Arc::new(map)))
}
