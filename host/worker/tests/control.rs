//! The control thread on a link, without a process around it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that clippy takes for tests"
)]

#[path = "control/presenting.rs"]
mod presenting;
#[path = "control/succession.rs"]
mod succession;
mod support;
#[path = "control/watching.rs"]
mod watching;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::{Ending, Health, Link, Notice, Refusal, Report, Request, StoreKind};
use lunbox_worker::{Options, WorkerError, serve};

use support::{Client, Load, Rig, SIZE, container_bytes, good, pattern};

type Served = JoinHandle<Result<(), WorkerError>>;

fn worker(listener: Option<Listener>) -> (Client, Served) {
    let (ours, theirs) = Link::pair().unwrap();
    let served = std::thread::spawn(move || serve(theirs, listener, Options::new("test", "build")));
    let (client, hello, _) = Client::new(ours);
    assert_eq!((hello.tenant.as_str(), hello.build.as_str(), hello.jail.len()), ("test", "build", 0));
    (client, served)
}

fn ends(client: &Client, served: Served) {
    client.leave();
    served.join().unwrap().unwrap();
}

fn refusal(result: Result<(), (Refusal, String)>) -> Refusal {
    let (kind, reason) = result.unwrap_err();
    assert!(!reason.is_empty());
    kind
}

fn an_unknown_request_is_answered(client: &mut Client) {
    let call = client.call();
    client.link.send(&serde_json::json!({"dance": {"call": call, "steps": 3}}), &[]).unwrap();
    assert_eq!(refusal(client.answer(call)), Refusal::Unsupported);
}

#[test]
fn what_can_not_be_done_is_refused_once_and_leaves_nothing_behind() {
    let (mut client, served) = worker(None);
    let rig = Rig::new(5);
    assert_eq!(refusal(client.stop(5, Ending::Drain)), Refusal::Gone);
    assert_eq!(refusal(client.resize(5, SIZE)), Refusal::Gone);
    an_unknown_request_is_answered(&mut client);
    // Not a request at all, and nobody waits for an answer.
    client.link.send(&serde_json::json!([1, 2, 3]), &[]).unwrap();

    let mut descriptors = rig.descriptors(rig.ring());
    descriptors.pop();
    assert_eq!(refusal(client.start(&rig.device, &descriptors)), Refusal::Invalid);

    let mut other = rig.device.clone();
    other.handler.digest = "0".repeat(64);
    assert_eq!(refusal(client.start(&other, &rig.descriptors(rig.ring()))), Refusal::Failed);
    other.handler.digest = "no digest".to_owned();
    assert_eq!(refusal(client.start(&other, &rig.descriptors(rig.ring()))), Refusal::Failed);

    let mut odd = rig.device.clone();
    odd.block_size = 1000;
    assert_eq!(refusal(client.start(&odd, &rig.descriptors(rig.ring()))), Refusal::Invalid);

    // One bit of the compiled handler.
    let mut bytes = container_bytes();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut changed = tempfile::tempfile().unwrap();
    changed.write_all(&bytes).unwrap();
    let mut descriptors = rig.descriptors(rig.ring());
    descriptors[3] = changed.into();
    assert_eq!(refusal(client.start(&rig.device, &descriptors)), Refusal::Failed);

    // A store that is none.
    let mut descriptors = rig.descriptors(rig.ring());
    descriptors[4] = OwnedFd::from(File::open("/dev/null").unwrap());
    assert_eq!(refusal(client.start(&rig.device, &descriptors)), Refusal::Failed);

    assert!(client.status().is_empty());
    rig.start(&mut client).unwrap();
    assert_eq!(refusal(rig.start(&mut client)), Refusal::Invalid, "served already");
    good(&rig.initiator.write(0, &pattern(1, 4096)).unwrap());
    assert_eq!(client.stop(5, Ending::Drain), Ok(()));
    ends(&client, served);
    rig.initiator.check().unwrap();
}

