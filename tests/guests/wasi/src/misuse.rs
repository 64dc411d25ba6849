//! What the triggers do.

use std::hint::black_box;

use lunbox_sdk::{BlockCommand, BufferId, Buffers, Outcome, log};

use crate::imports::wasi::cli::{exit, stderr, stdin, stdout};
use crate::imports::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::imports::wasi::filesystem::preopens::get_directories;
use crate::imports::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use crate::imports::wasi::io::poll::{Pollable, poll};
use crate::imports::wasi::io::streams::StreamError;
use crate::imports::wasi::random::random::get_random_bytes;
use crate::imports::wasi::sockets::network::IpAddressFamily;
use crate::imports::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::*;

/// Nanoseconds.
const HOUR: u64 = 3_600_000_000_000;
const NAP: u64 = 2_000_000;
/// Most bytes of one `blocking-write-and-flush`.
const CHUNK: usize = 4096;

/// Does what `trigger` says.
pub(crate) fn act(trigger: u64, command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
    match trigger {
        TRIGGER_SLEEP => oversleep(),
        TRIGGER_POLL => poll_in_vain(),
        TRIGGER_READ_INPUT => expect(matches!(stdin::get_stdin().blocking_read(1), Err(StreamError::Closed))),
        TRIGGER_LIST_DIRECTORIES => expect(get_directories().is_empty()),
        TRIGGER_FLOOD_OUTPUT => {
            let line = b"0123456789abcde\n".repeat(CHUNK / 16);
            let output = stdout::get_stdout();
            let written = (0..FLOOD_BYTES / CHUNK).all(|_| output.blocking_write_and_flush(&line).is_ok());
            if written { Outcome::Io(read(command)) } else { Outcome::INTERNAL }
        }
        TRIGGER_LOOP => {
            let mut turns = 0_u64;
            loop {
                turns = black_box(turns.wrapping_add(1));
            }
        }
        TRIGGER_RANDOM => expect(get_random_bytes(1 << 63).is_empty()),
        TRIGGER_RESOURCES => {
            let hoard: Vec<Pollable> = (0..RESOURCES).map(|_| subscribe_duration(HOUR)).collect();
            expect(hoard.is_empty())
        }
        TRIGGER_EXIT => {
            exit::exit(Err(()));
            Outcome::INTERNAL
        }
        TRIGGER_SOCKET => expect(create_tcp_socket(IpAddressFamily::Ipv4).is_err()),
        TRIGGER_BUSY_POLL => {
            let ready = subscribe_duration(0);
            loop {
                ready.block();
            }
        }
        TRIGGER_OPEN_PIPE => with_directory(|directory| {
            let pipe = open(directory, PIPE, OpenFlags::empty(), DescriptorFlags::READ)?;
            pipe.read(1, 0).map(|_| Outcome::GOOD)
        }),
        TRIGGER_WRITE_FILE => with_directory(|directory| {
            let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
            Ok(expect(open(directory, "new", OpenFlags::CREATE, flags).is_err()))
        }),
        TRIGGER_LEAVE_DIRECTORY => with_directory(|directory| {
            let leads_out = |path| open(directory, path, OpenFlags::empty(), DescriptorFlags::READ).is_ok();
            Ok(expect(![PARENT, LINK, "/etc/passwd"].into_iter().any(leads_out)))
        }),
        TRIGGER_HALF_LINE => {
            if stderr::get_stderr().blocking_write_and_flush(HALF_LINE.as_bytes()).is_err() {
                return Outcome::INTERNAL;
            }
            panic!("the test asked for a trap");
        }
        TRIGGER_NAP => {
            subscribe_duration(NAP).block();
            Outcome::Io(read(command))
        }
        TRIGGER_READ_FILE => with_directory(|directory| {
            let file = open(directory, FILE, OpenFlags::empty(), DescriptorFlags::READ)?;
            file.read(command.length, 0).map(|(bytes, _)| fill(command, buffers, &bytes))
        }),
        TRIGGER_SMALL_RANDOM => fill(command, buffers, &get_random_bytes(512)),
        _ => Outcome::INTERNAL,
    }
}

/// Sleeps for an hour.
pub(crate) fn oversleep() -> Outcome {
    subscribe_duration(HOUR).block();
    Outcome::GOOD
}

fn poll_in_vain() -> Outcome {
    // One of them is so far away that the host can not tell its time.
    let never: Vec<Pollable> = (1..100).map(|hours| subscribe_duration(HOUR * hours)).collect();
    let farthest = subscribe_duration(u64::MAX);
    let all: Vec<&Pollable> = never.iter().chain([&farthest]).collect();
    expect(!poll(&all).is_empty())
}

fn expect(as_it_should_be: bool) -> Outcome {
    if as_it_should_be { Outcome::GOOD } else { Outcome::INTERNAL }
}

fn open(
    directory: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    directory.open_at(PathFlags::SYMLINK_FOLLOW, path, how, flags)
}

fn with_directory(work: impl FnOnce(&Descriptor) -> Result<Outcome, ErrorCode>) -> Outcome {
    let directories = get_directories();
    let Some((directory, _)) = directories.first() else {
        log::error!("no directory is granted");
        return Outcome::INTERNAL;
    };
    work(directory).unwrap_or_else(|error| {
        log::error!("in the first directory: {error:?}");
        Outcome::INTERNAL
    })
}

fn fill(command: &BlockCommand, buffers: &mut dyn Buffers, bytes: &[u8]) -> Outcome {
    match buffers.put(command.tag, BufferId::DATA, 0, bytes) {
        Ok(()) => Outcome::GOOD,
        Err(error) => {
            log::error!("filling the data buffer: {error}");
            Outcome::INTERNAL
        }
    }
}
