//! [`RingLun`] against the daemon's side of a real ring: commands and aborts arrive, answers return, a ring that
//! was broken works again.
#![allow(clippy::unwrap_used, reason = "in helpers of tests as in tests: a failure is a panic with its line")]

use std::os::fd::AsFd;
use std::sync::Arc;

use lunbox_emulator::{Features, Kernel, Options};
use lunbox_iscsi::lun::{CommandId, Data, LogicalUnit, Refusal, TaskManagement};
use lunbox_iscsi::{RingLimits, RingLun};
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Sense};
use lunbox_tcmu::{Doorbell, Next, Outstanding, Request, Response, Ring, TmrFunction};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// `cmd_tail` in the mailbox (include/uapi/linux/target_core_user.h).
const CMD_TAIL: u64 = 64;

/// A LUN and the other end of its ring.
fn pair(options: Options) -> (RingLun, Ring) {
    let limits = RingLimits { max_data: 1 << 20, task_management: options.features.tmr };
    let (kernel, user) = Kernel::new(options).unwrap();
    let map = Arc::new(Mapping::shared(user.memory.as_fd(), user.length).unwrap());
    let ring = Ring::attach(map, Doorbell::Event { wait: user.wait, ring: user.ring }).unwrap();
    (RingLun::new("test".to_owned(), kernel, BlockSize::B512, limits), ring)
}

fn take(ring: &mut Ring, request: &mut Request) -> Outstanding {
    match ring.next(request).unwrap() {
        Some(Next::Command(command)) => command,
        other => panic!("no command but {other:?}"),
    }
}

/// An ended command, owned.
#[derive(Debug, PartialEq, Eq)]
struct End {
    token: u64,
    status: u8,
    sense: Vec<u8>,
    data: Vec<u8>,
}

fn collect(lun: &mut RingLun) -> Vec<End> {
    let mut ends = Vec::new();
    lun.collect(&mut |ended| {
        ends.push(End {
            token: ended.token,
            status: ended.status,
            sense: ended.sense.to_vec(),
            data: ended.data_in.to_vec(),
        });
    });
    ends
}

