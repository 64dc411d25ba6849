//! How a LUN presents itself: target port groups, and mode parameters that outlive a loop.

use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::{AccessStateAnswer, Ending, Modes, Notice, Port, PortGroup, Request};

use crate::support::{Client, Rig, good, pattern};
use crate::{ends, worker};

/// REPORT TARGET PORT GROUPS with room for 64 bytes.
const REPORT_GROUPS: [u8; 12] = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];
/// SET TARGET PORT GROUPS with one descriptor.
const SET_GROUPS: [u8; 12] = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];

fn identity() -> (Vec<Port>, Vec<PortGroup>) {
    let port = Port {
        relative_id: 3,
        protocol: 5,
        group: 16,
        name: "iqn.x,t,0x0001".to_owned(),
        target_name: "iqn.x".to_owned(),
    };
    let group = PortGroup {
        id: 16,
        state: 0,
        preferred: false,
        supported: 0x05,
        status: 0,
        implicit_transition_s: 0,
        ports: vec![3],
    };
    (vec![port], vec![group])
}

/// SET TARGET PORT GROUPS: group 16 into `state`.
fn wish(state: u8) -> [u8; 8] {
    [0, 0, 0, 0, state, 0, 0, 16]
}

fn answer(client: &Client, wish: u64, answer: AccessStateAnswer) {
    client.link.send(&Request::AccessState { minor: 3, wish, answer }, &[]).unwrap();
}

/// The next wish that is told, behind whatever is asked for names.
fn next_wish(client: &mut Client) -> (u64, u16, u8) {
    loop {
        match client.next_notice() {
            (3, Notice::AccessStateWanted { wish, group, state }) => return (wish, group, state),
            (_, Notice::IdentityWanted) => {}
            other => panic!("no wish: {other:?}"),
        }
    }
}

#[test]
fn groups_are_reported_and_set_and_a_successor_answers_what_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut first, served) = worker(Some(Listener::bind(&path).unwrap()));
    first.identity = identity();
    let rig = Rig::new(3);
    rig.start(&mut first).unwrap();

    let report = rig.initiator.start(&REPORT_GROUPS, Data::In(64)).unwrap();
    assert_eq!(first.next_notice(), (3, Notice::IdentityWanted));
    let report = report.wait().unwrap();
    good(&report);
    // Length, then the group: state, supported, number, status, one port.
    assert_eq!(report.data[..16], [0, 0, 0, 12, 0, 0x05, 0, 16, 0, 0, 0, 1, 0, 0, 0, 3]);

    for (told, sense) in [
        (AccessStateAnswer::Set, None),
        (AccessStateAnswer::Unsupported, Some((5, 0x26, 0))),
        (AccessStateAnswer::Failed, Some((4, 0x67, 0x0a))),
    ] {
        let pending = rig.initiator.start(&SET_GROUPS, Data::Out(&wish(2))).unwrap();
        let (number, group, state) = next_wish(&mut first);
        assert_eq!((group, state), (16, 2));
        // Of another wish.
        answer(&first, number + 100, AccessStateAnswer::Set);
        answer(&first, number, told);
        let response = pending.wait().unwrap();
        assert_eq!((response.is_good(), response.sense_code()), (sense.is_none(), sense), "{told:?}");
    }

    let pending = rig.initiator.start(&SET_GROUPS, Data::Out(&wish(0))).unwrap();
    let (number, ..) = next_wish(&mut first);
    drop(first);
    let (mut second, _, _) = Client::new(connect(&path).unwrap());
    second.identity = identity();
    assert_eq!(next_wish(&mut second), (number, 16, 0));
    answer(&second, number, AccessStateAnswer::Set);
    good(&pending.wait().unwrap());
    second.stop(3, Ending::Drain).unwrap();
    ends(&second, served);
}

#[test]
fn a_write_protection_that_an_initiator_set_is_in_force_in_the_next_loop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut first, served) = worker(Some(Listener::bind(&path).unwrap()));
    let rig = Rig::new(3);
    rig.start(&mut first).unwrap();
    good(&rig.initiator.write(0, &pattern(1, 512)).unwrap());

    // The control page as it is, with SWP.
    let page = rig.initiator.execute(&[0x1a, 0x08, 0x0a, 0, 255, 0], Data::In(255)).unwrap();
    let mut list = page.data[..16].to_vec();
    (list[0], list[4], list[8]) = (0, list[4] & 0x3f, list[8] | 0x08);
    let select = [0x15, 0x10, 0, 0, 16, 0];
    good(&rig.initiator.execute(&select, Data::Out(&list)).unwrap());
    let modes = Modes { software_write_protect: true, descriptor_sense: false };
    assert_eq!(first.next_notice(), (3, Notice::ModesChanged { write_cache: true, modes }));
    drop(first);

    let (mut second, _, devices) = Client::new(connect(&path).unwrap());
    assert_eq!((devices[0].modes, devices[0].write_cache), (modes, Some(true)));
    second.stop(3, Ending::Drain).unwrap();
    second.start(&devices[0], &rig.descriptors(rig.ring())).unwrap();
    let refused = rig.initiator.write(0, &pattern(2, 512)).unwrap();
    assert_eq!(refused.sense_code(), Some((7, 0x27, 0x02)));
    let read = rig.initiator.execute(&cdb::read_10(0, 1), Data::In(512)).unwrap();
    assert_eq!(read.data, pattern(1, 512));
    second.stop(3, Ending::Drain).unwrap();
    ends(&second, served);
}
