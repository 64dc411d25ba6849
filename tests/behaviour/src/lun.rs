//! One LUN and its initiator.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lunbox_contract::StoreInfo;
use lunbox_device::{DeviceHandle, DeviceParts, Event, Identity, Settings, StartError, Status, spawn};
use lunbox_emulator::initiator::Settings as InitiatorSettings;
use lunbox_emulator::{Initiator, Kernel, Options};
use lunbox_engine::native::NativeFactory;
use lunbox_engine::{Engine, EngineOptions, HandlerFactory, Limits};
use lunbox_handler_file::File;
use lunbox_memory::Mapping;
use lunbox_scsi::{BlockSize, Blocks, Bytes};
use lunbox_store::{Backend, Store};
use lunbox_tcmu::{Doorbell, Ring};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineOptions { cache: None, tick: Duration::from_millis(5) })
        .expect("wasmtime runs on this machine")
});

/// The handler of a crate, compiled to Wasm.
///
/// # Panics
/// If it can not be built or loaded.
#[must_use]
pub fn wasm(package: &str) -> Arc<dyn HandlerFactory> {
    static LOADED: Mutex<Vec<(String, Arc<dyn HandlerFactory>)>> = Mutex::new(Vec::new());
    let mut loaded = LOADED.lock().expect("no test panics while it loads");
    if let Some((_, handler)) = loaded.iter().find(|(name, _)| name == package) {
        return Arc::clone(handler);
    }
    let path = crate::components::component(package);
    let handler: Arc<dyn HandlerFactory> = Arc::new(ENGINE.load(&path).expect("our handlers can be loaded"));
    loaded.push((package.to_owned(), Arc::clone(&handler)));
    handler
}

/// The `file` handler compiled natively: the same logic without a sandbox.
#[must_use]
pub fn native_file() -> Arc<dyn HandlerFactory> {
    Arc::new(NativeFactory::<File>::new())
}

/// What a LUN is made of; everything has a default.
pub struct LunBuilder {
    handler: Arc<dyn HandlerFactory>,
    stores: Vec<Store>,
    no_stores: bool,
    size: u64,
    block_size: u32,
    read_only: bool,
    kernel: Options,
    limits: Limits,
    backend: Backend,
    names: usize,
    identity: Identity,
    command_timeout: Option<Duration>,
    write_cache: Option<bool>,
}

