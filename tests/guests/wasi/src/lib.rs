//! A handler that imports WASI and misuses it on demand, for tests of hosts. `wasi/<path>` as cfgstring.
//!
//! It behaves like `file` but for READs that begin at certain places near the end of the device:
//! [`trigger_offset`]`(size, k)` is [`WINDOW`]` * k` bytes before the end, and what happens there is one of the
//! `TRIGGER_…` constants. The length of the READ does not matter, and writes trigger nothing.
//!
//! | k | constant | what happens |
//! |---|---|---|
//! | 1 | [`TRIGGER_SLEEP`] | `pollable.block` on an hour |
//! | 2 | [`TRIGGER_POLL`] | `poll` of 100 pollables that are never ready |
//! | 3 | [`TRIGGER_SLEEP_IN_RESUME`] | one operation, then an hour of sleep in `resume` |
//! | 4 | [`TRIGGER_READ_INPUT`] | a blocking read of standard input; GOOD if that is closed |
//! | 5 | [`TRIGGER_LIST_DIRECTORIES`] | GOOD if no directory is granted |
//! | 6 | [`TRIGGER_FLOOD_OUTPUT`] | [`FLOOD_BYTES`] on standard output, then the read |
//! | 7 | [`TRIGGER_LOOP`] | endless loop |
//! | 8 | [`TRIGGER_RANDOM`] | 2⁶³ random bytes in one call |
//! | 9 | [`TRIGGER_RESOURCES`] | [`RESOURCES`] pollables at once |
//! | 10 | [`TRIGGER_EXIT`] | `exit` |
//! | 11 | [`TRIGGER_SOCKET`] | GOOD if no TCP socket can be made |
//! | 12 | [`TRIGGER_BUSY_POLL`] | endless loop around a pollable that is always ready |
//! | 13 | [`TRIGGER_OPEN_PIPE`] | opens [`PIPE`] in the first directory, and reads it |
//! | 14 | [`TRIGGER_WRITE_FILE`] | GOOD if no file can be created in the first directory |
//! | 15 | [`TRIGGER_LEAVE_DIRECTORY`] | GOOD if [`PARENT`] and [`LINK`] lead nowhere from the first directory |
//! | 16 | [`TRIGGER_HALF_LINE`] | half a line on standard error, then a panic |
//! | 20 | [`TRIGGER_NAP`] | 2 ms of sleep, then the read: good manners |
//! | 21 | [`TRIGGER_READ_FILE`] | the contents of [`FILE`] in the first directory: good manners |
//! | 22 | [`TRIGGER_SMALL_RANDOM`] | 512 random bytes into the data buffer: good manners |
//!
//! Where GOOD is promised "if", the answer is 4/44/00 otherwise. Without Wasm there is no WASI: every trigger is
//! answered 4/44/00.

#[cfg(target_family = "wasm")]
mod imports;
#[cfg(target_family = "wasm")]
mod misuse;

use lunbox_sdk::{
    Block, BlockCommand, BlockKind, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Op,
    OpKind, OpsResult, Outcome, StoreId, Tag, export_handler,
};

/// Bytes between two triggers.
pub const WINDOW: u64 = 4096;

/// `pollable.block` on an hour.
pub const TRIGGER_SLEEP: u64 = 1;
/// `poll` of pollables that are never ready.
pub const TRIGGER_POLL: u64 = 2;
/// One operation, then an hour of sleep in `resume`.
pub const TRIGGER_SLEEP_IN_RESUME: u64 = 3;
/// A blocking read of standard input.
pub const TRIGGER_READ_INPUT: u64 = 4;
/// Looks for granted directories.
pub const TRIGGER_LIST_DIRECTORIES: u64 = 5;
/// [`FLOOD_BYTES`] on standard output, then the read.
pub const TRIGGER_FLOOD_OUTPUT: u64 = 6;
/// Endless loop.
pub const TRIGGER_LOOP: u64 = 7;
/// 2⁶³ random bytes in one call.
pub const TRIGGER_RANDOM: u64 = 8;
/// [`RESOURCES`] pollables at once.
pub const TRIGGER_RESOURCES: u64 = 9;
/// `exit`.
pub const TRIGGER_EXIT: u64 = 10;
/// Tries to make a TCP socket.
pub const TRIGGER_SOCKET: u64 = 11;
/// Endless loop around a pollable that is always ready.
pub const TRIGGER_BUSY_POLL: u64 = 12;
/// Opens [`PIPE`] in the first directory, and reads it.
pub const TRIGGER_OPEN_PIPE: u64 = 13;
/// Tries to create a file in the first directory.
pub const TRIGGER_WRITE_FILE: u64 = 14;
/// Tries to leave the first directory.
pub const TRIGGER_LEAVE_DIRECTORY: u64 = 15;
/// Half a line on standard error, then a panic.
pub const TRIGGER_HALF_LINE: u64 = 16;
/// 2 ms of sleep, then the read.
pub const TRIGGER_NAP: u64 = 20;
/// The contents of [`FILE`] in the first directory.
pub const TRIGGER_READ_FILE: u64 = 21;
/// 512 random bytes.
pub const TRIGGER_SMALL_RANDOM: u64 = 22;

