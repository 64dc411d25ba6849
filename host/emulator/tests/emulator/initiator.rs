//! The initiator against a daemon with a RAM disk.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use lunbox_emulator::initiator::{Capacity, InitiatorError, Settings, cdb};
use lunbox_emulator::{By, CommandId, Data, Initiator, Kernel, Options, Placement, ResetMode, UserSide};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use crate::daemon::{Answer, Daemon, GOOD, READ_LEN, Request, bytes};

const BLOCKS: usize = 4096;

/// What a disk answers.
struct Reply {
    status: u8,
    data: Option<Vec<u8>>,
    sense: Vec<u8>,
}

fn fixed(key: u8, asc: u8) -> Vec<u8> {
    vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, 0]
}

struct Disk {
    bytes: Vec<u8>,
    /// Answer BUSY so many times.
    busy: u32,
}

impl Disk {
    fn reply(&mut self, daemon: &Daemon, request: &Request) -> Reply {
        let good = |data| Reply { status: 0, data, sense: Vec::new() };
        let bad = |asc| Reply { status: 2, data: None, sense: fixed(5, asc) };
        if self.busy > 0 {
            self.busy -= 1;
            return Reply { status: 8, data: None, sense: Vec::new() };
        }
        let cdb = &request.cdb;
        let number = |range: std::ops::Range<usize>| {
            cdb[range].iter().fold(0usize, |number, &byte| number << 8 | usize::from(byte))
        };
        let (lba, count) = match cdb[0] {
            0x28 | 0x2a => (number(2..6), number(7..9)),
            0x88 | 0x8a => (number(2..10), number(10..14)),
            _ => (0, 0),
        };
        if lba + count > BLOCKS {
            return bad(0x21);
        }
        let range = lba * 512..(lba + count) * 512;
        match cdb[0] {
            0x00 | 0x35 => good(None),
            0x12 if cdb[1] == 0 => good(Some(b"\0\0\x05\x02\x1f\0\0\0LUNBOX  test".to_vec())),
            0x12 => good(Some(vec![0, cdb[2], 0, 1, cdb[2]])),
            0x25 => good(Some([0, 0, 0x0f, 0xff, 0, 0, 2, 0].to_vec())),
            0x9e => good(Some([&[0, 0, 0, 0, 0, 0, 0x0f, 0xff, 0, 0, 2, 0][..], &[0; 20]].concat())),
            0x28 | 0x88 => good(Some(self.bytes[range].to_vec())),
            0x2a | 0x8a => {
                self.bytes[range].copy_from_slice(&daemon.fetch(&request.vectors));
                good(None)
            }
            _ => bad(0x20),
        }
    }
}