impl LunBuilder {
    /// Another handler than the Wasm `file` handler.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn HandlerFactory>) -> Self {
        self.handler = handler;
        self
    }

    /// Another store than memory.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.stores = vec![store];
        self
    }

    /// Size in bytes; 16 MiB by default.
    #[must_use]
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Block size in bytes; 512 by default.
    #[must_use]
    pub const fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Refuses writes.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The emulated kernel's side.
    #[must_use]
    pub const fn kernel(mut self, options: Options) -> Self {
        self.kernel = options;
        self
    }

    /// The handler's limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How often the supervisor answers when it is asked for the names; always by default.
    #[must_use]
    pub const fn names(mut self, times: usize) -> Self {
        self.names = times;
        self
    }

    /// What the supervisor answers: the serial `0123456789abcdef`, no ports and no groups by default.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// When commands are late; never by default.
    #[must_use]
    pub const fn command_timeout(mut self, limit: Duration) -> Self {
        self.command_timeout = Some(limit);
        self
    }

    /// Whether there is a write cache; as the handler says by default.
    #[must_use]
    pub const fn write_cache(mut self, on: bool) -> Self {
        self.write_cache = Some(on);
        self
    }

    /// The handler is granted nothing.
    #[must_use]
    pub const fn without_stores(mut self) -> Self {
        self.no_stores = true;
        self
    }

    /// How file stores are driven.
    #[must_use]
    pub const fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// Whatever kept it from starting; a [`StartError`] can be had by downcasting.
    pub fn start(self) -> Result<Lun> {
        let (kernel, user) = Kernel::new(self.kernel).context("emulated kernel")?;
        let map = Arc::new(Mapping::shared(user.memory.as_fd(), user.length).context("mapping the ring")?);
        let ring = Ring::attach(map, Doorbell::Event { wait: user.wait, ring: user.ring })?;
        let stores = if self.stores.is_empty() && !self.no_stores {
            vec![Store::memory(self.size)?]
        } else {
            self.stores
        };
        let stores = stores
            .into_iter()
            .map(|store| {
                let info = StoreInfo {
                    option: String::new(),
                    size: store.size(),
                    read_only: store.read_only(),
                    discard_zeroes: store.discard_zeroes(),
                    can_grow: store.can_grow(),
                    physical_block_size: store.physical_block_size(),
                    discard_granularity: store.discard_granularity(),
                };
                (store, info)
            })
            .collect();
        let (send, events): (Sender<Event>, Receiver<Event>) = channel();
        let send = Mutex::new(send);
        let parts = DeviceParts {
            name: "test".to_owned(),
            ring,
            stores,
            options: Vec::new(),
            handler: self.handler,
            settings: Settings {
                size: Bytes(self.size),
                block_size: BlockSize::new(self.block_size)?,
                read_only: self.read_only,
                max_transfer: Blocks(2048),
                limits: self.limits,
                backend: self.backend,
                command_timeout: self.command_timeout,
                write_cache: self.write_cache,
                modes: lunbox_device::Modes::default(),
            },
            events: Arc::new(move |event| {
                // A fixture that has gone wants no events.
                let _ = send.lock().map(|send| send.send(event));
            }),
        };
        let device: Arc<Mutex<Option<DeviceHandle>>> =
            Arc::new(Mutex::new(Some(spawn(parts).map_err(|error: StartError| anyhow::Error::new(error))?)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let supervisor = {
            let (device, seen) = (Arc::clone(&device), Arc::clone(&seen));
            let (mut answers, identity) = (self.names, self.identity);
            std::thread::spawn(move || {
                for event in events {
                    if let Ok(mut seen) = seen.lock() {
                        seen.push(event.clone());
                    }
                    if event == Event::IdentityWanted
                        && answers > 0
                        && let Ok(device) = device.lock()
                        && let Some(device) = device.as_ref()
                    {
                        answers -= 1;
                        device.set_identity(identity.clone());
                    }
                }
            })
        };
        let settings = InitiatorSettings { block_bytes: self.block_size, ..InitiatorSettings::default() };
        Ok(Lun { initiator: Initiator::on(kernel, settings)?, device, seen, supervisor: Some(supervisor) })
    }
}

/// A running LUN with an initiator; stopped when dropped.
pub struct Lun {
    /// Speaks SCSI to it.
    pub initiator: Initiator,
    device: Arc<Mutex<Option<DeviceHandle>>>,
    seen: Arc<Mutex<Vec<Event>>>,
    supervisor: Option<std::thread::JoinHandle<()>>,
}

impl Lun {
    /// The `file` handler in Wasm over 16 MiB of memory.
    #[must_use]
    pub fn builder() -> LunBuilder {
        LunBuilder {
            handler: wasm("lunbox-handler-file"),
            stores: Vec::new(),
            no_stores: false,
            size: 16 << 20,
            block_size: 512,
            read_only: false,
            kernel: Options::default(),
            limits: Limits::default(),
            backend: Backend::Auto,
            names: usize::MAX,
            identity: Identity { serial: "0123456789abcdef".to_owned(), ..Identity::default() },
            command_timeout: None,
            write_cache: None,
        }
    }

    /// Does something with the running device.
    ///
    /// # Panics
    /// If it was stopped.
    pub fn device<R>(&self, with: impl FnOnce(&DeviceHandle) -> R) -> R {
        let device = self.device.lock().expect("no test panics with the device in hand");
        with(device.as_ref().expect("the device was not stopped"))
    }

    /// The device's counters.
    #[must_use]
    pub fn status(&self) -> Status {
        self.device(DeviceHandle::status)
    }

    /// Events that the device sent so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits until the device's counters satisfy a condition.
    ///
    /// # Panics
    /// If they do not within 10 seconds.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Status) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(&self.status()) {
            assert!(Instant::now() < deadline, "not within 10 s: {what}; {:?}", self.status());
            std::thread::yield_now();
        }
    }

    /// Stops the device.
    ///
    /// # Errors
    /// As [`DeviceHandle::stop`].
    pub fn stop(&self, patience: Duration) -> Result<()> {
        let device = self.device.lock().ok().and_then(|mut device| device.take());
        match device {
            Some(device) => Ok(device.stop(patience)?),
            None => Ok(()),
        }
    }

    /// Checks that the daemon's side kept every rule of the ring and that no buffer was touched late.
    ///
    /// # Panics
    /// With the emulated kernel's report.
    pub fn assert_clean(&self) {
        if let Err(report) = self.initiator.check() {
            panic!("{report}");
        }
    }
}

impl Drop for Lun {
    fn drop(&mut self) {
        let stopped = self.stop(Duration::from_secs(5));
        if let Some(supervisor) = self.supervisor.take()
            && stopped.is_ok()
        {
            let _ = supervisor.join();
        }
    }
}
