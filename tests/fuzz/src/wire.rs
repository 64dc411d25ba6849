//! Hostile messages between supervisor and worker: foreign bytes, and messages of every kind that were changed on
//! their way. Nothing panics; what is understood means the same when it is said again; descriptors arrive with the
//! message that they were sent with, or are closed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use lunbox_wire::{
    AccessStateAnswer, ClassStatistics, Device, DeviceStatistics, DeviceStatus, Ending, Handler, Health,
    Hello, Histogram, Limits, Link, LinkError, MAX_DESCRIPTORS, MAX_MESSAGE, Modes, Notice, Port, PortGroup,
    Refusal, Report, Request, RingKind, Store, StoreKind, TraceRecord, VERSION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte chooses what is done with the others.
pub fn drive(bytes: &[u8]) {
    let [what, rest @ ..] = bytes else { return };
    let mut choices = Choices(rest);
    // Up to 102: more than may travel.
    let descriptors = usize::from(what / 5) * 2;
    match what % 5 {
        0 => foreign(rest),
        1 => said(&request(&mut choices), descriptors),
        2 => said(&report(&mut choices), descriptors),
        3 => changed(&request(&mut choices), choices),
        _ => changed(&report(&mut choices), choices),
    }
}

/// Bytes of a peer that may be anybody.
fn foreign(bytes: &[u8]) {
    understood::<Request>(bytes);
    understood::<Report>(bytes);
    // What the worker reads first, for requests of later versions; fractions need not come back as they were.
    drop(received::<serde_json::Value>(bytes));
}

/// Whoever understands something says the same.
fn understood<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let message = match received::<T>(bytes) {
        Ok(Some(message)) => message,
        // An empty packet looks like the end.
        Ok(None) => {
            assert!(bytes.is_empty());
            return;
        }
        Err(LinkError::Malformed(error)) => {
            assert!(!error.to_string().is_empty());
            return;
        }
        Err(LinkError::TooLong) => {
            assert!(bytes.len() > MAX_MESSAGE);
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let again = serde_json::to_vec(&message).expect("what was read can be written");
    let second: T = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!(second, message);
    assert_eq!(serde_json::to_vec(&second).expect("again"), again, "it is written in one way only");
}

/// Through a real socket, as one packet of these bytes.
fn received<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, LinkError> {
    let (ours, theirs) = Link::pair().expect("descriptors are left");
    // send(2) is the same for every kind of socket.
    let raw = UnixDatagram::from(theirs.into_fd());
    if raw.send(bytes).is_err() {
        // Longer than the socket's buffer: nobody can send it.
        assert!(bytes.len() > MAX_MESSAGE);
        return Err(LinkError::TooLong);
    }
    let received = ours.try_receive()?;
    assert!(matches!(ours.try_receive::<T>(), Err(LinkError::WouldBlock)), "one packet, one message");
    Ok(received.map(|(message, descriptors)| {
        assert!(descriptors.is_empty());
        message
    }))
}

/// A message that was meant arrives as it was meant, with its descriptors.
fn said<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(message: &T, descriptors: usize) {
    let (ours, theirs) = Link::pair().expect("descriptors are left");
    let null: OwnedFd = std::fs::File::open("/dev/null").expect("it is everywhere").into();
    let beside: Vec<BorrowedFd<'_>> = std::iter::repeat_n(null.as_fd(), descriptors).collect();
    match theirs.try_send(message, &beside) {
        Ok(()) => {
            let (heard, with) = ours.try_receive::<T>().expect("it was sent").expect("nobody closed it");
            assert_eq!((&heard, with.len()), (message, descriptors));
        }
        Err(LinkError::TooManyDescriptors) => assert!(descriptors > MAX_DESCRIPTORS),
        Err(LinkError::TooLong) => {
            assert!(serde_json::to_vec(message).is_ok_and(|all| all.len() > MAX_MESSAGE))
        }
        Err(error) => panic!("{error}"),
    }
}

/// A message that somebody changed on its way: each change is a place, what becomes of it, and a byte.
fn changed(message: &impl Serialize, mut choices: Choices<'_>) {
    let mut bytes = serde_json::to_vec(message).expect("messages can be written");
    while !choices.0.is_empty() && !bytes.is_empty() {
        let (place, how, byte) = (choices.index(bytes.len()), choices.byte(), choices.byte());
        match how % 4 {
            0 => bytes[place] = byte,
            1 => bytes.insert(place, byte),
            2 => {
                bytes.remove(place);
            }
            _ => bytes.truncate(place),
        }
    }
    foreign(&bytes);
}

/// Takes decisions from bytes; zeroes when there are none left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn index(&mut self, length: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % length.max(1)
    }

    /// Small numbers and the largest ones are likely.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            small => u64::from(small),
        }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    /// Whatever is text, with controls and what JSON writes in another way.
    fn text(&mut self) -> String {
        let length = usize::from(self.byte() % 32);
        let (text, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 4).map(|_| one(self)).collect()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }
}