#[test]
fn devices_serve_tell_change_their_size_and_stop() {
    let (mut client, served) = worker(None);
    let rigs: Vec<Rig> = (0..3).map(Rig::new).collect();
    for rig in &rigs {
        rig.start(&mut client).unwrap();
    }
    for (rig, seed) in rigs.iter().zip(0..) {
        good(&rig.initiator.write(8, &pattern(seed, 4096)).unwrap());
        assert!(rig.initiator.read(8, 8).unwrap().data == pattern(seed, 4096));
    }
    let status = client.status();
    assert_eq!(status.iter().map(|(minor, _)| *minor).collect::<Vec<_>>(), [0, 1, 2]);
    for (_, status) in status {
        assert_eq!((status.health, status.commands, status.bytes_written), (Health::Serving, 2, 4096));
    }
    // The names that an INQUIRY wants come from the supervisor.
    let initiator = rigs[1].initiator.clone();
    let inquiry = std::thread::spawn(move || initiator.inquiry_page(0x80).unwrap());
    assert_eq!(client.next_notice(), (1, Notice::IdentityWanted));
    let inquiry = inquiry.join().unwrap();
    good(&inquiry);
    assert!(inquiry.data.windows(4).any(|bytes| bytes == b"4711"));

    client.resize(0, SIZE / 2).unwrap();
    assert_eq!(refusal(client.resize(0, 1000)), Refusal::Invalid);
    let beyond =
        rigs[0].initiator.execute_retrying(&cdb::read_16(SIZE / 512 - 8, 8), Data::In(4096), 3).unwrap();
    assert!(!beyond.is_good());
    for rig in &rigs {
        assert_eq!(client.stop(rig.device.minor, Ending::Drain), Ok(()));
        assert_eq!(refusal(client.resize(rig.device.minor, SIZE)), Refusal::Gone);
    }
    ends(&client, served);
}

#[test]
fn requests_for_one_device_are_carried_out_in_their_order_and_each_is_answered() {
    let (mut client, served) = worker(None);
    let rig = Rig::new(7);
    let descriptors = rig.descriptors(rig.ring());
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let calls: Vec<u64> = (0..4).map(|_| client.call()).collect();
    let device = Box::new(rig.device.clone());
    client.link.send(&Request::Start { call: calls[0], device }, &borrowed).unwrap();
    for (&call, bytes) in calls[1..3].iter().zip([SIZE / 2, SIZE]) {
        client.link.send(&Request::Resize { call, minor: 7, bytes, patience_ms: 5000 }, &[]).unwrap();
    }
    client
        .link
        .send(&Request::Stop { call: calls[3], minor: 7, how: Ending::Drain, patience_ms: 5000 }, &[])
        .unwrap();
    for call in calls {
        assert_eq!(client.answer(call), Ok(()));
    }
    assert!(client.status().is_empty());
    ends(&client, served);
}

#[test]
fn a_ring_that_breaks_is_told_and_its_descriptors_stay_until_the_device_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut client, served) = worker(Some(Listener::bind(&path).unwrap()));
    let rig = Rig::new(2);
    rig.start(&mut client).unwrap();
    good(&rig.initiator.test_unit_ready().unwrap());
    // cmd_head (at 12) beyond the ring: whatever is behind it can not be trusted any more.
    let ring = rig.ring();
    let length = usize::try_from(rig.device.map_bytes).unwrap();
    let map = lunbox_memory::Mapping::shared(ring[0].as_fd(), length).unwrap();
    let head = map.load_u32(12).unwrap();
    map.store_bytes(12, &u32::MAX.to_ne_bytes()).unwrap();
    rig.initiator.with_kernel(|kernel| kernel.signal()).unwrap();
    assert!(matches!(client.next_notice(), (2, Notice::Ended(_))));
    map.store_bytes(12, &head.to_ne_bytes()).unwrap();
    assert_eq!(client.status()[0].1.health, Health::Stopped);
    assert_eq!(refusal(client.resize(2, SIZE / 2)), Refusal::Gone);

    // The next supervisor hears of it, too.
    drop(client);
    let (mut client, hello, _) = Client::new(connect(&path).unwrap());
    assert_eq!(hello.devices, 1);
    assert!(matches!(client.next_notice(), (2, Notice::Ended(_))));
    let ring = client.handles(2).drain(..3).collect();
    // Its entries were begun, so nobody may go on with them as they are.
    assert_eq!(refusal(client.stop(2, Ending::HandOver)), Refusal::Gone);
    assert!(client.status().is_empty());
    client.start(&rig.device, &rig.descriptors(ring)).unwrap();
    good(&rig.initiator.write(0, &pattern(1, 4096)).unwrap());
    client.stop(2, Ending::Drain).unwrap();
    ends(&client, served);
}

