//! Calls that are allowed, and those that are answered as absent.

use nix::libc;

use super::{BOTH, Case, Check, Rule, Test, Verdict, call, case, check, int, rule};
use crate::Profile;

const WORKER: &[Profile] = &[Profile::Worker];

const ANY: &[Case] = &[];

macro_rules! allow {
    ($profiles:ident, $symbol:ident, $cases:expr, $reason:literal) => {
        rule(Verdict::Allow, $profiles, call!($symbol), $cases, $reason)
    };
}

/// `argument` is `value`.
macro_rules! equals {
    ($argument:literal, $value:expr) => {{
        const CHECKS: &[Check] = &[check($argument, Test::Equals($value))];
        CHECKS
    }};
}

/// Of `argument`'s bits none but those in `flags` is set.
macro_rules! only {
    ($argument:literal, $flags:expr) => {{
        const CHECKS: &[Check] = &[check($argument, Test::Bits { mask: !($flags), value: 0 })];
        CHECKS
    }};
}

/// A socket option of level SOL_SOCKET.
macro_rules! socket_option {
    ($option:ident) => {{
        const CHECKS: &[Check] =
            &[check(1, Test::Equals(int(libc::SOL_SOCKET))), check(2, Test::Equals(int(libc::$option)))];
        case(stringify!($option), CHECKS)
    }};
}

/// An argument that is one of several constants, each a case named after it.
macro_rules! one_of {
    ($argument:literal: $($constant:ident),+ $(,)?) => {
        &[$(case(stringify!($constant), equals!($argument, int(libc::$constant)))),+]
    };
}

// Requests of include/uapi/linux/fs.h, which libc does not have: _IO(0x12, 104), _IO(0x12, 119) and _IO(0x12, 123).
const BLKSSZGET: u32 = 0x1268;
const BLKDISCARD: u32 = 0x1277;
const BLKPBSZGET: u32 = 0x127b;
// include/uapi/asm-generic/ioctls.h
const FIONBIO: u32 = 0x5421;
// include/uapi/linux/io_uring.h
const IORING_REGISTER_IOWQ_MAX_WORKERS: u32 = 19;
// include/uapi/asm-generic/mman-common.h: guard pages of thread stacks in newer C libraries.
const MADV_GUARD_INSTALL: u32 = 102;
const MADV_GUARD_REMOVE: u32 = 103;

/// What pthread_create(3) asks for. Whatever makes a process or a namespace is not in it.
const THREAD: u32 = int(libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID);

/// Some C libraries add CLONE_DETACHED, which the kernel ignores.
const THREAD_FLAGS: &[Check] = &[check(0, Test::Bits { mask: int(!libc::CLONE_DETACHED), value: THREAD })];

const NO_EXECUTION: &[Check] = &[check(2, Test::Bits { mask: int(libc::PROT_EXEC), value: 0 })];
const EXECUTION_WITHOUT_WRITING: &[Check] =
    &[check(2, Test::Bits { mask: int(libc::PROT_EXEC | libc::PROT_WRITE), value: int(libc::PROT_EXEC) })];

const FLAGS_OF_IMAGES: u32 = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;

/// The path that such a call names besides can not be looked at; the empty root directory answers it.
const STAT_OF_DESCRIPTOR: &[Check] = equals!(3, int(libc::AT_EMPTY_PATH));
const STATX_OF_DESCRIPTOR: &[Check] =
    &[check(2, Test::Bits { mask: int(!libc::AT_STATX_SYNC_TYPE), value: int(libc::AT_EMPTY_PATH) })];

const OWN_PROCESS: &[Case] = &[case("own process", &[check(0, Test::OwnProcess)])];