fn device(choices: &mut Choices<'_>) -> Device {
    Device {
        minor: choices.small(),
        id: choices.small(),
        name: choices.text(),
        ring: choices.one_of(&[RingKind::Uio, RingKind::Emulated]),
        map_bytes: choices.number(),
        size: choices.number(),
        block_size: choices.small(),
        max_transfer: choices.small(),
        read_only: choices.flag(),
        handler: Handler {
            subtype: choices.text(),
            name: choices.text(),
            version: choices.text(),
            digest: choices.text(),
        },
        stores: choices.list(|choices| Store {
            option: choices.text(),
            locator: choices.text(),
            read_only: choices.flag(),
            shared: choices.flag(),
            kind: if choices.flag() {
                StoreKind::File
            } else {
                StoreKind::Memory { bytes: choices.number() }
            },
        }),
        options: choices.list(|choices| (choices.text(), choices.text())),
        limits: Limits {
            memory_bytes: choices.number(),
            table_elements: choices.number(),
            cpu_per_call_us: choices.number(),
            wall_per_call_ms: choices.number(),
            hostcall_bytes: choices.small(),
            log_lines_per_second: choices.small(),
        },
        command_timeout_s: choices.small(),
        write_cache: choices.one_of(&[None, Some(false), Some(true)]),
        size_chosen: choices.flag(),
        modes: modes(choices),
    }
}

fn modes(choices: &mut Choices<'_>) -> Modes {
    Modes { software_write_protect: choices.flag(), descriptor_sense: choices.flag() }
}

fn port(choices: &mut Choices<'_>) -> Port {
    Port {
        relative_id: u16::from(choices.byte()),
        protocol: choices.byte(),
        group: u16::from(choices.byte()),
        name: choices.text(),
        target_name: choices.text(),
    }
}

fn port_group(choices: &mut Choices<'_>) -> PortGroup {
    PortGroup {
        id: u16::from(choices.byte()),
        state: choices.byte(),
        preferred: choices.flag(),
        supported: choices.byte(),
        status: choices.byte(),
        implicit_transition_s: choices.byte(),
        ports: vec![u16::from(choices.byte())],
    }
}

fn request(choices: &mut Choices<'_>) -> Request {
    match choices.byte() % 13 {
        0 => Request::Hello { version: choices.small() },
        1 => Request::Start { call: choices.number(), device: Box::new(device(choices)) },
        2 => Request::Serial {
            minor: choices.small(),
            serial: choices.text(),
            ports: vec![port(choices)],
            groups: vec![port_group(choices)],
        },
        3 => Request::Resize {
            call: choices.number(),
            minor: choices.small(),
            bytes: choices.number(),
            patience_ms: choices.number(),
        },
        4 => Request::Stop {
            call: choices.number(),
            minor: choices.small(),
            how: choices.one_of(&[Ending::Drain, Ending::HandOver, Ending::Cancel]),
            patience_ms: choices.number(),
        },
        5 => Request::Status { call: choices.number() },
        6 => Request::Handles { call: choices.number(), minor: choices.small() },
        7 => Request::Level { level: choices.text() },
        8 => Request::Statistics { call: choices.number() },
        9 => Request::Trace { call: choices.number(), minor: choices.small(), on: choices.flag() },
        10 => Request::WriteCache {
            call: choices.number(),
            minor: choices.small(),
            on: choices.flag(),
            patience_ms: choices.number(),
        },
        11 => Request::AccessState {
            minor: choices.small(),
            wish: choices.number(),
            answer: choices.one_of(&[
                AccessStateAnswer::Set,
                AccessStateAnswer::Unsupported,
                AccessStateAnswer::Failed,
            ]),
        },
        _ => Request::Leave,
    }
}

