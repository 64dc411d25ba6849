//! Stores: files and block devices, memory, nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lunbox_memory::Mapping;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{SysconfVar, Whence, lseek, sysconf};

use crate::direct::Suited;
use crate::gate::{Gate, GateHandle};
use crate::pages::Pages;
use crate::{OpenError, StoreError, syscalls};

/// How a file is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// Operations that would change the store answer [`StoreError::ReadOnly`].
    pub read_only: bool,
}

/// A file or block device.
#[derive(Debug)]
pub(crate) struct FileStore {
    /// Shared with steps that run on other threads.
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) read_only: bool,
    /// Bytes of a logical block, if this is a block device.
    pub(crate) block: Option<u64>,
    /// Bytes that the store is known to have: it may have grown since.
    pub(crate) known_size: u64,
    /// What is done on the executor's own thread.
    pub(crate) direct: Suited,
    /// Bytes of the unit that the medium writes at once.
    pub(crate) physical_block: u32,
    /// Bytes of the smallest unit whose space can be given back; 0 if none can.
    pub(crate) discard_granularity: u32,
    /// `FALLOC_FL_PUNCH_HOLE` was refused as unsupported.
    pub(crate) lacks_punch_hole: bool,
    /// `FALLOC_FL_ZERO_RANGE` was refused as unsupported.
    pub(crate) lacks_zero_range: bool,
}

impl FileStore {
    /// The size now: a block device's capacity, a regular file's length. One system call.
    fn measure(fd: &OwnedFd, block: bool) -> Result<u64, OpenError> {
        let (call, size) = if block {
            ("lseek", lseek(fd, 0, Whence::SeekEnd))
        } else {
            ("fstat", fstat(fd).map(|stat| stat.st_size))
        };
        let size = size.map_err(|errno| system(call, errno))?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// A regular file reaches at least so far.
    pub(crate) fn grown_to(&mut self, end: u64) {
        if self.block.is_none() {
            self.known_size = self.known_size.max(end);
        }
    }

    pub(crate) fn size(&self) -> u64 {
        Self::measure(&self.fd, self.block.is_some()).unwrap_or(self.known_size)
    }
}

/// Memory of this process.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    pub(crate) mapping: Mapping,
    /// What of it has been written to.
    pub(crate) pages: Pages,
    /// Bytes of a page.
    pub(crate) page: u64,
}

#[derive(Debug)]
pub(crate) enum Inner {
    File(FileStore),
    Memory(MemoryStore),
    Null { bytes: u64 },
    Gated { inner: Box<Inner>, gate: Gate },
}

impl Inner {
    /// The store itself, behind a gate if there is one.
    pub(crate) fn base(&mut self) -> &mut Self {
        match self {
            Self::Gated { inner, .. } => inner,
            other => other,
        }
    }

    /// Whether a range that something is written to lies inside. Regular files have no end: they grow.
    /// One system call where a block device might have grown.
    pub(crate) fn check_end(&mut self, end: u64, syscalls: &mut u64) -> Result<(), StoreError> {
        let size = match self {
            Self::File(FileStore { block: None, .. }) => return Ok(()),
            Self::File(file) => {
                if end > file.known_size {
                    *syscalls += 1;
                    file.known_size = file.size();
                }
                file.known_size
            }
            Self::Memory(memory) => memory.mapping.length() as u64,
            Self::Null { bytes } => *bytes,
            Self::Gated { inner, .. } => return inner.check_end(end, syscalls),
        };
        if end <= size { Ok(()) } else { Err(StoreError::EndOfStore) }
    }
}

/// What a LUN keeps its bytes in. It does nothing by itself: an [`crate::Executor`] runs its operations.
#[derive(Debug)]
pub struct Store(pub(crate) Inner);

