use super::message::{
    Message, decode_event, decode_family, encode_family_request, encode_features, encode_reply, next_message,
};
use super::*;

/// The family's number as a recorded kernel had it.
const FAMILY: u16 = 0x1a;

/// One attribute as the kernel lays it out: length, type, payload, padding to 4.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A whole message: nlmsghdr, genlmsghdr, attributes.
fn message(kind: u16, sequence: u32, command: u8, version: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let length = u32::try_from(20 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&0_u16.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[command, version, 0, 0]);
    bytes.extend_from_slice(&body);
    bytes
}

fn answer(sequence: u32, error: i32) -> Vec<u8> {
    let mut bytes = 36_u32.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&2_u16.to_ne_bytes());
    bytes.extend_from_slice(&0_u16.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&error.to_ne_bytes());
    bytes.extend_from_slice(&[0; 16]); // the header that it answers
    bytes
}

fn device() -> [Vec<u8>; 3] {
    [
        attribute(1, b"tcm-user/0/f1/file//tmp/f1.raw\0"),
        attribute(2, &3_u32.to_ne_bytes()),
        attribute(8, &77_u32.to_ne_bytes()),
    ]
}

fn event(bytes: &[u8]) -> DeviceEvent {
    let mut rest = bytes;
    let Some(Message::Generic { kind: FAMILY, sequence: 0, payload }) = next_message(&mut rest).unwrap()
    else {
        panic!("not an event");
    };
    decode_event(payload).unwrap().unwrap()
}

#[test]
fn an_added_device_is_read_with_all_its_attributes() {
    let expected = DeviceEvent {
        kind: EventKind::Added,
        device_id: Some(DeviceId(77)),
        minor: Some(Minor(3)),
        name: Some("tcm-user/0/f1/file//tmp/f1.raw".into()),
        wants_reply: true,
    };
    assert_eq!(event(&message(FAMILY, 0, 1, 2, &device())), expected);
    let removed = DeviceEvent { kind: EventKind::Removed, ..expected.clone() };
    assert_eq!(event(&message(FAMILY, 0, 2, 2, &device())), removed);
    let old = DeviceEvent { wants_reply: false, ..expected };
    assert_eq!(event(&message(FAMILY, 0, 1, 1, &device())), old);
}

#[test]
fn a_reconfiguration_tells_what_changes() {
    let changes = [
        (attribute(5, &(1_u64 << 40).to_ne_bytes()), Change::Size(1 << 40)),
        (attribute(4, b"file//tmp/other\0"), Change::Config("file//tmp/other".into())),
        (attribute(6, &[1]), Change::WriteCache(true)),
        (attribute(6, &[0]), Change::WriteCache(false)),
        (attribute(5, &[1, 2]), Change::Unknown),
        (attribute(200, &[1]), Change::Unknown),
    ];
    for (bytes, change) in changes {
        let mut attributes = device().to_vec();
        attributes.push(bytes);
        assert_eq!(event(&message(FAMILY, 0, 3, 2, &attributes)).kind, EventKind::Reconfigured(change));
    }
}

#[test]
fn missing_attributes_leave_what_is_needed_to_answer() {
    let found = event(&message(FAMILY, 0, 1, 2, &[attribute(8, &5_u32.to_ne_bytes())]));
    assert_eq!((found.device_id, found.minor, found.name), (Some(DeviceId(5)), None, None));
    let found = event(&message(FAMILY, 0, 1, 2, &[attribute(8, &[5])]));
    assert_eq!(found.device_id, None);
}