/// A daemon thread; stopped and joined on drop.
struct Server {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

/// Waits for an event; false when it is time to stop.
fn readable(wait: &OwnedFd, stop: &OwnedFd) -> bool {
    let mut fds =
        [PollFd::new(wait.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).unwrap();
    !fds[1].any().unwrap()
}

/// Serves the ring; `reversed` completes each batch last command first.
fn serve(user: UserSide, reversed: bool, busy: u32) -> Server {
    let mut daemon = Daemon::attach(user);
    let stop = EventFd::new().unwrap();
    let stopped = stop.as_fd().try_clone_to_owned().unwrap();
    let thread = std::thread::spawn(move || {
        let mut disk = Disk { bytes: vec![0; BLOCKS * 512], busy };
        while readable(daemon.wait_fd(), &stopped) {
            daemon.events();
            let mut batch = daemon.commands();
            if reversed {
                batch.reverse();
            }
            for request in &batch {
                let reply = disk.reply(&daemon, request);
                let wanted: u64 = request.vectors.iter().map(|vector| vector.1).sum();
                let (mut flags, mut read_len) = (0, 0);
                if let Some(mut data) = reply.data {
                    data.truncate(usize::try_from(wanted).unwrap());
                    daemon.fill(&request.vectors, &data);
                    if (data.len() as u64) < wanted {
                        (flags, read_len) = (READ_LEN, u32::try_from(data.len()).unwrap());
                    }
                }
                daemon.answer(
                    request.id,
                    Answer { status: reply.status, flags, read_len, sense: &reply.sense },
                );
            }
            if !batch.is_empty() {
                daemon.ring();
            }
        }
    });
    Server { stop, thread: Some(thread) }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.write(1).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the daemon panicked");
    }
}

fn disk(options: Options) -> (Initiator, Server) {
    let (initiator, user) = Initiator::new(options).unwrap();
    (initiator, serve(user, false, 0))
}

fn impatient(initiator: &Initiator) -> Initiator {
    initiator.with_settings(Settings { timeout: Duration::from_millis(30), ..Settings::default() })
}

#[test]
fn what_is_written_is_read_back() {
    for placement in [Placement::LowestFirst, Placement::RoundRobin, Placement::Scattered] {
        let (initiator, _server) = disk(Options { placement, ..Options::default() });
        let data = bytes(7, 100 * 512);
        assert!(initiator.write(17, &data).unwrap().is_good());
        assert!(initiator.flush().unwrap().is_good());
        let read = initiator.read(17, 100).unwrap();
        assert!(read.is_good() && read.data == data && read.by == By::Daemon);
        let inner = initiator.execute(&cdb::read_16(20, 1), Data::In(512)).unwrap();
        assert_eq!(inner.data, data[3 * 512..4 * 512]);
        initiator.check().unwrap();
    }
}

#[test]
fn the_named_commands_send_what_they_say() {
    let (initiator, _server) = disk(Options::default());
    assert!(initiator.test_unit_ready().unwrap().is_good());
    let inquiry = initiator.inquiry().unwrap();
    assert_eq!((&inquiry.data[8..14], inquiry.residual), (&b"LUNBOX"[..], 96 - 20));
    assert_eq!(initiator.inquiry_page(0x83).unwrap().data, [0, 0x83, 0, 1, 0x83]);
    let capacity = Some(Capacity { blocks: 4096, block_bytes: 512 });
    assert_eq!(initiator.read_capacity().unwrap().capacity(), capacity);
    let short = initiator.execute(&cdb::read_capacity_10(), Data::In(8)).unwrap();
    assert_eq!(short.capacity(), capacity);
    // Beyond 32 bits the 16-byte form is sent; the disk ends long before.
    let beyond = initiator.read(1 << 32, 1).unwrap();
    assert_eq!((beyond.status, beyond.sense_code(), beyond.capacity()), (2, Some((5, 0x21, 0)), None));
    assert_eq!(initiator.write(4096, &[0; 512]).unwrap().sense_code(), Some((5, 0x21, 0)));
    assert_eq!(initiator.execute(&[0x1a; 6], Data::None).unwrap().sense_code(), Some((5, 0x20, 0)));
    initiator.check().unwrap();
}

#[test]
fn many_threads_share_a_small_ring_without_mixing_answers() {
    let options = Options { ring_bytes: 1024, data_blocks: 20, ..Options::default() };
    let (initiator, user) = Initiator::new(options).unwrap();
    let _server = serve(user, true, 0);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let initiator = initiator.clone();
            scope.spawn(move || {
                for round in 0..50 {
                    let data = bytes(thread * 1000 + round, (1 + usize::try_from(round).unwrap() % 9) * 4096);
                    assert!(initiator.write(thread * 200, &data).unwrap().is_good());
                    let blocks = u32::try_from(data.len() / 512).unwrap();
                    assert!(initiator.read(thread * 200, blocks).unwrap().data == data);
                }
            });
        }
    });
    initiator.check().unwrap();
    assert_eq!(initiator.with_kernel(|kernel| kernel.outstanding().count()), 0);
}

#[test]
fn a_batch_larger_than_the_ring_goes_through_with_few_events() {
    let (initiator, user) = Initiator::new(Options { ring_bytes: 512, ..Options::default() }).unwrap();
    let _server = serve(user, true, 0);
    let cdb = cdb::test_unit_ready();
    let commands = vec![(&cdb[..], Data::None); 50];
    let mut sent = Vec::new();
    initiator.start_all(&commands, &mut sent).unwrap();
    assert_eq!(sent.len(), 50);
    for pending in sent {
        assert!(pending.id().is_some());
        assert!(pending.wait().unwrap().is_good());
    }
}

