//! The memory of an operation: which bytes are still to be moved, and what keeps them alive.

use std::sync::Arc;

use lunbox_memory::{AccessError, Extent, Mapping};

use crate::request::{RegionId, Target, Wanted};
use crate::{StoreError, syscalls};

/// Most pieces in one system call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
pub(crate) const MAX_PIECES: usize = 1024;

/// Bytes that [`Mapping::zero`] clears in one system call.
const ZERO_STEP: u64 = 65536;

/// What writing zeros writes.
static ZEROS: [u8; 65536] = [0; 65536];

/// An address range for the kernel's eyes, laid out as `struct iovec` (include/uapi/linux/uio.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Piece {
    pub(crate) address: usize,
    pub(crate) length: usize,
}

/// What the pieces of a transfer lie in.
#[derive(Debug, Default)]
enum Memory {
    #[default]
    Nothing,
    /// Kept from one operation to the next: a slot sees the same region most of the time, and cloning an `Arc`
    /// for each command would be a contended atomic when several executors share a region.
    Region(RegionId, Arc<Mapping>),
    Owned(Vec<u8>),
}

/// The memory side of an operation. It owns (or shares) everything that its pieces point to, or they point to
/// static zeros. So whoever holds a `Transfer` may let the kernel read and write its pieces.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    pieces: Vec<Piece>,
    /// Pieces before this one are done.
    first: usize,
    memory: Memory,
    /// The last region, while `memory` is something else.
    region: Option<(RegionId, Arc<Mapping>)>,
}

impl Transfer {
    /// Takes over a request's target; the bytes that are wanted of it become the pieces.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]: the target is shorter than what is wanted after its skip, lies outside of its region,
    /// or there is none. An owned buffer has been taken over all the same.
    pub(crate) fn load(
        &mut self,
        target: Target<'_>,
        wanted: Wanted,
        regions: &[Arc<Mapping>],
    ) -> Result<(), StoreError> {
        self.pieces.clear();
        self.first = 0;
        match (target, wanted) {
            (Target::Owned { buffer, skip }, wanted) => self.load_owned(buffer, skip, wanted),
            (_, Wanted::Nothing) | (Target::Nothing, Wanted::Bytes(0)) => Ok(()),
            (Target::Nothing, _) => Err(StoreError::Invalid),
            (Target::Region { region, extents, skip }, wanted) => {
                self.select(region, regions)?;
                let Memory::Region(_, mapping) = &self.memory else { return Err(StoreError::Invalid) };
                let length = match wanted {
                    Wanted::Bytes(length) => length,
                    _ => total(extents).saturating_sub(skip),
                };
                let (mut skip, mut left) = (skip, length);
                for extent in extents {
                    if left == 0 {
                        break;
                    }
                    let dropped = extent.length.min(skip);
                    skip -= dropped;
                    let used = (extent.length - dropped).min(left);
                    left -= used;
                    if used > 0 {
                        let start = extent.offset.checked_add(dropped).ok_or(StoreError::Invalid)?;
                        let span = mapping.span(start, used).map_err(|_| StoreError::Invalid)?;
                        push(&mut self.pieces, Piece { address: span.address, length: span.length });
                    }
                }
                if left == 0 { Ok(()) } else { Err(StoreError::Invalid) }
            }
        }
    }

    fn load_owned(&mut self, buffer: Vec<u8>, skip: usize, wanted: Wanted) -> Result<(), StoreError> {
        if let Memory::Region(id, mapping) = std::mem::take(&mut self.memory) {
            self.region = Some((id, mapping));
        }
        self.memory = Memory::Owned(buffer);
        let Memory::Owned(buffer) = &mut self.memory else { return Ok(()) };
        let length = match wanted {
            Wanted::Nothing => return Ok(()),
            Wanted::Bytes(length) => usize::try_from(length).map_err(|_| StoreError::Invalid)?,
            Wanted::Everything => buffer.len().saturating_sub(skip),
        };
        let end = skip.checked_add(length).ok_or(StoreError::Invalid)?;
        let bytes = buffer.get_mut(skip..end).ok_or(StoreError::Invalid)?;
        if length > 0 {
            self.pieces.push(Piece { address: bytes.as_mut_ptr().expose_provenance(), length });
        }
        Ok(())
    }