/// NL-6: what comes twice is read once, the first counts; what is too much or too short is not read at all.
#[test]
fn repeated_and_misshapen_attributes_do_not_confuse() {
    let mut attributes = device().to_vec();
    attributes.extend([attribute(2, &9_u32.to_ne_bytes()), attribute(8, &99_u32.to_ne_bytes())]);
    attributes.extend([
        attribute(1, b"tcm-user/1/other/file/x\0"),
        attribute(3, &[]),
        attribute(300, &[7; 100]),
    ]);
    let found = event(&message(FAMILY, 0, 1, 2, &attributes));
    assert_eq!((found.device_id, found.minor), (Some(DeviceId(77)), Some(Minor(3))));
    assert_eq!(found.name.as_deref(), Some("tcm-user/0/f1/file//tmp/f1.raw"));
    let twice =
        [attribute(8, &[1; 8]), attribute(8, &5_u32.to_ne_bytes()), attribute(2, &3_u32.to_ne_bytes())];
    assert_eq!(event(&message(FAMILY, 0, 2, 2, &twice)).device_id, None, "the first is not a number");
    // Without an end, without an inside, and not text.
    for (bytes, name) in
        [(&b"tcm-user/0/f1/x/"[..], "tcm-user/0/f1/x/"), (b"\0rest", ""), (b"a\xffb\0", "a\u{fffd}b")]
    {
        let found = event(&message(FAMILY, 0, 1, 2, &[attribute(1, bytes)]));
        assert_eq!(found.name.as_deref(), Some(name));
    }
    let sizes = [attribute(5, &4096_u64.to_ne_bytes()), attribute(5, &8192_u64.to_ne_bytes())];
    let changed = event(&message(FAMILY, 0, 3, 2, &sizes));
    assert_eq!(changed.kind, EventKind::Reconfigured(Change::Size(4096)));
}

/// NL-2: what this version does not know, and the answers of other daemons, are no events.
#[test]
fn other_commands_are_ignored() {
    for command in (0..=255).filter(|command| !(1..=3).contains(command)) {
        let bytes = message(FAMILY, 0, command, 2, &device());
        let mut events = VecDeque::new();
        read_datagram(&bytes, FAMILY, None, &mut events).unwrap();
        assert_eq!(events, [], "command {command}");
    }
}

/// NL-4: a kernel without answers says so, and is served all the same.
#[test]
fn a_kernel_that_knows_no_answers_is_tolerated() {
    let settled = |answer| features_answer(answer).map_err(|error| error.to_string());
    assert_eq!(settled(Answer::Status(None)), Ok(()));
    assert_eq!(settled(Answer::Status(Some(Errno::EOPNOTSUPP))), Ok(()));
    assert!(matches!(features_answer(Answer::Status(Some(Errno::EPERM))), Err(NetlinkError::NotPermitted)));
    assert!(settled(Answer::Status(Some(Errno::EINVAL))).unwrap_err().contains("SET_FEATURES"));
}

#[test]
fn replies_are_laid_out_as_the_kernel_reads_them() {
    let kinds =
        [(EventKind::Added, 4), (EventKind::Removed, 5), (EventKind::Reconfigured(Change::Unknown), 6)];
    for (kind, command) in kinds {
        let status = attribute(7, &(-95_i32).to_ne_bytes());
        let id = attribute(8, &77_u32.to_ne_bytes());
        let mut expected = message(FAMILY, 9, command, 2, &[status, id]);
        expected[6] = 1; // NLM_F_REQUEST
        assert_eq!(encode_reply(FAMILY, 9, &kind, DeviceId(77), -95).unwrap(), expected);
    }
}

#[test]
fn requests_are_laid_out_as_the_kernel_reads_them() {
    let mut expected = message(FAMILY, 2, 7, 2, &[attribute(9, &[1])]);
    expected[6] = 1 | 4; // NLM_F_REQUEST, NLM_F_ACK
    assert_eq!(encode_features(FAMILY, 2).unwrap(), expected);
    let mut expected = message(0x10, 1, 3, 1, &[attribute(2, b"TCM-USER\0")]);
    expected[6] = 1;
    assert_eq!(encode_family_request("TCM-USER", 1).unwrap(), expected);
}

#[test]
fn the_family_is_found_with_its_group() {
    let group = |index: u16, name: &[u8], id: u32| {
        attribute(index, &[attribute(2, &id.to_ne_bytes()), attribute(1, name)].concat())
    };
    let groups = attribute(7, &[group(1, b"other\0", 4), group(2, b"config\0", 9)].concat());
    let bytes = message(0x10, 1, 1, 2, &[attribute(1, &FAMILY.to_ne_bytes()), groups]);
    let payload = &bytes[16..];
    assert_eq!(decode_family(payload, "config").unwrap(), Family { id: FAMILY, group: 9 });
    assert!(matches!(decode_family(payload, "none"), Err(NetlinkError::Malformed { .. })));
}