impl Store {
    /// Uses an open file: a regular file or a block device, opened for reading and, unless `read_only`, for
    /// writing. `O_NONBLOCK` and `O_APPEND` are taken off it: the first would make io_uring fail operations
    /// that have to wait, the second would send every write to the end. Makes a few system calls.
    ///
    /// # Errors
    /// [`OpenError`]: anything else than a regular file or block device, or opened the wrong way.
    pub fn file(fd: OwnedFd, options: FileOptions) -> Result<Self, OpenError> {
        let stat = fstat(&fd).map_err(|errno| system("fstat", errno))?;
        let block = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => false,
            SFlag::S_IFBLK => true,
            other => return Err(OpenError::NotAStore { found: kind_name(other) }),
        };
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| system("fcntl(F_GETFL)", errno))?;
        let flags = OFlag::from_bits_retain(flags);
        let mode = flags & OFlag::O_ACCMODE;
        if mode == OFlag::O_WRONLY || flags.contains(OFlag::O_PATH) {
            return Err(OpenError::NotReadable);
        }
        if mode == OFlag::O_RDONLY && !options.read_only {
            return Err(OpenError::NotWritable);
        }
        let unwanted = OFlag::O_NONBLOCK | OFlag::O_APPEND;
        if flags.intersects(unwanted) {
            let set = FcntlArg::F_SETFL(flags - unwanted);
            fcntl(&fd, set).map_err(|errno| system("fcntl(F_SETFL)", errno))?;
        }
        let known_size = FileStore::measure(&fd, block)?;
        let block = if block {
            Some(syscalls::logical_block(&fd).map_err(|errno| system("ioctl(BLKSSZGET)", errno))?)
        } else {
            None
        };
        let direct = if block.is_none() { suited(&fd) } else { Suited::None };
        let physical_block = if block.is_some() {
            let asked = syscalls::physical_block(&fd).map_err(|errno| system("ioctl(BLKPBSZGET)", errno))?;
            u32::try_from(asked).unwrap_or(0)
        } else {
            FILE_BLOCK
        };
        let discard_granularity = match block {
            None => FILE_BLOCK,
            // How large the device's units are can not be asked of a descriptor, and whether there are any not of one that
            // only reads. Whole physical blocks fit most.
            Some(_) if syscalls::can_discard(&fd) => physical_block,
            Some(_) => 0,
        };
        Ok(Self(Inner::File(FileStore {
            fd: Arc::new(fd),
            direct,
            read_only: options.read_only,
            block,
            known_size,
            physical_block,
            discard_granularity,
            lacks_punch_hole: false,
            lacks_zero_range: false,
        })))
    }

    /// Memory of this process: zeros at first, sparse, gone with the executor. Operations end at once.
    ///
    /// # Errors
    /// [`OpenError::MemorySize`], [`OpenError::System`].
    pub fn memory(bytes: u64) -> Result<Self, OpenError> {
        let length = usize::try_from(bytes).ok().filter(|&length| length > 0 && length <= usize::MAX / 2);
        let length = length.ok_or(OpenError::MemorySize { bytes })?;
        let mapping = Mapping::anonymous(length).map_err(|errno| system("mmap", errno))?;
        let page = sysconf(SysconfVar::PAGE_SIZE).map_err(|errno| system("sysconf", errno))?;
        let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
        let page = page.max(1);
        let pages = Pages::new(length, page);
        Ok(Self(Inner::Memory(MemoryStore { mapping, pages, page })))
    }

    /// Writes vanish, reads give zeros. Operations end at once. For measuring everything but storage.
    #[must_use]
    pub fn null(bytes: u64) -> Self {
        Self(Inner::Null { bytes })
    }

    /// Test support: a store whose operations start only when a test lets them. Whatever the inner store does,
    /// data transfer included, happens after the gate has let the operation through. A store that has a gate
    /// already gets the new one in its place. Keep a clone of the handle: a gate without handles is open.
    #[must_use]
    pub fn gated(inner: Self, handle: GateHandle) -> Self {
        let inner = match inner.0 {
            Inner::Gated { inner, .. } => inner,
            other => Box::new(other),
        };
        Self(Inner::Gated { inner, gate: handle.gate() })
    }

    /// Bytes, now: files and devices are asked (one system call), since they may grow.
    #[must_use]
    pub fn size(&self) -> u64 {
        fn size(inner: &Inner) -> u64 {
            match inner {
                Inner::File(file) => file.size(),
                Inner::Memory(memory) => memory.mapping.length() as u64,
                Inner::Null { bytes } => *bytes,
                Inner::Gated { inner, .. } => size(inner),
            }
        }
        size(&self.0)
    }

    /// Whether operations that would change it are refused.
    #[must_use]
    pub fn read_only(&self) -> bool {
        fn read_only(inner: &Inner) -> bool {
            match inner {
                Inner::File(file) => file.read_only,
                Inner::Memory(_) | Inner::Null { .. } => false,
                Inner::Gated { inner, .. } => read_only(inner),
            }
        }
        read_only(&self.0)
    }

    /// Whether writes beyond the end make the store longer: regular files grow, all others have a fixed size.
    #[must_use]
    pub fn can_grow(&self) -> bool {
        fn grows(inner: &Inner) -> bool {
            match inner {
                Inner::File(file) => file.block.is_none() && !file.read_only,
                Inner::Memory(_) | Inner::Null { .. } => false,
                Inner::Gated { inner, .. } => grows(inner),
            }
        }
        grows(&self.0)
    }

    /// Whether a discarded range reads as zeros. Block devices give no such promise (the kernel has withdrawn
    /// BLKDISCARDZEROES); the others keep it.
    #[must_use]
    pub fn discard_zeroes(&self) -> bool {
        fn zeroes(inner: &Inner) -> bool {
            match inner {
                Inner::File(file) => file.block.is_none(),
                Inner::Memory(_) | Inner::Null { .. } => true,
                Inner::Gated { inner, .. } => zeroes(inner),
            }
        }
        zeroes(&self.0)
    }

    /// Bytes of the unit that the medium writes at once: a power of two, or 0 if nothing is known (memory).
    #[must_use]
    pub fn physical_block_size(&self) -> u32 {
        fn physical(inner: &Inner) -> u32 {
            match inner {
                Inner::File(file) => file.physical_block,
                Inner::Memory(_) | Inner::Null { .. } => 0,
                Inner::Gated { inner, .. } => physical(inner),
            }
        }
        physical(&self.0)
    }

    /// Bytes of the unit whose space a discard gives back: best size and alignment of a discard. 0 if the store can
    /// not discard: a block device that says so, or that was opened for reading. A regular file has one although it is
    /// read-only: what a disk is does not change with its protection.
    #[must_use]
    pub fn discard_granularity(&self) -> u32 {
        fn granularity(inner: &Inner) -> u32 {
            match inner {
                Inner::File(file) => file.discard_granularity,
                Inner::Memory(memory) => u32::try_from(memory.page).unwrap_or(0),
                Inner::Null { .. } => 512,
                Inner::Gated { inner, .. } => granularity(inner),
            }
        }
        granularity(&self.0)
    }
}

/// Bytes of a block of a regular file: what file systems allocate and what disks with 4Kn and 512e write at once.
const FILE_BLOCK: u32 = 4096;

/// Only file systems whose page cache depends on no other machine. EXT4's number stands for ext2 and ext3, too.
fn suited(fd: &OwnedFd) -> Suited {
    match fstatfs(fd).map(|found| found.filesystem_type()) {
        Ok(TMPFS_MAGIC) => Suited::ReadsAndWrites,
        Ok(EXT4_SUPER_MAGIC | XFS_SUPER_MAGIC | BTRFS_SUPER_MAGIC) => Suited::Writes,
        _ => Suited::None,
    }
}

fn system(call: &'static str, errno: nix::Error) -> OpenError {
    OpenError::System { call, source: errno.into() }
}

fn kind_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFCHR => "character device",
        SFlag::S_IFIFO => "pipe",
        SFlag::S_IFSOCK => "socket",
        SFlag::S_IFLNK => "symbolic link",
        _ => "file of an unknown kind",
    }
}
