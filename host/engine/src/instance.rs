//! One Wasm instance: calls into the guest.

use std::sync::Arc;

use lunbox_contract::{
    BlockCommand, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, OpsResult, Outcome,
    Schema, StoreId, Tag, UnmapLimits,
};
use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::lunbox::handler::types as wit;
use crate::code::Code;
use crate::context::Context;
use crate::exports::{ExportIndices, Exports};
use crate::handler::{Handler, MAX_STATE_BYTES};
use crate::ticker::Pulse;
use crate::{Fault, Limits, SharedBuffers, convert};

/// An instance of a component with everything that belongs to it.
pub(crate) struct Instance {
    store: Store<Context>,
    exports: Exports,
    /// Why it ended.
    ended: Option<Fault>,
    configured: bool,
    hostcall_bytes: usize,
    /// The commands of a batch on their way in; kept for its memory.
    batch: Vec<wit::BlockCommand>,
    /// Keeps ticks coming during calls.
    pulse: Arc<Pulse>,
    /// The epoch must go on as long as there are instances.
    _code: Arc<Code>,
}

/// What is asked of a component before it serves any device.
pub(crate) trait Inquire: Handler {
    /// Who the handler is. The texts are unchecked.
    fn describe(&mut self) -> Result<Description, Fault>;

    /// The option schema; `None` without [`crate::Abilities::options`]. Its contents are unchecked.
    fn declare(&mut self) -> Result<Option<Schema>, Fault>;
}

/// Why no instance was made.
pub(crate) enum InstanceError {
    /// The guest or its limits.
    Fault(Fault),
    /// An export has another type than the contract says.
    WrongType(wasmtime::Error),
}

impl Instance {
    pub(crate) fn new(
        code: &Arc<Code>,
        pre: &InstancePre<Context>,
        indices: &ExportIndices,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
    ) -> Result<Self, InstanceError> {
        let hostcall_bytes = usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX);
        let mut store = Store::new(pre.engine(), Context::new(device, buffers, limits));
        store.limiter(|context| &mut context.limiter);
        store.set_hostcall_fuel(hostcall_bytes);
        let pulse = Arc::clone(code.runtime.ticker.pulse());
        let running = Arc::clone(&pulse);
        store.epoch_deadline_callback(move |mut store| {
            running.beat();
            store.data_mut().clock.tick()?;
            Ok(UpdateDeadline::Continue(1))
        });
        // Start-up code of the guest counts as a call.
        store.set_epoch_deadline(1);
        pulse.beat();
        let instance = pre
            .instantiate(&mut store)
            .map_err(|error| InstanceError::Fault(Fault::of_instantiation(&error, limits.instances)))?;
        let exports = Exports::load(indices, &mut store, &instance).map_err(InstanceError::WrongType)?;
        Ok(Self {
            store,
            exports,
            ended: None,
            configured: false,
            hostcall_bytes,
            batch: Vec::new(),
            pulse,
            _code: Arc::clone(code),
        })
    }

    /// Prepares a call. Costs a few loads and stores; see deadline.rs.
    #[inline]
    fn enter(&mut self) -> Result<(&Exports, &mut Store<Context>), Fault> {
        if let Some(fault) = &self.ended {
            return Err(Fault::Ended(Box::new(fault.clone())));
        }
        self.store.data_mut().clock.begin();
        self.store.set_epoch_deadline(1);
        self.pulse.beat();
        Ok((&self.exports, &mut self.store))
    }

    /// Calls into the guest and checks the answer. Any fault ends the instance: after a trap its memory is in an
    /// unknown state, and a guest that breaks the contract once is not worth the risk.
    fn call<A, R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<Context>) -> wasmtime::Result<A>,
        check: impl FnOnce(A) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let (exports, store) = self.enter()?;
        let answer = call(exports, store).map_err(|error| Fault::of_call(&error)).and_then(check);
        answer.map_err(|fault| self.end(fault))
    }

    /// The same for a plan, which is made for every command: the usual answer is taken apart at once, because each
    /// move of a whole outcome costs nanoseconds.
    #[inline]
    fn finish(&mut self, answer: wasmtime::Result<wit::Outcome>) -> Result<Outcome, Fault> {
        match answer {
            Ok(wit::Outcome::Io(op)) => Ok(Outcome::Io(convert::op(op))),
            other => self.finish_others(other),
        }
    }

    #[inline(never)]
    fn finish_others(&mut self, answer: wasmtime::Result<wit::Outcome>) -> Result<Outcome, Fault> {
        let outcome = answer.map_err(|error| Fault::of_call(&error)).and_then(convert::outcome);
        outcome.map_err(|fault| self.end(fault))
    }

    #[cold]
    fn end(&mut self, fault: Fault) -> Fault {
        self.ended = Some(fault.clone());
        fault
    }
}

