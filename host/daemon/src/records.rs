//! What the control socket tells of devices. Devices travel with jobs; their records stay where everybody can look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lunbox_tcmu::{DeviceName, Minor};
use lunbox_wire::{Device as Served, Handler, Identity, Modes};

use crate::workers::Worker;

/// A device as it was granted, and who serves it.
#[derive(Debug)]
pub struct Record {
    minor: Minor,
    /// Name of its worker, whether there is one or not.
    key: String,
    state: Mutex<State>,
    restarts: AtomicU64,
    waits: AtomicU64,
}

#[derive(Debug)]
struct State {
    device: Served,
    identity: Identity,
    /// What runs, if that is another handler than `device` is started with the next time.
    running: Option<Handler>,
    worker: Weak<Worker>,
    /// Sizes of the stores when they were opened.
    sizes: Vec<Option<u64>>,
    /// Stores whose file systems have no locks.
    unlocked: Vec<usize>,
}

/// All records.
#[derive(Debug, Default)]
pub struct Records(Mutex<BTreeMap<Minor, Arc<Record>>>);

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's node.
    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// Name of the worker that serves it or is to serve it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its loop was started again after it had ended.
    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// It had to wait for the end of an earlier loop, or for a lock on a store.
    pub fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// The device as a worker is started with it.
    pub fn device(&self) -> Served {
        self.state().device.clone()
    }

    /// The handler that it runs, or is started with if it does not run.
    pub fn handler(&self) -> Handler {
        let state = self.state();
        state.running.as_ref().unwrap_or(&state.device.handler).clone()
    }

    /// It runs this handler until its loop ends.
    pub fn set_running(&self, handler: Handler) {
        self.state().running = Some(handler);
    }

    /// `user_<hba>/<device>`, or the whole name if it is not one of the kernel's.
    pub fn name(&self) -> String {
        let name = self.state().device.name.clone();
        DeviceName::parse(&name).map_or(name, |name| name.to_string())
    }

    /// Who serves it.
    pub fn worker(&self) -> Option<Arc<Worker>> {
        self.state().worker.upgrade().filter(|worker| !worker.is_lost())
    }

    /// Sizes of its stores in bytes, where they are known.
    pub fn sizes(&self) -> Vec<Option<u64>> {
        self.state().sizes.clone()
    }

    /// A lock keeps others from a store.
    pub fn is_fenced(&self, index: usize) -> bool {
        !self.state().unlocked.contains(&index)
    }

    /// These stores are on file systems without locks.
    pub fn set_unlocked(&self, stores: Vec<usize>) {
        self.state().unlocked = stores;
    }

    /// Another worker serves it, or none.
    pub fn set_worker(&self, worker: Option<&Arc<Worker>>) {
        let mut state = self.state();
        if worker.is_none() {
            state.running = None;
        }
        state.worker = worker.map_or_else(Weak::new, Arc::downgrade);
    }

    /// Somebody gave it another size.
    pub fn set_size(&self, bytes: u64) {
        let device = &mut self.state().device;
        (device.size, device.size_chosen) = (bytes, false);
    }

    /// Its handler found this size; true if another one was known.
    pub fn accept_size(&self, bytes: u64) -> bool {
        let device = &mut self.state().device;
        device.size_chosen = true;
        std::mem::replace(&mut device.size, bytes) != bytes
    }

    /// Initiators set these; true if the write cache was switched, or may have been.
    pub fn accept_modes(&self, write_cache: bool, modes: Modes) -> bool {
        let device = &mut self.state().device;
        device.modes = modes;
        device.write_cache.replace(write_cache) != Some(write_cache)
    }

    /// What initiators were told last of who it is.
    pub fn identity(&self) -> Identity {
        self.state().identity.clone()
    }

    /// Initiators are told this.
    pub fn set_identity(&self, identity: Identity) {
        self.state().identity = identity;
    }

    /// Somebody switched its write cache.
    pub fn set_write_cache(&self, on: bool) {
        self.state().device.write_cache = Some(on);
    }
}

impl Records {
    /// Adds a device, or replaces the one that was at its node.
    pub fn add(&self, device: Served, key: &str, sizes: Vec<Option<u64>>) -> Arc<Record> {
        let minor = Minor(device.minor);
        let state = Mutex::new(State {
            device,
            identity: Identity::default(),
            running: None,
            worker: Weak::new(),
            sizes,
            unlocked: Vec::new(),
        });
        let (restarts, waits) = (AtomicU64::new(0), AtomicU64::new(0));
        let record = Arc::new(Record { minor, key: key.to_owned(), state, restarts, waits });
        self.lock().insert(minor, Arc::clone(&record));
        record
    }

    /// Removes a device, unless another has come to its node.
    pub fn remove(&self, record: &Arc<Record>) {
        let mut records = self.lock();
        if records.get(&record.minor).is_some_and(|there| Arc::ptr_eq(there, record)) {
            records.remove(&record.minor);
        }
    }

    /// The device at a node.
    pub fn get(&self, minor: Minor) -> Option<Arc<Record>> {
        self.lock().get(&minor).cloned()
    }

    /// All devices, in the order of their nodes.
    pub fn all(&self) -> Vec<Arc<Record>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Minor, Arc<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
