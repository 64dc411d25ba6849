//! System calls by number: a probe must make exactly the call that its rule is about, and the C library often
//! makes another one.
#![allow(unsafe_code, reason = "there is no safe way to make a system call by number")]

use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;

/// Makes a system call. Missing arguments are 0.
///
/// Only for a process that is there for one probe and ends afterwards, with arguments that come from its
/// [`crate::stage::Stage`] or are no addresses.
pub fn call(number: i64, arguments: &[u64]) -> Result<u64, Errno> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: needed as this is what is tested. The addresses among the arguments are of memory that the stage
    // has leaked and hands out for nothing else, or of none, which the kernel answers with EFAULT.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    Errno::result(result).map(i64::cast_unsigned)
}

/// The system call getpid by the 32-bit gate, where there is one.
#[cfg(target_arch = "x86_64")]
pub fn getpid_of_32_bits() -> i64 {
    let mut register: i64 = 20; // __NR_getpid of i386
    // SAFETY: needed as no library makes 32-bit calls from a 64-bit process. The gate changes eax alone, and r8 to
    // r11 on old kernels.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") register, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    register
}

static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.store(true, Ordering::SeqCst);
}

/// Has a signal handler called, and returns from it.
pub fn take_a_signal() -> Result<(), Errno> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
    let action = SigAction::new(SigHandler::Handler(handle), SaFlags::empty(), SigSet::empty());
    // SAFETY: needed to install a handler. It stores to an atomic, which is safe in a handler.
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;
    raise(Signal::SIGUSR1)?;
    assert!(HANDLED.load(Ordering::SeqCst), "raise returns after the handler has run");
    Ok(())
}

/// Opens a file for reading by io_uring, which does not go through the filter of system calls.
pub fn open_by_io_uring(ring: &mut io_uring::IoUring, path: &std::ffi::CStr) -> Result<(), Errno> {
    let at = io_uring::types::Fd(libc::AT_FDCWD);
    let entry = io_uring::opcode::OpenAt::new(at, path.as_ptr()).flags(libc::O_RDONLY).build();
    submit(ring, &entry)
}

/// Reads the start of a file by io_uring.
pub fn read_by_io_uring(
    ring: &mut io_uring::IoUring,
    file: std::os::fd::RawFd,
    memory: &'static mut [u8],
) -> Result<(), Errno> {
    let length = u32::try_from(memory.len()).unwrap();
    let file = io_uring::types::Fd(file);
    submit(ring, &io_uring::opcode::Read::new(file, memory.as_mut_ptr(), length).build())
}

fn submit(ring: &mut io_uring::IoUring, entry: &io_uring::squeue::Entry) -> Result<(), Errno> {
    // SAFETY: needed to submit. What the entry points to lives until the answer, which is awaited below.
    unsafe { ring.submission().push(entry) }.unwrap();
    ring.submit_and_wait(1).unwrap();
    let result = ring.completion().next().unwrap().result();
    if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(()) }
}