/// Whether the LUN's doorbell is readable now.
fn rung(lun: &RingLun) -> bool {
    let mut fds = [PollFd::new(lun.doorbell(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn commands_reach_the_ring_and_answers_return() {
    let (mut lun, mut ring) = pair(Options::default());
    lun.start(7, &[0x28, 1, 2, 3, 4, 5, 6, 7, 8, 9], Data::In(512)).unwrap();
    lun.start(8, &[0x2a; 10], Data::Out(&[0xab; 1000])).unwrap();
    lun.flush_signal().unwrap();
    assert!(ring.acknowledge().unwrap(), "woken");

    let mut request = Request::default();
    let read = take(&mut ring, &mut request);
    assert_eq!(request.cdb.as_bytes()[..10], [0x28, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    ring.map().copy_in(request.data[0].offset, &[0xcd; 512]).unwrap();
    let write = take(&mut ring, &mut request);
    let mut out = vec![0; 1000];
    ring.map().copy_out(request.data[0].offset, &mut out).unwrap();
    assert_eq!(out, [0xab; 1000]);
    let sense = Sense::WRITE_PROTECTED.fixed();
    ring.complete(write, &Response { status: 2, sense: Some(&sense), ..Response::default() }).unwrap();
    ring.complete(read, &Response::default()).unwrap();
    ring.notify().unwrap();

    let ends = collect(&mut lun);
    assert_eq!(ends[0], End { token: 8, status: 2, sense: sense.to_vec(), data: vec![] });
    assert_eq!((ends[1].token, ends[1].status, &ends[1].data[..]), (7, 0, &[0xcd; 512][..]));
    assert_eq!(ends.len(), 2);
    lun.into_kernel().check().unwrap();
}

#[test]
fn a_short_answer_is_returned_short() {
    let (mut lun, mut ring) = pair(Options::default());
    lun.start(7, &[0x12, 0, 0, 0, 255, 0], Data::In(255)).unwrap();
    let mut request = Request::default();
    let command = take(&mut ring, &mut request);
    ring.map().copy_in(request.data[0].offset, &[5; 36]).unwrap();
    ring.complete(command, &Response { read_len: Some(36), ..Response::default() }).unwrap();
    let ends = collect(&mut lun);
    assert_eq!((ends[0].status, &ends[0].data[..]), (0, &[5; 36][..]));
}

#[test]
fn aborts_arrive_with_the_ids_of_their_commands() {
    let (mut lun, mut ring) = pair(Options::default());
    let ids: Vec<CommandId> = (0..3).map(|token| lun.start(token, &[0; 6], Data::None).unwrap()).collect();
    lun.abort(TaskManagement::LunReset, &ids[1..]).unwrap();
    let mut request = Request::default();
    let commands: Vec<Outstanding> = (0..3).map(|_| take(&mut ring, &mut request)).collect();
    match ring.next(&mut request).unwrap() {
        Some(Next::TaskManagement(notice)) => assert_eq!(notice.function, TmrFunction::LunReset),
        other => panic!("no notice but {other:?}"),
    }
    assert_eq!(request.aborted, [ids[1].0, ids[2].0]);
    for command in commands {
        ring.complete(command, &Response { status: 0x40, ..Response::default() }).unwrap();
    }
    assert_eq!(collect(&mut lun).len(), 3, "each ends once");
    lun.into_kernel().check().unwrap();
}

#[test]
fn a_ring_without_task_management_carries_no_aborts() {
    let features = Features { tmr: false, ..Features::default() };
    let (mut lun, mut ring) = pair(Options { features, ..Options::default() });
    let id = lun.start(1, &[0; 6], Data::None).unwrap();
    assert_eq!(lun.abort(TaskManagement::AbortTask, &[id]), Ok(()));
    let mut request = Request::default();
    let command = take(&mut ring, &mut request);
    assert!(ring.next(&mut request).unwrap().is_none());
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(collect(&mut lun).len(), 1);
}

#[test]
fn room_that_is_missing_now_and_room_that_will_never_be_there() {
    let (mut lun, mut ring) = pair(Options { data_blocks: 4, ..Options::default() });
    assert_eq!(lun.max_data(), 4 * 4096, "never more than the data area");
    assert_eq!(lun.start(1, &[0x28; 10], Data::In(5 * 4096)), Err(Refusal::TooBig));
    lun.start(2, &[0x28; 10], Data::In(3 * 4096)).unwrap();
    assert_eq!(lun.start(3, &[0x28; 10], Data::In(2 * 4096)), Err(Refusal::Full));
    let mut request = Request::default();
    let command = take(&mut ring, &mut request);
    ring.complete(command, &Response { status: 8, ..Response::default() }).unwrap();
    assert_eq!(collect(&mut lun)[0].status, 8);
    lun.start(3, &[0x28; 10], Data::In(2 * 4096)).unwrap();
    take(&mut ring, &mut request).abandon();
}

#[test]
fn a_ring_that_the_device_loop_broke_answers_everything_and_works_again() {
    let (mut lun, mut ring) = pair(Options::default());
    for token in [1, 2] {
        lun.start(token, &[0; 6], Data::None).unwrap();
    }
    let mut request = Request::default();
    let commands = [take(&mut ring, &mut request), take(&mut ring, &mut request)];
    ring.map().store_u32(CMD_TAIL, 3).unwrap();
    let ends = collect(&mut lun);
    assert_eq!(ends.iter().map(|end| end.token).collect::<Vec<_>>(), [1, 2]);
    for end in ends {
        assert_eq!(
            (end.status, end.sense[2], end.sense[12]),
            (2, 2, 0x08),
            "logical unit communication failure"
        );
    }
    assert!(ring.was_reset());
    for command in commands {
        command.abandon();
    }
    ring.resync().unwrap();
    lun.start(3, &[0; 6], Data::None).unwrap();
    let command = take(&mut ring, &mut request);
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(collect(&mut lun)[0].token, 3);
}

#[test]
fn a_closed_ring_answers_everything_and_takes_no_more() {
    let (mut lun, mut ring) = pair(Options::default());
    let closer = lun.closer().unwrap();
    let id = lun.start(1, &[0; 6], Data::None).unwrap();
    lun.start(2, &[0x2a; 10], Data::Out(&[7; 512])).unwrap();
    let mut request = Request::default();
    let commands = [take(&mut ring, &mut request), take(&mut ring, &mut request)];
    // The last thing that the device loop did.
    let [first, second] = commands;
    ring.complete(first, &Response::default()).unwrap();
    second.abandon();
    drop(ring);

    assert!(!rung(&lun));
    closer.close();
    closer.close();
    assert!(rung(&lun), "whoever collects is woken");
    assert_eq!(lun.start(3, &[0; 6], Data::None), Err(Refusal::Broken));
    assert_eq!(lun.abort(TaskManagement::AbortTask, &[id]), Ok(()));
    let ends = collect(&mut lun);
    assert_eq!((ends.len(), ends[0].token, ends[0].status), (2, 1, 0), "what was completed stays completed");
    assert_eq!((ends[1].token, ends[1].status, ends[1].sense[2], ends[1].sense[12]), (2, 2, 2, 0x08));
    assert_eq!(collect(&mut lun), []);
    assert_eq!(lun.start(4, &[0; 6], Data::None), Err(Refusal::Broken));
    lun.into_kernel().check().unwrap();
}
