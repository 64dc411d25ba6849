//! What the control plane needs to know about the devices that it starts and stops. [`crate::open`] implements
//! it with real rings, stores and workers, the tests with a model.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunbox_tcmu::{Change, DeviceId, DeviceName, Minor, UioError, UioNode};
use lunbox_wire::{AccessStateAnswer, Ending, Identity, Modes};
use nix::errno::Errno;

/// Makes devices. Called on threads of their own, several at a time; may block.
pub trait Starter: Send + Sync + 'static {
    /// A device.
    type Device: Running;

    /// There is a handler of exactly this subtype.
    fn serves(&self, subtype: &str) -> bool;

    /// The subtypes that there are, for messages.
    fn subtypes(&self) -> String;

    /// Whose device it is. Recoveries of one tenant's devices never wait for those of another's.
    fn tenant(&self, _name: &DeviceName) -> String {
        String::new()
    }

    /// The devices that a predecessor's workers serve. Called once, before anything else; blocks for some seconds at
    /// the most.
    fn adopt(&self) -> Vec<Adopted<Self::Device>>;

    /// Opens the UIO node. As long as the descriptor lives nobody else can serve the device.
    ///
    /// # Errors
    /// [`UioError::Busy`] if somebody else does, this process included.
    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError>;

    /// Opens what the device stands on. The device does not run yet; [`Running::fence`] is next, then
    /// [`Running::launch`].
    ///
    /// # Errors
    /// See [`Setback`], never [`Setback::Lost`]. Nothing is left behind.
    fn prepare(
        &self,
        node: &UioNode,
        id: DeviceId,
        uio: OwnedFd,
        cancel: &Cancel,
    ) -> Result<Self::Device, Setback>;
}

/// A device that a predecessor's worker serves.
#[derive(Debug)]
pub struct Adopted<D> {
    /// Its node.
    pub minor: Minor,
    /// The kernel's number for it.
    pub id: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// The device.
    pub device: D,
    /// The worker is of another build: the device is to be handed over to a new one.
    pub outdated: bool,
}

/// A device. Dropping it changes nothing where it runs: that is how a supervisor leaves without disturbing it.
pub trait Running: Send + 'static {
    /// How it is at this moment; never blocks.
    fn condition(&self) -> Condition;

    /// Sees that the device could be launched: that there is a worker for it, and that its stores can be fenced. Starts
    /// the worker if need be, and blocks as long. The loop that serves the device, wherever that is, is not disturbed.
    ///
    /// # Errors
    /// See [`Setback`]; nothing has changed.
    fn make_ready(&self, cancel: &Cancel) -> Result<(), Setback>;

    /// Has the device served. May be called when it was prepared, or fenced after it had ended.
    ///
    /// # Errors
    /// See [`Setback`]. The device does not run, and can be fenced and launched again.
    fn launch(&mut self, cancel: &Cancel) -> Result<(), Setback>;

    /// Waits until the earlier loop has ended and no operation of it is left on the stores, and keeps others away
    /// from then on. As long as it takes, or until it is given up. Only for a device that does not run.
    ///
    /// # Errors
    /// See [`Setback`], never [`Setback::Lost`].
    fn fence(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        self.fence_within(None, cancel)
    }

    /// The same for a device that nobody has served yet. Who enables it waits: what is not an operation in progress,
    /// as locks that can not be had, is told after some seconds.
    ///
    /// # Errors
    /// As [`Running::fence`].
    fn fence_new(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        self.fence(cancel)
    }

    /// As [`Running::fence`], for about `limit` at the most.
    ///
    /// # Errors
    /// As [`Running::fence`]; [`Setback::Refused`] if it took longer.
    fn fence_within(&mut self, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Setback>;

    /// Ends the loop; what the device stands on stays open here. Blocks for about twice `patience` at the most.
    ///
    /// A loop that has ended already is no error, unless it was to be handed over: the next loop can go on without a
    /// reset of the ring only behind one that ended in order.
    ///
    /// # Errors
    /// One line for the operator. [`Running::condition`] tells whether the loop goes on. If not, what is left of it
    /// is waited for by [`Running::fence`].
    fn end(&mut self, how: Ending, patience: Duration) -> Result<(), String>;

    /// Answers [`Notice::IdentityWanted`]; never blocks.
    fn set_identity(&self, identity: Identity);

    /// Answers [`Notice::AccessStateWanted`]; never blocks.
    fn answer_access_state(&self, wish: u64, answer: AccessStateAnswer);

    /// Notes what initiators have set and the loop has in force: a new loop is started with it. Never blocks.
    fn accept_modes(&mut self, write_cache: bool, modes: Modes);

    /// Changes a setting while the device serves; blocks for some seconds at the most. A value that is in force already
    /// is no change, and succeeds.
    ///
    /// # Errors
    /// The old value stays in force.
    fn change(&mut self, change: &Change) -> Result<(), Refusal>;

    /// Notes the size in bytes that the handler found and the loop serves: a new loop is started with it. Never blocks.
    ///
    /// True if another one was known.
    ///
    /// # Errors
    /// One line for the operator: it is no size for this device.
    fn accept_size(&mut self, bytes: u64) -> Result<bool, String>;

    /// Serves what is in the ring, ends the device and closes its UIO node; blocks for about twice `patience` at the
    /// most.
    ///
    /// # Errors
    /// One line for the operator. The device is not usable any more.
    fn stop(self, patience: Duration) -> Result<(), String>;
}

