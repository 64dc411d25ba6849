//! Preparing a device for real: policy says whose it is, configfs how large, the cfgstring what it stands on. And
//! taking over those that a predecessor's workers serve.

use std::fmt;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lunbox_engine::Limits;
use lunbox_grant::{
    Access, Cfgstring, Claims, FenceError, Geometry, GrantError, Kind, Locator, Master, Patience, Wanted,
    Wording, parse, whole_text,
};
use lunbox_policy::{Policy, Tenant};
use lunbox_tcmu::{Configfs, DeviceId, DeviceName, Held, Minor, Uio, UioError, UioNode};
use lunbox_wire::{Device as Served, Handler, Limits as Allowance, RingKind, Store, StoreKind};
use nix::errno::Errno;

use crate::device::{Device, Foundation};
use crate::handlers::{Handlers, Installed};
use crate::journal::Journal;
use crate::records::Records;
use crate::service::{Adopted, Cancel, Setback, Starter};
use crate::tenants::{confines, worker_of};
use crate::workers::client::one_line;
use crate::workers::{Inherited, Pool, Unfit};

mod leftovers;

use leftovers::{Leftover, Leftovers, is_shared};

/// From an opened node to the descriptors by which its ring is reached.
pub type Rings = Arc<dyn Fn(Minor, OwnedFd) -> (RingKind, Vec<OwnedFd>) + Send + Sync>;

/// The kernel's own way: the node is the ring.
pub fn kernel_rings() -> Rings {
    Arc::new(|_, uio| (RingKind::Uio, vec![uio]))
}

/// Prepares devices on the system's UIO nodes.
pub struct Opener {
    /// [`kernel_rings`], or an emulator's.
    pub rings: Rings,
    /// What those are.
    pub ring: RingKind,
    /// Who may serve.
    pub handlers: Handlers,
    /// Whose devices they are.
    pub policy: Policy,
    /// UIO nodes.
    pub uio: Uio,
    /// The target subsystem.
    pub configfs: Configfs,
    /// Which files are in use.
    pub claims: Arc<Claims>,
    /// Who runs the loops.
    pub pool: Arc<Pool>,
    /// What the control socket tells.
    pub records: Arc<Records>,
    /// Told what happens.
    pub journal: Journal,
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// What was granted, before it is fenced.
struct Granted {
    stores: Vec<Master>,
    options: Vec<(String, String)>,
    /// A store that was to be written can only be read.
    write_protected: bool,
    /// Seconds after which a command counts as late.
    command_timeout: Option<NonZeroU32>,
}

/// What the kernel keeps of a `dev_config`, in bytes; it cuts longer ones without a word (`TCMU_CONFIG_LEN`).
const KEPT: usize = 255;

/// Opens a store; one that can not be written for reading, and then true. What is wanted for reading only is not looked
/// at.
fn open_store(wanted: &Wanted<'_>, claims: &Arc<Claims>) -> Result<(Master, bool), GrantError> {
    let master = Master::open(wanted, claims)?;
    if !wanted.access.writes() {
        return Ok((master, false));
    }
    // Asked of a description of its own, which goes at once. Who has the lock is no matter here.
    let look = Patience { limit: Some(Duration::ZERO), cancel: None, waiting: None };
    match master.describe(&look) {
        Err(FenceError::Open(GrantError::Denied {
            errno: Errno::EROFS | Errno::EACCES | Errno::EPERM,
            ..
        })) => {}
        _ => return Ok((master, false)),
    }
    drop(master);
    let master = Master::open(&Wanted { access: Access::ReadOnly, ..*wanted }, claims)?;
    Ok((master, true))
}

impl Opener {
    fn geometry(&self, name: &DeviceName) -> Result<Geometry, String> {
        let directory = self.configfs.device(name);
        let size = directory.size().map_err(text)?;
        let block_size = directory.block_size().map_err(text)?;
        let max_sectors = directory.max_sectors().map_err(text)?;
        Geometry::check(Wording::Configfs, size, block_size, max_sectors).map_err(text)
    }

