//! Preparing a device for real: policy says whose it is, configfs how large, the cfgstring what it stands on. And
//! taking over those that a predecessor's workers serve.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lunbox_engine::Limits;
use lunbox_grant::{Cfgstring, Claims, Geometry, Kind, Locator, Master, Wanted, Wording, parse, whole_text};
use lunbox_policy::{Policy, Tenant};
use lunbox_tcmu::{Configfs, DeviceId, DeviceName, Minor, Uio, UioError, UioNode};
use lunbox_wire::{Device as Served, Handler, Limits as Allowance, RingKind, Store, StoreKind};

use crate::device::{Device, Foundation};
use crate::handlers::{Handlers, Installed};
use crate::journal::Journal;
use crate::records::Records;
use crate::service::{Adopted, Cancel, Running, Setback, Starter};
use crate::tenants::{confines, worker_of};
use crate::workers::adopt::evict;
use crate::workers::{Inherited, Pool};

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
    fn tenant(&self, name: &DeviceName) -> &Tenant {
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
        if let Some(seconds) = config.command_timeout {
            tracing::warn!(
                device = %name,
                "tcmur_cmd_time_out={seconds} is ignored; the kernel's attrib/cmd_time_out limits commands"
            );
        }
        let whole = whole_text();
        let schema = handler.manifest.schema.as_ref().unwrap_or(&whole);
        let parsed = parse(schema, &config.text).map_err(text)?;
        let mut stores = Vec::new();
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
            stores.push(Master::open(&wanted, &self.claims).map_err(text)?);
        }
        Ok(Granted { stores, options: parsed.options })
    }

    /// A device that is not fenced and does not run.
    fn open(&self, node: &UioNode, id: DeviceId, uio: OwnedFd) -> Result<Device, String> {
        let name = &node.name;
        let handler = self.handlers.get(&name.subtype).ok_or_else(|| "its handler has gone".to_owned())?;
        let tenant = self.tenant(name);
        if !tenant.handlers.allows(&name.subtype) {
            return Err(format!(
                "tenant {} may not use handler {:?}; name it in the tenant's `handlers` in the policy file, or create the \
                 device with another subtype",
                tenant.name, name.subtype
            ));
        }
        if handler.manifest.wasi && !tenant.directories.is_empty() {
            tracing::warn!(
                device = %name,
                "the directories of tenant {} are not given to handlers by this version: they see none",
                tenant.name
            );
        }
        let geometry = self.geometry(name)?;
        let Granted { stores, options } = self.grant(name, handler, tenant, geometry.size.0)?;
        let (kind, ring) = (self.rings)(node.minor, uio);
        let served = Served {
            minor: node.minor.0,
            id: id.0,
            name: format!("tcm-user/{}/{}/{}/{}", name.hba, name.device, name.subtype, name.config),
            ring: kind,
            map_bytes: node.map_bytes,
            size: geometry.size.0,
            block_size: geometry.block_size.get(),
            max_transfer: u32::try_from(geometry.max_transfer.0).unwrap_or(u32::MAX),
            read_only: false,
            handler: describe(handler),
            stores: stores.iter().map(granted).collect(),
            options,
            limits: allowance(tenant),
        };
        let foundation = Foundation {
            ring,
            container: Arc::clone(&handler.container),
            stores,
            worker: worker_of(tenant, node.minor),
            confines: confines(tenant)?,
        };
        Ok(Device::new(served, foundation, &self.records, &self.pool, &self.journal))
    }

    /// A device of a worker that goes on.
    fn inherit(&self, inherited: Inherited) -> Result<Adopted<Device>, String> {
        let Inherited { worker, mut device, descriptors } = inherited;
        let name = DeviceName::parse(&device.name).map_err(text)?;
        let files = device.stores.iter().filter(|store| store.kind == StoreKind::File).count();
        let rings = device.ring.descriptors();
        if descriptors.len() != rings + 1 + files {
            return Err(format!("{} descriptors came, not {}", descriptors.len(), rings + 1 + files));
        }
        let mut descriptors = descriptors.into_iter();
        let ring: Vec<OwnedFd> = descriptors.by_ref().take(rings).collect();
        let container = descriptors.next().ok_or_else(|| "no handler came".to_owned())?;
        let mut stores = Vec::new();
        for store in &device.stores {
            let (fd, memory_bytes) = match store.kind {
                StoreKind::File => (descriptors.next(), 0),
                StoreKind::Memory { bytes } => (None, bytes),
            };
            let locator: Locator = store.locator.parse().map_err(text)?;
            let adopted = lunbox_grant::Adopted {
                device: &name.to_string(),
                option: &store.option,
                locator: &locator,
                read_only: store.read_only,
                shared: store.shared,
                memory_bytes,
            };
            stores.push(Master::adopt(fd, &adopted, &self.claims).map_err(text)?);
        }
        let handler = self.handlers.get(&name.subtype);
        // A worker of another build has machine code of another engine.
        let fitting = handler
            .filter(|handler| worker.outdated() || device.handler.digest == handler.digest.to_string());
        let container = match fitting {
            Some(handler) => {
                device.handler = describe(handler);
                Arc::clone(&handler.container)
            }
            None => Arc::new(container.into()),
        };
        let outdated = worker.outdated() && fitting.is_some();
        let tenant = self.tenant(&name);
        let key = worker.hello().tenant.clone();
        let foundation = Foundation {
            ring,
            container,
            stores,
            // Whose it is now, if it has to be started again.
            worker: if outdated { worker_of(tenant, Minor(device.minor)) } else { key },
            confines: confines(tenant)?,
        };
        let (minor, id) = (Minor(device.minor), DeviceId(device.id));
        let device = Device::new(device, foundation, &self.records, &self.pool, &self.journal);
        Ok(Adopted { minor, id, name, device: device.served_by(worker), outdated })
    }
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

fn granted(store: &Master) -> Store {
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

    fn adopt(&self) -> Vec<Adopted<Device>> {
        let mut adopted = Vec::new();
        for inherited in self.pool.adopt() {
            let worker = Arc::clone(&inherited.worker);
            let (minor, name) = (Minor(inherited.device.minor), inherited.device.name.clone());
            match self.inherit(inherited) {
                Ok(device) => adopted.push(device),
                Err(reason) => {
                    // It is taken over as if its worker had died.
                    tracing::error!(device = name, "not adopted: {reason}");
                    evict(&worker, minor);
                }
            }
        }
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
        cancel: &Cancel,
    ) -> Result<Device, Setback> {
        let failed = |reason: String| Setback::Refused(format!("{}: {reason}", node.name));
        let mut device = self.open(node, id, uio).map_err(failed)?;
        device.fence(cancel)?;
        Ok(device)
    }
}

#[cfg(test)]
mod tests;
