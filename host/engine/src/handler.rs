//! What the device loop sees of a handler, whether it is a Wasm instance or native code.

use std::cell::RefCell;
use std::rc::Rc;

use lunbox_contract::{
    BlockCommand, Buffers, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, OpsResult,
    Outcome, Schema, StoreId, Tag, UnmapLimits,
};

use crate::{Fault, Limits};

/// The buffers of a device's commands, shared between the device loop, which owns them, and the handler's
/// imports. The device loop must hold no borrow while it calls the handler: the handler would see a
/// [`Fault::Host`].
pub type SharedBuffers = Rc<RefCell<dyn Buffers>>;

/// One handler serving one device (`wit/handler.wit`; the rules of each call stand there).
///
/// Lives on the thread that made it, which needs at least 1 MiB of stack: up to 512 KiB are the guest's. A call
/// blocks for the time that the guest computes, at most its CPU budget ([`Limits::cpu_per_call`]); it never
/// waits for anything unless the handler imports WASI ([`HandlerFactory::wasi`]), and then no longer than
/// [`Limits::wall_per_call`]. Such a call must not be made on a thread that runs a tokio runtime.
///
/// # Errors
/// Every call may end in a [`Fault`]. The instance is then ended and answers each later call with
/// [`Fault::Ended`] without running: drop it and make a new one.
pub trait Handler {
    /// Takes up service; called once, before everything else. The inner error is the handler's refusal, for the
    /// operator, and leaves the instance useless but not ended.
    ///
    /// # Errors
    /// See [`Handler`].
    fn configure(&mut self, config: &DeviceConfig) -> Result<Result<DeviceInfo, ConfigError>, Fault>;

    /// Plans a block command. Never answers [`Outcome::NotHandled`]. Allocates nothing unless the answer is
    /// [`Outcome::More`].
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] if the handler has no block interface.
    fn submit_block(&mut self, command: &BlockCommand) -> Result<Outcome, Fault>;

    /// Plans several block commands, in this order; their outcomes are appended to `outcomes`. One call into the
    /// guest if it can take batches, which costs less and allocates one list.
    ///
    /// # Errors
    /// See [`Handler`]; what is in `outcomes` then means nothing.
    fn submit_blocks(&mut self, commands: &[BlockCommand], outcomes: &mut Vec<Outcome>) -> Result<(), Fault> {
        for command in commands {
            outcomes.push(self.submit_block(command)?);
        }
        Ok(())
    }

    /// Plans a command from its CDB (6 to 260 bytes). [`Outcome::NotHandled`] if the handler has no CDB interface.
    ///
    /// # Errors
    /// See [`Handler`].
    fn submit_cdb(&mut self, command: &CdbCommand<'_>) -> Result<Outcome, Fault>;

    /// Tells that all operations of the command's last [`Outcome::More`] have ended. Never answers
    /// [`Outcome::NotHandled`].
    ///
    /// # Errors
    /// See [`Handler`].
    fn resume(&mut self, tag: Tag, result: &OpsResult) -> Result<Outcome, Fault>;

    /// Tells that the initiator aborted the command.
    ///
    /// # Errors
    /// See [`Handler`].
    fn cancel(&mut self, tag: Tag) -> Result<(), Fault>;

    /// Offers a new size in bytes, a multiple of the block size, while no command is in progress. The inner error
    /// is the handler's refusal: nothing has changed.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::resize`].
    fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Fault>;

    /// What UNMAP may ask for; called once, after `configure`. `None`: this device can not unmap.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::unmap`].
    fn unmap_limits(&mut self) -> Result<Option<UnmapLimits>, Fault> {
        Err(Fault::lacks("block-unmap"))
    }

    /// Plans one UNMAP descriptor; offset and length in bytes.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::unmap`].
    fn unmap(&mut self, _tag: Tag, _offset: u64, _length: u64) -> Result<Outcome, Fault> {
        Err(Fault::lacks("block-unmap"))
    }

    /// Plans the writing of zeros; offset and length in bytes.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::write_zeroes`].
    fn write_zeroes(
        &mut self,
        _tag: Tag,
        _offset: u64,
        _length: u64,
        _may_unmap: bool,
        _fua: bool,
    ) -> Result<Outcome, Fault> {
        Err(Fault::lacks("block-write-zeroes"))
    }

    /// Plans an atomic COMPARE AND WRITE; `length` in bytes is that of one half of buffer 0.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::compare_and_write`].
    fn compare_and_write(
        &mut self,
        _tag: Tag,
        _offset: u64,
        _length: u64,
        _fua: bool,
    ) -> Result<Outcome, Fault> {
        Err(Fault::lacks("block-compare-and-write"))
    }

    /// Plans a list of what is allocated; offset and length in bytes. Buffer 0 is filled with
    /// [`ExtentRecord`](lunbox_contract::ExtentRecord)s.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::lba_status`].
    fn lba_status(&mut self, _tag: Tag, _offset: u64, _length: u64) -> Result<Outcome, Fault> {
        Err(Fault::lacks("block-lba-status"))
    }

    /// The state that a newer version takes over, at most [`MAX_STATE_BYTES`]; the last call of this instance.
    /// The inner error is a text for the operator.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::state`].
    fn save(&mut self) -> Result<Result<Vec<u8>, String>, Fault> {
        Err(Fault::lacks("state"))
    }

    /// Takes over the state of an older version; the first call after `configure`. The inner error is a text for
    /// the operator: keep the old instance.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::state`].
    fn restore(&mut self, _state: &[u8]) -> Result<Result<(), String>, Fault> {
        Err(Fault::lacks("state"))
    }

    /// Tells of something that happened to the device.
    ///
    /// # Errors
    /// See [`Handler`]; [`Fault::Host`] without [`Abilities::events`].
    fn notify(&mut self, _event: Event, _store: StoreId) -> Result<(), Fault> {
        Err(Fault::lacks("events"))
    }
}

