//! The contract's types to and from the generated ones. What comes from a guest is checked here: an answer that the
//! contract forbids is a [`Fault::Contract`], whatever the guest meant.

use lunbox_contract::{
    BlockCommand, BlockKind, BufferId, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event,
    Field, FieldKind, Grammar, MAX_OPS, Op, OpError, OpFailure, OpFlags, OpKind, OpsResult, Outcome, Schema,
    Status, StoreId, StoreInfo, UnmapLimits,
};
use lunbox_scsi::{Sense, SenseKey};

use crate::Fault;
use crate::bindings::exports::lunbox::handler::{block_unmap, cdb, events, handler, options};
use crate::bindings::lunbox::handler::types as wit;
use crate::text::one_line;

/// Longest text of a refusal in bytes.
const MAX_MESSAGE: usize = 1024;

/// Most logical blocks of a physical one: READ CAPACITY (16) has four bits for their exponent (SBC-4 5.21.2).
const MAX_LOGICAL_PER_PHYSICAL: u32 = 1 << 15;

/// Longest CDB of SCSI (SPC-5 4.2.3: variable length, 8 + 252 bytes).
const MAX_CDB: usize = 260;

pub(crate) const fn block_command(command: &BlockCommand) -> wit::BlockCommand {
    wit::BlockCommand {
        tag: command.tag.0,
        kind: match command.kind {
            BlockKind::Read => wit::BlockKind::Read,
            BlockKind::Write => wit::BlockKind::Write,
            BlockKind::Flush => wit::BlockKind::Flush,
        },
        fua: command.fua,
        offset: command.offset,
        length: command.length,
    }
}

/// A CDB in the form of the contract: its first 16 bytes as two numbers.
pub(crate) fn cdb_command(command: &CdbCommand<'_>) -> Result<cdb::Command, Fault> {
    let length = command.cdb.len();
    let cdb_length = u16::try_from(length)
        .ok()
        .filter(|_| length <= MAX_CDB)
        .ok_or_else(|| Fault::Host(format!("a CDB has at most {MAX_CDB} bytes, not {length}")))?;
    let mut first = [0; 16];
    let kept = length.min(first.len());
    first[..kept].copy_from_slice(&command.cdb[..kept]);
    let all = u128::from_le_bytes(first);
    let word = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    Ok(cdb::Command {
        tag: command.tag.0,
        cdb_low: word(all),
        cdb_high: word(all >> 64),
        cdb_length,
        data_out: command.data_out,
        data_in: command.data_in,
    })
}

/// An answer where `not-handled` is allowed: the first one to a CDB.
pub(crate) fn first_outcome(outcome: wit::Outcome) -> Result<Outcome, Fault> {
    Ok(match outcome {
        wit::Outcome::Io(op) => Outcome::Io(self::op(op)),
        wit::Outcome::Done(status) => Outcome::Done(convert_status(status)),
        wit::Outcome::Check(sense) => Outcome::Check(convert_sense(sense)?),
        wit::Outcome::More(ops) => {
            if ops.is_empty() || ops.len() > MAX_OPS {
                let count = ops.len();
                return Err(Fault::Contract(format!(
                    "more: a list of {count} operations; 1 to {MAX_OPS} are allowed"
                )));
            }
            Outcome::More(ops.into_iter().map(self::op).collect())
        }
        wit::Outcome::NotHandled => Outcome::NotHandled,
    })
}

/// Any other answer.
pub(crate) fn outcome(outcome: wit::Outcome) -> Result<Outcome, Fault> {
    if matches!(outcome, wit::Outcome::NotHandled) {
        return Err(Fault::Contract(
            "not-handled: allowed only as the first answer to cdb.submit".to_owned(),
        ));
    }
    first_outcome(outcome)
}

#[inline]
pub(crate) fn op(op: wit::Op) -> Op {
    Op {
        kind: match op.kind {
            wit::OpKind::Read => OpKind::Read,
            wit::OpKind::Write => OpKind::Write,
            wit::OpKind::Flush => OpKind::Flush,
            wit::OpKind::Discard => OpKind::Discard,
            wit::OpKind::WriteZeroes => OpKind::WriteZeroes,
            wit::OpKind::Extents => OpKind::Extents,
        },
        store: StoreId(op.store),
        store_offset: op.store_offset,
        buffer: BufferId(op.buffer),
        buffer_offset: op.buffer_offset,
        length: op.length,
        flags: OpFlags {
            barrier: op.flags.contains(wit::OpFlags::BARRIER),
            zero_at_eof: op.flags.contains(wit::OpFlags::ZERO_AT_EOF),
            durable: op.flags.contains(wit::OpFlags::DURABLE),
            may_unmap: op.flags.contains(wit::OpFlags::MAY_UNMAP),
        },
    }
}

