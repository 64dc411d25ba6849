//! One Wasm instance that imports WASI: calls that can be given up.

use std::sync::Arc;
use std::time::Duration;

use lunbox_contract::{
    BlockCommand, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, OpsResult, Outcome,
    Schema, StoreId, Tag, UnmapLimits,
};
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use super::context::{Lent, WasiContext};
use super::exports::WasiExports;
use super::{WasiGrants, overdue};
use crate::code::Code;
use crate::handler::{Handler, MAX_STATE_BYTES};
use crate::instance::{Inquire, InstanceError};
use crate::ticker::Pulse;
use crate::{Fault, Limits, SharedBuffers, convert};

/// Threads for the file operations of one instance. A guest waits for each of its operations, so more would only
/// serve one that does not.
const FILE_THREADS: usize = 4;
/// How long such a thread waits for the next operation.
const FILE_THREAD_IDLE: Duration = Duration::from_secs(1);

/// An instance of a component that imports WASI, with everything that belongs to it.
pub(crate) struct WasiInstance {
    store: Store<WasiContext>,
    exports: WasiExports,
    /// Why it ended.
    ended: Option<Fault>,
    configured: bool,
    buffers: SharedBuffers,
    wall_per_call: Duration,
    hostcall_bytes: usize,
    wasi_resources: usize,
    /// Keeps ticks coming during calls.
    pulse: Arc<Pulse>,
    /// Goes after the store, whose resources may have tasks on it.
    executor: Executor,
    /// The epoch must go on as long as there are instances.
    _code: Arc<Code>,
}

impl WasiInstance {
    pub(crate) fn new(
        code: &Arc<Code>,
        pre: &InstancePre<WasiContext>,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
        grants: &WasiGrants,
    ) -> Result<Self, InstanceError> {
        let executor = Executor::new().map_err(InstanceError::Fault)?;
        let hostcall_bytes = usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX);
        let context = WasiContext::new(device, limits, grants).map_err(InstanceError::Fault)?;
        let mut store = Store::new(pre.engine(), context);
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
        let lent = Lent::lend(&buffers);
        let instance = executor
            .run(limits.wall_per_call, pre.instantiate_async(&mut store))
            .map_err(InstanceError::Fault)?
            .map_err(|error| {
                let fault = of_wasi(&error, limits.wasi_resources)
                    .unwrap_or_else(|| Fault::of_instantiation(&error, limits.instances));
                InstanceError::Fault(fault)
            })?;
        drop(lent);
        let exports =
            WasiExports::load(&mut store, &instance, code.abilities).map_err(InstanceError::WrongType)?;
        Ok(Self {
            store,
            exports,
            ended: None,
            configured: false,
            buffers,
            wall_per_call: limits.wall_per_call,
            hostcall_bytes,
            wasi_resources: limits.wasi_resources,
            pulse,
            executor,
            _code: Arc::clone(code),
        })
    }

    /// Calls into the guest. Any fault ends the instance: after a trap its memory is in an unknown state, and a call
    /// that was given up is still on its stack.
    fn call<A, R>(&mut self, function: TypedFunc<A, R>, arguments: A) -> Result<R, Fault>
    where
        A: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        if let Some(fault) = &self.ended {
            return Err(Fault::Ended(Box::new(fault.clone())));
        }
        self.store.data_mut().clock.begin();
        self.store.set_epoch_deadline(1);
        self.pulse.beat();
        let lent = Lent::lend(&self.buffers);
        let answer = self
            .executor
            .run(self.wall_per_call, function.call_async(&mut self.store, arguments))
            .and_then(|answer| {
                answer.map_err(|error| {
                    of_wasi(&error, self.wasi_resources).unwrap_or_else(|| Fault::of_call(&error))
                })
            });
        drop(lent);
        self.check(answer)
    }

    /// A call that answers with a plan.
    fn plan<A>(
        &mut self,
        function: TypedFunc<A, (crate::bindings::lunbox::handler::types::Outcome,)>,
        arguments: A,
    ) -> Result<Outcome, Fault>
    where
        A: ComponentNamedList + Lower,
    {
        let (answer,) = self.call(function, arguments)?;
        self.check(convert::outcome(answer))
    }

    /// A fault ends the instance.
    fn check<T>(&mut self, answer: Result<T, Fault>) -> Result<T, Fault> {
        answer.inspect_err(|fault| self.ended = Some(fault.clone()))
    }
}