impl Inquire for Instance {
    fn describe(&mut self) -> Result<Description, Fault> {
        self.call(
            |exports, store| exports.handler.call_describe(store),
            |description| Ok(convert::description(description)),
        )
    }

    fn declare(&mut self) -> Result<Option<Schema>, Fault> {
        self.call(
            |exports, store| exports.options.as_ref().map(|options| options.call_declare(store)).transpose(),
            |declared| Ok(declared.map(convert::schema)),
        )
    }
}

impl Handler for Instance {
    fn configure(&mut self, config: &DeviceConfig) -> Result<Result<DeviceInfo, ConfigError>, Fault> {
        if std::mem::replace(&mut self.configured, true) {
            return Err(Fault::Host("configure was called twice; make a new instance instead".to_owned()));
        }
        let lowered = convert::device_config(config);
        self.call(
            |exports, store| exports.handler.call_configure(store, &lowered),
            |answer| match answer {
                Ok(info) => convert::device_info(info, config.block_size).map(Ok),
                Err(refusal) => Ok(Err(convert::config_error(&refusal))),
            },
        )
    }

    fn submit_block(&mut self, command: &BlockCommand) -> Result<Outcome, Fault> {
        let command = convert::block_command(command);
        let (exports, store) = self.enter()?;
        let block = exports.block.as_ref().ok_or_else(|| Fault::lacks("block"))?;
        let answer = block.call_submit(store, command);
        self.finish(answer)
    }

    fn submit_blocks(&mut self, commands: &[BlockCommand], outcomes: &mut Vec<Outcome>) -> Result<(), Fault> {
        if self.exports.batch.is_none() {
            for command in commands {
                outcomes.push(self.submit_block(command)?);
            }
            return Ok(());
        }
        let mut lowered = std::mem::take(&mut self.batch);
        lowered.clear();
        lowered.extend(commands.iter().map(convert::block_command));
        let (exports, store) = self.enter()?;
        let batch = exports.batch.as_ref().ok_or_else(|| Fault::lacks("block-batch"))?;
        let answer = batch.call_submit(store, &lowered);
        self.batch = lowered;
        let answers = match answer {
            Ok(answers) if answers.len() == commands.len() => answers,
            Ok(answers) => {
                let (asked, got) = (commands.len(), answers.len());
                return Err(self.end(Fault::Contract(format!(
                    "block-batch.submit: {got} outcomes for {asked} commands"
                ))));
            }
            Err(error) => return Err(self.end(Fault::of_call(&error))),
        };
        for answer in answers {
            outcomes.push(self.finish(Ok(answer))?);
        }
        Ok(())
    }

    fn submit_cdb(&mut self, command: &CdbCommand<'_>) -> Result<Outcome, Fault> {
        let lowered = convert::cdb_command(command)?;
        let outcome = self.call(
            |exports, store| {
                let Some(cdb) = &exports.cdb else { return Ok(None) };
                if command.cdb.len() > 16 {
                    cdb.call_submit_long(store, lowered, command.cdb).map(Some)
                } else {
                    cdb.call_submit(store, lowered).map(Some)
                }
            },
            |outcome| outcome.map(convert::first_outcome).transpose(),
        )?;
        Ok(outcome.unwrap_or(Outcome::NotHandled))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult) -> Result<Outcome, Fault> {
        let result = convert::ops_result(result);
        let (exports, store) = self.enter()?;
        let answer = exports.handler.call_resume(store, tag.0, result);
        self.finish(answer)
    }