/// How a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A loop serves it.
    Serving,
    /// Its loop has ended, for this reason.
    Ended(String),
    /// Nothing runs it: its worker has died, or it was not launched.
    Lost,
}

/// Why a device could not be brought to serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Setback {
    /// The worker died meanwhile, or said nothing. Another one may do better, or the same one later.
    #[error("its worker died or does not answer")]
    Lost,
    /// Something is wanting at the moment that has nothing to do with the device: one line for the operator. Tried again
    /// after a while, as often as it takes.
    #[error("{0}")]
    NotNow(String),
    /// Nobody wants it any more.
    #[error("given up, since it was to go")]
    Cancelled,
    /// One line for the operator: what is wrong and what to do about it.
    #[error("{0}")]
    Refused(String),
}

/// Ends a wait. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    /// Apart from the lock, so that others can look at it.
    flag: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Cancel {
    /// Ends all waits, also those that begin later.
    pub fn cancel(&self) {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.flag.store(true, Ordering::Release);
        drop(guard);
        self.0.changed.notify_all();
    }

    /// It was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.flag.load(Ordering::Acquire)
    }

    /// For those who look at it between tries.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.flag
    }

    /// Waits; true if it was cancelled before `patience` was over.
    pub fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if self.is_cancelled() || rest.is_zero() {
                return self.is_cancelled();
            }
            guard = self.0.changed.wait_timeout(guard, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For whoever wrote to configfs.
    pub errno: Errno,
    /// For the log.
    pub reason: String,
}

/// A target port group is wanted in another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its number, for the answer.
    pub number: u64,
    /// TARGET PORT GROUP.
    pub group: u16,
    /// ASYMMETRIC ACCESS STATE.
    pub state: u8,
}

/// What a running device tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A command waits for the serial number and the target port groups.
    IdentityWanted,
    /// A command waits until a target port group has another state.
    AccessStateWanted(Wish),
    /// Initiators have set mode parameters, and the loop has them in force.
    ModesChanged {
        /// With a write cache.
        write_cache: bool,
        /// The others.
        modes: Modes,
    },
    /// Something happened to the handler; nothing needs to be done.
    Trouble(String),
    /// The trouble is over.
    Recovered,
    /// The handler found that the LUN has so many bytes, and the loop serves them.
    Resized(u64),
    /// The loop has ended; [`Running::condition`] says so, too.
    Ended(String),
    /// The worker has died; [`Running::condition`] says so, too.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_cancelled_and_not_before() {
        let cancel = Cancel::default();
        assert!(!cancel.wait(Duration::from_millis(1)));
        let waiting = std::thread::spawn({
            let cancel = cancel.clone();
            move || cancel.wait(Duration::from_secs(60))
        });
        cancel.cancel();
        assert!(waiting.join().unwrap());
        assert!(cancel.wait(Duration::ZERO) && cancel.is_cancelled());
    }
}