fn report(choices: &mut Choices<'_>) -> Report {
    match choices.byte() % 9 {
        0 => Report::Hello(Hello {
            version: if choices.flag() { VERSION } else { choices.small() },
            build: choices.text(),
            tenant: choices.text(),
            pid: i32::from_ne_bytes(choices.small().to_ne_bytes()),
            jail: choices.list(Choices::text),
            devices: choices.small(),
        }),
        1 => Report::Device(Box::new(device(choices))),
        2 => Report::Done { call: choices.number() },
        3 => Report::Refused {
            call: choices.number(),
            kind: choices.one_of(&[
                Refusal::Invalid,
                Refusal::Unsupported,
                Refusal::Gone,
                Refusal::TimedOut,
                Refusal::StoreBusy,
                Refusal::Failed,
            ]),
            reason: choices.text(),
        },
        4 => Report::Status {
            call: choices.number(),
            devices: choices.list(|choices| (choices.small(), status(choices))),
            more: choices.flag(),
        },
        5 => Report::Handles { call: choices.number() },
        6 => Report::Statistics {
            call: choices.number(),
            devices: choices.list(|choices| (choices.small(), statistics(choices))),
            more: choices.flag(),
        },
        7 => Report::Trace { minor: choices.small(), records: choices.list(record), lost: choices.number() },
        _ => Report::Notice {
            minor: choices.small(),
            notice: match choices.byte() % 7 {
                0 => Notice::IdentityWanted,
                1 => Notice::Trouble(choices.text()),
                2 => Notice::Recovered,
                3 => Notice::Resized { bytes: choices.number() },
                4 => Notice::AccessStateWanted {
                    wish: choices.number(),
                    group: u16::from(choices.byte()),
                    state: choices.byte(),
                },
                5 => Notice::ModesChanged { write_cache: choices.flag(), modes: modes(choices) },
                _ => Notice::Ended(choices.text()),
            },
        },
    }
}

fn status(choices: &mut Choices<'_>) -> DeviceStatus {
    DeviceStatus {
        health: choices.one_of(&[Health::Serving, Health::Recovering, Health::Stopped]),
        commands: choices.number(),
        failures: choices.number(),
        busy: choices.number(),
        bytes_read: choices.number(),
        bytes_written: choices.number(),
        faults: choices.number(),
        instances: choices.number(),
        resets: choices.number(),
        aborts: choices.number(),
        cpu_ns: choices.number(),
        timeouts: choices.number(),
        lun_resets: choices.number(),
        aborting: choices.number(),
        in_flight: choices.number(),
        write_cache: choices.flag(),
    }
}

fn statistics(choices: &mut Choices<'_>) -> DeviceStatistics {
    DeviceStatistics {
        read: class(choices),
        write: class(choices),
        flush: class(choices),
        other: class(choices),
        in_flight_max: choices.number(),
        sampled_every: choices.small(),
    }
}

fn class(choices: &mut Choices<'_>) -> ClassStatistics {
    ClassStatistics {
        commands: choices.number(),
        errors: choices.number(),
        bytes: choices.number(),
        queue: histogram(choices),
        service: histogram(choices),
    }
}

fn histogram(choices: &mut Choices<'_>) -> Histogram {
    Histogram { sum_ns: choices.number(), buckets: choices.list(Choices::number) }
}

fn record(choices: &mut Choices<'_>) -> TraceRecord {
    let half = |choices: &mut Choices<'_>| u16::from_ne_bytes([choices.byte(), choices.byte()]);
    TraceRecord {
        at_us: choices.number(),
        id: half(choices),
        cdb: choices.list(Choices::byte),
        cdb_length: half(choices),
        data_length: choices.number(),
        status: choices.byte(),
        sense: choices.flag().then(|| (choices.byte(), choices.byte(), choices.byte())),
        queue_ns: choices.number(),
        service_ns: choices.number(),
    }
}