    /// Whose device it is.
    fn tenant_of(&self, name: &DeviceName) -> &Tenant {
        self.policy.tenant_of(name.hba, &name.device, &format!("{}/{}", name.subtype, name.config))
    }

    /// Opens what the cfgstring grants.
    fn grant(
        &self,
        name: &DeviceName,
        handler: &Installed,
        tenant: &Tenant,
        memory_bytes: u64,
    ) -> Result<Granted, String> {
        let config = Cfgstring::parse(&name.config);
        for warning in &config.warnings {
            tracing::warn!(device = %name, "{warning}");
        }
        let whole = whole_text();
        let schema = handler.manifest.schema.as_ref().unwrap_or(&whole);
        let parsed = parse(schema, &config.text).map_err(text)?;
        let mut stores = Vec::new();
        let mut write_protected = false;
        for request in parsed.stores {
            let wanted = Wanted {
                device: &name.to_string(),
                option: &request.option,
                locator: &request.locator,
                access: request.access(),
                roots: &tenant.roots,
                shared: request.locator.path().is_some_and(|path| tenant.is_shared(path)),
                memory_bytes,
            };
            let (master, protected) = open_store(&wanted, &self.claims).map_err(text)?;
            if protected {
                write_protected = true;
                tracing::warn!(
                    device = %name,
                    store = %master.locator(),
                    "it can not be opened for writing (a read-only file system or disk, or its permissions): the LUN is \
                     write-protected; put that right, then disable and enable it"
                );
            }
            stores.push(master);
        }
        Ok(Granted {
            stores,
            options: parsed.options,
            write_protected,
            command_timeout: config.command_timeout,
        })
    }

    /// A device that is not fenced and does not run.
    fn open(&self, node: &UioNode, id: DeviceId, uio: OwnedFd) -> Result<Device, String> {
        let name = &node.name;
        let handler = self.handlers.get(&name.subtype).ok_or_else(|| "its handler has gone".to_owned())?;
        let tenant = self.tenant_of(name);
        if !tenant.handlers.allows(&name.subtype) {
            return Err(format!(
                "tenant {} may not use handler {:?}; name it in the tenant's `handlers` in the policy file, or create the \
                 device with another subtype",
                tenant.name, name.subtype
            ));
        }
        let geometry = self.geometry(name)?;
        let cut = name.subtype.len() + 1 + name.config.len() >= KEPT;
        let granted = self.grant(name, &handler, tenant, geometry.size.0).map_err(|error| {
            let hint =
                if cut { "; the kernel keeps 255 bytes of dev_config and may have cut it" } else { "" };
            format!("{error}{hint}")
        })?;
        if cut {
            tracing::warn!(
                device = %name,
                "dev_config is as long as the kernel keeps it, 255 bytes, and may have been cut; use a shorter one"
            );
        }
        let Granted { stores, options, write_protected, command_timeout } = granted;
        let directory = self.configfs.device(name);
        if let Err(error) = directory.notify_of_task_management() {
            // Kernels before 5.10, and LUNs that are exported already.
            tracing::debug!(device = %name, "the ring does not tell of aborts if it did not before: {error}");
        }
        let (kind, ring) = (self.rings)(node.minor, uio);
        let served = Served {
            minor: node.minor.0,
            id: id.0,
            name: full(name),
            ring: kind,
            map_bytes: node.map_bytes,
            size: geometry.size.0,
            block_size: geometry.block_size.get(),
            max_transfer: u32::try_from(geometry.max_transfer.0).unwrap_or(u32::MAX),
            read_only: write_protected,
            handler: describe(&handler),
            stores: stores.iter().map(as_granted).collect(),
            options,
            limits: allowance(tenant),
            command_timeout_s: command_timeout.map_or(0, NonZeroU32::get),
            write_cache: None,
            size_chosen: false,
            modes: lunbox_wire::Modes::default(),
        };
        let foundation = Foundation {
            ring,
            container: Ok(Arc::clone(&handler.container)),
            stores,
            worker: worker_of(tenant, node.minor),
            confines: confines(tenant),
        };
        let device = Device::new(served, foundation, &self.records, &self.pool, &self.journal);
        Ok(device.with_write_cache(directory.write_cache().ok()))
    }

