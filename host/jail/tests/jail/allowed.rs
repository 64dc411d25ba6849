//! A probe for each case of each rule that allows: the call, made so that it succeeds.

use nix::errno::Errno;
use nix::libc;

use crate::raw::{self, call};
use crate::stage::{PAGE, Stage, flag, number};

pub type Act = fn(&mut Stage) -> Result<(), Errno>;

/// One use of one system call.
pub struct Probe {
    pub call: &'static str,
    /// Name of the rule's case; empty if the rule has none.
    pub case: &'static str,
    pub act: Act,
}

/// `name "case": |stage| number, [arguments]`, or a block in place of number and arguments.
macro_rules! probes {
    ($($(#[$only:meta])? $name:ident $($case:literal)?: |$stage:ident| $act:expr;)+) => {
        &[$($(#[$only])? Probe {
            call: stringify!($name),
            case: concat!($($case)?),
            act: |$stage| { let done: Result<_, Errno> = $act; done.map(drop) },
        }),+]
    };
}

/// A thread is started and ends.
fn thread() -> Result<(), Errno> {
    let started = std::thread::Builder::new().spawn(|| {});
    let thread = started.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    thread.join().unwrap();
    Ok(())
}

/// Outside of an interrupted wait the call answers EINTR.
fn interrupted(result: Result<u64, Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EINTR) | Ok(_) => Ok(()),
        Err(other) => Err(other),
    }
}

/// The kernel does not know this advice.
fn unknown_advice(result: Result<u64, Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EINVAL) | Ok(_) => Ok(()),
        Err(other) => Err(other),
    }
}

const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const NO_FD: u64 = u64::MAX;

fn own() -> u64 {
    u64::from(std::process::id())
}

fn option(s: &Stage, option: i32) -> Result<u64, Errno> {
    let (level, option) = (flag(libc::SOL_SOCKET), flag(option));
    call(libc::SYS_getsockopt, &[number(&s.pair.0), level, option, s.scratch, s.option_length])
}

