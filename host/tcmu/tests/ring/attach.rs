//! What is accepted as a ring.

use std::sync::Arc;

use lunbox_memory::Mapping;
use lunbox_tcmu::{Doorbell, Features, Request, Ring, RingError};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::kernel::{KEEP_BUF, Kernel, OOO, RING, event, take};

fn refusal(kernel: &Kernel) -> RingError {
    Ring::attach(Arc::clone(&kernel.map), kernel.doorbell()).unwrap_err()
}

fn field(error: RingError) -> &'static str {
    match error {
        RingError::Inconsistent { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn features_are_the_mailbox_flags() {
    let ring = Kernel::with_flags(4096, OOO | KEEP_BUF).attach();
    let expected = Features { out_of_order: true, read_len: false, task_management: false, keep_buf: true };
    assert_eq!(ring.features(), expected);
    let all = Kernel::new(4096).attach().features();
    assert!(all.read_len && all.task_management && all.keep_buf && all.out_of_order);
}

#[test]
fn another_version_is_refused() {
    let kernel = Kernel::new(4096);
    kernel.map.store_u16(0, 1).unwrap();
    assert_eq!(refusal(&kernel), RingError::Version { found: 1 });
}

#[test]
fn a_kernel_without_out_of_order_completion_is_refused() {
    assert!(matches!(refusal(&Kernel::with_flags(4096, 2)), RingError::NotOffered { .. }));
}

#[test]
fn layouts_that_do_not_fit_are_refused_by_name() {
    for (at, value, name) in [
        (4, 120, "cmdr_off"),
        (4, 132, "cmdr_off"),
        (4, !7, "cmdr_size"),
        (8, 0, "cmdr_size"),
        (8, 104, "cmdr_size"),
        (8, 4100, "cmdr_size"),
        (8, !7, "cmdr_size"),
        (12, 4096, "cmd_head"),
        (12, 4, "cmd_head"),
        (64, 4096, "cmd_tail"),
        (64, 12, "cmd_tail"),
    ] {
        let kernel = Kernel::new(4096);
        kernel.map.store_u32(at, value).unwrap();
        assert_eq!(field(refusal(&kernel)), name, "{value:#x} at {at}");
    }
}

#[test]
fn a_mapping_shorter_than_the_mailbox_is_refused() {
    let map = Arc::new(Mapping::anonymous(64).unwrap());
    let doorbell = Doorbell::Event { wait: event(), ring: event() };
    assert_eq!(field(Ring::attach(map, doorbell).unwrap_err()), "length of the mapping");
}

#[test]
fn a_ring_may_end_with_the_mapping() {
    let map = Arc::new(Mapping::anonymous(usize::try_from(RING).unwrap() + 1024).unwrap());
    map.store_u16(0, 2).unwrap();
    map.store_u16(2, OOO).unwrap();
    map.store_u32(4, 128).unwrap();
    map.store_u32(8, 1024).unwrap();
    let doorbell = Doorbell::Event { wait: event(), ring: event() };
    let mut ring = Ring::attach(map, doorbell).unwrap();
    assert_eq!(ring.next(&mut Request::default()), Ok(None));
}

#[test]
fn fds_that_would_block_are_refused() {
    let kernel = Kernel::new(4096);
    let blocking = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap().into();
    for (doorbell, fd) in [
        (Doorbell::Event { wait: blocking(), ring: event() }, "wait"),
        (Doorbell::Event { wait: event(), ring: blocking() }, "doorbell"),
        (Doorbell::Uio(blocking()), "wait"),
    ] {
        let error = Ring::attach(Arc::clone(&kernel.map), doorbell).unwrap_err();
        assert_eq!(error, RingError::Blocking { fd });
    }
}

#[test]
fn reading_starts_at_the_tail() {
    let mut kernel = Kernel::new(4096);
    let mut request = Request::default();
    let mut first = kernel.attach();
    kernel.queue();
    let command = take(&mut first, &mut request);
    first.complete(command, &lunbox_tcmu::Response::default()).unwrap();
    drop(first);
    let (id, _) = kernel.queue();

    let mut second = kernel.attach();
    let command = take(&mut second, &mut request);
    assert_eq!(command.id(), id);
    second.complete(command, &lunbox_tcmu::Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 2);
}

#[test]
fn an_entry_that_a_dead_predecessor_took_is_not_taken_again() {
    let mut kernel = Kernel::new(4096);
    let mut request = Request::default();
    kernel.queue();
    let mut first = kernel.attach();
    take(&mut first, &mut request).abandon();
    let mut second = kernel.attach();
    assert_eq!(field(second.next(&mut request).unwrap_err()), "reserved");
    kernel.reset();
    kernel.queue();
    let mut third = kernel.attach();
    take(&mut third, &mut request).abandon();
}

#[test]
fn a_ring_can_move_to_its_device_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&Kernel::new(4096).attach());
}