    /// A device of a worker that goes on. The worker may be in somebody else's hands: of what it says only that is
    /// kept which makes no difference to others, and what has a source that can be trusted is taken from there.
    /// Nothing is asked of it here: what it is to do comes to the `leftovers`.
    fn inherit(&self, inherited: Inherited, leftovers: &Leftovers) -> Result<Adopted<Device>, Unfit> {
        let Inherited { worker, mut device, descriptors } = inherited;
        let minor = Minor(device.minor);
        let lie = |reason: &dyn fmt::Display| Unfit::Lie(text(reason));
        let name = DeviceName::parse(&device.name).map_err(|error| lie(&error))?;
        let mut descriptors = descriptors.into_iter();
        let files = device.stores.iter().filter(|store| store.kind == StoreKind::File).count();
        let rings = device.ring.descriptors();
        if descriptors.len() != rings + 1 + files {
            return Err(lie(&format!("{} descriptors came, not {}", descriptors.len(), rings + 1 + files)));
        }
        if device.ring != self.ring {
            return Err(lie(&format!("its ring is none of this machine's: {:?}", device.ring)));
        }
        let ring: Vec<OwnedFd> = descriptors.by_ref().take(rings).collect();
        // Machine code of the worker's is never passed on.
        drop(descriptors.next());
        let node = self.node_of(minor, &name, &ring)?;
        // Another device may be at its node by now, perhaps one of the same name.
        let Some(node) = node.filter(|node| self.is_still(&node.name, DeviceId(device.id))) else {
            let (device, stores) = (Box::new(device), descriptors.collect());
            leftovers.add(&worker, Leftover::Gone { device, name, ring, stores });
            return Err(Unfit::Gone);
        };
        let name = node.name.clone();
        let tenant = self.tenant_of(&name);
        let masters = self.take_over(&name, tenant, &mut device, descriptors)?;
        device.name = full(&name);
        device.map_bytes = node.map_bytes;
        device.limits = allowance(tenant);
        let (said, chosen) = (device.size, device.size_chosen);
        // One that is being removed is locked, and the removal waits for our answer.
        let directory = self.configfs.device(&name);
        let exists = directory.exists();
        let write_cache = if exists { directory.write_cache().ok() } else { None };
        if exists && let Ok(geometry) = self.geometry(&name) {
            device.size = geometry.size.0;
            device.block_size = geometry.block_size.get();
            device.max_transfer = u32::try_from(geometry.max_transfer.0).unwrap_or(u32::MAX);
        }
        let running = described(&device.handler);
        let container = self.next_handler(&name, tenant, &mut device, worker.outdated());
        if let Err(reason) = &container {
            tracing::warn!(device = %name, "goes on where it is, and can not be started again: {reason}");
        }
        let key = worker_of(tenant, minor);
        // The policy may say by now that it belongs to another worker. What is in the worker's memory stays there.
        let moves = worker.outdated() || worker.hello().tenant != key;
        let memory = device.stores.iter().any(|store| store.kind != StoreKind::File);
        let outdated = moves && container.is_ok() && !memory;
        // What the handler found the kernel is told: the worker says it once more. The stores are as the kernel's size was.
        let fits = said != 0 && device.block_size != 0 && said.is_multiple_of(device.block_size.into());
        device.size_chosen = chosen && fits;
        if device.size_chosen {
            device.size = said;
        }
        if device.size != said && !outdated {
            leftovers.add(&worker, Leftover::Resize { minor, name: name.clone(), bytes: device.size });
        }
        let foundation =
            Foundation { ring, container, stores: masters, worker: key, confines: confines(tenant) };
        let id = DeviceId(device.id);
        let device = Device::new(device, foundation, &self.records, &self.pool, &self.journal)
            .with_write_cache(write_cache)
            .served_by(worker);
        if let Some(record) = self.records.get(minor) {
            record.set_running(running);
        }
        Ok(Adopted { minor, id, name, device, outdated })
    }