pub const PROBES: &[Probe] = probes! {
    brk: |_s| call(libc::SYS_brk, &[0]);
    mmap "no execution": |_s| call(libc::SYS_mmap, &[0, PAGE, flag(libc::PROT_READ | libc::PROT_WRITE), flag(PRIVATE), NO_FD]);
    munmap: |s| call(libc::SYS_munmap, &[s.pages, PAGE]);
    mremap "MREMAP_MAYMOVE": |s| call(libc::SYS_mremap, &[s.pages, 2 * PAGE, 4 * PAGE, flag(libc::MREMAP_MAYMOVE)]);
    mprotect "no execution": |s| call(libc::SYS_mprotect, &[s.pages, PAGE, flag(libc::PROT_READ)]);
    mprotect "execution without writing": |s| call(libc::SYS_mprotect, &[s.pages, PAGE, flag(libc::PROT_READ | libc::PROT_EXEC)]);
    madvise "MADV_DONTNEED": |s| call(libc::SYS_madvise, &[s.pages, PAGE, flag(libc::MADV_DONTNEED)]);
    madvise "MADV_FREE": |s| call(libc::SYS_madvise, &[s.pages, PAGE, flag(libc::MADV_FREE)]);
    madvise "MADV_DONTFORK": |s| call(libc::SYS_madvise, &[s.pages, PAGE, flag(libc::MADV_DONTFORK)]);
    madvise "MADV_GUARD_INSTALL": |s| unknown_advice(call(libc::SYS_madvise, &[s.pages, PAGE, 102]));
    madvise "MADV_GUARD_REMOVE": |s| unknown_advice(call(libc::SYS_madvise, &[s.pages, PAGE, 103]));
    memfd_create "no huge pages": |s| call(libc::SYS_memfd_create, &[s.empty_path, u64::from(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)]);
    #[cfg(target_arch = "aarch64")]
    membarrier "MEMBARRIER_CMD_GLOBAL": |_s| call(libc::SYS_membarrier, &[1 << 0]);
    #[cfg(target_arch = "aarch64")]
    membarrier "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE": |_s| register_barrier();
    #[cfg(target_arch = "aarch64")]
    membarrier "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE": |_s| register_barrier().and_then(|()| {
        call(libc::SYS_membarrier, &[1 << 5])
    });
    clone "thread": |_s| thread();
    set_robust_list: |s| call(libc::SYS_set_robust_list, &[s.scratch, 24]);
    rseq: |s| call(libc::SYS_rseq, &[s.scratch, 32, 0, 0x5305_3053]);
    exit: |_s| call(libc::SYS_exit, &[0]);
    exit_group: |_s| call(libc::SYS_exit_group, &[0]);
    futex: |s| call(libc::SYS_futex, &[s.scratch, flag(libc::FUTEX_WAKE), 1]);
    sched_yield: |_s| call(libc::SYS_sched_yield, &[]);
    sched_getaffinity: |s| call(libc::SYS_sched_getaffinity, &[0, PAGE, s.scratch]);
    gettid: |_s| call(libc::SYS_gettid, &[]);
    getpid: |_s| call(libc::SYS_getpid, &[]);
    geteuid: |_s| call(libc::SYS_geteuid, &[]);
    prctl "PR_SET_NAME": |s| call(libc::SYS_prctl, &[flag(libc::PR_SET_NAME), s.root_path]);
    rt_sigaction: |s| call(libc::SYS_rt_sigaction, &[flag(libc::SIGUSR2), 0, s.scratch, 8]);
    rt_sigprocmask: |s| call(libc::SYS_rt_sigprocmask, &[0, 0, s.scratch, 8]);
    rt_sigreturn: |_s| raw::take_a_signal();
    sigaltstack: |s| call(libc::SYS_sigaltstack, &[0, s.scratch]);
    tgkill "own process": |_s| call(libc::SYS_tgkill, &[own(), own(), 0]);
    restart_syscall: |_s| interrupted(call(libc::SYS_restart_syscall, &[]));
    clock_gettime: |s| call(libc::SYS_clock_gettime, &[flag(libc::CLOCK_THREAD_CPUTIME_ID), s.scratch]);
    clock_getres: |s| call(libc::SYS_clock_getres, &[flag(libc::CLOCK_MONOTONIC), s.scratch]);
    clock_nanosleep: |s| call(libc::SYS_clock_nanosleep, &[flag(libc::CLOCK_MONOTONIC), 0, s.scratch]);
    getrandom: |s| call(libc::SYS_getrandom, &[s.scratch, 8, 0]);
    read: |s| call(libc::SYS_read, &[number(&s.pipe.0), s.scratch, 8]);
    write: |s| call(libc::SYS_write, &[number(&s.pipe.1), s.scratch, 8]);
    writev: |s| call(libc::SYS_writev, &[number(&s.pipe.1), s.vector, 1]);
    close: |s| call(libc::SYS_close, &[number(&s.pipe.1)]);
    lseek: |s| call(libc::SYS_lseek, &[number(&s.file), 0, flag(libc::SEEK_END)]);
    fstat: |s| call(libc::SYS_fstat, &[number(&s.file), s.scratch]);
    newfstatat "AT_EMPTY_PATH": |s| call(libc::SYS_newfstatat, &[number(&s.file), s.empty_path, s.scratch, flag(libc::AT_EMPTY_PATH)]);
    statx "AT_EMPTY_PATH": |s| call(libc::SYS_statx, &[number(&s.file), s.empty_path, flag(libc::AT_EMPTY_PATH), 0xfff, s.scratch]);
    fcntl "F_GETFD": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_GETFD)]);
    fcntl "F_SETFD": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_SETFD), 1]);
    fcntl "F_GETFL": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_GETFL)]);
    fcntl "F_DUPFD_CLOEXEC": |s| call(libc::SYS_fcntl, &[number(&s.file), flag(libc::F_DUPFD_CLOEXEC), 3]);
    fcntl "F_ADD_SEALS": |s| call(libc::SYS_fcntl, &[number(&s.memory_file), flag(libc::F_ADD_SEALS), flag(libc::F_SEAL_WRITE)]);
    pread64: |s| call(libc::SYS_pread64, &[number(&s.file), s.scratch, 8, 0]);
    pwrite64: |s| call(libc::SYS_pwrite64, &[number(&s.file), s.scratch, 8, 0]);
    preadv2: |s| call(libc::SYS_preadv2, &[number(&s.file), s.vector, 1, 0, 0, 0]);
    pwritev2 "RWF_DSYNC": |s| call(libc::SYS_pwritev2, &[number(&s.file), s.vector, 1, 0, 0, flag(libc::RWF_DSYNC)]);
    fsync: |s| call(libc::SYS_fsync, &[number(&s.file)]);
    fdatasync: |s| call(libc::SYS_fdatasync, &[number(&s.file)]);
    fallocate "FALLOC_FL_PUNCH_HOLE": |s| call(libc::SYS_fallocate, &[number(&s.memory_file), flag(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE), 0, PAGE]);
    fallocate "FALLOC_FL_ZERO_RANGE": |s| not_supported(call(libc::SYS_fallocate, &[number(&s.memory_file), flag(libc::FALLOC_FL_ZERO_RANGE), 0, PAGE]));
    fstatfs: |s| call(libc::SYS_fstatfs, &[number(&s.file), s.scratch]);
    ioctl "BLKSSZGET": |s| not_a_device(call(libc::SYS_ioctl, &[number(&s.file), 0x1268, s.scratch]));
    ioctl "BLKDISCARD": |s| not_a_device(call(libc::SYS_ioctl, &[number(&s.file), 0x1277, s.scratch]));
    ioctl "BLKPBSZGET": |s| not_a_device(call(libc::SYS_ioctl, &[number(&s.file), 0x127b, s.scratch]));
    ioctl "FIONBIO": |s| call(libc::SYS_ioctl, &[number(&s.pair.0), libc::FIONBIO, s.scratch]);
    io_uring_setup: |s| call(libc::SYS_io_uring_setup, &[4, s.scratch]);
    io_uring_enter: |s| call(libc::SYS_io_uring_enter, &[number(&s.ring), 0, 0, 0]);
    io_uring_register "IORING_REGISTER_IOWQ_MAX_WORKERS": |s| call(libc::SYS_io_uring_register, &[number(&s.ring), 19, s.scratch, 2]);
    process_vm_readv "own process": |s| call(libc::SYS_process_vm_readv, &[own(), s.vector, 1, s.vector, 1, 0]);
    process_vm_writev "own process": |s| call(libc::SYS_process_vm_writev, &[own(), s.vector, 1, s.vector, 1, 0]);
    eventfd2: |_s| call(libc::SYS_eventfd2, &[0, 0]);
    epoll_create1: |_s| call(libc::SYS_epoll_create1, &[0]);
    epoll_ctl: |s| call(libc::SYS_epoll_ctl, &[number(&s.epoll.0), flag(libc::EPOLL_CTL_DEL), number(&s.event), 0]);
    epoll_wait: |s| wait_by_epoll(s);
    poll: |s| wait_by_poll(s);
    sendmsg: |s| call(libc::SYS_sendmsg, &[number(&s.pair.0), s.message, flag(libc::MSG_NOSIGNAL)]);
    recvmsg: |s| call(libc::SYS_recvmsg, &[number(&s.pair.1), s.message, flag(libc::MSG_CMSG_CLOEXEC)]);
    listen: |s| call(libc::SYS_listen, &[number(&s.bound), 1]);
    accept4: |s| call(libc::SYS_accept4, &[number(&s.listening), 0, 0, flag(libc::SOCK_CLOEXEC)]);
    shutdown: |s| call(libc::SYS_shutdown, &[number(&s.pair.0), flag(libc::SHUT_RDWR)]);
    getsockopt "SO_TYPE": |s| option(s, libc::SO_TYPE);
    getsockopt "SO_DOMAIN": |s| option(s, libc::SO_DOMAIN);
    getsockopt "SO_PEERCRED": |s| option(s, libc::SO_PEERCRED);
};