pub(super) const RULES: &[Rule] = &[
    // Memory.
    allow!(BOTH, SYS_brk, ANY, "the allocator grows its heap"),
    allow!(
        BOTH,
        SYS_mmap,
        &[case("no execution", NO_EXECUTION)],
        "memory of allocator, stacks, rings and guests; machine code is written first and made executable later"
    ),
    allow!(BOTH, SYS_munmap, ANY, "gives mappings back"),
    allow!(
        BOTH,
        SYS_mremap,
        &[case("MREMAP_MAYMOVE", only!(3, int(libc::MREMAP_MAYMOVE)))],
        "the allocator grows large blocks"
    ),
    allow!(
        BOTH,
        SYS_mprotect,
        &[case("no execution", NO_EXECUTION), case("execution without writing", EXECUTION_WITHOUT_WRITING),],
        "guard pages, guest memory that grows, and machine code once it is complete; never writable and executable"
    ),
    allow!(
        BOTH,
        SYS_madvise,
        &[
            case("MADV_DONTNEED", equals!(2, int(libc::MADV_DONTNEED))),
            case("MADV_FREE", equals!(2, int(libc::MADV_FREE))),
            case("MADV_DONTFORK", equals!(2, int(libc::MADV_DONTFORK))),
            case("MADV_GUARD_INSTALL", equals!(2, MADV_GUARD_INSTALL)),
            case("MADV_GUARD_REMOVE", equals!(2, MADV_GUARD_REMOVE)),
        ],
        "freed memory, guest memory reset between instances, io_uring's queues, guard pages of stacks"
    ),
    allow!(
        BOTH,
        SYS_memfd_create,
        &[case("no huge pages", only!(1, FLAGS_OF_IMAGES))],
        "wasmtime keeps the initial memory of a component in one, to map it copy-on-write"
    ),
    // Commands of include/uapi/linux/membarrier.h.
    #[cfg(target_arch = "aarch64")]
    allow!(
        BOTH,
        SYS_membarrier,
        &[
            case("MEMBARRIER_CMD_GLOBAL", equals!(0, 1 << 0)),
            case("MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE", equals!(0, 1 << 5)),
            case("MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE", equals!(0, 1 << 6)),
        ],
        "new machine code becomes visible to all threads"
    ),
    // Threads.
    allow!(BOTH, SYS_clone, &[case("thread", THREAD_FLAGS)], "device loops, pools and tickers are threads"),
    rule(
        Verdict::Absent,
        BOTH,
        call!(SYS_clone3),
        ANY,
        "its flags are behind a pointer and can not be looked at; the C library falls back to clone",
    ),
    allow!(BOTH, SYS_set_robust_list, ANY, "the C library starts a thread"),
    allow!(BOTH, SYS_rseq, ANY, "the C library starts a thread"),
    allow!(BOTH, SYS_exit, ANY, "a thread ends"),
    allow!(BOTH, SYS_exit_group, ANY, "the process ends"),
    allow!(BOTH, SYS_futex, ANY, "locks, channels, joining of threads"),
    allow!(BOTH, SYS_sched_yield, ANY, "a short wait for another thread"),
    allow!(BOTH, SYS_sched_getaffinity, ANY, "the number of threads is chosen by the number of processors"),
    allow!(BOTH, SYS_gettid, ANY, "a thread's CPU clock is named by its number"),
    allow!(BOTH, SYS_getpid, ANY, "needed for reading the own memory, and to abort"),
    allow!(BOTH, SYS_geteuid, ANY, "who owns a file or asks for the worker is compared with it"),
    allow!(BOTH, SYS_prctl, one_of!(0: PR_SET_NAME), "threads have names in ps and top"),
    // Signals.
    allow!(BOTH, SYS_rt_sigaction, ANY, "wasmtime turns faults of guests into traps"),
    allow!(BOTH, SYS_rt_sigprocmask, ANY, "the C library starts and ends threads, and aborts"),
    allow!(BOTH, SYS_rt_sigreturn, ANY, "a signal handler returns"),
    allow!(BOTH, SYS_sigaltstack, ANY, "a stack overflow of a guest is handled on another stack"),
    allow!(BOTH, SYS_tgkill, OWN_PROCESS, "abort after a panic or a failed assertion"),
    allow!(BOTH, SYS_restart_syscall, ANY, "the kernel continues an interrupted wait by it"),
    // Time and chance.
    allow!(BOTH, SYS_clock_gettime, ANY, "CPU time of threads, and all clocks where there is no vDSO"),
    allow!(
        BOTH,
        SYS_clock_getres,
        ANY,
        "guests that ask how fine a clock is; rustix hands out what is on the stack if this is refused"
    ),
    allow!(BOTH, SYS_clock_nanosleep, ANY, "the epoch ticker, back-off"),
    allow!(BOTH, SYS_getrandom, ANY, "keys of hash tables, and guests that import random numbers"),
    // Descriptors.
    allow!(BOTH, SYS_read, ANY, "doorbells, eventfds, files, the compiler's input"),
    allow!(BOTH, SYS_write, ANY, "doorbells, eventfds, the log, the compiler's output"),
    allow!(BOTH, SYS_writev, ANY, "the log"),
    allow!(BOTH, SYS_close, ANY, "descriptors end"),
    allow!(BOTH, SYS_lseek, ANY, "size of a block device, length of an image"),
    allow!(BOTH, SYS_fstat, ANY, "kind and size of what was granted"),
    allow!(
        BOTH,
        SYS_newfstatat,
        &[case("AT_EMPTY_PATH", STAT_OF_DESCRIPTOR)],
        "newer C libraries make fstat of it"
    ),
    allow!(BOTH, SYS_statx, &[case("AT_EMPTY_PATH", STATX_OF_DESCRIPTOR)], "the standard library's fstat"),
    allow!(
        BOTH,
        SYS_fcntl,
        one_of!(1: F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_ADD_SEALS),
        "copies and modes of descriptors, sealing of images; no signals on I/O, no leases, no pipe sizes, and what is open \
         for appending stays so: the log is everybody's"
    ),
    // Storage.
    allow!(WORKER, SYS_pread64, ANY, "compiled handlers, stores"),
    allow!(WORKER, SYS_pwrite64, ANY, "stores"),
    allow!(WORKER, SYS_preadv2, ANY, "stores on threads"),
    allow!(
        WORKER,
        SYS_pwritev2,
        &[case("RWF_DSYNC", only!(5, int(libc::RWF_DSYNC)))],
        "stores on threads, and a write that is alone in flight; not past O_APPEND"
    ),
    allow!(WORKER, SYS_fsync, ANY, "SYNCHRONIZE CACHE"),
    allow!(WORKER, SYS_fdatasync, ANY, "SYNCHRONIZE CACHE"),
    allow!(
        WORKER,
        SYS_fallocate,
        &[
            case(
                "FALLOC_FL_PUNCH_HOLE",
                equals!(1, int(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE))
            ),
            case(
                "FALLOC_FL_ZERO_RANGE",
                only!(1, int(libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE))
            ),
        ],
        "UNMAP and WRITE SAME; never shortens a file"
    ),
    allow!(WORKER, SYS_fstatfs, ANY, "which file systems wait in fallocate, how much space is left"),
    allow!(
        WORKER,
        SYS_ioctl,
        &[
            case("BLKSSZGET", equals!(1, BLKSSZGET)),
            case("BLKDISCARD", equals!(1, BLKDISCARD)),
            case("BLKPBSZGET", equals!(1, BLKPBSZGET)),
            case("FIONBIO", equals!(1, FIONBIO)),
        ],
        "logical and physical block size, UNMAP on block devices, sockets that do not block"
    ),
    allow!(WORKER, SYS_io_uring_setup, ANY, "one ring for each device"),
    allow!(WORKER, SYS_io_uring_enter, ANY, "submits and awaits operations on stores"),
    allow!(
        WORKER,
        SYS_io_uring_register,
        &[case("IORING_REGISTER_IOWQ_MAX_WORKERS", equals!(1, IORING_REGISTER_IOWQ_MAX_WORKERS))],
        "bounds the kernel's threads; no personalities, no fixed buffers"
    ),
    allow!(
        WORKER,
        SYS_process_vm_readv,
        OWN_PROCESS,
        "copies from the ring's data area, where a page can be gone"
    ),
    allow!(
        WORKER,
        SYS_process_vm_writev,
        OWN_PROCESS,
        "copies to the ring's data area, where a page can be gone"
    ),
    // Waiting.
    allow!(WORKER, SYS_eventfd2, ANY, "wakes threads"),
    allow!(WORKER, SYS_epoll_create1, ANY, "waits for stores on threads and for doorbells"),
    allow!(WORKER, SYS_epoll_ctl, ANY, "waits for stores on threads and for doorbells"),
    #[cfg(target_arch = "x86_64")]
    allow!(WORKER, SYS_epoll_wait, ANY, "waits for stores on threads and for doorbells"),
    #[cfg(not(target_arch = "x86_64"))]
    allow!(WORKER, SYS_epoll_pwait, ANY, "the C library's epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    allow!(BOTH, SYS_poll, ANY, "waits for the link and the doorbells, and whether the log can be written"),
    #[cfg(not(target_arch = "x86_64"))]
    allow!(BOTH, SYS_ppoll, ANY, "the C library's poll"),
    // The link to the supervisor.
    allow!(WORKER, SYS_sendmsg, ANY, "reports, and descriptors for a successor of the supervisor"),
    allow!(WORKER, SYS_recvmsg, ANY, "requests, and descriptors of devices"),
    allow!(WORKER, SYS_listen, ANY, "its socket, so that the credentials on it are the worker's"),
    allow!(WORKER, SYS_accept4, ANY, "a successor of the supervisor connects"),
    allow!(WORKER, SYS_shutdown, ANY, "ends a link that another thread waits on"),
    allow!(
        WORKER,
        SYS_getsockopt,
        &[socket_option!(SO_TYPE), socket_option!(SO_DOMAIN), socket_option!(SO_PEERCRED)],
        "what a descriptor is, and who is at its other end"
    ),
];