    fn cancel(&mut self, tag: Tag) -> Result<(), Fault> {
        self.call(|exports, store| exports.handler.call_cancel(store, tag.0), Ok)
    }

    fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Fault> {
        let answer = self.call(
            |exports, store| {
                exports.resize.as_ref().map(|resize| resize.call_resize(store, size)).transpose()
            },
            Ok,
        )?;
        let answer = answer.ok_or_else(|| Fault::lacks("resize"))?;
        Ok(answer.map_err(|refusal| convert::config_error(&refusal)))
    }

    fn unmap_limits(&mut self) -> Result<Option<UnmapLimits>, Fault> {
        let limits = self.call(
            |exports, store| exports.unmap.as_ref().map(|unmap| unmap.call_limits(store)).transpose(),
            Ok,
        )?;
        let limits = limits.ok_or_else(|| Fault::lacks("block-unmap"))?;
        Ok(limits.map(convert::unmap_limits))
    }

    fn unmap(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let (exports, store) = self.enter()?;
        let unmap = exports.unmap.as_ref().ok_or_else(|| Fault::lacks("block-unmap"))?;
        let answer = unmap.call_unmap(store, tag.0, offset, length);
        self.finish(answer)
    }

    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
    ) -> Result<Outcome, Fault> {
        let (exports, store) = self.enter()?;
        let write_zeroes = exports.write_zeroes.as_ref().ok_or_else(|| Fault::lacks("block-write-zeroes"))?;
        let answer = write_zeroes.call_write_zeroes(store, tag.0, offset, length, may_unmap, fua);
        self.finish(answer)
    }

    fn compare_and_write(&mut self, tag: Tag, offset: u64, length: u64, fua: bool) -> Result<Outcome, Fault> {
        let (exports, store) = self.enter()?;
        let compare_and_write =
            exports.compare_and_write.as_ref().ok_or_else(|| Fault::lacks("block-compare-and-write"))?;
        let answer = compare_and_write.call_compare_and_write(store, tag.0, offset, length, fua);
        self.finish(answer)
    }

    fn lba_status(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let (exports, store) = self.enter()?;
        let lba_status = exports.lba_status.as_ref().ok_or_else(|| Fault::lacks("block-lba-status"))?;
        let answer = lba_status.call_lba_status(store, tag.0, offset, length);
        self.finish(answer)
    }

    fn save(&mut self) -> Result<Result<Vec<u8>, String>, Fault> {
        let usual = self.hostcall_bytes;
        let saved = self.call(
            |exports, store| {
                let Some(state) = &exports.state else { return Ok(None) };
                // The one answer that may be longer than the limit of a usual call. A little more than the
                // most, so that a state that is too long is told apart from one that can not be read.
                store.set_hostcall_fuel(MAX_STATE_BYTES + 4096);
                let saved = state.call_save(&mut *store);
                store.set_hostcall_fuel(usual);
                saved.map(Some)
            },
            |saved| match saved {
                Some(Ok(bytes)) if bytes.len() > MAX_STATE_BYTES => {
                    let length = bytes.len();
                    Err(Fault::Contract(format!(
                        "state.save: {length} bytes; at most {MAX_STATE_BYTES} are allowed"
                    )))
                }
                saved => Ok(saved),
            },
        )?;
        let saved = saved.ok_or_else(|| Fault::lacks("state"))?;
        Ok(saved.map_err(|refusal| convert::refusal(&refusal)))
    }

    fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        let restored = self.call(
            |exports, store| exports.state.as_ref().map(|found| found.call_restore(store, state)).transpose(),
            Ok,
        )?;
        let restored = restored.ok_or_else(|| Fault::lacks("state"))?;
        Ok(restored.map_err(|refusal| convert::refusal(&refusal)))
    }

    fn notify(&mut self, event: Event, store: StoreId) -> Result<(), Fault> {
        let event = convert::event(event);
        let notified = self.call(
            |exports, context| {
                exports.events.as_ref().map(|events| events.call_notify(context, event, store.0)).transpose()
            },
            Ok,
        )?;
        notified.ok_or_else(|| Fault::lacks("events"))
    }
}
