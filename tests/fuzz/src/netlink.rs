//! Hostile netlink datagrams: foreign bytes, and events with attributes that are missing, repeated, misshapen, unknown
//! or out of order. Nothing panics, and what can be read of an event is what stood there first.

use lunbox_tcmu::{Change, DeviceEvent, DeviceId, Event, EventKind, Minor, NetlinkError};

/// What the family is called in these datagrams.
const FAMILY: u16 = 0x1a;

/// The first byte chooses what is done with the others. Returns how many events there were.
pub fn drive(bytes: &[u8]) -> usize {
    let [what, rest @ ..] = bytes else { return 0 };
    match what % 4 {
        0 => read(rest).map_or(0, |events| events.len()),
        1 => built(rest),
        2 => cut(rest),
        _ => several(rest),
    }
}

fn read(datagram: &[u8]) -> Option<Vec<Event>> {
    match Event::read_all(datagram, FAMILY) {
        Ok(events) => Some(events),
        Err(error @ NetlinkError::Malformed { .. }) => {
            assert!(error.to_string().starts_with("netlink: malformed message: "));
            None
        }
        Err(error) => panic!("nothing else can go wrong here: {error}"),
    }
}

/// One attribute: its kind and its inside.
struct Attribute<'b>(u16, &'b [u8]);

/// Attributes of whatever kinds and lengths the bytes say.
fn attributes(mut bytes: &[u8]) -> Vec<Attribute<'_>> {
    let mut found = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        // Mostly kinds that there are, and lengths that fit.
        let kind = if *kind < 240 { u16::from(kind % 12) } else { u16::from(*kind) << 6 };
        let length = match (kind, length) {
            (2 | 7 | 8, 0..200) => 4,
            (5, 0..200) => 8,
            (6 | 9, 0..200) => 1,
            _ => usize::from(length % 64),
        };
        let Some((inside, rest)) = rest.split_at_checked(length) else { break };
        found.push(Attribute(kind & 0x3fff, inside));
        bytes = rest;
    }
    found
}

fn message(command: u8, version: u8, attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut body = vec![command, version, 0, 0];
    for Attribute(kind, inside) in attributes {
        let length = u16::try_from(4 + inside.len()).expect("an inside is short");
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*inside);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(16 + body.len()).expect("a message is short");
    let head = [&length.to_ne_bytes()[..], &FAMILY.to_ne_bytes(), &[0; 10]];
    [head.concat(), body].concat()
}

/// What must be read of an event, by a simpler way of looking.
fn expected(command: u8, version: u8, attributes: &[Attribute<'_>]) -> Option<DeviceEvent> {
    let first = |wanted| attributes.iter().find(|Attribute(kind, _)| *kind == wanted).map(|found| found.1);
    let number = |wanted| Some(u32::from_ne_bytes(first(wanted)?.try_into().ok()?));
    let text = |wanted| {
        let end = first(wanted)?.iter().position(|byte| *byte == 0);
        first(wanted).map(|bytes| String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned())
    };
    let size =
        first(5).and_then(|bytes| bytes.try_into().ok()).map(|bytes| Change::Size(u64::from_ne_bytes(bytes)));
    let cache = || match first(6) {
        Some(&[on]) => Change::WriteCache(on != 0),
        _ => Change::Unknown,
    };
    let kind = match command {
        1 => EventKind::Added,
        2 => EventKind::Removed,
        3 => EventKind::Reconfigured(size.or_else(|| text(4).map(Change::Config)).unwrap_or_else(cache)),
        _ => return None,
    };
    Some(DeviceEvent {
        kind,
        device_id: number(8).map(DeviceId),
        minor: number(2).map(Minor),
        name: text(1),
        wants_reply: version > 1,
    })
}

fn built(bytes: &[u8]) -> usize {
    let [command, version, rest @ ..] = bytes else { return 0 };
    let (command, attributes) = (command % 8, attributes(rest));
    let events = read(&message(command, *version, &attributes)).expect("it is well-formed");
    let expected = expected(command, *version, &attributes).map(Event::Device);
    assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
    events.len()
}

/// A well-formed message that ends early or has bytes changed.
fn cut(bytes: &[u8]) -> usize {
    let [length, at, value, rest @ ..] = bytes else { return 0 };
    let mut whole = message(3, 2, &attributes(rest));
    let (at, length) = (usize::from(*at) % whole.len(), usize::from(*length) % (whole.len() + 1));
    whole[at] = *value;
    read(&whole[..length]);
    read(&whole).map_or(0, |events| events.len())
}

/// Several messages of one datagram come in their order.
fn several(bytes: &[u8]) -> usize {
    let half = bytes.len() / 2;
    let (one, other) = (attributes(&bytes[..half]), attributes(&bytes[half..]));
    let datagram = [message(1, 2, &one), message(2, 1, &other)].concat();
    let events = read(&datagram).expect("both are well-formed");
    let expected = [expected(1, 2, &one), expected(2, 1, &other)].map(|event| event.map(Event::Device));
    assert_eq!(events, expected.into_iter().flatten().collect::<Vec<_>>());
    events.len()
}
