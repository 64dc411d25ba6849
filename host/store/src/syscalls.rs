//! System calls of the thread pool and on block devices, for which there is no safe wrapper.
#![allow(unsafe_code, reason = "vectored I/O on shared memory, ioctls and madvise take raw addresses")]

use std::os::fd::{AsRawFd, OwnedFd};

use lunbox_memory::Mapping;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{Whence, fdatasync, fsync, lseek};

use crate::extents;
use crate::operation::Call;
use crate::transfer::{Piece, Transfer};

const _: () = {
    assert!(size_of::<Piece>() == size_of::<libc::iovec>(), "a piece is laid out as an iovec");
    assert!(align_of::<Piece>() == align_of::<libc::iovec>(), "a piece is laid out as an iovec");
};

mod block {
    //! Requests of include/uapi/linux/fs.h.
    // BLKDISCARD is `_IO(0x12, 119)`, the argument two u64: offset and length in bytes.
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
    // BLKSSZGET is `_IO(0x12, 104)`, the result an int: bytes of a logical block.
    nix::ioctl_read_bad!(logical_block, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    // BLKPBSZGET is `_IO(0x12, 123)`, the result an unsigned int: bytes of a physical block.
    nix::ioctl_read_bad!(physical_block, nix::request_code_none!(0x12, 123), nix::libc::c_uint);
}

/// Runs one step of an operation and waits for it. Blocks as long as the storage does. The answer is bytes or an
/// offset, or a negated errno.
pub(crate) fn run(file: &OwnedFd, call: Call, transfer: &mut Transfer) -> i64 {
    let pieces = transfer.chunk();
    let vector: *const libc::iovec = pieces.as_ptr().cast();
    let count = i32::try_from(pieces.len()).expect("a chunk has at most MAX_PIECES pieces");
    let result: nix::Result<i64> = match call {
        Call::Read { offset } => {
            // SAFETY: needed to read into memory that is no Rust slice. The transfer is borrowed exclusively
            // and owns what its pieces point to; a page that has gone is EFAULT.
            let moved = unsafe { libc::preadv2(file.as_raw_fd(), vector, count, offset, 0) };
            bytes(moved)
        }
        Call::Write { offset, durable } => {
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            // SAFETY: as for reading; the kernel only reads the pieces.
            let moved = unsafe { libc::pwritev2(file.as_raw_fd(), vector, count, offset, flags) };
            bytes(moved)
        }
        Call::Sync { data_only: false } => fsync(file).map(|()| 0),
        Call::Sync { data_only: true } => fdatasync(file).map(|()| 0),
        Call::Allocate { mode, offset, length } => {
            fallocate(file, FallocateFlags::from_bits_retain(mode), offset, length).map(|()| 0)
        }
        Call::BlockDiscard { offset, length } => {
            // SAFETY: needed because discarding is an ioctl. The argument is a live array of the type that the
            // request reads; no memory of ours is written.
            unsafe { block::discard(file.as_raw_fd(), &[offset, length]) }.map(|_| 0)
        }
        Call::Data { from } => lseek(file, from, Whence::SeekData),
        Call::Hole { from } => lseek(file, from, Whence::SeekHole),
        Call::Extents { offset, length } => extents::of_file(file, offset, length, transfer),
        Call::Space => extents::space(file, transfer),
    };
    result.unwrap_or_else(|errno| -i64::from(errno as i32))
}

fn bytes(moved: isize) -> nix::Result<i64> {
    nix::errno::Errno::result(moved).map(|moved| i64::try_from(moved).unwrap_or(i64::MAX))
}

/// Bytes of a block device's logical block. One system call.
///
/// # Errors
/// The errno of the ioctl.
pub(crate) fn logical_block(file: &OwnedFd) -> nix::Result<u64> {
    let mut size: libc::c_int = 0;
    // SAFETY: needed because the size is asked for by ioctl, which writes one int, to a live variable.
    unsafe { block::logical_block(file.as_raw_fd(), &raw mut size) }?;
    u64::try_from(size).map_err(|_| nix::Error::EINVAL)
}

/// Bytes of a block device's physical block. One system call.
///
/// # Errors
/// The errno of the ioctl.
pub(crate) fn physical_block(file: &OwnedFd) -> nix::Result<u64> {
    let mut size: libc::c_uint = 0;
    // SAFETY: needed because the size is asked for by ioctl, which writes one int, to a live variable.
    unsafe { block::physical_block(file.as_raw_fd(), &raw mut size) }?;
    Ok(size.into())
}

/// Whether a block device can discard, as far as it tells: it is asked for a range that begins within a sector, which
/// every kernel refuses before it does anything (EINVAL), and most after having looked whether it could (EOPNOTSUPP).
/// One system call.
pub(crate) fn can_discard(file: &OwnedFd) -> bool {
    // SAFETY: needed because discarding is an ioctl. The argument is a live array of the type that the request reads.
    let answer = unsafe { block::discard(file.as_raw_fd(), &[1, 512]) };
    answer == Err(nix::Error::EINVAL)
}

/// Gives whole pages of anonymous memory back; they read as zeros afterwards. One system call.
///
/// # Errors
/// The errno of madvise; EINVAL outside of the mapping or between pages.
pub(crate) fn release_pages(memory: &Mapping, offset: u64, length: u64) -> nix::Result<()> {
    let span = memory.span(offset, length).map_err(|_| nix::Error::EINVAL)?;
    let address = std::ptr::with_exposed_provenance_mut(span.address);
    let address = std::ptr::NonNull::new(address).ok_or(nix::Error::EINVAL)?;
    // SAFETY: needed to free memory of a store. The range lies inside of a live mapping, of which nobody holds
    // references; its bytes turn to zeros, as if they had been written.
    unsafe { madvise(address, span.length, MmapAdvise::MADV_DONTNEED) }
}