const fn convert_status(status: wit::Status) -> Status {
    match status {
        wit::Status::Good => Status::Good,
        wit::Status::Busy => Status::Busy,
        wit::Status::ReservationConflict => Status::ReservationConflict,
        wit::Status::TaskSetFull => Status::TaskSetFull,
        wit::Status::TaskAborted => Status::TaskAborted,
    }
}

fn convert_sense(sense: wit::Sense) -> Result<Sense, Fault> {
    let key = SenseKey::try_from(sense.key).map_err(|error| Fault::Contract(format!("check: {error}")))?;
    Ok(Sense { key, asc: sense.asc, ascq: sense.ascq, information: sense.information })
}

pub(crate) fn ops_result(result: &OpsResult) -> wit::OpsResult {
    wit::OpsResult { first_error: result.first_error.map(op_failure), bytes: result.bytes }
}

const fn op_failure(failure: OpFailure) -> wit::OpFailure {
    wit::OpFailure {
        index: failure.index,
        error: match failure.error {
            OpError::Io => wit::OpError::Io,
            OpError::NoSpace => wit::OpError::NoSpace,
            OpError::ReadOnly => wit::OpError::ReadOnly,
            OpError::EndOfStore => wit::OpError::EndOfStore,
            OpError::TimedOut => wit::OpError::TimedOut,
            OpError::Cancelled => wit::OpError::Cancelled,
            OpError::Unsupported => wit::OpError::Unsupported,
            OpError::Invalid => wit::OpError::Invalid,
            OpError::BufferLost => wit::OpError::BufferLost,
        },
    }
}

pub(crate) fn device_config(config: &DeviceConfig) -> wit::DeviceConfig {
    wit::DeviceConfig {
        name: config.name.clone(),
        size: config.size,
        block_size: config.block_size,
        read_only: config.read_only,
        max_transfer: config.max_transfer,
        stores: config.stores.iter().map(store_info).collect(),
        options: config.options.clone(),
    }
}

fn store_info(store: &StoreInfo) -> wit::StoreInfo {
    wit::StoreInfo {
        option: store.option.clone(),
        size: store.size,
        read_only: store.read_only,
        discard_zeroes: store.discard_zeroes,
        can_grow: store.can_grow,
        physical_block_size: store.physical_block_size,
        discard_granularity: store.discard_granularity,
    }
}

pub(crate) fn device_info(info: wit::DeviceInfo, block_size: u32) -> Result<DeviceInfo, Fault> {
    let wit::DeviceInfo { size, write_cache, solid_state, physical_block_size } = info;
    if size == 0 || !size.is_multiple_of(u64::from(block_size)) {
        let problem = format!("device-info.size: {size} is no multiple of the block size {block_size}, or 0");
        return Err(Fault::Contract(problem));
    }
    let fits = physical_block_size.is_power_of_two()
        && physical_block_size >= block_size
        && physical_block_size / block_size.max(1) <= MAX_LOGICAL_PER_PHYSICAL;
    if physical_block_size != 0 && !fits {
        return Err(Fault::Contract(format!(
            "device-info.physical-block-size: {physical_block_size} is neither 0 nor a power of two from the block size \
             {block_size} to {MAX_LOGICAL_PER_PHYSICAL} times it"
        )));
    }
    Ok(DeviceInfo { size, write_cache, solid_state, physical_block_size })
}

/// A refusal, fit for a log.
pub(crate) fn config_error(error: &wit::ConfigError) -> ConfigError {
    ConfigError { field: one_line(&error.field, 64), message: refusal(&error.message) }
}

/// A guest's text for the operator, fit for a log.
pub(crate) fn refusal(text: &str) -> String {
    one_line(text, MAX_MESSAGE)
}

pub(crate) const fn unmap_limits(limits: block_unmap::UnmapLimits) -> UnmapLimits {
    UnmapLimits {
        max_length: limits.max_length,
        granularity: limits.granularity,
        reads_zeroes: limits.reads_zeroes,
    }
}

pub(crate) const fn event(event: Event) -> events::Event {
    match event {
        Event::StoreReconnected => events::Event::StoreReconnected,
        Event::Idle => events::Event::Idle,
    }
}

/// Who the handler is; unchecked.
pub(crate) fn description(description: handler::Description) -> Description {
    let handler::Description { subtype, name, version, config_help } = description;
    Description { subtype, name, version, config_help }
}

/// An option schema as the guest declared it; [`Schema::check`] judges it.
pub(crate) fn schema(schema: options::Schema) -> Schema {
    let grammar = match schema.grammar {
        options::Grammar::Whole => Grammar::Whole,
        options::Grammar::Semicolon => Grammar::Semicolon,
        options::Grammar::Zbc => Grammar::Zbc,
        options::Grammar::Fbo => Grammar::Fbo,
    };
    Schema { grammar, fields: schema.fields.into_iter().map(field).collect() }
}

