//! The only place of this crate that touches foreign memory.
#![allow(unsafe_code, reason = "mapping shared memory and accessing it without forming references")]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Why an access to a mapping failed. Nothing else was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The range is not inside of the mapping.
    #[error("range {offset:#x}+{length:#x} lies outside of the mapping")]
    OutOfRange {
        /// Byte offset from the start of the mapping.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// The word is not aligned to its size.
    #[error("offset {offset:#x} is not aligned")]
    Misaligned {
        /// Byte offset from the start of the mapping.
        offset: u64,
    },
    /// A page of the range has gone (the kernel reclaimed it). Part of the range may have been copied.
    #[error("a page at {offset:#x} has gone")]
    Vanished {
        /// Byte offset from the start of the mapping.
        offset: u64,
    },
}

/// An address range inside of a [`Mapping`], for the kernel's eyes only: it goes into iovecs and is never
/// dereferenced in this process. Valid as long as the mapping that it came from is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Address in this process.
    pub address: usize,
    /// Bytes.
    pub length: usize,
}

/// Shared or anonymous memory, unmapped on drop. May be used from several threads; what happens between them
/// is up to the protocol that they follow.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: needed because the mapping is handed to device threads and stores. The struct is an address range
// without thread affinity; every access goes through atomics, volatile copies or the kernel.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a reference into the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of `fd` from its start, shared, readable and writable. UIO devices demand exactly
    /// the size of their map 0.
    ///
    /// # Errors
    /// The errno of mmap; EINVAL for a length of 0.
    pub fn shared(fd: BorrowedFd<'_>, length: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(nix::Error::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: needed to share memory with the kernel. A new mapping at an address of the kernel's choice
        // overlaps nothing; it is owned by the value and unmapped once, in drop.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd.as_fd(), 0) }?;
        Ok(Self { base: base.cast(), length })
    }

    /// Maps `length` zeroed bytes that belong to this process alone; pages come to life when touched.
    ///
    /// # Errors
    /// The errno of mmap; EINVAL for a length of 0.
    pub fn anonymous(length: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(nix::Error::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: as in `shared`.
        let base = unsafe { mmap_anonymous(None, length, protection, flags) }?;
        Ok(Self { base: base.cast(), length })
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length.get()
    }

    /// Address range for kernel I/O.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`].
    pub fn span(&self, offset: u64, length: u64) -> Result<Span, AccessError> {
        let start = self.check(offset, length)?;
        let length = usize::try_from(length).map_err(|_| AccessError::OutOfRange { offset, length })?;
        Ok(Span { address: self.base.addr().get() + start, length })
    }

    fn check(&self, offset: u64, length: u64) -> Result<usize, AccessError> {
        let end = offset.checked_add(length).and_then(|end| usize::try_from(end).ok());
        match (end, usize::try_from(offset)) {
            (Some(end), Ok(start)) if end <= self.length.get() => Ok(start),
            _ => Err(AccessError::OutOfRange { offset, length }),
        }
    }

    fn word(&self, offset: u64, size: u64) -> Result<*mut u8, AccessError> {
        let start = self.check(offset, size)?;
        if !offset.is_multiple_of(size) {
            return Err(AccessError::Misaligned { offset });
        }
        // SAFETY: needed to address a word; `check` keeps the result inside of the mapping.
        Ok(unsafe { self.base.as_ptr().add(start) })
    }

    /// Copies from the mapping into `out`; a vanished page is an error. One system call.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn copy_out(&self, offset: u64, out: &mut [u8]) -> Result<(), AccessError> {
        let span = self.span(offset, out.len() as u64)?;
        let remote = libc::iovec { iov_base: span.address as *mut libc::c_void, iov_len: span.length };
        let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
        transfer(Direction::OutOfMapping, local, remote, offset)
    }

    /// Copies `data` into the mapping; a vanished page is an error. One system call.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn copy_in(&self, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let span = self.span(offset, data.len() as u64)?;
        let remote = libc::iovec { iov_base: span.address as *mut libc::c_void, iov_len: span.length };
        let local = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        transfer(Direction::IntoMapping, local, remote, offset)
    }

    /// Copies between two mappings without touching either in user mode. One system call.
    ///
    /// # Errors
    /// [`AccessError`] with the offset in `self`.
    pub fn copy_from(
        &self,
        offset: u64,
        source: &Self,
        source_offset: u64,
        length: u64,
    ) -> Result<(), AccessError> {
        let to = self.span(offset, length)?;
        let from = source.span(source_offset, length)?;
        let remote = libc::iovec { iov_base: to.address as *mut libc::c_void, iov_len: to.length };
        let local = libc::iovec { iov_base: from.address as *mut libc::c_void, iov_len: from.length };
        transfer(Direction::IntoMapping, local, remote, offset)
    }

    /// Gives the pages of a range back to the kernel: of anonymous memory they read as zeros and take no room until
    /// they are touched again. The range should be made of whole pages.
    ///
    /// # Errors
    /// The errno of madvise; EINVAL for a range that is not inside of the mapping.
    pub fn discard(&self, offset: u64, length: u64) -> nix::Result<()> {
        let span = self.span(offset, length).map_err(|_| nix::Error::EINVAL)?;
        // SAFETY: needed to give memory back while the mapping lives. The range lies inside of the mapping, and nobody
        // has references into it: what is read there later is zeros, as after the mapping was made.
        let result =
            unsafe { libc::madvise(span.address as *mut libc::c_void, span.length, libc::MADV_DONTNEED) };
        nix::errno::Errno::result(result).map(drop)
    }

    /// Fills a range with zeros; a vanished page is an error. One system call for each 64 KiB.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn zero(&self, offset: u64, length: u64) -> Result<(), AccessError> {
        static ZEROS: [u8; 65536] = [0; 65536];
        self.check(offset, length)?;
        let mut done = 0;
        while done < length {
            let step = usize::try_from(length - done).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.copy_in(offset + done, &ZEROS[..step])?;
            done += step as u64;
        }
        Ok(())
    }
}

