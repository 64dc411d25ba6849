//! A handler that misbehaves on demand, for tests of hosts. `hostile/<path>` as cfgstring.
//!
//! It behaves like `file` but for READs that begin at certain places near the end of the device:
//! [`trigger_offset`]`(size, k)` is [`WINDOW`]` * k` bytes before the end, and what happens there is one of the
//! `TRIGGER_…` constants. The length of the READ does not matter, and writes trigger nothing.
//!
//! | k | constant | what happens |
//! |---|---|---|
//! | 1 | [`TRIGGER_LOOP`] | endless loop |
//! | 2 | [`TRIGGER_TRAP`] | panic, which traps |
//! | 3 | [`TRIGGER_MEMORY`] | memory grows without bound |
//! | 4 | [`TRIGGER_UNKNOWN_STORE`] | a final operation on a store that was not granted |
//! | 5 | [`TRIGGER_TOO_MANY_OPS`] | a list of 65 operations |
//! | 6 | [`TRIGGER_TRAP_IN_RESUME`] | one operation, then a panic in `resume` |
//! | 7 | [`TRIGGER_LOOP_IN_RESUME`] | one operation, then an endless loop in `resume` |
//! | 8 | [`TRIGGER_NOT_HANDLED`] | `not-handled` from a block handler |
//! | 9 | [`TRIGGER_BUFFER_RANGE`] | a read of one byte beyond the end of buffer 0 |
//! | 10 | [`TRIGGER_BAD_BUFFER_CALLS`] | forbidden `take`s and `put`s; GOOD if each got its error, else 4/44/00 |
//! | 11 | [`TRIGGER_RECURSION`] | recursion without end |
//! | 12 | [`TRIGGER_LOG_FLOOD`] | [`LOG_FLOOD_LINES`] log lines, then the read |
//! | 13 | [`TRIGGER_TRAP_IN_CANCEL`] | the read by way of `resume`; a panic if it is cancelled |
//! | 14 | [`TRIGGER_EMPTY_LIST`] | a list without operations |
//! | 15 | [`TRIGGER_LOOP_IN_CANCEL`] | the read by way of `resume`; an endless loop if it is cancelled |
//! | 16 | [`TRIGGER_RANGE_OVERFLOW`] | a final operation whose store range wraps around 64 bits |
//! | 20 | [`TRIGGER_RESUME`] | the read by way of `resume`: good manners |
//! | 21 | [`TRIGGER_SCRATCH`] | the read by way of a scratch buffer, `take` and `put`: good manners |
//!
//! Tests use the constants natively; the component is what hosts load.

#![forbid(unsafe_code)]

mod buffer_calls;
mod misdeeds;

use std::collections::HashMap;

use lunbox_sdk::{
    Block, BlockCommand, BlockKind, BufferId, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo,
    Handler, MAX_OPS, Op, OpKind, OpsResult, Outcome, Resize, StoreId, Tag, export_handler, log,
};

/// Bytes between two triggers.
pub const WINDOW: u64 = 4096;

/// Endless loop in `submit`.
pub const TRIGGER_LOOP: u64 = 1;
/// Panic in `submit`.
pub const TRIGGER_TRAP: u64 = 2;
/// Memory grows without bound.
pub const TRIGGER_MEMORY: u64 = 3;
/// A final operation on store 999.
pub const TRIGGER_UNKNOWN_STORE: u64 = 4;
/// A list of 65 operations.
pub const TRIGGER_TOO_MANY_OPS: u64 = 5;
/// One operation, then a panic in `resume`.
pub const TRIGGER_TRAP_IN_RESUME: u64 = 6;
/// One operation, then an endless loop in `resume`.
pub const TRIGGER_LOOP_IN_RESUME: u64 = 7;
/// `not-handled` from a block handler.
pub const TRIGGER_NOT_HANDLED: u64 = 8;
/// A read of one byte beyond the end of buffer 0.
pub const TRIGGER_BUFFER_RANGE: u64 = 9;
/// Forbidden `take`s and `put`s.
pub const TRIGGER_BAD_BUFFER_CALLS: u64 = 10;
/// Recursion without end.
pub const TRIGGER_RECURSION: u64 = 11;
/// [`LOG_FLOOD_LINES`] log lines, then the read.
pub const TRIGGER_LOG_FLOOD: u64 = 12;
/// The read by way of `resume`; a panic if it is cancelled.
pub const TRIGGER_TRAP_IN_CANCEL: u64 = 13;
/// A list without operations.
pub const TRIGGER_EMPTY_LIST: u64 = 14;
/// The read by way of `resume`; an endless loop if it is cancelled.
pub const TRIGGER_LOOP_IN_CANCEL: u64 = 15;
/// A final operation whose store range wraps around 64 bits.
pub const TRIGGER_RANGE_OVERFLOW: u64 = 16;
/// The read by way of `resume`.
pub const TRIGGER_RESUME: u64 = 20;
/// The read by way of a scratch buffer, `take` and `put`.
pub const TRIGGER_SCRATCH: u64 = 21;

/// Lines of [`TRIGGER_LOG_FLOOD`].
pub const LOG_FLOOD_LINES: u32 = 10_000;

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
    let known = (TRIGGER_LOOP..=TRIGGER_RANGE_OVERFLOW).contains(&trigger)
        || (TRIGGER_RESUME..=TRIGGER_SCRATCH).contains(&trigger);
    (distance.is_multiple_of(WINDOW) && known).then_some(trigger)
}