#[test]
fn a_batch_that_fits_is_one_event() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let mut daemon = Daemon::attach(user);
    let cdb = cdb::test_unit_ready();
    let mut sent = Vec::new();
    initiator.start_all(&[(&cdb[..], Data::None); 3], &mut sent).unwrap();
    assert_eq!((daemon.events(), daemon.commands().len()), (1, 3));
    assert!(sent.iter().all(|pending| !pending.is_done()));
    for id in 1..=3 {
        daemon.good(id);
    }
    daemon.ring();
    for pending in sent {
        assert!(pending.wait().unwrap().is_good());
    }
}

#[test]
fn a_command_that_nobody_completes_times_out_and_may_still_end() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let mut daemon = Daemon::attach(user);
    let limit = Duration::from_millis(30);
    let failed = impatient(&initiator).execute(&cdb::read_10(0, 1), Data::In(512));
    assert_eq!(failed, Err(InitiatorError::TimedOut { opcode: 0x28, limit }));
    assert!(failed.unwrap_err().to_string().starts_with("command timed out"));
    // The answer comes late and finds nobody; the next one is not mixed up with it.
    let next = initiator.start(&cdb::read_10(0, 1), Data::In(512)).unwrap();
    for (number, request) in (1..).zip(daemon.commands()) {
        daemon.fill(&request.vectors, &[number; 512]);
        daemon.good(request.id);
    }
    daemon.ring();
    assert_eq!(next.wait().unwrap().data, [2; 512]);
    initiator.check().unwrap();
}

#[test]
fn completing_without_ringing_is_not_noticed() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let mut daemon = Daemon::attach(user);
    let pending = impatient(&initiator).start(&cdb::test_unit_ready(), Data::None).unwrap();
    daemon.commands();
    daemon.good(1);
    assert!(matches!(pending.wait(), Err(InitiatorError::TimedOut { .. })));
}

#[test]
fn without_room_a_command_times_out_and_leaves_no_trace() {
    let (initiator, user) = Initiator::new(Options { data_blocks: 1, ..Options::default() }).unwrap();
    let mut daemon = Daemon::attach(user);
    let first = initiator.start(&cdb::read_10(0, 1), Data::In(512)).unwrap();
    let late = impatient(&initiator);
    let refused = late.start(&cdb::read_10(1, 1), Data::In(512));
    assert!(matches!(refused, Err(InitiatorError::NoRoom { opcode: 0x28, .. })));
    let request = daemon.commands().remove(0);
    daemon.fill(&request.vectors, &[1; 512]);
    daemon.good(request.id);
    daemon.ring();
    assert!(first.wait().unwrap().is_good());
    assert!(daemon.commands().is_empty());
    late.start(&cdb::read_10(1, 1), Data::In(512)).unwrap();
    assert_eq!(daemon.commands().len(), 1);
}

#[test]
fn those_who_wait_for_room_are_served_in_order() {
    let (initiator, user) = Initiator::new(Options { data_blocks: 4, ..Options::default() }).unwrap();
    let mut daemon = Daemon::attach(user);
    for lba in 0..4 {
        initiator.start(&cdb::read_10(lba, 1), Data::In(4096)).unwrap();
    }
    let requests = daemon.commands();
    daemon.events();
    std::thread::scope(|scope| {
        // A large one waits first; a small one that would fit sooner may not overtake it.
        let large = scope.spawn(|| initiator.start(&cdb::read_10(100, 24), Data::In(3 * 4096)));
        // It signals when it starts to wait.
        awaken(&daemon);
        assert_eq!(daemon.events(), 1);
        let small = scope.spawn(|| initiator.start(&cdb::read_10(200, 1), Data::In(4096)));
        awaken(&daemon);
        assert_eq!(daemon.events(), 1);
        let complete = |daemon: &mut Daemon, request: &Request| {
            daemon.fill(&request.vectors, &[1; 4096]);
            daemon.good(request.id);
            daemon.ring();
        };
        // Both look whether they fit now, and signal that they wait again.
        complete(&mut daemon, &requests[0]);
        let mut events = 0;
        while events < 2 {
            awaken(&daemon);
            events += daemon.events();
        }
        assert_eq!(daemon.commands(), [], "one block is free, and it is not the small one's turn");
        complete(&mut daemon, &requests[1]);
        complete(&mut daemon, &requests[2]);
        large.join().unwrap().unwrap();
        complete(&mut daemon, &requests[3]);
        small.join().unwrap().unwrap();
    });
    let order: Vec<_> = daemon.commands().iter().map(|request| request.cdb[5]).collect();
    assert_eq!(order, [100, 200]);
    initiator.check().unwrap();
}