#[test]
fn a_datagram_is_sorted_into_events_and_the_awaited_answer() {
    let datagram = [
        message(FAMILY, 0, 1, 2, &device()),
        answer(6, 0),                        // an acknowledgement that nobody waits for
        answer(5, -19),                      // a reply that nobody waited for
        message(0x99, 0, 1, 2, &device()),   // another family
        message(FAMILY, 0, 4, 2, &device()), // not an event
        answer(7, -1),
        message(FAMILY, 0, 2, 2, &device()),
    ]
    .concat();
    let (mut events, mut awaited) = (VecDeque::new(), Awaited { sequence: 7, group: "config", answer: None });
    read_datagram(&datagram, FAMILY, Some(&mut awaited), &mut events).unwrap();
    assert_eq!(awaited.answer, Some(Answer::Status(Some(Errno::EPERM))));
    let kinds: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Device(device) => device.kind.clone(),
            Event::ReplyRefused(errno) => {
                assert_eq!(*errno, Errno::ENODEV);
                EventKind::Reconfigured(Change::Unknown)
            }
            Event::Overrun => panic!("no overrun here"),
        })
        .collect();
    assert_eq!(kinds, [EventKind::Added, EventKind::Reconfigured(Change::Unknown), EventKind::Removed]);
}

#[test]
fn truncated_and_mutated_datagrams_never_panic() {
    let whole =
        [message(FAMILY, 0, 3, 2, &device()), answer(1, -2), message(FAMILY, 1, 1, 2, &device())].concat();
    let (mut refused, mut read) = (0, 0);
    let mut run = |bytes: &[u8]| {
        let mut awaited = Awaited { sequence: 1, group: "config", answer: None };
        match read_datagram(bytes, FAMILY, Some(&mut awaited), &mut VecDeque::new()) {
            Ok(()) => read += 1,
            Err(NetlinkError::Malformed { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    };
    for length in 0..whole.len() {
        run(&whole[..length]);
    }
    // A fixed xorshift: the same inputs in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random() % 4 {
            let at = usize::try_from(random() % bytes.len() as u64).unwrap();
            bytes[at] = random().to_le_bytes()[0];
        }
        run(&bytes);
    }
    assert!(refused > 1000 && read > 1000, "both kinds must occur: {refused} refused, {read} read");
}

/// Against the running kernel: every kernel with generic netlink has this family and this group.
#[test]
fn the_kernels_own_controller_answers() {
    let found = Netlink::connect("nlctrl", "notify").unwrap();
    assert_eq!(found.family.id, 0x10);
    assert_ne!(found.family.group, 0);
    setsockopt(&found.socket, AddMembership, &found.family.group).unwrap();
    let missing = Netlink::connect("NO-SUCH-FAMILY", "config");
    assert!(matches!(missing, Err(NetlinkError::NoFamily)), "{missing:?}");
}

#[test]
fn an_idle_socket_has_nothing_to_give() {
    let mut netlink = Netlink::connect("nlctrl", "notify").unwrap();
    assert_eq!(netlink.receive().unwrap(), None);
    netlink.early.push_back(Event::Overrun);
    assert_eq!(netlink.receive().unwrap(), Some(Event::Overrun));
}

/// NL-11: the receive buffer holds what 256 simultaneous creates and deletes cause, at the most that an event can be.
/// Each costs the kernel's buffer and its bookkeeping, for which a page is generous.
#[test]
fn the_receive_buffer_is_large_enough_for_a_mass_creation() {
    const { assert!(RECEIVE_BUFFER >= 2 * 256 * 4096) };
    let netlink = Netlink::connect("nlctrl", "notify").unwrap();
    if setsockopt(&netlink.socket, sockopt::RcvBufForce, &RECEIVE_BUFFER) == Err(Errno::EPERM) {
        return; // Without CAP_NET_ADMIN nobody serves devices either.
    }
    let granted = nix::sys::socket::getsockopt(&netlink.socket, sockopt::RcvBuf).unwrap();
    assert_eq!(granted, 2 * RECEIVE_BUFFER, "the kernel counts its own bookkeeping");
}
