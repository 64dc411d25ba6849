//! Between the generated types and those of the contract crate. Small and inlined: part of the hot path.

use lunbox_contract as contract;

use super::bindings::base::exports::lunbox::handler::handler;
use super::bindings::base::lunbox::handler::{buffers, types};

pub(super) fn buffer_error(error: buffers::BufferError) -> contract::BufferError {
    use buffers::BufferError as From;
    use contract::BufferError as To;
    match error {
        From::UnknownTag => To::UnknownTag,
        From::UnknownBuffer => To::UnknownBuffer,
        From::OutOfRange => To::OutOfRange,
        From::WrongDirection => To::WrongDirection,
        From::Lost => To::Lost,
        From::InUse => To::InUse,
    }
}

// A call of its own would copy the outcome once more on the way of every command.
#[inline(always)]
pub(super) fn outcome(outcome: contract::Outcome) -> types::Outcome {
    match outcome {
        contract::Outcome::Io(one) => types::Outcome::Io(op(one)),
        contract::Outcome::Done(end) => types::Outcome::Done(status(end)),
        contract::Outcome::Check(sense) => types::Outcome::Check(types::Sense {
            key: sense.key as u8,
            asc: sense.asc,
            ascq: sense.ascq,
            information: sense.information,
        }),
        contract::Outcome::More(ops) => types::Outcome::More(ops.into_iter().map(op).collect()),
        contract::Outcome::NotHandled => types::Outcome::NotHandled,
    }
}

#[inline]
fn status(status: contract::Status) -> types::Status {
    use contract::Status as From;
    use types::Status as To;
    match status {
        From::Good => To::Good,
        From::Busy => To::Busy,
        From::ReservationConflict => To::ReservationConflict,
        From::TaskSetFull => To::TaskSetFull,
        From::TaskAborted => To::TaskAborted,
    }
}

#[inline]
fn op(op: contract::Op) -> types::Op {
    use contract::OpKind as From;
    use types::OpKind as To;
    let mut flags = types::OpFlags::empty();
    flags.set(types::OpFlags::BARRIER, op.flags.barrier);
    flags.set(types::OpFlags::ZERO_AT_EOF, op.flags.zero_at_eof);
    flags.set(types::OpFlags::DURABLE, op.flags.durable);
    flags.set(types::OpFlags::MAY_UNMAP, op.flags.may_unmap);
    types::Op {
        kind: match op.kind {
            From::Read => To::Read,
            From::Write => To::Write,
            From::Flush => To::Flush,
            From::Discard => To::Discard,
            From::WriteZeroes => To::WriteZeroes,
            From::Extents => To::Extents,
        },
        store: op.store.0,
        store_offset: op.store_offset,
        buffer: op.buffer.0,
        buffer_offset: op.buffer_offset,
        length: op.length,
        flags,
    }
}

pub(super) fn ops_result(result: types::OpsResult) -> contract::OpsResult {
    contract::OpsResult {
        first_error: result
            .first_error
            .map(|failure| contract::OpFailure { index: failure.index, error: op_error(failure.error) }),
        bytes: result.bytes,
    }
}

fn op_error(error: types::OpError) -> contract::OpError {
    use contract::OpError as To;
    use types::OpError as From;
    match error {
        From::Io => To::Io,
        From::NoSpace => To::NoSpace,
        From::ReadOnly => To::ReadOnly,
        From::EndOfStore => To::EndOfStore,
        From::TimedOut => To::TimedOut,
        From::Cancelled => To::Cancelled,
        From::Unsupported => To::Unsupported,
        From::Invalid => To::Invalid,
        From::BufferLost => To::BufferLost,
    }
}

pub(super) fn device_config(config: types::DeviceConfig) -> contract::DeviceConfig {
    contract::DeviceConfig {
        name: config.name,
        size: config.size,
        block_size: config.block_size,
        read_only: config.read_only,
        max_transfer: config.max_transfer,
        stores: config
            .stores
            .into_iter()
            .map(|store| contract::StoreInfo {
                option: store.option,
                size: store.size,
                read_only: store.read_only,
                discard_zeroes: store.discard_zeroes,
                can_grow: store.can_grow,
                physical_block_size: store.physical_block_size,
                discard_granularity: store.discard_granularity,
            })
            .collect(),
        options: config.options,
    }
}

pub(super) fn device_info(info: contract::DeviceInfo) -> types::DeviceInfo {
    types::DeviceInfo {
        size: info.size,
        write_cache: info.write_cache,
        solid_state: info.solid_state,
        physical_block_size: info.physical_block_size,
    }
}

pub(super) fn config_error(error: contract::ConfigError) -> types::ConfigError {
    types::ConfigError { field: error.field, message: error.message }
}

pub(super) fn description(description: contract::Description) -> handler::Description {
    handler::Description {
        subtype: description.subtype,
        name: description.name,
        version: description.version,
        config_help: description.config_help,
    }
}