    fn select(&mut self, id: RegionId, regions: &[Arc<Mapping>]) -> Result<(), StoreError> {
        if matches!(&self.memory, Memory::Region(last, _) if *last == id) {
            return Ok(());
        }
        let mapping = match self.region.take_if(|(last, _)| *last == id) {
            Some((_, mapping)) => mapping,
            None => Arc::clone(regions.get(id.0 as usize).ok_or(StoreError::Invalid)?),
        };
        self.memory = Memory::Region(id, mapping);
        Ok(())
    }

    /// Makes `length` zero bytes the pieces; for writing only. Whatever memory it has stays with it.
    pub(crate) fn load_zeros(&mut self, length: u64) {
        self.pieces.clear();
        self.first = 0;
        let mut left = length;
        while left > 0 {
            let step = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.pieces.push(Piece { address: ZEROS.as_ptr().expose_provenance(), length: step });
            left -= step as u64;
        }
    }

    /// Bytes that have not been moved.
    pub(crate) fn left(&self) -> u64 {
        self.pieces.iter().skip(self.first).map(|piece| piece.length as u64).sum()
    }

    /// Moves bytes that are at hand into the memory; no more than [`Self::left`]. Makes a few system calls.
    ///
    /// # Errors
    /// [`StoreError::BufferLost`].
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut rest = bytes;
        self.each_piece(bytes.len() as u64, |memory, at, length| {
            let step = usize::try_from(length).map_err(|_| StoreError::Invalid)?;
            let (now, later) = rest.split_at_checked(step).ok_or(StoreError::Invalid)?;
            rest = later;
            match memory {
                Memory::Region(_, mapping) => mapping.copy_in(at, now).map_err(lost),
                Memory::Owned(buffer) => {
                    range(buffer, at, length)?.copy_from_slice(now);
                    Ok(())
                }
                Memory::Nothing => Err(StoreError::Invalid),
            }
        })?;
        if rest.is_empty() { Ok(()) } else { Err(StoreError::Invalid) }
    }

    /// The next pieces for one system call: at most [`MAX_PIECES`].
    pub(crate) fn chunk(&self) -> &[Piece] {
        let rest = &self.pieces[self.first..];
        &rest[..rest.len().min(MAX_PIECES)]
    }

    /// Whether every byte has been moved.
    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.pieces.len()
    }

    /// Takes `moved` bytes off the front.
    pub(crate) fn advance(&mut self, moved: u64) {
        let mut left = moved;
        while left > 0 {
            let Some(piece) = self.pieces.get_mut(self.first) else {
                debug_assert!(false, "the kernel moves no more bytes than it was given");
                return;
            };
            if left < piece.length as u64 {
                let step = usize::try_from(left).expect("less than a piece's length");
                piece.address += step;
                piece.length -= step;
                return;
            }
            left -= piece.length as u64;
            self.first += 1;
        }
    }

    /// Fills what has not been moved with zeros. Adds the system calls that it makes to `syscalls`.
    ///
    /// # Errors
    /// [`StoreError::BufferLost`].
    pub(crate) fn zero_rest(&mut self, syscalls: &mut u64) -> Result<(), StoreError> {
        self.each_piece(u64::MAX, |memory, at, length| match memory {
            Memory::Region(_, mapping) => {
                *syscalls += length.div_ceil(ZERO_STEP);
                mapping.zero(at, length).map_err(lost)
            }
            Memory::Owned(buffer) => {
                range(buffer, at, length)?.fill(0);
                Ok(())
            }
            Memory::Nothing => Err(StoreError::Invalid),
        })
    }

    /// Moves `length` bytes out of a memory store. Adds the system calls that it makes to `syscalls`.
    ///
    /// # Errors
    /// [`StoreError::BufferLost`].
    pub(crate) fn fill_from(
        &mut self,
        store: &Mapping,
        offset: u64,
        length: u64,
        syscalls: &mut u64,
    ) -> Result<(), StoreError> {
        let mut from = offset;
        self.each_piece(length, |memory, at, length| {
            *syscalls += 1;
            match memory {
                Memory::Region(_, mapping) => mapping.copy_from(at, store, from, length),
                Memory::Owned(buffer) => store.copy_out(from, range(buffer, at, length)?),
                Memory::Nothing => return Err(StoreError::Invalid),
            }
            .map_err(lost)?;
            from += length;
            Ok(())
        })
    }

    /// Moves every byte into a memory store. Adds the system calls that it makes to `syscalls`.
    ///
    /// # Errors
    /// [`StoreError::BufferLost`].
    pub(crate) fn pour_into(
        &mut self,
        store: &Mapping,
        offset: u64,
        syscalls: &mut u64,
    ) -> Result<(), StoreError> {
        let mut to = offset;
        self.each_piece(u64::MAX, |memory, at, length| {
            *syscalls += 1;
            match memory {
                Memory::Region(_, mapping) => store.copy_from(to, mapping, at, length),
                Memory::Owned(buffer) => store.copy_in(to, range(buffer, at, length)?),
                Memory::Nothing => return Err(StoreError::Invalid),
            }
            .map_err(lost)?;
            to += length;
            Ok(())
        })
    }

    /// Calls `act` with the memory, a byte offset in it and a length for each piece of the next `length`
    /// bytes, which count as moved.
    fn each_piece(
        &mut self,
        length: u64,
        mut act: impl FnMut(&mut Memory, u64, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let base = match &mut self.memory {
            Memory::Nothing => 0,
            Memory::Region(_, mapping) => mapping.span(0, 0).map_err(lost)?.address,
            Memory::Owned(buffer) => buffer.as_mut_ptr().expose_provenance(),
        };
        let mut left = length;
        while left > 0 {
            let Some(piece) = self.pieces.get(self.first).copied() else { break };
            let step = left.min(piece.length as u64);
            act(&mut self.memory, (piece.address - base) as u64, step)?;
            self.advance(step);
            left -= step;
        }
        Ok(())
    }

    /// Takes an owned buffer back.
    pub(crate) fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if !matches!(self.memory, Memory::Owned(_)) {
            return None;
        }
        self.pieces.clear();
        self.first = 0;
        let memory = self.region.take().map_or(Memory::Nothing, |(id, mapping)| Memory::Region(id, mapping));
        match std::mem::replace(&mut self.memory, memory) {
            Memory::Owned(buffer) => Some(buffer),
            Memory::Nothing | Memory::Region(..) => None,
        }
    }
}

