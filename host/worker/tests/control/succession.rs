//! What a successor finds of what its predecessor began, and what becomes of it when there is none.

use std::os::fd::AsFd;
use std::time::Duration;

use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::{Ending, Health, Minor, Notice, Refusal, Report, Request};

use crate::support::{Client, Rig, SIZE, good, pattern};
use crate::{Served, ends, refusal, worker};

/// Long enough for a few packets on a machine that has other things to do.
const SLEEP: Duration = Duration::from_secs(2);

struct Place {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sock");
        Self { _folder: folder, path }
    }

    fn worker(&self) -> (Client, Served) {
        worker(Some(Listener::bind(&self.path).unwrap()))
    }

    fn successor(&self) -> Client {
        let (client, hello, _) = Client::new(connect(&self.path).unwrap());
        assert_eq!(hello.devices, 1);
        client
    }
}

/// A stop that lasts as long as the handler sleeps; its answer is not waited for.
fn begin_to_stop(client: &mut Client, minor: Minor) {
    let call = client.call();
    client.link.send(&Request::Stop { call, minor, how: Ending::Drain, patience_ms: 20_000 }, &[]).unwrap();
}

fn serves_again(client: &mut Client, rig: &Rig) {
    rig.start(client).unwrap();
    good(&rig.initiator.write(0, &pattern(1, 4096)).unwrap());
    client.stop(rig.device.minor, Ending::Drain).unwrap();
}

#[test]
fn a_stop_whose_asker_has_gone_is_told_to_his_successor() {
    let place = Place::new();
    let (mut first, served) = place.worker();
    let rig = Rig::sleepy(5, SLEEP);
    rig.start(&mut first).unwrap();
    let command = rig.oversleep();
    begin_to_stop(&mut first, 5);

    let mut second = place.successor();
    // While it stops the handler may be heard of, too.
    while !matches!(second.next_notice(), (5, Notice::Ended(_))) {}
    assert!(command.wait().unwrap().is_busy());
    assert_eq!(second.handles(5).len(), 5, "the successor can go on with it");
    assert_eq!(refusal(second.resize(5, SIZE / 2)), Refusal::Gone);
    assert_eq!(second.stop(5, Ending::Cancel), Ok(()));
    assert!(second.status().is_empty());
    serves_again(&mut second, &rig);
    ends(&second, served);
}

#[test]
fn an_orphan_ends_when_the_last_stop_that_it_was_asked_for_is_done() {
    let place = Place::new();
    let (mut client, served) = place.worker();
    let rig = Rig::sleepy(5, SLEEP);
    rig.start(&mut client).unwrap();
    let command = rig.oversleep();
    begin_to_stop(&mut client, 5);
    drop(client);
    served.join().unwrap().unwrap();
    assert!(command.wait().unwrap().is_busy());
    rig.initiator.check().unwrap();
}

#[test]
fn a_loop_that_did_not_end_in_time_is_gone_when_it_has_ended() {
    let (mut client, served) = worker(None);
    let rig = Rig::sleepy(6, SLEEP);
    rig.start(&mut client).unwrap();
    let command = rig.oversleep();
    assert_eq!(refusal(client.stop_within(6, Ending::Drain, 10)), Refusal::StoreBusy);
    assert_eq!(client.status()[0].1.health, Health::Stopped, "it takes nothing more");
    assert_eq!(refusal(client.resize(6, SIZE / 2)), Refusal::Gone);
    assert_eq!(refusal(rig.start(&mut client)), Refusal::Invalid, "there would be two loops");
    assert!(!command.is_done());

    while !matches!(client.next_notice(), (6, Notice::Ended(_))) {}
    assert!(command.wait().unwrap().is_busy());
    assert!(client.status().is_empty());
    assert_eq!(refusal(client.stop(6, Ending::Cancel)), Refusal::Gone);
    serves_again(&mut client, &rig);
    ends(&client, served);
}

