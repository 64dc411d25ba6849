//! What the host keeps for one instance that imports WASI, and the imports that use it.

use std::cell::RefCell;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::WasiGrants;
use super::output::{LogOutput, SharedLog};
use crate::bindings::Everything;
use crate::bindings::lunbox::handler::{buffers, log, types};
use crate::context::{put, take};
use crate::deadline::CallClock;
use crate::fault::Stop;
use crate::guest_log::GuestLog;
use crate::limiter::Limiter;
use crate::{Fault, Limits, SharedBuffers};

thread_local! {
    /// The buffers of the call that this thread makes. Not a part of the context: a context that WASI can use must
    /// be allowed to go to other threads, and the buffers must not.
    static LENT: RefCell<Option<SharedBuffers>> = const { RefCell::new(None) };
}

/// As long as it lives, calls on this thread see the buffers.
pub(super) struct Lent {
    /// Those of a call around this one. There is none: a handler is not called from another's import.
    before: Option<SharedBuffers>,
}

impl Lent {
    pub(super) fn lend(buffers: &SharedBuffers) -> Self {
        Self { before: LENT.replace(Some(SharedBuffers::clone(buffers))) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.set(self.before.take());
    }
}

/// The host's side of one instance that imports WASI.
pub(crate) struct WasiContext {
    pub(super) limiter: Limiter,
    pub(super) clock: CallClock,
    log: SharedLog,
    hostcall_bytes: u32,
    wasi: WasiCtx,
    resources: ResourceTable,
    directories: Vec<(Dir, String)>,
}

impl WasiContext {
    pub(super) fn new(device: &str, limits: &Limits, grants: &WasiGrants) -> Result<Self, Fault> {
        let log = SharedLog::new(GuestLog::new(device, limits));
        // What is not named here is closed or empty: arguments, environment, standard input, sockets, names.
        let wasi = WasiCtxBuilder::new()
            .stdout(LogOutput::new(log.clone(), log::Level::Info))
            .stderr(LogOutput::new(log.clone(), log::Level::Warning))
            .max_random_size(u64::from(limits.hostcall_bytes))
            .build();
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits.wasi_resources);
        let directories =
            grants.directories.iter().map(super::GrantedDirectory::open).collect::<Result<_, _>>();
        Ok(Self {
            limiter: Limiter::new(limits),
            clock: CallClock::new(limits),
            log,
            hostcall_bytes: limits.hostcall_bytes,
            wasi,
            resources,
            directories: directories.map_err(|error| {
                Fault::Host(format!(
                    "a granted directory can not be handed to the handler: {error}; raise the limit on open files"
                ))
            })?,
        })
    }

    fn lent() -> Result<SharedBuffers, Stop> {
        LENT.with_borrow(Clone::clone).ok_or(Stop::Host("a handler used its buffers outside of a call"))
    }
}

/// The imports of a handler that imports WASI.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<WasiContext>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Takes the place of wasmtime-wasi's own, whose directories are opened by name.
    linker.allow_shadowing(true);
    preopens::add_to_linker::<_, HasSelf<WasiContext>>(&mut linker, |context| context)?;
    linker.allow_shadowing(false);
    Everything::add_to_linker::<_, HasSelf<WasiContext>>(&mut linker, |context| context)?;
    Ok(linker)
}

impl WasiView for WasiContext {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

impl preopens::Host for WasiContext {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut granted = Vec::with_capacity(self.directories.len());
        for (directory, name) in &self.directories {
            let descriptor = self.resources.push(Descriptor::Dir(directory.clone()))?;
            granted.push((descriptor, name.clone()));
        }
        Ok(granted)
    }
}

impl buffers::Host for WasiContext {
    fn take(
        &mut self,
        tag: types::Tag,
        buffer: types::BufferId,
        offset: u32,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, buffers::BufferError>> {
        take(&Self::lent()?, self.hostcall_bytes, tag, buffer, offset, length)
    }

    fn put(
        &mut self,
        tag: types::Tag,
        buffer: types::BufferId,
        offset: u32,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<(), buffers::BufferError>> {
        put(&Self::lent()?, tag, buffer, offset, &data)
    }
}

impl log::Host for WasiContext {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.write(level, &message);
        Ok(())
    }
}

impl types::Host for WasiContext {}