fn field(field: options::Field) -> Field {
    let options::Field { name, kind, required, help } = field;
    let kind = match kind {
        options::FieldKind::Path(options::Access { read_only, create }) => {
            FieldKind::Path { read_only, create }
        }
        options::FieldKind::Store(options::Access { read_only, create }) => {
            FieldKind::Store { read_only, create }
        }
        options::FieldKind::Number(options::Bounds { min, max }) => FieldKind::Number { min, max },
        options::FieldKind::Choice(words) => FieldKind::Choice(words),
        options::FieldKind::Text => FieldKind::Text,
        options::FieldKind::Flag => FieldKind::Flag,
    };
    Field { name, kind, required, help }
}

#[cfg(test)]
mod tests {
    use lunbox_contract::Tag;

    use super::*;

    fn op() -> wit::Op {
        wit::Op {
            kind: wit::OpKind::Write,
            store: 1,
            store_offset: 2,
            buffer: 3,
            buffer_offset: 4,
            length: 5,
            flags: wit::OpFlags::BARRIER | wit::OpFlags::DURABLE | wit::OpFlags::MAY_UNMAP,
        }
    }

    fn contract(result: Result<Outcome, Fault>) -> String {
        let Err(Fault::Contract(message)) = result else { panic!("{result:?} is no contract fault") };
        message
    }

    #[test]
    fn an_operation_keeps_its_fields() {
        let expected = Op {
            kind: OpKind::Write,
            store: StoreId(1),
            store_offset: 2,
            buffer: BufferId(3),
            buffer_offset: 4,
            length: 5,
            flags: OpFlags { barrier: true, zero_at_eof: false, durable: true, may_unmap: true },
        };
        assert_eq!(outcome(wit::Outcome::Io(op())), Ok(Outcome::Io(expected)));
        assert_eq!(outcome(wit::Outcome::More(vec![op()])), Ok(Outcome::More(vec![expected])));
    }

    #[test]
    fn lists_have_1_to_64_operations() {
        assert!(contract(outcome(wit::Outcome::More(vec![]))).contains("0 operations"));
        assert!(contract(outcome(wit::Outcome::More(vec![op(); 65]))).contains("65 operations"));
        let Ok(Outcome::More(ops)) = outcome(wit::Outcome::More(vec![op(); 64])) else {
            panic!("64 are allowed")
        };
        assert_eq!(ops.len(), 64);
    }

    #[test]
    fn sense_keys_that_do_not_exist_are_refused() {
        let check =
            |key| outcome(wit::Outcome::Check(wit::Sense { key, asc: 0x11, ascq: 1, information: Some(7) }));
        for key in [0xc, 0x10, 0xff] {
            assert!(contract(check(key)).contains("sense key"));
        }
        let sense = Sense { key: SenseKey::Miscompare, asc: 0x11, ascq: 1, information: Some(7) };
        assert_eq!(check(0xe), Ok(Outcome::Check(sense)));
    }

    #[test]
    fn not_handled_is_for_the_first_answer_to_a_cdb() {
        assert_eq!(first_outcome(wit::Outcome::NotHandled), Ok(Outcome::NotHandled));
        assert!(contract(outcome(wit::Outcome::NotHandled)).contains("not-handled"));
    }

    #[test]
    fn cdb_bytes_stand_from_the_lowest_bits_up() {
        let cdb: Vec<u8> = (1..=16).collect();
        let command = CdbCommand { tag: Tag(9), cdb: &cdb, data_out: 0, data_in: 512 };
        let lowered = cdb_command(&command).unwrap();
        assert_eq!((lowered.cdb_low, lowered.cdb_high), (0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09));
        let short = cdb_command(&CdbCommand { cdb: &cdb[..6], ..command }).unwrap();
        assert_eq!((short.cdb_low, short.cdb_high, short.cdb_length), (0x0000_0605_0403_0201, 0, 6));
        assert!(matches!(cdb_command(&CdbCommand { cdb: &[0; 261], ..command }), Err(Fault::Host(_))));
    }

    #[test]
    fn a_device_has_whole_blocks() {
        let info = |size, physical_block_size| {
            let info = wit::DeviceInfo { size, write_cache: true, solid_state: false, physical_block_size };
            device_info(info, 4096)
        };
        for physical in [0, 4096, 8192, 4096 << 15] {
            assert_eq!(info(8192, physical).map(|info| info.physical_block_size), Ok(physical));
        }
        for (size, physical) in [(0, 0), (512, 0), (8192, 512), (8192, 12288), (8192, 4096 << 16)] {
            assert!(matches!(info(size, physical), Err(Fault::Contract(_))), "{size} {physical}");
        }
    }
}
