//! Doorbells: what is read and written, how often, and what a device that goes away looks like.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use lunbox_tcmu::{Doorbell, Request, Response, Ring, RingError};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{read, write};

use crate::kernel::{Kernel, take};

/// A pair that keeps messages apart: what a UIO fd takes and gives, size included.
fn uio() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

#[test]
fn events_are_consumed_once() {
    let kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    assert_eq!(ring.acknowledge(), Ok(false));
    kernel.signal();
    kernel.signal();
    assert_eq!(ring.acknowledge(), Ok(true), "one read covers all events");
    assert_eq!(ring.acknowledge(), Ok(false));
    assert_eq!(ring.syscalls(), 3);
}

#[test]
fn a_batch_rings_once_and_nothing_rings_never() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    ring.notify().unwrap();
    assert_eq!((kernel.rings(), ring.syscalls()), (0, 0));
    for _ in 0..5 {
        kernel.queue();
        let command = take(&mut ring, &mut request);
        ring.complete(command, &Response::default()).unwrap();
    }
    ring.notify().unwrap();
    ring.notify().unwrap();
    assert_eq!((kernel.rings(), ring.syscalls()), (1, 1));
    assert_eq!(kernel.collect().len(), 5);
}

#[test]
fn a_full_event_counter_is_as_good_as_rung() {
    let mut kernel = Kernel::new(4096);
    let Doorbell::Event { wait, ring: bell } = kernel.doorbell() else { unreachable!() };
    write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    let mut ring = Ring::attach(Arc::clone(&kernel.map), Doorbell::Event { wait, ring: bell }).unwrap();
    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(ring.notify(), Ok(()));
    assert_eq!(kernel.rings(), u64::MAX - 1);
}

#[test]
fn uio_is_read_and_written_in_four_bytes() {
    let mut kernel = Kernel::new(4096);
    let (ours, theirs) = uio();
    let number = ours.as_raw_fd();
    let mut ring = Ring::attach(Arc::clone(&kernel.map), Doorbell::Uio(ours)).unwrap();
    assert_eq!(ring.doorbell().as_raw_fd(), number);
    assert_eq!(ring.acknowledge(), Ok(false));
    write(&theirs, &3_u32.to_ne_bytes()).unwrap();
    assert_eq!(ring.acknowledge(), Ok(true));

    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    ring.complete(command, &Response::default()).unwrap();
    ring.notify().unwrap();
    let mut message = [0; 16];
    assert_eq!(read(&theirs, &mut message), Ok(4));
    assert_eq!(read(&theirs, &mut message), Err(nix::Error::EAGAIN), "once");
}

#[test]
fn a_device_that_went_away_is_gone() {
    let mut kernel = Kernel::new(4096);
    let (ours, theirs) = uio();
    let mut ring = Ring::attach(Arc::clone(&kernel.map), Doorbell::Uio(ours)).unwrap();
    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    ring.complete(command, &Response::default()).unwrap();
    drop(theirs);
    assert!(matches!(ring.acknowledge(), Err(RingError::Gone(_))));
    assert!(matches!(ring.notify(), Err(RingError::Gone(_))));
}

#[test]
fn head_moved_tells_of_work() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    assert!(!ring.head_moved());
    kernel.queue();
    assert!(ring.head_moved());
    take(&mut ring, &mut Request::default()).abandon();
    assert!(!ring.head_moved());
}