/// Waits until the kernel has signalled.
fn awaken(daemon: &Daemon) {
    let mut fds = [PollFd::new(daemon.wait_fd().as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, 10_000u16), Ok(1), "no event within 10 s");
}

#[test]
fn busy_is_tried_again_a_bounded_number_of_times() {
    for (busy, attempts, expected) in [(3, 4, 0), (3, 3, 8), (0, 1, 0), (1, 1, 8)] {
        let (initiator, user) = Initiator::new(Options::default()).unwrap();
        let _server = serve(user, false, busy);
        let ended = initiator.execute_retrying(&cdb::test_unit_ready(), Data::None, attempts).unwrap();
        assert_eq!((ended.status, ended.is_busy()), (expected, expected == 8));
    }
}

#[test]
fn a_blocked_device_is_busy_and_a_broken_one_not_ready() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let mut daemon = Daemon::attach(user);
    initiator.with_kernel(Kernel::block);
    let blocked = initiator.test_unit_ready().unwrap();
    assert_eq!((blocked.status, blocked.by), (8, By::Kernel));
    initiator.with_kernel(Kernel::unblock);
    let huge = initiator.execute(&cdb::read_10(0, 1), Data::In(u32::MAX)).unwrap();
    assert_eq!(huge.sense_code(), Some((5, 0x24, 0)));

    let stuck = initiator.start(&cdb::test_unit_ready(), Data::None).unwrap();
    daemon.commands();
    daemon.good(77);
    daemon.ring();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !initiator.with_kernel(|kernel| kernel.is_broken()) {
        assert!(std::time::Instant::now() < deadline, "the doorbell was not heard");
        std::thread::yield_now();
    }
    assert_eq!(initiator.test_unit_ready().unwrap().sense_code(), Some((2, 8, 0)));
    initiator.with_kernel(|kernel| kernel.reset_ring(ResetMode::Check));
    assert_eq!(stuck.wait().unwrap().sense_code(), Some((2, 8, 0)));
    assert!(initiator.check().unwrap_err().to_string().contains("id 77, which is not outstanding"));
}

#[test]
fn a_reset_answers_busy_and_a_retry_reaches_the_new_daemon() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let dead = Daemon::attach(user);
    let started = Arc::new(Barrier::new(2));
    let waiter = std::thread::spawn({
        let (initiator, started) = (initiator.clone(), Arc::clone(&started));
        move || {
            started.wait();
            initiator.execute_retrying(&cdb::test_unit_ready(), Data::None, u32::MAX)
        }
    });
    started.wait();
    awaken(&dead);
    drop(dead);
    let user = initiator.with_kernel(|kernel| {
        kernel.block();
        kernel.reset_ring(ResetMode::Busy);
        kernel.user_side()
    });
    let _server = serve(user.unwrap(), false, 0);
    initiator.with_kernel(Kernel::unblock);
    assert!(waiter.join().unwrap().unwrap().is_good());
    initiator.check().unwrap();
}

#[test]
fn an_expired_command_answers_at_once() {
    let (initiator, user) = Initiator::new(Options::default()).unwrap();
    let mut daemon = Daemon::attach(user);
    let pending = initiator.start(&cdb::test_unit_ready(), Data::None).unwrap();
    assert_eq!(pending.id(), Some(CommandId(1)));
    initiator.with_kernel(|kernel| kernel.expire(CommandId(1))).unwrap();
    assert!(pending.is_done());
    let ended = pending.wait().unwrap();
    assert_eq!((ended.sense_code(), ended.by), (Some((2, 8, 0)), By::Kernel));
    daemon.commands();
    daemon.answer(1, GOOD);
    daemon.ring();
}

#[test]
fn who_waits_for_an_initiator_that_is_gone_is_told() {
    let (initiator, _user) = Initiator::new(Options::default()).unwrap();
    let pending = initiator.clone().start(&cdb::test_unit_ready(), Data::None).unwrap();
    assert!(!pending.is_done(), "a clone went, the initiator did not");
    drop(initiator);
    assert_eq!(pending.wait(), Err(InitiatorError::Closed));
}
