//! Handlers without a sandbox: the same traits over native code.
//!
//! For benchmarks, which need a baseline without Wasm, and for handlers that are compiled into a host. Native code is
//! trusted: no limit holds it, and its panics are the host's.

use std::marker::PhantomData;

use lunbox_contract::{
    BlockCommand, Buffers, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, OpsResult,
    Outcome, Schema, StoreId, Tag, UnmapLimits,
};
use lunbox_sdk::{
    Block, BlockCompareAndWrite, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Cdb, Events,
    Handler as Author, Options, Resize, State,
};

use crate::{Abilities, Fault, Handler, HandlerFactory, Limits, SharedBuffers};

/// Makes native handlers of type `H`.
///
/// Rust can not ask whether `H` has an ability, so abilities are named: `NativeFactory::<H>::new().with_resize()`.
/// The compiler checks them.
#[derive(Clone, Debug)]
pub struct NativeFactory<H> {
    description: Description,
    schema: Option<Schema>,
    table: Table<H>,
    /// A factory makes handlers; it holds none, so it may go to other threads even if they may not.
    _makes: PhantomData<fn() -> H>,
}

type CdbFn<H> = fn(&mut H, &CdbCommand<'_>, &mut dyn Buffers) -> Outcome;
type ResizeFn<H> = fn(&mut H, u64) -> Result<(), ConfigError>;
type UnmapLimitsFn<H> = fn(&mut H) -> Option<UnmapLimits>;
type UnmapFn<H> = fn(&mut H, Tag, u64, u64, &mut dyn Buffers) -> Outcome;
type WriteZeroesFn<H> = fn(&mut H, Tag, u64, u64, bool, bool, &mut dyn Buffers) -> Outcome;
type CompareAndWriteFn<H> = fn(&mut H, Tag, u64, u64, bool, &mut dyn Buffers) -> Outcome;
type LbaStatusFn<H> = fn(&mut H, Tag, u64, u64, &mut dyn Buffers) -> Outcome;
type SaveFn<H> = fn(&mut H) -> Result<Vec<u8>, String>;
type RestoreFn<H> = fn(&mut H, &[u8]) -> Result<(), String>;

/// The optional functions of `H`.
#[derive(Debug)]
struct Table<H> {
    cdb: Option<CdbFn<H>>,
    resize: Option<ResizeFn<H>>,
    unmap: Option<(UnmapLimitsFn<H>, UnmapFn<H>)>,
    write_zeroes: Option<WriteZeroesFn<H>>,
    compare_and_write: Option<CompareAndWriteFn<H>>,
    lba_status: Option<LbaStatusFn<H>>,
    state: Option<(SaveFn<H>, RestoreFn<H>)>,
    events: Option<fn(&mut H, Event, StoreId)>,
}

impl<H> Clone for Table<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Table<H> {}

impl<H: Author + Block> NativeFactory<H> {
    /// A factory of block handlers.
    #[must_use]
    pub fn new() -> Self {
        let table = Table {
            cdb: None,
            resize: None,
            unmap: None,
            write_zeroes: None,
            compare_and_write: None,
            lba_status: None,
            state: None,
            events: None,
        };
        Self { description: H::describe(), schema: None, table, _makes: PhantomData }
    }

    /// `H` sees CDBs first.
    #[must_use]
    pub fn with_cdb(mut self) -> Self
    where
        H: Cdb,
    {
        self.table.cdb = Some(<H as Cdb>::submit);
        self
    }

    /// `H` can be resized.
    #[must_use]
    pub fn with_resize(mut self) -> Self
    where
        H: Resize,
    {
        self.table.resize = Some(H::resize);
        self
    }

    /// `H` unmaps.
    #[must_use]
    pub fn with_unmap(mut self) -> Self
    where
        H: BlockUnmap,
    {
        self.table.unmap = Some((H::limits, H::unmap));
        self
    }

    /// `H` writes zeros without moving them.
    #[must_use]
    pub fn with_write_zeroes(mut self) -> Self
    where
        H: BlockWriteZeroes,
    {
        self.table.write_zeroes = Some(H::write_zeroes);
        self
    }

    /// `H` compares and writes atomically.
    #[must_use]
    pub fn with_compare_and_write(mut self) -> Self
    where
        H: BlockCompareAndWrite,
    {
        self.table.compare_and_write = Some(H::compare_and_write);
        self
    }

    /// `H` tells what is allocated.
    #[must_use]
    pub fn with_lba_status(mut self) -> Self
    where
        H: BlockLbaStatus,
    {
        self.table.lba_status = Some(H::lba_status);
        self
    }

    /// `H` hands its state on.
    #[must_use]
    pub fn with_state(mut self) -> Self
    where
        H: State,
    {
        self.table.state = Some((H::save, H::restore));
        self
    }

    /// `H` wants to know what happens.
    #[must_use]
    pub fn with_events(mut self) -> Self
    where
        H: Events,
    {
        self.table.events = Some(H::notify);
        self
    }

    /// `H` declares its options.
    #[must_use]
    pub fn with_options(mut self) -> Self
    where
        H: Options,
    {
        self.schema = Some(H::declare());
        self
    }
}

impl<H: Author + Block> Default for NativeFactory<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Author + Block> HandlerFactory for NativeFactory<H> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            block: true,
            batch: true,
            cdb: self.table.cdb.is_some(),
            resize: self.table.resize.is_some(),
            unmap: self.table.unmap.is_some(),
            write_zeroes: self.table.write_zeroes.is_some(),
            compare_and_write: self.table.compare_and_write.is_some(),
            lba_status: self.table.lba_status.is_some(),
            state: self.table.state.is_some(),
            events: self.table.events.is_some(),
            options: self.schema.is_some(),
        }
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    fn instantiate(
        &self,
        _device: &str,
        buffers: SharedBuffers,
        _limits: &Limits,
    ) -> Result<Box<dyn Handler>, Fault> {
        Ok(Box::new(Native::<H> { handler: None, buffers, table: self.table }))
    }
}

