//! Entries that are not commands: padding, task management, unknown operations.

use lunbox_memory::Mapping;
use lunbox_tcmu::{Doorbell, Next, Request, Response, Ring, TaskManagement, TmrFunction};
use std::sync::Arc;

use crate::kernel::{Command, Kernel, OOO, RING, event, take};

#[test]
fn a_notice_arrives_with_its_ids() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    for (code, function, ids) in [
        (0, TmrFunction::Other(0), &[][..]),
        (1, TmrFunction::AbortTask, &[7]),
        (2, TmrFunction::AbortTaskSet, &[1, 2, 3]),
        (3, TmrFunction::ClearAca, &[1, 2, 3, 4]),
        (4, TmrFunction::ClearTaskSet, &[1, 2, 3, 4, 5]),
        (5, TmrFunction::LunReset, &[65535]),
        (6, TmrFunction::TargetWarmReset, &[]),
        (7, TmrFunction::TargetColdReset, &[]),
        (128, TmrFunction::LunResetPro, &[]),
        (77, TmrFunction::Other(77), &[]),
    ] {
        assert!(kernel.queue_notice(code, ids));
        let next = ring.next(&mut request).unwrap();
        assert_eq!(next, Some(Next::TaskManagement(TaskManagement { function })));
        assert_eq!(request.aborted, ids);
        assert!(request.cdb.is_empty() && request.data.is_empty());
        assert_eq!(kernel.tail(), kernel.head, "nothing waits in front of it: given back at once");
    }
    assert!(kernel.collect().is_empty());
}

#[test]
fn a_notice_behind_a_command_is_given_back_with_it() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    kernel.queue();
    assert!(kernel.queue_notice(1, &[1]));
    let command = take(&mut ring, &mut request);
    assert!(matches!(ring.next(&mut request), Ok(Some(Next::TaskManagement(_)))));
    assert_eq!(kernel.tail(), 0);
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(kernel.tail(), kernel.head);
    assert_eq!(kernel.collect().len(), 1);
}

#[test]
fn an_unknown_operation_is_marked_and_skipped() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let at = kernel.claim(64).unwrap();
    kernel.map.store_u32(at, 64 | 5).unwrap();
    kernel.publish();
    assert_eq!(ring.next(&mut Request::default()), Ok(None));
    assert_eq!(kernel.map.load_u8(at + 7), Ok(1));
    assert_eq!(kernel.tail(), kernel.head);
    ring.notify().unwrap();
    assert_eq!(kernel.rings(), 1, "the kernel learns of the space");
}

#[test]
fn the_smallest_pad_at_the_very_end_of_the_mapping_is_read_no_further() {
    let map = Arc::new(Mapping::anonymous(usize::try_from(RING).unwrap() + 128).unwrap());
    map.store_u16(0, 2).unwrap();
    map.store_u16(2, OOO).unwrap();
    map.store_u32(4, 128).unwrap();
    map.store_u32(8, 128).unwrap();
    map.store_u32(64, 120).unwrap();
    map.store_u32(12, 0).unwrap();
    map.store_u32(RING + 120, 8).unwrap();
    let doorbell = Doorbell::Event { wait: event(), ring: event() };
    let mut ring = Ring::attach(Arc::clone(&map), doorbell).unwrap();
    assert_eq!(ring.next(&mut Request::default()), Ok(None));
    assert_eq!(map.load_u32(64), Ok(0));
}

#[test]
fn entries_go_round_the_ring_with_pads_of_every_size() {
    for size in (272..=400).step_by(8) {
        let mut kernel = Kernel::new(size);
        let mut ring = kernel.attach();
        let mut request = Request::default();
        for round in 0..50_u8 {
            let cdb = vec![round; 6 + usize::from(round % 3) * 8];
            let sent = Command { id: 1, cdb, data: vec![], bidi: vec![] };
            kernel.try_queue(&sent).unwrap();
            let command = take(&mut ring, &mut request);
            assert_eq!(&request.cdb[..sent.cdb.len()], sent.cdb);
            ring.complete(command, &Response { status: round, ..Response::default() }).unwrap();
            let answers = kernel.collect();
            assert_eq!(
                answers.iter().map(|answer| answer.status).collect::<Vec<_>>(),
                [round],
                "ring of {size}"
            );
        }
    }
}