/// Bytes of a scattered buffer.
fn total(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.length).sum()
}

/// Appends a piece; neighbours become one, which saves the kernel work.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last) if last.address + last.length == piece.address => last.length += piece.length,
        _ => pieces.push(piece),
    }
}

fn range(buffer: &mut [u8], at: u64, length: u64) -> Result<&mut [u8], StoreError> {
    let start = usize::try_from(at).map_err(|_| StoreError::Invalid)?;
    let length = usize::try_from(length).map_err(|_| StoreError::Invalid)?;
    buffer.get_mut(start..).and_then(|rest| rest.get_mut(..length)).ok_or(StoreError::Invalid)
}

/// What a failed copy means. Ranges were checked before, so that only a vanished page is left.
fn lost(error: AccessError) -> StoreError {
    match error {
        AccessError::Vanished { .. } => StoreError::BufferLost,
        AccessError::OutOfRange { .. } | AccessError::Misaligned { .. } => StoreError::Invalid,
    }
}

/// Fills a range of a memory store with zeros and gives its whole pages back.
///
/// # Errors
/// [`StoreError::Io`]: the range is not inside of the mapping.
pub(crate) fn zero_memory(
    store: &Mapping,
    page: u64,
    offset: u64,
    length: u64,
    syscalls: &mut u64,
) -> Result<(), StoreError> {
    let end = offset + length;
    let (inner, inner_end) = (offset.next_multiple_of(page), end - end % page);
    let mut zero = |from: u64, to: u64| {
        *syscalls += (to - from).div_ceil(ZERO_STEP);
        store.zero(from, to - from).map_err(|_| StoreError::Io)
    };
    if inner >= inner_end {
        return zero(offset, end);
    }
    zero(offset, inner)?;
    zero(inner_end, end)?;
    *syscalls += 1;
    syscalls::release_pages(store, inner, inner_end - inner).map_err(|_| StoreError::Io)
}