#[test]
fn the_newest_supervisor_wins_and_what_is_owed_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut first, served) = worker(Some(Listener::bind(&path).unwrap()));
    let rig = Rig::new(4);
    rig.start(&mut first).unwrap();
    let initiator = rig.initiator.clone();
    let inquiry = std::thread::spawn(move || initiator.inquiry_page(0x80).unwrap());
    // The first is asked and says nothing.
    let (asked, _) = first.link.receive::<Report>().unwrap().unwrap();
    assert_eq!(asked, Report::Notice { minor: 4, notice: Notice::IdentityWanted });

    let (mut second, _, devices) = Client::new(connect(&path).unwrap());
    assert_eq!(devices, std::slice::from_ref(&rig.device));
    assert!(first.link.receive::<Report>().unwrap().is_none(), "the first was let go");
    assert_eq!(second.next_notice(), (4, Notice::IdentityWanted));
    good(&inquiry.join().unwrap());
    second.stop(4, Ending::Drain).unwrap();
    ends(&second, served);
}

#[test]
fn memory_that_would_be_lost_is_not_handed_over() {
    let (mut client, served) = worker(None);
    let rig = Rig::new(6);
    let mut device = rig.device.clone();
    device.stores[0].kind = StoreKind::Memory { bytes: SIZE };
    let mut descriptors = rig.descriptors(rig.ring());
    descriptors.pop();
    client.start(&device, &descriptors).unwrap();
    good(&rig.initiator.write(0, &pattern(1, 4096)).unwrap());
    assert_eq!(refusal(client.stop(6, Ending::HandOver)), Refusal::Unsupported);
    assert!(rig.initiator.read(0, 8).unwrap().data == pattern(1, 4096), "it serves still");
    client.stop(6, Ending::Drain).unwrap();
    ends(&client, served);
}

#[test]
fn a_supervisor_that_does_not_read_stops_nothing() {
    let (mut client, served) = worker(None);
    let rig = Rig::new(8);
    rig.start(&mut client).unwrap();
    let load = Load::begin(&rig.initiator, 1);
    // Far more answers than the socket holds, and none is read.
    let mut asked = 0;
    while client.link.try_send(&Request::Status { call: 1_000_000 + asked }, &[]).is_ok() && asked < 20_000 {
        asked += 1;
    }
    assert!(asked > 100);
    load.goes_on(200);
    load.end();
    for call in (1_000_000..).take(usize::try_from(asked).unwrap()) {
        match client.next().0 {
            Report::Status { call: answered, more: false, .. } => assert_eq!(answered, call),
            other => panic!("{other:?}"),
        }
    }
    client.stop(8, Ending::Drain).unwrap();
    ends(&client, served);
}

#[test]
fn without_a_listener_the_end_of_the_link_drains_the_devices() {
    let (mut client, served) = worker(None);
    let rig = Rig::new(9);
    rig.start(&mut client).unwrap();
    let write = rig.initiator.start(&cdb::write_16(0, 8), Data::Out(&pattern(3, 4096))).unwrap();
    drop(client);
    served.join().unwrap().unwrap();
    good(&write.wait().unwrap());
    rig.initiator.check().unwrap();
}