impl Mapping {
    /// Writes `new` to an aligned word of a resident page if it still holds `current` (acquire and release).
    /// Returns whether it did.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`], [`AccessError::Misaligned`].
    pub fn replace_u32(&self, offset: u64, current: u32, new: u32) -> Result<bool, AccessError> {
        let at = self.word(offset, size_of::<u32>() as u64)?;
        // SAFETY: needed to write only if nobody else has. `word` checked range and alignment, the mapping
        // outlives the call, and other parties access the word atomically.
        let word = unsafe { AtomicU32::from_ptr(at.cast()) };
        Ok(word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}

macro_rules! words {
    ($($load:ident $store:ident $atomic:ident $word:ident;)*) => {
        impl Mapping {
            $(
                /// Reads one aligned word of a resident page (acquire).
                ///
                /// # Errors
                /// [`AccessError::OutOfRange`], [`AccessError::Misaligned`].
                pub fn $load(&self, offset: u64) -> Result<$word, AccessError> {
                    let at = self.word(offset, size_of::<$word>() as u64)?;
                    // SAFETY: needed to read what the kernel writes. `word` checked range and alignment, the
                    // mapping outlives the call, and other parties access the word atomically.
                    let value = unsafe { $atomic::from_ptr(at.cast()) }.load(Ordering::Acquire);
                    Ok(value)
                }

                /// Writes one aligned word of a resident page (release).
                ///
                /// # Errors
                /// [`AccessError::OutOfRange`], [`AccessError::Misaligned`].
                pub fn $store(&self, offset: u64, value: $word) -> Result<(), AccessError> {
                    let at = self.word(offset, size_of::<$word>() as u64)?;
                    // SAFETY: as for reading.
                    unsafe { $atomic::from_ptr(at.cast()) }.store(value, Ordering::Release);
                    Ok(())
                }
            )*

            /// Reads bytes of resident pages, word by word where aligned.
            ///
            /// # Errors
            /// [`AccessError::OutOfRange`].
            pub fn load_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), AccessError> {
                self.check(offset, out.len() as u64)?;
                let mut at = offset;
                let mut rest = out;
                while !rest.is_empty() {
                    if at.is_multiple_of(8) && rest.len() >= 8 {
                        let (word, tail) = rest.split_at_mut(8);
                        word.copy_from_slice(&self.load_u64(at)?.to_ne_bytes());
                        (at, rest) = (at + 8, tail);
                    } else {
                        let (byte, tail) = rest.split_at_mut(1);
                        byte[0] = self.load_u8(at)?;
                        (at, rest) = (at + 1, tail);
                    }
                }
                Ok(())
            }

            /// Writes bytes of resident pages, word by word where aligned.
            ///
            /// # Errors
            /// [`AccessError::OutOfRange`].
            pub fn store_bytes(&self, offset: u64, data: &[u8]) -> Result<(), AccessError> {
                self.check(offset, data.len() as u64)?;
                let mut at = offset;
                let mut rest = data;
                while let Some(byte) = rest.first() {
                    if let Some((word, tail)) = rest.split_first_chunk::<8>().filter(|_| at.is_multiple_of(8)) {
                        self.store_u64(at, u64::from_ne_bytes(*word))?;
                        (at, rest) = (at + 8, tail);
                    } else {
                        self.store_u8(at, *byte)?;
                        (at, rest) = (at + 1, &rest[1..]);
                    }
                }
                Ok(())
            }
        }
    };
}

words! {
    load_u8 store_u8 AtomicU8 u8;
    load_u16 store_u16 AtomicU16 u16;
    load_u32 store_u32 AtomicU32 u32;
    load_u64 store_u64 AtomicU64 u64;
}

enum Direction {
    IntoMapping,
    OutOfMapping,
}

/// Lets the kernel copy between two ranges of this process: a page that has gone is EFAULT instead of SIGBUS.
fn transfer(
    direction: Direction,
    local: libc::iovec,
    remote: libc::iovec,
    offset: u64,
) -> Result<(), AccessError> {
    let length = remote.iov_len;
    if length == 0 {
        return Ok(());
    }
    // SAFETY: needed for the identity that the kernel checks; getpid can not fail and touches nothing.
    let pid = unsafe { libc::getpid() };
    // Both vectors are in range: one by `span`, the other is a live slice or another span. The kernel copies; no
    // reference into the mapping is formed.
    let copied = match direction {
        // SAFETY: needed to copy into memory whose pages may vanish; see above.
        Direction::IntoMapping => unsafe {
            libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0)
        },
        // SAFETY: needed to copy out of memory whose pages may vanish; see above.
        Direction::OutOfMapping => unsafe {
            libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0)
        },
    };
    if usize::try_from(copied) == Ok(length) { Ok(()) } else { Err(AccessError::Vanished { offset }) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: needed to give the memory back. The range is exactly what mmap returned, and nobody holds a
        // reference into it; in-flight kernel I/O is kept away by whoever handed out the spans.
        let unmapped = unsafe { munmap(self.base.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok(), "munmap of an own mapping can not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    fn memfd(length: i64) -> std::os::fd::OwnedFd {
        let fd = memfd_create("test", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::ftruncate(&fd, length).unwrap();
        fd
    }

    #[test]
    fn bytes_written_through_one_mapping_are_seen_through_another() {
        let fd = memfd(8192);
        let (a, b) = (Mapping::shared(fd.as_fd(), 8192).unwrap(), Mapping::shared(fd.as_fd(), 8192).unwrap());
        a.store_bytes(5, b"abcdefghijklmnopqrst").unwrap();
        let mut resident = [0; 20];
        b.load_bytes(5, &mut resident).unwrap();
        assert_eq!(&resident, b"abcdefghijklmnopqrst");
        let mut fallible = [0; 20];
        b.copy_out(5, &mut fallible).unwrap();
        assert_eq!(fallible, resident);
    }

    #[test]
    fn a_vanished_page_fails_the_copy_and_not_the_process() {
        let fd = memfd(8192);
        let map = Mapping::shared(fd.as_fd(), 8192).unwrap();
        nix::unistd::ftruncate(&fd, 4096).unwrap();
        assert_eq!(map.copy_out(4096, &mut [0; 16]), Err(AccessError::Vanished { offset: 4096 }));
        assert_eq!(map.copy_in(4090, &[1; 16]), Err(AccessError::Vanished { offset: 4090 }));
        assert_eq!(map.zero(4096, 10), Err(AccessError::Vanished { offset: 4096 }));
        map.copy_in(0, &[1; 16]).unwrap();
    }

    #[test]
    fn ranges_outside_and_wrapping_ranges_are_refused() {
        let map = Mapping::anonymous(4096).unwrap();
        assert!(matches!(map.load_u32(4096), Err(AccessError::OutOfRange { .. })));
        assert!(matches!(map.load_u32(2), Err(AccessError::Misaligned { .. })));
        assert!(matches!(map.span(u64::MAX, 2), Err(AccessError::OutOfRange { .. })));
        assert!(matches!(map.copy_in(4095, &[0; 2]), Err(AccessError::OutOfRange { .. })));
        assert!(map.span(4096, 0).is_ok());
    }

    #[test]
    fn a_word_is_replaced_only_if_it_holds_what_is_expected() {
        let map = Mapping::anonymous(4096).unwrap();
        assert_eq!(map.replace_u32(8, 0, 5), Ok(true));
        assert_eq!(map.replace_u32(8, 0, 6), Ok(false));
        assert_eq!(map.load_u32(8), Ok(5));
        assert!(map.replace_u32(4096, 0, 0).is_err());
    }

    #[test]
    fn discarded_pages_of_anonymous_memory_read_as_zeros_and_their_neighbours_stay() {
        let map = Mapping::anonymous(3 * 4096).unwrap();
        map.copy_in(0, &[0xaa; 3 * 4096]).unwrap();
        map.discard(4096, 4096).unwrap();
        let mut all = vec![1; 3 * 4096];
        map.copy_out(0, &mut all).unwrap();
        assert!(all[..4096].iter().chain(&all[8192..]).all(|&byte| byte == 0xaa));
        assert!(all[4096..8192].iter().all(|&byte| byte == 0));
        assert_eq!(map.discard(4096, 3 * 4096), Err(nix::Error::EINVAL));
    }

    #[test]
    fn zero_clears_exactly_its_range() {
        let map = Mapping::anonymous(1 << 18).unwrap();
        map.copy_in(0, &vec![0xaa; 1 << 18]).unwrap();
        map.zero(100, 150_000).unwrap();
        let mut all = vec![0; 1 << 18];
        map.copy_out(0, &mut all).unwrap();
        assert!(all[..100].iter().chain(&all[150_100..]).all(|&byte| byte == 0xaa));
        assert!(all[100..150_100].iter().all(|&byte| byte == 0));
    }
}