/// Faults that only WASI knows.
fn of_wasi(error: &wasmtime::Error, resources: usize) -> Option<Fault> {
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(Fault::Memory {
            wanted: "one more WASI handle (stream, pollable, file)".to_owned(),
            limit: u64::try_from(resources).unwrap_or(u64::MAX),
            field: "wasi_resources",
        });
    }
    let I32Exit(status) = error.downcast_ref()?;
    Some(Fault::Trap { message: format!("it called exit with status {status}") })
}

impl Inquire for WasiInstance {
    fn describe(&mut self) -> Result<Description, Fault> {
        let (description,) = self.call(self.exports.describe, ())?;
        Ok(convert::description(description))
    }

    fn declare(&mut self) -> Result<Option<Schema>, Fault> {
        let Some(declare) = self.exports.declare else { return Ok(None) };
        let (schema,) = self.call(declare, ())?;
        Ok(Some(convert::schema(schema)))
    }
}

impl Handler for WasiInstance {
    fn configure(&mut self, config: &DeviceConfig) -> Result<Result<DeviceInfo, ConfigError>, Fault> {
        if std::mem::replace(&mut self.configured, true) {
            return Err(Fault::Host("configure was called twice; make a new instance instead".to_owned()));
        }
        match self.call(self.exports.configure, (convert::device_config(config),))? {
            (Ok(info),) => self.check(convert::device_info(info, config.block_size)).map(Ok),
            (Err(refusal),) => Ok(Err(convert::config_error(&refusal))),
        }
    }

    fn submit_block(&mut self, command: &BlockCommand) -> Result<Outcome, Fault> {
        let submit = self.exports.block.ok_or_else(|| Fault::lacks("block"))?;
        self.plan(submit, (convert::block_command(command),))
    }

    fn submit_blocks(&mut self, commands: &[BlockCommand], outcomes: &mut Vec<Outcome>) -> Result<(), Fault> {
        let Some(submit) = self.exports.batch else {
            for command in commands {
                outcomes.push(self.submit_block(command)?);
            }
            return Ok(());
        };
        let lowered = commands.iter().map(convert::block_command).collect();
        let (answers,) = self.call(submit, (lowered,))?;
        let (asked, got) = (commands.len(), answers.len());
        if asked != got {
            return self.check(Err(Fault::Contract(format!(
                "block-batch.submit: {got} outcomes for {asked} commands"
            ))));
        }
        for answer in answers {
            outcomes.push(self.check(convert::outcome(answer))?);
        }
        Ok(())
    }

    fn submit_cdb(&mut self, command: &CdbCommand<'_>) -> Result<Outcome, Fault> {
        let Some(cdb) = &self.exports.cdb else { return Ok(Outcome::NotHandled) };
        let lowered = convert::cdb_command(command)?;
        let (answer,) = if command.cdb.len() > 16 {
            self.call(cdb.submit_long, (lowered, command.cdb.to_vec()))?
        } else {
            self.call(cdb.submit, (lowered,))?
        };
        self.check(convert::first_outcome(answer))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult) -> Result<Outcome, Fault> {
        self.plan(self.exports.resume, (tag.0, convert::ops_result(result)))
    }

    fn cancel(&mut self, tag: Tag) -> Result<(), Fault> {
        self.call(self.exports.cancel, (tag.0,))
    }

    fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Fault> {
        let resize = self.exports.resize.ok_or_else(|| Fault::lacks("resize"))?;
        let (answer,) = self.call(resize, (size,))?;
        Ok(answer.map_err(|refusal| convert::config_error(&refusal)))
    }

    fn unmap_limits(&mut self) -> Result<Option<UnmapLimits>, Fault> {
        let unmap = self.exports.unmap.as_ref().ok_or_else(|| Fault::lacks("block-unmap"))?;
        let (limits,) = self.call(unmap.limits, ())?;
        Ok(limits.map(convert::unmap_limits))
    }

    fn unmap(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let unmap = self.exports.unmap.as_ref().ok_or_else(|| Fault::lacks("block-unmap"))?;
        self.plan(unmap.unmap, (tag.0, offset, length))
    }

    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
    ) -> Result<Outcome, Fault> {
        let write_zeroes = self.exports.write_zeroes.ok_or_else(|| Fault::lacks("block-write-zeroes"))?;
        self.plan(write_zeroes, (tag.0, offset, length, may_unmap, fua))
    }

    fn compare_and_write(&mut self, tag: Tag, offset: u64, length: u64, fua: bool) -> Result<Outcome, Fault> {
        let compare_and_write =
            self.exports.compare_and_write.ok_or_else(|| Fault::lacks("block-compare-and-write"))?;
        self.plan(compare_and_write, (tag.0, offset, length, fua))
    }

    fn lba_status(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let lba_status = self.exports.lba_status.ok_or_else(|| Fault::lacks("block-lba-status"))?;
        self.plan(lba_status, (tag.0, offset, length))
    }

    fn save(&mut self) -> Result<Result<Vec<u8>, String>, Fault> {
        let save = self.exports.state.as_ref().ok_or_else(|| Fault::lacks("state"))?.save;
        // As in the instances without WASI: the one answer that may be longer than usual, and a little more.
        self.store.set_hostcall_fuel(MAX_STATE_BYTES + 4096);
        let saved = self.call(save, ());
        self.store.set_hostcall_fuel(self.hostcall_bytes);
        match saved? {
            (Ok(bytes),) if bytes.len() > MAX_STATE_BYTES => {
                let length = bytes.len();
                self.check(Err(Fault::Contract(format!(
                    "state.save: {length} bytes; at most {MAX_STATE_BYTES} are allowed"
                ))))
            }
            (saved,) => Ok(saved.map_err(|refusal| convert::refusal(&refusal))),
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        let restore = self.exports.state.as_ref().ok_or_else(|| Fault::lacks("state"))?.restore;
        let (restored,) = self.call(restore, (state.to_vec(),))?;
        Ok(restored.map_err(|refusal| convert::refusal(&refusal)))
    }

    fn notify(&mut self, event: Event, store: StoreId) -> Result<(), Fault> {
        let notify = self.exports.notify.ok_or_else(|| Fault::lacks("events"))?;
        self.call(notify, (convert::event(event), store.0))
    }
}

/// Runs the calls of one instance on the thread that makes them. Has no descriptors, no thread of its own, and knows
/// time only: nothing that is granted needs more.
struct Executor(Option<Runtime>);

impl Executor {
    fn new() -> Result<Self, Fault> {
        Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(FILE_THREADS)
            .thread_keep_alive(FILE_THREAD_IDLE)
            .thread_name("lunbox-wasi")
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| Fault::Host(format!("no runtime for WASI: {error}")))
    }

    /// Runs a call to its end, or gives it up: then the guest's stack is unwound and its host calls are dropped.
    fn run<T>(&self, budget: Duration, call: impl Future<Output = T>) -> Result<T, Fault> {
        let Some(runtime) = &self.0 else {
            return Err(Fault::Host("the instance has no runtime any more".to_owned()));
        };
        runtime.block_on(async { tokio::time::timeout(budget, call).await }).map_err(|_| overdue(budget))
    }
}

impl Drop for Executor {
    /// Does not wait for file operations: one may hang in the kernel for ever.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
