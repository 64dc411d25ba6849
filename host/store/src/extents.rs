//! Answers about what a store holds: lists of extents, space.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::unistd::{Whence, lseek};

use crate::StoreError;
use crate::pages::Pages;
use crate::request::Space;
use crate::transfer::Transfer;

/// Most records of one answer: what it costs to find them is bounded, whatever the buffer.
const MOST: usize = 4096;

/// Bytes of a record.
const BYTES: usize = 24;

/// Unit of `st_blocks` in bytes (stat(2)).
const STAT_BLOCK: u64 = 512;

/// Lists what of a regular file's range is data. Blocks as long as the file system does.
///
/// # Errors
/// The errno of lseek, EFAULT if the buffer has gone, EINVAL if it has no room for a record.
pub(crate) fn of_file(file: &OwnedFd, offset: u64, length: u64, transfer: &mut Transfer) -> nix::Result<i64> {
    let find = |from: u64, what: Whence, end: u64| match signed(from).and_then(|from| lseek(file, from, what))
    {
        Ok(found) => Ok(u64::try_from(found).unwrap_or(end).min(end)),
        // Nothing of the kind before the end of the file, or behind it.
        Err(Errno::ENXIO) => Ok(end),
        Err(errno) => Err(errno),
    };
    let step = |at: u64, end: u64| {
        // A file system that does not know calls it all data.
        let data = match find(at, Whence::SeekData, end) {
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok((true, end)),
            other => other?,
        };
        if data > at {
            return Ok((false, data));
        }
        let hole = find(at, Whence::SeekHole, end)?;
        // The file may have changed between the two calls.
        Ok((true, if hole > at { hole } else { end }))
    };
    let filled = list(transfer, offset, length, step)?;
    i64::try_from(filled).map_err(|_| Errno::EOVERFLOW)
}

/// Lists a range that is allocated as a whole, or not at all.
///
/// # Errors
/// [`StoreError::BufferLost`]; [`StoreError::Invalid`] if there is no room for a record.
pub(crate) fn all(
    transfer: &mut Transfer,
    offset: u64,
    length: u64,
    allocated: bool,
) -> Result<u64, StoreError> {
    list(transfer, offset, length, |_, end| Ok((allocated, end))).map_err(store_error)
}

/// Lists what of a memory store has been written to.
///
/// # Errors
/// As [`all`].
pub(crate) fn of_memory(
    transfer: &mut Transfer,
    pages: &Pages,
    offset: u64,
    length: u64,
) -> Result<u64, StoreError> {
    list(transfer, offset, length, |at, end| Ok(pages.run(at, end))).map_err(store_error)
}

/// Writes records until the range or the room ends. `step` says of a byte whether it is allocated and where that
/// changes.
fn list(
    transfer: &mut Transfer,
    offset: u64,
    length: u64,
    mut step: impl FnMut(u64, u64) -> nix::Result<(bool, u64)>,
) -> nix::Result<u64> {
    let room = transfer.left();
    let most = usize::try_from(room / BYTES as u64).unwrap_or(MOST).min(MOST);
    if most == 0 {
        return Err(Errno::EINVAL);
    }
    let end = offset.checked_add(length).ok_or(Errno::EINVAL)?;
    let mut bytes = Vec::new();
    let (mut at, mut count) = (offset, 0);
    while at < end && count < most {
        let (allocated, until) = step(at, end)?;
        bytes.extend(record(at, until - at, allocated));
        (at, count) = (until, count + 1);
    }
    let filled = bytes.len() as u64;
    if room - filled >= BYTES as u64 {
        bytes.extend([0; BYTES]);
    }
    match transfer.put(&bytes) {
        Ok(()) => Ok(filled),
        Err(StoreError::BufferLost) => Err(Errno::EFAULT),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// A record as [`crate::Kind::Extents`] describes it.
fn record(offset: u64, length: u64, allocated: bool) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes[16] = u8::from(!allocated);
    bytes
}

/// Answers [`crate::Kind::Space`] for a regular file. Blocks as long as the file system does.
///
/// # Errors
/// The errno of fstat or fstatfs, EFAULT if the buffer has gone.
pub(crate) fn space(file: &OwnedFd, transfer: &mut Transfer) -> nix::Result<i64> {
    let used = u64::try_from(fstat(file)?.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK);
    let system = fstatfs(file)?;
    let block = u64::try_from(system.block_size()).unwrap_or(0);
    let space = Space { used, available: system.blocks_available().saturating_mul(block) };
    transfer.put(&space.to_bytes()).map_err(|_| Errno::EFAULT)?;
    i64::try_from(Space::BYTES).map_err(|_| Errno::EOVERFLOW)
}

fn signed(offset: u64) -> nix::Result<i64> {
    i64::try_from(offset).map_err(|_| Errno::EINVAL)
}

fn store_error(errno: Errno) -> StoreError {
    StoreError::from_errno(errno as i32)
}
