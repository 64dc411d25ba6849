//! Implements the generated export traits by way of the handler's traits.

use std::cell::RefCell;
use std::marker::PhantomData;

use lunbox_contract::{
    BlockCommand, BlockKind, Buffers, CdbCommand, ConfigError, Event, Outcome, StoreId, Tag,
};

use super::bindings::base::exports::lunbox::handler::handler as handler_export;
use super::bindings::base::lunbox::handler::types;
use super::bindings::{
    block::exports::lunbox::handler::block as block_export,
    block_batch::exports::lunbox::handler::block_batch as batch_export,
    block_compare_and_write::exports::lunbox::handler::block_compare_and_write as caw_export,
    block_lba_status::exports::lunbox::handler::block_lba_status as status_export,
    block_unmap::exports::lunbox::handler::block_unmap as unmap_export,
    block_write_zeroes::exports::lunbox::handler::block_write_zeroes as zeroes_export,
    cdb::exports::lunbox::handler::cdb as cdb_export,
    events::exports::lunbox::handler::events as events_export,
    options::exports::lunbox::handler::options as options_export,
    resize::exports::lunbox::handler::resize as resize_export,
    state::exports::lunbox::handler::state as state_export,
};
use super::{HostBuffers, convert, report_panics};
use crate::{
    Block, BlockCompareAndWrite, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Cdb, Events, Field, FieldKind,
    Grammar, Handler, Options, Resize, State,
};

/// Where the component's one handler lives: a static, which only the handler's own crate can declare.
pub trait Place {
    type Handler: Handler;

    fn with<R>(work: impl FnOnce(&RefCell<Option<Self::Handler>>) -> R) -> R;
}

/// The component whose handler lives at `P`.
pub struct Component<P>(PhantomData<P>);

impl<P: Place> Component<P> {
    /// Calls into the handler; `None` if the host breaks the order of calls (nothing configured, or a call inside
    /// of a call).
    #[inline]
    fn call<R>(work: impl FnOnce(&mut P::Handler) -> R) -> Option<R> {
        P::with(|place| place.try_borrow_mut().ok()?.as_mut().map(work))
    }

    /// The same for calls that answer with an outcome.
    #[inline]
    fn plan(work: impl FnOnce(&mut P::Handler, &mut dyn Buffers) -> Outcome) -> types::Outcome {
        let outcome = Self::call(|handler| work(handler, &mut HostBuffers)).unwrap_or(Outcome::INTERNAL);
        convert::outcome(outcome)
    }
}

/// What the operator reads if the host breaks the order of calls.
fn out_of_order() -> ConfigError {
    ConfigError {
        field: String::new(),
        message: "the host called the handler out of order; report this as an error of the host".to_owned(),
    }
}

impl<P: Place> handler_export::Guest for Component<P> {
    fn describe() -> handler_export::Description {
        report_panics();
        convert::description(P::Handler::describe())
    }

    fn configure(
        config: handler_export::DeviceConfig,
    ) -> Result<handler_export::DeviceInfo, handler_export::ConfigError> {
        report_panics();
        P::with(|place| {
            let Ok(mut place) = place.try_borrow_mut() else { return Err(out_of_order()) };
            if place.is_some() {
                return Err(out_of_order());
            }
            let (handler, info) = P::Handler::configure(&convert::device_config(config))?;
            *place = Some(handler);
            Ok(convert::device_info(info))
        })
        .map_err(convert::config_error)
    }

    fn resume(tag: u64, result: handler_export::OpsResult) -> types::Outcome {
        Self::plan(|handler, buffers| handler.resume(Tag(tag), &convert::ops_result(result), buffers))
    }

    fn cancel(tag: u64) {
        Self::call(|handler| handler.cancel(Tag(tag)));
    }
}

const fn block_command(command: &types::BlockCommand) -> BlockCommand {
    BlockCommand {
        tag: Tag(command.tag),
        kind: match command.kind {
            types::BlockKind::Read => BlockKind::Read,
            types::BlockKind::Write => BlockKind::Write,
            types::BlockKind::Flush => BlockKind::Flush,
        },
        fua: command.fua,
        offset: command.offset,
        length: command.length,
    }
}

impl<P: Place<Handler: Block>> block_export::Guest for Component<P> {
    #[inline]
    fn submit(command: block_export::Command) -> types::Outcome {
        Self::plan(|handler, buffers| Block::submit(handler, &block_command(&command), buffers))
    }
}

impl<P: Place<Handler: Block>> batch_export::Guest for Component<P> {
    fn submit(commands: Vec<batch_export::Command>) -> Vec<types::Outcome> {
        let planned = Self::call(|handler| {
            let plan = |command| Block::submit(handler, &block_command(command), &mut HostBuffers);
            commands.iter().map(plan).map(convert::outcome).collect()
        });
        planned.unwrap_or_else(|| commands.iter().map(|_| convert::outcome(Outcome::INTERNAL)).collect())
    }
}

