//! For each rule with conditions: calls that do not fit any of its cases. Outside of the jail they are not answered
//! with EPERM, inside they are.

use nix::libc;

use crate::allowed::Act;
use crate::raw::call;
use crate::stage::{PAGE, Stage, flag, number};

/// A use of a system call that the rule for it does not cover.
pub struct Refused {
    pub call: &'static str,
    pub what: &'static str,
    pub act: Act,
}

macro_rules! refused {
    ($($(#[$only:meta])? $name:ident $what:literal: |$stage:ident| $act:expr;)+) => {
        &[$($(#[$only])? Refused { call: stringify!($name), what: $what, act: |$stage| $act.map(drop) }),+]
    };
}

// include/uapi/linux/fs.h, since Linux 6.9.
const RWF_NOAPPEND: u64 = 0x20;

const FORK: i32 = libc::SIGCHLD;

fn parent(s: &Stage) -> u64 {
    flag(s.outside.parent.as_raw())
}

pub const REFUSED: &[Refused] = refused! {
    mmap "executable memory": |_s| call(libc::SYS_mmap, &[0, PAGE, flag(libc::PROT_READ | libc::PROT_EXEC), flag(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), u64::MAX]);
    mremap "MREMAP_FIXED": |s| call(libc::SYS_mremap, &[s.pages, PAGE, PAGE, flag(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED), s.pages + PAGE]);
    mprotect "writable and executable": |s| call(libc::SYS_mprotect, &[s.pages, PAGE, flag(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)]);
    madvise "MADV_WILLNEED": |s| call(libc::SYS_madvise, &[s.pages, PAGE, flag(libc::MADV_WILLNEED)]);
    madvise "MADV_MERGEABLE": |s| call(libc::SYS_madvise, &[s.pages, PAGE, flag(libc::MADV_MERGEABLE)]);
    memfd_create "MFD_HUGETLB": |s| call(libc::SYS_memfd_create, &[s.empty_path, u64::from(libc::MFD_HUGETLB)]);
    #[cfg(target_arch = "aarch64")]
    membarrier "MEMBARRIER_CMD_QUERY": |_s| call(libc::SYS_membarrier, &[0]);
    clone "a process": |_s| call(libc::SYS_clone, &[flag(FORK)]);
    clone "a process in a user namespace": |_s| call(libc::SYS_clone, &[flag(FORK | libc::CLONE_NEWUSER)]);
    prctl "PR_SET_PDEATHSIG": |_s| call(libc::SYS_prctl, &[flag(libc::PR_SET_PDEATHSIG), 0]);
    prctl "PR_SET_DUMPABLE": |_s| call(libc::SYS_prctl, &[flag(libc::PR_SET_DUMPABLE), 1]);
    tgkill "another process": |s| call(libc::SYS_tgkill, &[parent(s), parent(s), 0]);
    newfstatat "by path": |s| call(libc::SYS_newfstatat, &[flag(libc::AT_FDCWD), s.root_path, s.scratch, 0]);
    statx "by path": |s| call(libc::SYS_statx, &[flag(libc::AT_FDCWD), s.root_path, 0, 0xfff, s.scratch]);
    fcntl "F_SETFL": |s| call(libc::SYS_fcntl, &[number(&s.pipe.0), flag(libc::F_SETFL), flag(libc::O_NONBLOCK)]);
    fcntl "F_SETFL without O_APPEND": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_SETFL), 0]);
    pwritev2 "RWF_NOAPPEND": |s| call(libc::SYS_pwritev2, &[number(&s.file), s.vector, 1, 0, 0, RWF_NOAPPEND]);
    fallocate "FALLOC_FL_COLLAPSE_RANGE": |s| call(libc::SYS_fallocate, &[number(&s.memory_file), flag(libc::FALLOC_FL_COLLAPSE_RANGE), 0, PAGE]);
    fcntl "F_SETOWN": |s| call(libc::SYS_fcntl, &[number(&s.pipe.0), flag(libc::F_SETOWN), 0]);
    fcntl "F_SETPIPE_SZ": |s| call(libc::SYS_fcntl, &[number(&s.pipe.0), flag(libc::F_SETPIPE_SZ), PAGE]);
    fcntl "F_OFD_SETLK": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_OFD_SETLK), s.scratch]);
    ioctl "FIONREAD": |s| call(libc::SYS_ioctl, &[number(&s.pipe.0), libc::FIONREAD, s.scratch]);
    ioctl "TIOCSTI": |s| call(libc::SYS_ioctl, &[number(&s.file), libc::TIOCSTI, s.scratch]);
    io_uring_register "IORING_REGISTER_EVENTFD": |s| call(libc::SYS_io_uring_register, &[number(&s.ring), 4, s.scratch, 1]);
    io_uring_register "IORING_REGISTER_PERSONALITY": |s| call(libc::SYS_io_uring_register, &[number(&s.ring), 9, 0, 0]);
    getsockopt "SO_RCVBUF": |s| call(libc::SYS_getsockopt, &[number(&s.pair.0), flag(libc::SOL_SOCKET), flag(libc::SO_RCVBUF), s.scratch, s.option_length]);
    getsockopt "another level": |s| call(libc::SYS_getsockopt, &[number(&s.pair.0), flag(libc::IPPROTO_TCP), flag(libc::SO_TYPE), s.scratch, s.option_length]);
};

/// Conditions of rules that kill, met by arguments. The calls that a rule allows are in `allowed.rs`.
pub const FATAL: &[Refused] = refused! {
    process_vm_readv "another process": |s| call(libc::SYS_process_vm_readv, &[parent(s), s.vector, 1, s.vector, 1]);
    process_vm_writev "another process": |s| call(libc::SYS_process_vm_writev, &[parent(s), s.vector, 0, s.vector, 0]);
};