    /// No other device has come in the place of the one that has this number, as far as configfs tells.
    fn is_still(&self, name: &DeviceName, id: DeviceId) -> bool {
        let directory = self.configfs.device(name);
        // One that is being removed is locked, and the removal waits for our answer.
        !directory.exists() || directory.device_id().map_or(true, |current| current == id)
    }

    /// The node that is behind a ring; none if its device has gone. Whoever holds the node open is the one that serves
    /// it, and the node tells the device's name.
    fn node_of(&self, minor: Minor, name: &DeviceName, ring: &[OwnedFd]) -> Result<Option<UioNode>, Unfit> {
        if let (RingKind::Uio, [node]) = (self.ring, ring) {
            match self.uio.held(minor, node) {
                Ok(Held::Live) => {}
                Ok(Held::Dead) | Err(UioError::Gone { .. }) => return Ok(None),
                Ok(Held::Foreign) => return Err(Unfit::Lie(format!("its ring is not {minor}"))),
                Err(error) => return Err(Unfit::Here(text(error))),
            }
        }
        match self.uio.node(minor) {
            // An emulated ring does not tell whose it is.
            Ok(node) if self.ring == RingKind::Uio || node.name == *name => Ok(Some(node)),
            Ok(_) | Err(UioError::Gone { .. } | UioError::Name { .. }) => Ok(None),
            Err(error) => Err(Unfit::Here(text(error))),
        }
    }

    /// The stores of a device that a worker has, by the descriptors that it gave.
    fn take_over(
        &self,
        name: &DeviceName,
        tenant: &Tenant,
        device: &mut Served,
        mut descriptors: impl Iterator<Item = OwnedFd>,
    ) -> Result<Vec<Master>, Unfit> {
        let mut masters = Vec::new();
        for store in &mut device.stores {
            let (fd, memory_bytes) = match store.kind {
                StoreKind::File => (descriptors.next(), 0),
                StoreKind::Memory { bytes } => (None, bytes),
            };
            let locator: Locator = store.locator.parse().map_err(|error| Unfit::Lie(text(error)))?;
            let policy = is_shared(tenant, &locator, fd.as_ref());
            if store.shared && !policy {
                tracing::warn!(
                    device = %name,
                    "goes on sharing {}, which policy does not say any more; disable and enable it to end that",
                    one_line(&store.locator)
                );
            }
            // As it runs: another device that runs may have it at the same time.
            store.shared |= policy;
            let adopted = lunbox_grant::Adopted {
                device: &name.to_string(),
                option: &store.option,
                locator: &locator,
                read_only: store.read_only,
                shared: store.shared,
                memory_bytes,
            };
            let master = Master::adopt(fd, &adopted, &self.claims);
            masters.push(master.map_err(|error| Unfit::Here(text(error)))?);
        }
        Ok(masters)
    }