impl<P: Place<Handler: Cdb>> Component<P> {
    fn submit_cdb(command: &cdb_export::Command, cdb: Option<&[u8]>) -> types::Outcome {
        // Without bytes the host gave a length that its own call can not have.
        let Some(cdb) = cdb else { return convert::outcome(Outcome::INTERNAL) };
        let command =
            CdbCommand { tag: Tag(command.tag), cdb, data_out: command.data_out, data_in: command.data_in };
        Self::plan(|handler, buffers| Cdb::submit(handler, &command, buffers))
    }
}

impl<P: Place<Handler: Cdb>> cdb_export::Guest for Component<P> {
    fn submit(command: cdb_export::Command) -> types::Outcome {
        let mut cdb = [0; 16];
        cdb[..8].copy_from_slice(&command.cdb_low.to_le_bytes());
        cdb[8..].copy_from_slice(&command.cdb_high.to_le_bytes());
        Self::submit_cdb(&command, cdb.get(..usize::from(command.cdb_length)))
    }

    fn submit_long(command: cdb_export::Command, cdb: Vec<u8>) -> types::Outcome {
        Self::submit_cdb(&command, cdb.get(..usize::from(command.cdb_length)))
    }
}

impl<P: Place<Handler: Resize>> resize_export::Guest for Component<P> {
    fn resize(size: u64) -> Result<(), types::ConfigError> {
        Self::call(|handler| handler.resize(size))
            .unwrap_or_else(|| Err(out_of_order()))
            .map_err(convert::config_error)
    }
}

impl<P: Place<Handler: BlockUnmap>> unmap_export::Guest for Component<P> {
    fn limits() -> Option<unmap_export::UnmapLimits> {
        let limits = Self::call(BlockUnmap::limits)??;
        Some(unmap_export::UnmapLimits {
            max_length: limits.max_length,
            granularity: limits.granularity,
            reads_zeroes: limits.reads_zeroes,
        })
    }

    fn unmap(tag: u64, offset: u64, length: u64) -> types::Outcome {
        Self::plan(|handler, buffers| handler.unmap(Tag(tag), offset, length, buffers))
    }
}

impl<P: Place<Handler: BlockWriteZeroes>> zeroes_export::Guest for Component<P> {
    fn write_zeroes(tag: u64, offset: u64, length: u64, may_unmap: bool, fua: bool) -> types::Outcome {
        Self::plan(|handler, buffers| handler.write_zeroes(Tag(tag), offset, length, may_unmap, fua, buffers))
    }
}

impl<P: Place<Handler: BlockCompareAndWrite>> caw_export::Guest for Component<P> {
    fn compare_and_write(tag: u64, offset: u64, length: u64, fua: bool) -> types::Outcome {
        Self::plan(|handler, buffers| handler.compare_and_write(Tag(tag), offset, length, fua, buffers))
    }
}

impl<P: Place<Handler: BlockLbaStatus>> status_export::Guest for Component<P> {
    fn lba_status(tag: u64, offset: u64, length: u64) -> types::Outcome {
        Self::plan(|handler, buffers| handler.lba_status(Tag(tag), offset, length, buffers))
    }
}

impl<P: Place<Handler: State>> state_export::Guest for Component<P> {
    fn save() -> Result<Vec<u8>, String> {
        Self::call(State::save).unwrap_or_else(|| Err(out_of_order().message))
    }

    fn restore(state: Vec<u8>) -> Result<(), String> {
        Self::call(|handler| handler.restore(&state)).unwrap_or_else(|| Err(out_of_order().message))
    }
}

impl<P: Place<Handler: Events>> events_export::Guest for Component<P> {
    fn notify(event: events_export::Event, store: u32) {
        let event = match event {
            events_export::Event::StoreReconnected => Event::StoreReconnected,
            events_export::Event::Idle => Event::Idle,
        };
        Self::call(|handler| handler.notify(event, StoreId(store)));
    }
}

impl<P: Place<Handler: Options>> options_export::Guest for Component<P> {
    fn declare() -> options_export::Schema {
        report_panics();
        let schema = P::Handler::declare();
        options_export::Schema {
            grammar: match schema.grammar {
                Grammar::Whole => options_export::Grammar::Whole,
                Grammar::Semicolon => options_export::Grammar::Semicolon,
                Grammar::Zbc => options_export::Grammar::Zbc,
                Grammar::Fbo => options_export::Grammar::Fbo,
            },
            fields: schema.fields.into_iter().map(option_field).collect(),
        }
    }
}

fn option_field(field: Field) -> options_export::Field {
    let Field { name, kind, required, help } = field;
    let kind = match kind {
        FieldKind::Path { read_only, create } => {
            options_export::FieldKind::Path(options_export::Access { read_only, create })
        }
        FieldKind::Store { read_only, create } => {
            options_export::FieldKind::Store(options_export::Access { read_only, create })
        }
        FieldKind::Number { min, max } => {
            options_export::FieldKind::Number(options_export::Bounds { min, max })
        }
        FieldKind::Choice(words) => options_export::FieldKind::Choice(words),
        FieldKind::Text => options_export::FieldKind::Text,
        FieldKind::Flag => options_export::FieldKind::Flag,
    };
    options_export::Field { name, kind, required, help }
}