#[cfg(target_arch = "aarch64")]
fn register_barrier() -> Result<(), Errno> {
    call(libc::SYS_membarrier, &[1 << 6]).map(drop)
}

/// Memory files and some file systems can not.
fn not_supported(result: Result<u64, Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EOPNOTSUPP) | Ok(_) => Ok(()),
        Err(other) => Err(other),
    }
}

/// The request reaches the file, which is no block device.
fn not_a_device(result: Result<u64, Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::ENOTTY | Errno::EINVAL) => Ok(()),
        other => other.map(drop),
    }
}

/// On architectures without epoll_wait the probe of that name makes epoll_pwait.
fn wait_by_epoll(s: &Stage) -> Result<u64, Errno> {
    #[cfg(target_arch = "x86_64")]
    let wait = libc::SYS_epoll_wait;
    #[cfg(not(target_arch = "x86_64"))]
    let wait = libc::SYS_epoll_pwait;
    call(wait, &[number(&s.epoll.0), s.scratch, 1, u64::MAX, 0, 0])
}

/// On architectures without poll the probe of that name makes ppoll.
fn wait_by_poll(s: &Stage) -> Result<u64, Errno> {
    #[cfg(target_arch = "x86_64")]
    let wait = call(libc::SYS_poll, &[s.scratch, 0, 0]);
    #[cfg(not(target_arch = "x86_64"))]
    let wait = call(libc::SYS_ppoll, &[s.scratch, 0, s.scratch, 0, 0]);
    wait
}

/// The name of the call that a probe makes on this architecture.
pub fn name_here(probe: &Probe) -> &'static str {
    match probe.call {
        "epoll_wait" if cfg!(not(target_arch = "x86_64")) => "epoll_pwait",
        "poll" if cfg!(not(target_arch = "x86_64")) => "ppoll",
        same => same,
    }
}