/// Bytes of [`TRIGGER_FLOOD_OUTPUT`], in lines of 16 bytes with their ends.
pub const FLOOD_BYTES: usize = 1 << 20;
/// Pollables of [`TRIGGER_RESOURCES`].
pub const RESOURCES: usize = 100_000;
/// A named pipe, made by the test.
pub const PIPE: &str = "pipe";
/// A file, made by the test.
pub const FILE: &str = "greeting";
/// A file beside the directory, made by the test.
pub const PARENT: &str = "../secret";
/// A symbolic link to that file, made by the test.
pub const LINK: &str = "link";
/// What [`TRIGGER_HALF_LINE`] writes.
pub const HALF_LINE: &str = "half a line";

/// Where a READ must begin, in bytes, to trigger `trigger` on a device of `size` bytes.
///
/// `None` if the device is too small to have that place.
#[must_use]
pub const fn trigger_offset(size: u64, trigger: u64) -> Option<u64> {
    match trigger.checked_mul(WINDOW) {
        Some(distance) => size.checked_sub(distance),
        None => None,
    }
}

/// Which trigger, if any, a READ at `offset` hits on a device of `size` bytes.
#[must_use]
pub fn trigger_at(size: u64, offset: u64) -> Option<u64> {
    let distance = size.checked_sub(offset)?;
    let trigger = distance / WINDOW;
    let known = (TRIGGER_SLEEP..=TRIGGER_HALF_LINE).contains(&trigger)
        || (TRIGGER_NAP..=TRIGGER_SMALL_RANDOM).contains(&trigger);
    (distance.is_multiple_of(WINDOW) && known).then_some(trigger)
}

const STORE: StoreId = StoreId(0);

/// One device.
#[derive(Debug)]
pub struct Wasi {
    size: u64,
}

impl Handler for Wasi {
    fn describe() -> Description {
        Description {
            subtype: "wasi".to_owned(),
            name: "Misuses WASI on demand".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_help: "path of a regular file; for tests of hosts only".to_owned(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        if config.stores.is_empty() {
            let message = "no file was granted; write its path after `wasi/`".to_owned();
            return Err(ConfigError { field: String::new(), message });
        }
        let info =
            DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 };
        Ok((Self { size: config.size }, info))
    }

    /// Only [`TRIGGER_SLEEP_IN_RESUME`] comes here.
    fn resume(&mut self, _tag: Tag, result: &OpsResult, _buffers: &mut dyn Buffers) -> Outcome {
        match result.first_error {
            Some(failure) => Outcome::of_failure(OpKind::Read, failure.error),
            None => oversleep(),
        }
    }
}

impl Block for Wasi {
    fn submit(&mut self, command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(match command.kind {
            BlockKind::Read => match trigger_at(self.size, command.offset) {
                Some(TRIGGER_SLEEP_IN_RESUME) => return Outcome::More(vec![read(command)]),
                Some(trigger) => return act(trigger, command, buffers),
                None => read(command),
            },
            BlockKind::Write => Op::write(STORE, command.offset, command.length).durable(command.fua),
            BlockKind::Flush => Op::flush(STORE),
        })
    }
}

fn read(command: &BlockCommand) -> Op {
    Op::read(STORE, command.offset, command.length).zero_at_eof()
}

#[cfg(target_family = "wasm")]
use misuse::{act, oversleep};

#[cfg(not(target_family = "wasm"))]
fn act(_trigger: u64, _command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
    Outcome::INTERNAL
}

#[cfg(not(target_family = "wasm"))]
fn oversleep() -> Outcome {
    Outcome::INTERNAL
}

export_handler!(Wasi: block);