    /// What a device of a worker that was adopted is started with when it has to be started again, or why it can not
    /// be. The handler in `device` is then that one, and so are its options.
    fn next_handler(
        &self,
        name: &DeviceName,
        tenant: &Tenant,
        device: &mut Served,
        outdated: bool,
    ) -> Result<Arc<File>, String> {
        device.handler = described(&device.handler);
        let subtype = &name.subtype;
        let Some(handler) = self.handlers.get(subtype) else {
            return Err(format!(
                "no handler for subtype {subtype:?} is installed; install it and restart lunboxd"
            ));
        };
        if !tenant.handlers.allows(subtype) {
            return Err(format!(
                "tenant {} may not use handler {subtype:?}; name it in the tenant's `handlers` in the policy file",
                tenant.name
            ));
        }
        let whole = whole_text();
        let schema = handler.manifest.schema.as_ref().unwrap_or(&whole);
        let config = Cfgstring::parse(&name.config);
        let parsed = parse(schema, &config.text).map_err(text)?;
        let asked = parsed.stores.iter().map(|request| (request.option.clone(), request.locator.to_string()));
        if !asked.eq(device.stores.iter().map(|store| (store.option.clone(), store.locator.clone()))) {
            return Err(
                "its stores are not those that the installed handler asks for; disable and enable it"
                    .to_owned(),
            );
        }
        if !outdated && device.handler.digest != handler.digest.to_string() {
            tracing::info!(
                device = %name,
                "goes on with the handler that it has, {}; another one is installed and gets it when it is started again",
                device.handler.version
            );
        }
        device.handler = describe(&handler);
        device.options = parsed.options;
        device.command_timeout_s = config.command_timeout.map_or(0, NonZeroU32::get);
        for store in &mut device.stores {
            if let StoreKind::Memory { bytes } = &mut store.kind {
                *bytes = device.size;
            }
        }
        Ok(Arc::clone(&handler.container))
    }
}

/// A name as its node has it.
fn full(name: &DeviceName) -> String {
    format!("tcm-user/{}/{}/{}/{}", name.hba, name.device, name.subtype, name.config)
}

fn describe(handler: &Installed) -> Handler {
    let description = &handler.manifest.description;
    Handler {
        subtype: description.subtype.clone(),
        name: description.name.clone(),
        version: description.version.clone(),
        digest: handler.digest.to_string(),
    }
}

/// What a worker says of its handler, for people.
fn described(said: &Handler) -> Handler {
    Handler {
        subtype: one_line(&said.subtype),
        name: one_line(&said.name),
        version: one_line(&said.version),
        digest: one_line(&said.digest),
    }
}

fn as_granted(store: &Master) -> Store {
    Store {
        option: store.option().to_owned(),
        locator: store.locator().to_string(),
        read_only: store.read_only(),
        shared: store.shared(),
        kind: match store.kind() {
            Kind::File => StoreKind::File,
            Kind::Memory { bytes } => StoreKind::Memory { bytes },
        },
    }
}

/// The engine's defaults where the policy says nothing.
fn allowance(tenant: &Tenant) -> Allowance {
    let (policy, engine) = (&tenant.limits, Limits::default());
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Allowance {
        memory_bytes: policy.memory_bytes.unwrap_or(engine.memory_bytes),
        table_elements: policy.table_elements.unwrap_or(engine.table_elements),
        cpu_per_call_us: micros(policy.cpu_per_call.unwrap_or(engine.cpu_per_call)),
        wall_per_call_ms: millis(policy.wall_per_call.unwrap_or(engine.wall_per_call)),
        hostcall_bytes: policy.hostcall_bytes.unwrap_or(engine.hostcall_bytes),
        log_lines_per_second: policy.log_lines_per_second.unwrap_or(engine.log_lines_per_second),
    }
}

impl Starter for Opener {
    type Device = Device;

    fn serves(&self, subtype: &str) -> bool {
        self.handlers.get(subtype).is_some()
    }

    fn subtypes(&self) -> String {
        self.handlers.subtypes()
    }

    fn tenant(&self, name: &DeviceName) -> String {
        self.tenant_of(name).name.clone()
    }

    fn adopt(&self) -> Vec<Adopted<Device>> {
        let leftovers = Leftovers::default();
        let adopted = self.pool.adopt(|inherited| self.inherit(inherited, &leftovers));
        leftovers.settle(self);
        adopted
    }

    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        self.uio.open(minor)
    }

    fn prepare(
        &self,
        node: &UioNode,
        id: DeviceId,
        uio: OwnedFd,
        _cancel: &Cancel,
    ) -> Result<Device, Setback> {
        self.open(node, id, uio).map_err(|reason| Setback::Refused(format!("{}: {reason}", node.name)))
    }
}

#[cfg(test)]
mod tests;