/// Most bytes of state that one version of a handler hands to the next (`state.save` in the WIT).
pub const MAX_STATE_BYTES: usize = 16 << 20;

/// Makes handlers of one kind.
pub trait HandlerFactory: Send + Sync {
    /// Who the handler is.
    fn description(&self) -> &Description;

    /// Which optional interfaces it has.
    fn abilities(&self) -> Abilities;

    /// What may stand in its cfgstring; checked by [`Schema::check`]. `None`: the whole text after `<subtype>/` is the
    /// path of one store with the option name "".
    fn schema(&self) -> Option<&Schema> {
        None
    }

    /// Whether the handler imports WASI, so that its calls may wait ([`Limits::wall_per_call`]).
    fn wasi(&self) -> bool {
        false
    }

    /// Makes a handler for a device. `device` is its name in log lines; `buffers` answers its imports. Takes tens
    /// of microseconds.
    ///
    /// # Errors
    /// A [`Fault`] of the guest's start-up code or its limits, or [`Fault::Host`] if the system gave no memory.
    fn instantiate(
        &self,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
    ) -> Result<Box<dyn Handler>, Fault>;
}

/// The optional interfaces that a handler exports. INQUIRY, the VPD pages and the list of supported commands
/// follow from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// `block`: reads, writes and flushes.
    pub block: bool,
    /// `block-batch`: several of them in one call.
    pub batch: bool,
    /// `cdb`: whole CDBs.
    pub cdb: bool,
    /// `resize`.
    pub resize: bool,
    /// `block-unmap`.
    pub unmap: bool,
    /// `block-write-zeroes`.
    pub write_zeroes: bool,
    /// `block-compare-and-write`.
    pub compare_and_write: bool,
    /// `block-lba-status`.
    pub lba_status: bool,
    /// `state`.
    pub state: bool,
    /// `events`.
    pub events: bool,
    /// `options`: [`HandlerFactory::schema`] says which.
    pub options: bool,
}