const STORE: StoreId = StoreId(0);
const SCRATCH: BufferId = BufferId(1);

/// One device.
#[derive(Debug)]
pub struct Hostile {
    size: u64,
    /// What to do when the operations of a command have ended, or when it is cancelled.
    waiting: HashMap<Tag, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    trigger: u64,
    length: u64,
}

impl Handler for Hostile {
    fn describe() -> Description {
        Description {
            subtype: "hostile".to_owned(),
            name: "Misbehaves on demand".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_help: "path of a regular file; for tests of hosts only".to_owned(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        if config.stores.is_empty() {
            let message = "no file was granted; write its path after `hostile/`".to_owned();
            return Err(ConfigError { field: String::new(), message });
        }
        let info =
            DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 };
        Ok((Self { size: config.size, waiting: HashMap::new() }, info))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult, buffers: &mut dyn Buffers) -> Outcome {
        let Some(waiting) = self.waiting.remove(&tag) else { return Outcome::INTERNAL };
        match waiting.trigger {
            TRIGGER_TRAP_IN_RESUME => misdeeds::trap(),
            TRIGGER_LOOP_IN_RESUME => misdeeds::endless_loop(),
            _ => {}
        }
        match result.first_error {
            Some(failure) => Outcome::of_failure(OpKind::Read, failure.error),
            None if waiting.trigger == TRIGGER_SCRATCH => copy_from_scratch(tag, waiting.length, buffers),
            None => Outcome::GOOD,
        }
    }

    fn cancel(&mut self, tag: Tag) {
        match self.waiting.remove(&tag) {
            Some(Waiting { trigger: TRIGGER_TRAP_IN_CANCEL, .. }) => misdeeds::trap(),
            Some(Waiting { trigger: TRIGGER_LOOP_IN_CANCEL, .. }) => misdeeds::endless_loop(),
            _ => {}
        }
    }
}

impl Block for Hostile {
    fn submit(&mut self, command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(match command.kind {
            BlockKind::Read => match trigger_at(self.size, command.offset) {
                Some(trigger) => return self.misbehave(trigger, command, buffers),
                None => read(command),
            },
            BlockKind::Write => Op::write(STORE, command.offset, command.length).durable(command.fua),
            BlockKind::Flush => Op::flush(STORE),
        })
    }
}

impl Resize for Hostile {
    fn resize(&mut self, size: u64) -> Result<(), ConfigError> {
        self.size = size;
        Ok(())
    }
}

impl Hostile {
    fn misbehave(&mut self, trigger: u64, command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
        match trigger {
            TRIGGER_LOOP => misdeeds::endless_loop(),
            TRIGGER_TRAP => misdeeds::trap(),
            TRIGGER_MEMORY => misdeeds::take_all_memory(),
            TRIGGER_RECURSION => Outcome::Io(read(command).in_buffer(BufferId(misdeeds::recurse()), 0)),
            TRIGGER_UNKNOWN_STORE => Outcome::Io(Op { store: StoreId(999), ..read(command) }),
            TRIGGER_RANGE_OVERFLOW => Outcome::Io(Op { store_offset: u64::MAX - 511, ..read(command) }),
            TRIGGER_TOO_MANY_OPS => Outcome::More(vec![read(command); MAX_OPS + 1]),
            TRIGGER_EMPTY_LIST => Outcome::More(Vec::new()),
            TRIGGER_NOT_HANDLED => Outcome::NotHandled,
            TRIGGER_BUFFER_RANGE => Outcome::Io(read(command).in_buffer(BufferId::DATA, 1)),
            TRIGGER_BAD_BUFFER_CALLS => buffer_calls::forbidden(command, buffers),
            TRIGGER_LOG_FLOOD => {
                for line in 0..LOG_FLOOD_LINES {
                    log::warn!("line {line} of a flood");
                }
                Outcome::Io(read(command))
            }
            TRIGGER_SCRATCH => self.wait(trigger, command, read(command).in_buffer(SCRATCH, 0)),
            // Those that misbehave later, if at all.
            _ => self.wait(trigger, command, read(command)),
        }
    }

    fn wait(&mut self, trigger: u64, command: &BlockCommand, op: Op) -> Outcome {
        self.waiting.insert(command.tag, Waiting { trigger, length: command.length });
        Outcome::More(vec![op])
    }
}

fn read(command: &BlockCommand) -> Op {
    Op::read(STORE, command.offset, command.length).zero_at_eof()
}

/// Moves what was read into the scratch buffer to the initiator.
fn copy_from_scratch(tag: Tag, length: u64, buffers: &mut dyn Buffers) -> Outcome {
    let Ok(length) = usize::try_from(length) else { return Outcome::INTERNAL };
    let mut bytes = vec![0; length];
    let copied =
        buffers.take(tag, SCRATCH, 0, &mut bytes).and_then(|()| buffers.put(tag, BufferId::DATA, 0, &bytes));
    match copied {
        Ok(()) => Outcome::GOOD,
        Err(error) => {
            log::error!("copying {length} bytes out of the scratch buffer: {error}");
            Outcome::INTERNAL
        }
    }
}

export_handler!(Hostile: block, resize);