#[test]
fn a_successor_hears_of_a_loop_that_was_cancelled_and_can_wait_for_it() {
    let place = Place::new();
    let (mut first, served) = place.worker();
    let rig = Rig::sleepy(7, SLEEP);
    rig.start(&mut first).unwrap();
    let command = rig.oversleep();
    assert_eq!(refusal(first.stop_within(7, Ending::Drain, 10)), Refusal::StoreBusy);
    drop(first);
    let mut second = place.successor();
    assert!(matches!(second.next_notice(), (7, Notice::Ended(_))));
    assert!(!command.is_done(), "it has not ended yet");
    assert_eq!(second.stop(7, Ending::Cancel), Ok(()));
    assert!(command.wait().unwrap().is_busy());
    serves_again(&mut second, &rig);
    ends(&second, served);
}

#[test]
fn an_orphan_ends_when_the_loop_that_was_cancelled_has_ended() {
    let place = Place::new();
    let (mut client, served) = place.worker();
    let rig = Rig::sleepy(7, SLEEP);
    rig.start(&mut client).unwrap();
    let command = rig.oversleep();
    assert_eq!(refusal(client.stop_within(7, Ending::Drain, 10)), Refusal::StoreBusy);
    drop(client);
    served.join().unwrap().unwrap();
    assert!(command.wait().unwrap().is_busy());
    rig.initiator.check().unwrap();
}

#[test]
fn a_size_that_nobody_waits_for_is_taken_back() {
    let place = Place::new();
    let (mut first, served) = place.worker();
    let rig = Rig::new(4);
    rig.start(&mut first).unwrap();
    // A command that waits keeps the size from being changed.
    let initiator = rig.initiator.clone();
    let inquiry = std::thread::spawn(move || initiator.inquiry_page(0x80).unwrap());
    let (asked, _) = first.link.receive::<Report>().unwrap().unwrap();
    assert_eq!(asked, Report::Notice { minor: 4, notice: Notice::IdentityWanted });
    let call = first.call();
    let resize = Request::Resize { call, minor: 4, bytes: SIZE / 2, patience_ms: 20_000 };
    first.link.send(&resize, &[]).unwrap();

    let mut second = place.successor();
    assert_eq!(second.next_notice(), (4, Notice::IdentityWanted));
    good(&inquiry.join().unwrap());
    // Answered behind whatever goes on with the size.
    assert_eq!(refusal(second.resize(4, 1000)), Refusal::Invalid);
    let last = cdb::read_16(SIZE / 512 - 8, 8);
    let changed = rig.initiator.execute(&last, Data::In(4096)).unwrap();
    assert_eq!(changed.sense_code(), Some((6, 0x2a, 9)), "it had the other size for a while");
    good(&rig.initiator.execute_retrying(&last, Data::In(4096), 3).unwrap());
    drop(second);
    let (mut third, _, devices) = Client::new(connect(&place.path).unwrap());
    assert_eq!(devices, std::slice::from_ref(&rig.device));
    third.stop(4, Ending::Drain).unwrap();
    ends(&third, served);
}

#[test]
fn a_loop_that_breaks_while_it_hands_over_does_not_say_that_it_did() {
    let (mut client, served) = worker(None);
    let rig = Rig::sleepy(8, SLEEP);
    rig.start(&mut client).unwrap();
    let _command = rig.oversleep();
    let call = client.call();
    let hand_over = Request::Stop { call, minor: 8, how: Ending::HandOver, patience_ms: 20_000 };
    client.link.send(&hand_over, &[]).unwrap();
    // While it sleeps: cmd_head (at 12) beyond the ring.
    let ring = rig.ring();
    let length = usize::try_from(rig.device.map_bytes).unwrap();
    let map = lunbox_memory::Mapping::shared(ring[0].as_fd(), length).unwrap();
    map.store_bytes(12, &u32::MAX.to_ne_bytes()).unwrap();
    assert_eq!(refusal(client.answer(call)), Refusal::Gone);
    assert!(client.status().is_empty());
    ends(&client, served);
}