/// A native handler serving one device.
struct Native<H> {
    handler: Option<H>,
    buffers: SharedBuffers,
    table: Table<H>,
}

impl<H> Native<H> {
    #[inline]
    fn call<R>(&mut self, call: impl FnOnce(&mut H, &mut dyn Buffers) -> R) -> Result<R, Fault> {
        let handler = self.handler.as_mut().ok_or_else(not_configured)?;
        let mut buffers = self
            .buffers
            .try_borrow_mut()
            .map_err(|_| Fault::Host("the buffers are borrowed during a call into the handler".to_owned()))?;
        Ok(call(handler, &mut *buffers))
    }
}

#[cold]
fn not_configured() -> Fault {
    Fault::Host("configure was not called, or the handler refused".to_owned())
}

fn table_entry<T: Copy>(entry: Option<T>, interface: &str) -> Result<T, Fault> {
    entry.ok_or_else(|| Fault::lacks(interface))
}

impl<H: Author + Block> Handler for Native<H> {
    fn configure(&mut self, config: &DeviceConfig) -> Result<Result<DeviceInfo, ConfigError>, Fault> {
        Ok(H::configure(config).map(|(handler, info)| {
            self.handler = Some(handler);
            info
        }))
    }

    fn submit_block(&mut self, command: &BlockCommand) -> Result<Outcome, Fault> {
        self.call(|handler, buffers| <H as Block>::submit(handler, command, buffers))
    }

    fn submit_cdb(&mut self, command: &CdbCommand<'_>) -> Result<Outcome, Fault> {
        let Some(submit) = self.table.cdb else { return Ok(Outcome::NotHandled) };
        self.call(|handler, buffers| submit(handler, command, buffers))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult) -> Result<Outcome, Fault> {
        self.call(|handler, buffers| handler.resume(tag, result, buffers))
    }

    fn cancel(&mut self, tag: Tag) -> Result<(), Fault> {
        self.call(|handler, _| handler.cancel(tag))
    }

    fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Fault> {
        let resize = table_entry(self.table.resize, "resize")?;
        self.call(|handler, _| resize(handler, size))
    }

    fn unmap_limits(&mut self) -> Result<Option<UnmapLimits>, Fault> {
        let (limits, _) = table_entry(self.table.unmap, "block-unmap")?;
        self.call(|handler, _| limits(handler))
    }

    fn unmap(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let (_, unmap) = table_entry(self.table.unmap, "block-unmap")?;
        self.call(|handler, buffers| unmap(handler, tag, offset, length, buffers))
    }

    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
    ) -> Result<Outcome, Fault> {
        let write_zeroes = table_entry(self.table.write_zeroes, "block-write-zeroes")?;
        self.call(|handler, buffers| write_zeroes(handler, tag, offset, length, may_unmap, fua, buffers))
    }

    fn compare_and_write(&mut self, tag: Tag, offset: u64, length: u64, fua: bool) -> Result<Outcome, Fault> {
        let compare_and_write = table_entry(self.table.compare_and_write, "block-compare-and-write")?;
        self.call(|handler, buffers| compare_and_write(handler, tag, offset, length, fua, buffers))
    }

    fn lba_status(&mut self, tag: Tag, offset: u64, length: u64) -> Result<Outcome, Fault> {
        let lba_status = table_entry(self.table.lba_status, "block-lba-status")?;
        self.call(|handler, buffers| lba_status(handler, tag, offset, length, buffers))
    }

    fn save(&mut self) -> Result<Result<Vec<u8>, String>, Fault> {
        let (save, _) = table_entry(self.table.state, "state")?;
        self.call(|handler, _| save(handler))
    }

    fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        let (_, restore) = table_entry(self.table.state, "state")?;
        self.call(|handler, _| restore(handler, state))
    }

    fn notify(&mut self, event: Event, store: StoreId) -> Result<(), Fault> {
        let notify = table_entry(self.table.events, "events")?;
        self.call(|handler, _| notify(handler, event, store))
    }
}
