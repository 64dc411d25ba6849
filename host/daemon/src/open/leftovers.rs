//! What is left to be done in workers that go on: loops end whose nodes have gone, sizes become those that the kernel
//! knows. Workers may take their time, and no worker's devices wait for another worker.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunbox_grant::{Locator, Master};
use lunbox_policy::Tenant;
use lunbox_tcmu::{DeviceName, Minor};
use lunbox_wire::{Device as Served, Ending, Request, StoreKind};

use super::Opener;
use crate::device::{Device, Foundation};
use crate::service::Running;
use crate::workers::client::one_line;
use crate::workers::spawn::tenant;
use crate::workers::{Confines, Worker};

/// How long a worker may take to end a device whose node has gone, or to change its size.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long all of it is waited for: what is at the nodes now may want the same files.
const SETTLE: Duration = Duration::from_secs(10);

/// Stack of a thread that asks a worker.
const STACK: usize = 256 << 10;

/// Something that one worker is to do.
pub(super) enum Leftover {
    /// The device has gone from its node, and the loop is to end. All of it is the worker's word.
    Gone { device: Box<Served>, name: DeviceName, ring: Vec<OwnedFd>, stores: Vec<OwnedFd> },
    /// A predecessor has died between the worker's answer and the kernel's: the loop has a size that the kernel does
    /// not know of.
    Resize { minor: Minor, name: DeviceName, bytes: u64 },
}

/// Filled by several threads.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<Vec<(Arc<Worker>, Leftover)>>);

/// What is ready to be done: files that are to be kept from others are claimed.
enum Work {
    End(Box<Device>),
    Resize { minor: Minor, name: DeviceName, bytes: u64 },
}

impl Leftovers {
    pub(super) fn add(&self, worker: &Arc<Worker>, leftover: Leftover) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(worker), leftover));
    }

    /// Has all of it done, in each worker one after the other. What takes long goes on behind the scenes. To be called
    /// when everything that is served has its files.
    pub(super) fn settle(self, opener: &Opener) {
        let mut groups: Vec<(Arc<Worker>, Vec<Work>)> = Vec::new();
        for (worker, leftover) in self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let work = match leftover {
                Leftover::Gone { device, name, ring, stores } => {
                    Work::End(Box::new(opener.gone(&worker, *device, &name, ring, stores)))
                }
                Leftover::Resize { minor, name, bytes } => Work::Resize { minor, name, bytes },
            };
            match groups.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &worker)) {
                Some((_, works)) => works.push(work),
                None => groups.push((worker, vec![work])),
            }
        }
        let deadline = Instant::now() + SETTLE;
        let (at_work, done) = channel::<()>();
        for (worker, works) in groups {
            let (hand, work) = channel::<Vec<Work>>();
            let thread = {
                let (worker, at_work) = (Arc::clone(&worker), at_work.clone());
                move || {
                    work.into_iter().flatten().for_each(|work| work.carry_out(&worker, deadline));
                    drop(at_work);
                }
            };
            let name = format!("left-{}", worker.hello().tenant);
            if let Err(error) = std::thread::Builder::new().name(name).stack_size(STACK).spawn(thread) {
                tracing::warn!("no thread for a worker: {error}; raise the limit of tasks (TasksMax)");
            }
            // Its files must not become free as long as the loop may write to them.
            if let Err(refused) = hand.send(works) {
                refused.0.into_iter().for_each(|work| work.carry_out(&worker, deadline));
            }
        }
        drop(at_work);
        // Nobody sends anything: the channel ends with the last thread.
        let rest = deadline.saturating_duration_since(Instant::now());
        if done.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "workers take long to end devices that have gone; going on without waiting for them"
            );
        }
    }
}

impl Work {
    fn carry_out(self, worker: &Worker, deadline: Instant) {
        match self {
            Self::End(device) => end(*device),
            Self::Resize { minor, name, bytes } => resize(worker, minor, &name, bytes, deadline),
        }
    }
}

/// Ends a loop. As long as it may write nobody else gets its files.
fn end(mut device: Device) {
    if let Err(reason) = device.end(Ending::Cancel, PATIENCE) {
        tracing::warn!("a device whose UIO node has gone did not end as it should: {reason}");
    }
    // This looks once more, and keeps the files for good if its operations go on.
    if let Err(reason) = device.stop(PATIENCE) {
        tracing::error!("a device whose UIO node has gone was not ended: {reason}");
    }
}

fn resize(worker: &Worker, minor: Minor, name: &DeviceName, bytes: u64, deadline: Instant) {
    let patience_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    // Later the kernel's size may be another one.
    let result = if Instant::now() < deadline {
        let patience = PATIENCE.saturating_mul(2);
        worker
            .ask_for(&[], patience, |call| Request::Resize { call, minor: minor.0, bytes, patience_ms })
            .map_err(|error| error.to_string())
    } else {
        Err("its worker is busy with other devices".to_owned())
    };
    match result {
        Ok(()) => tracing::info!(device = %name, bytes, "resized to what the kernel says"),
        Err(reason) => tracing::error!(
            device = %name,
            bytes,
            "its loop has another size than the kernel says: {reason}; repair it: lunbox device reset {name}"
        ),
    }
}

impl Opener {
    /// A device that is only there to be ended. Files that somebody else is served from stay his.
    pub(super) fn gone(
        &self,
        worker: &Arc<Worker>,
        served: Served,
        name: &DeviceName,
        ring: Vec<OwnedFd>,
        stores: Vec<OwnedFd>,
    ) -> Device {
        // Who the worker is has been seen; whose the device is only he says.
        let own = tenant(&worker.hello().tenant);
        let tenant = self.policy.tenants().find(|tenant| tenant.name == own);
        let mut stores = stores.into_iter();
        let masters =
            served.stores.iter().filter(|store| store.kind == StoreKind::File).filter_map(|store| {
                let fd = stores.next()?;
                let locator: Locator = store.locator.parse().ok()?;
                let adopted = lunbox_grant::Adopted {
                    device: &name.to_string(),
                    option: &store.option,
                    locator: &locator,
                    read_only: store.read_only,
                    shared: store.shared
                        || tenant.is_some_and(|tenant| is_shared(tenant, &locator, Some(&fd))),
                    memory_bytes: 0,
                };
                Master::adopt(Some(fd), &adopted, &self.claims)
                    .inspect_err(|error| tracing::debug!(device = %name, "{}", one_line(&error.to_string())))
                    .ok()
            });
        let foundation = Foundation {
            ring,
            container: Err("its UIO node has gone".to_owned()),
            stores: masters.collect(),
            worker: worker.hello().tenant.clone(),
            confines: Confines::default(),
        };
        // Not among those that are shown: another one may be at its node.
        Device::new(served, foundation, &Arc::default(), &self.pool, &self.journal)
            .served_by(Arc::clone(worker))
    }
}

/// Policy lets others write to it, by the path that was written or by the one that it has now: the first is what a
/// worker says.
pub(super) fn is_shared(tenant: &Tenant, locator: &Locator, fd: Option<&OwnedFd>) -> bool {
    let Some(path) = locator.path() else { return false };
    let real = fd.and_then(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok());
    tenant.is_shared(path)
        || real.as_deref().and_then(|path| path.to_str()).is_some_and(|path| tenant.is_shared(path))
}
