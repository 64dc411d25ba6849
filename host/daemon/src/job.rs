//! Work on a device that may wait: for storage, for a handler, for configfs. It runs on a thread of its own, so
//! that the control thread is always free to answer the kernel.
//!
//! Even a look into configfs may wait, and for ourselves: while a directory is being removed, its parent stays
//! locked until the REMOVED event has been answered.

mod admit;
mod revive;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lunbox_tcmu::{
    Change, Configfs, ConfigfsError, DeviceDirectory, DeviceId, DeviceName, Minor, Uio, UioError, UioNode,
};
use lunbox_wire::AccessStateAnswer;
use nix::errno::Errno;

use crate::foreign::Foreign;
use crate::identity::{self, Reading};
use crate::journal::Journal;
use crate::service::{Cancel, Refusal, Running, Setback, Starter, Wish};

use admit::{admit, present, unblock};
use revive::{hand_over, revive};

/// Why somebody looks at a UIO node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The kernel announced it, under this id if it is new enough.
    Announced(Option<DeviceId>),
    /// Its announcement was left to another daemon, which has gone. If its `enable` still waits, serve or refuse it.
    Abandoned(Option<DeviceId>),
    /// It was found; serve it if its `enable` waits for somebody to answer.
    Waiting,
    /// It was found; serve it if it is enabled, after the ring was taken over from a predecessor.
    TakeOver,
}

/// How far an admission has got: what it waits for, for the log. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<String>>);

impl Progress {
    pub(crate) fn at(&self, step: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the control thread shares with a job while it runs.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// How far it has got.
    pub progress: Progress,
    /// Ends its waits.
    pub cancel: Cancel,
    /// Has a hand-over leave a device alone that serves still. Behind that point it goes on.
    pub halt: Cancel,
}

/// Something to do. Devices travel with the job and come back with its result.
#[derive(Debug)]
pub enum Job<D> {
    /// Look at a node and serve it.
    Admit {
        /// The node.
        minor: Minor,
        /// Why.
        reason: Reason,
        /// How long to wait for whoever has the UIO node open.
        patience: Duration,
        /// How far it has got.
        course: Course,
    },
    /// Bring a device that runs no more back to serve.
    Revive {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Its name.
        name: DeviceName,
        /// Wait so long first.
        delay: Duration,
        /// How far it has got.
        course: Course,
    },
    /// Move a running device to a worker of this build.
    HandOver {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Its name.
        name: DeviceName,
        /// How far it has got.
        course: Course,
    },
    /// Let commands in again that a predecessor may have kept away.
    Unblock {
        /// The device's node.
        minor: Minor,
        /// Its name.
        name: DeviceName,
    },
    /// Change a setting while the device serves.
    Change {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// What is to be.
        change: Change,
    },
    /// End a device.
    Stop {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Keep new commands away meanwhile: the kernel's device of this name lives on.
        block: Option<DeviceName>,
    },
    /// End a device that was started too late and never belonged to its node.
    Discard {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Its name.
        name: DeviceName,
    },
    /// Read who the LUN is.
    Identity {
        /// The device's node.
        minor: Minor,
        /// The device's name.
        name: DeviceName,
    },
    /// Put a target port group into another state.
    AccessState {
        /// The device's node.
        minor: Minor,
        /// The kernel's number for it.
        id: DeviceId,
        /// The device's name.
        name: DeviceName,
        /// What is wanted.
        wish: Wish,
        /// By which of the device's loops.
        epoch: u64,
    },
    /// Tell the kernel of a size that the handler found. Not before the event that enabled the device was answered.
    TellSize {
        /// The device's node.
        minor: Minor,
        /// The kernel's number for it.
        id: DeviceId,
        /// The device's name.
        name: DeviceName,
        /// The size.
        bytes: u64,
    },
}

/// What became of a node that was looked at.
#[derive(Debug)]
pub enum Admission<D> {
    /// It is served.
    Served {
        /// What it is.
        node: UioNode,
        /// The kernel's number for it.
        id: DeviceId,
        /// The running device.
        device: D,
    },
    /// It is served already, by this process or by another.
    Busy {
        /// In whose words.
        error: UioError,
        /// The kernel's number for it, if its `enable` waits for an answer.
        waiting: Option<DeviceId>,
    },
    /// It is none of our business.
    Skipped,
    /// It can not be served, for this reason. The id is known if it could be read.
    Refused {
        /// The kernel's number for it.
        id: Option<DeviceId>,
        /// For the operator.
        reason: String,
    },
}

/// What a job came to.
#[derive(Debug)]
pub enum Finished<D> {
    /// [`Job::Admit`].
    Admitted {
        /// The node.
        minor: Minor,
        /// Why it was looked at.
        reason: Reason,
        /// What came of it.
        admission: Admission<D>,
        /// Why commands may be kept away still.
        blocked: Option<String>,
    },
    /// [`Job::Revive`].
    Revived {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Its name.
        name: DeviceName,
        /// Whether it serves.
        result: Result<(), Setback>,
        /// Why commands may be kept away still.
        blocked: Option<String>,
    },
    /// [`Job::HandOver`].
    HandedOver {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Its name.
        name: DeviceName,
        /// Whether it serves.
        result: Result<(), Setback>,
    },
    /// [`Job::Unblock`].
    Unblocked {
        /// The device's node.
        minor: Minor,
        /// The device's name.
        name: DeviceName,
        /// Why not.
        result: Result<(), String>,
    },
    /// [`Job::Change`].
    Changed {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// What was to be.
        change: Change,
        /// Whether it was done.
        result: Result<(), Refusal>,
    },
    /// [`Job::Stop`].
    Stopped {
        /// The device's node.
        minor: Minor,
        /// Whether everything ended as it should.
        result: Result<(), String>,
    },
    /// [`Job::Discard`].
    Discarded {
        /// The device's name.
        name: DeviceName,
        /// Whether everything ended as it should.
        result: Result<(), String>,
    },
    /// [`Job::Identity`].
    Identity {
        /// The device's node.
        minor: Minor,
        /// What could be read of it.
        reading: Reading,
    },
    /// [`Job::AccessState`].
    AccessState {
        /// The device's node.
        minor: Minor,
        /// Which wish.
        wish: u64,
        /// Of which of the device's loops.
        epoch: u64,
        /// What came of it.
        answer: AccessStateAnswer,
    },
    /// [`Job::TellSize`].
    SizeTold {
        /// The device's node.
        minor: Minor,
        /// The kernel's number for it.
        id: DeviceId,
        /// The size.
        bytes: u64,
        /// Why not.
        result: Result<(), String>,
    },
    /// The job panicked, a defect of this program. The device that it held has ended.
    Lost {
        /// The device's node.
        minor: Minor,
    },
}

/// Where jobs find things.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// UIO nodes.
    pub uio: Uio,
    /// The target subsystem.
    pub configfs: Configfs,
    /// See [`Running::stop`].
    pub patience: Duration,
    /// How long an admission may take once a thread works on it. Whoever enables a device hangs meanwhile.
    pub admission: Duration,
    /// How long a device waits before it is tried again whose loop ended or that did not start: for each try one.
    pub retries: [Duration; 3],
    /// Told what happens.
    pub journal: Journal,
    /// What other daemons serve.
    pub foreign: Foreign,
}

impl<D> Finished<D> {
    /// It is about an announcement that another daemon may have answered.
    pub(crate) const fn is_of_abandoned(&self) -> bool {
        matches!(self, Self::Admitted { reason: Reason::Abandoned(_), .. })
    }
}

impl<D: Running> Job<D> {
    /// A [`Job::Admit`] that has not begun.
    pub fn admit(minor: Minor, reason: Reason, patience: Duration) -> Self {
        Self::Admit { minor, reason, patience, course: Course::default() }
    }

    /// The node that it is about.
    pub fn minor(&self) -> Minor {
        match self {
            Self::Admit { minor, .. }
            | Self::Revive { minor, .. }
            | Self::HandOver { minor, .. }
            | Self::Unblock { minor, .. }
            | Self::Change { minor, .. }
            | Self::Stop { minor, .. }
            | Self::Discard { minor, .. }
            | Self::Identity { minor, .. }
            | Self::AccessState { minor, .. }
            | Self::TellSize { minor, .. } => *minor,
        }
    }

    /// What it comes to if it can not be done or panics.
    pub fn lost(&self) -> Finished<D> {
        match self {
            Self::Identity { minor, .. } => {
                let failed = "the look into configfs failed";
                let reading = Reading { serial: Err(failed.to_owned()), access: Err(failed.to_owned()) };
                Finished::Identity { minor: *minor, reading }
            }
            Self::AccessState { minor, wish, epoch, .. } => Finished::AccessState {
                minor: *minor,
                wish: wish.number,
                epoch: *epoch,
                answer: AccessStateAnswer::Failed,
            },
            Self::Unblock { minor, name } => Finished::Unblocked {
                minor: *minor,
                name: name.clone(),
                result: Err("the job failed, which is a defect".to_owned()),
            },
            Self::TellSize { minor, id, bytes, .. } => Finished::SizeTold {
                minor: *minor,
                id: *id,
                bytes: *bytes,
                result: Err("the job failed, which is a defect".to_owned()),
            },
            Self::Discard { name, .. } => Finished::Discarded {
                name: name.clone(),
                result: Err("the job failed, which is a defect".to_owned()),
            },
            job => Finished::Lost { minor: job.minor() },
        }
    }

    /// The device that it is about, where the job knows it.
    pub fn name(&self) -> Option<&DeviceName> {
        match self {
            Self::Revive { name, .. }
            | Self::HandOver { name, .. }
            | Self::Unblock { name, .. }
            | Self::Discard { name, .. }
            | Self::Identity { name, .. }
            | Self::AccessState { name, .. }
            | Self::TellSize { name, .. } => Some(name),
            Self::Stop { block, .. } => block.as_ref(),
            Self::Admit { .. } | Self::Change { .. } => None,
        }
    }

    /// Does it. Blocks; never panics.
    pub fn run<S: Starter<Device = D>>(self, starter: &S, around: &Surroundings) -> Finished<D> {
        let lost = self.lost();
        // A job owns what it works on: nothing that a panic could leave half done outlives it.
        catch_unwind(AssertUnwindSafe(|| self.work(starter, around))).unwrap_or(lost)
    }

    fn work<S: Starter<Device = D>>(self, starter: &S, around: &Surroundings) -> Finished<D> {
        match self {
            Self::Admit { minor, reason, patience, course } => {
                let (admission, blocked) = admit(minor, reason, patience, &course, starter, around);
                Finished::Admitted { minor, reason, admission, blocked }
            }
            Self::Revive { minor, mut device, name, delay, course } => {
                let (result, blocked) = revive(&mut device, &name, delay, &course, around);
                Finished::Revived { minor, device, name, result, blocked }
            }
            Self::HandOver { minor, mut device, name, course } => {
                let result = hand_over(&mut device, &name, &course, around);
                Finished::HandedOver { minor, device, name, result }
            }
            Self::Unblock { minor, name } => {
                let result = unblock(&around.configfs.device(&name));
                Finished::Unblocked { minor, name, result }
            }
            Self::Change { minor, mut device, change } => {
                let result = device.change(&change);
                Finished::Changed { minor, device, change, result }
            }
            Self::Stop { minor, device, block } => {
                let directory = block.map(|name| around.configfs.device(&name));
                // A directory that is being removed needs no block, and may be locked.
                let blocked =
                    directory.filter(|directory| directory.exists() && directory.block(true).is_ok());
                let mut result = device.stop(around.patience);
                if let Some(directory) = blocked.filter(DeviceDirectory::exists)
                    && let Err(error) = tolerate_absence(directory.block(false))
                {
                    result = result.and(Err(format!("commands stay blocked: {error}")));
                }
                Finished::Stopped { minor, result }
            }
            Self::Discard { device, name, .. } => {
                Finished::Discarded { name, result: device.stop(around.patience) }
            }
            Self::Identity { minor, name } => {
                Finished::Identity { minor, reading: identity::read(&around.configfs.device(&name)) }
            }
            Self::AccessState { minor, id, name, wish, epoch } => {
                let answer = set_access_state(&around.configfs.device(&name), id, wish);
                Finished::AccessState { minor, wish: wish.number, epoch, answer }
            }
            Self::TellSize { minor, id, name, bytes } => {
                let result = tell_size(&around.configfs.device(&name), id, bytes);
                Finished::SizeTold { minor, id, bytes, result }
            }
        }
    }
}

/// Puts a target port group of the device of this number into another state.
fn set_access_state(directory: &DeviceDirectory, id: DeviceId, wish: Wish) -> AccessStateAnswer {
    // Another device of this name has groups of its own.
    if !directory.exists() || directory.device_id().is_ok_and(|current| current != id) {
        return AccessStateAnswer::Failed;
    }
    identity::set_access_state(directory, wish.group, wish.state)
}

/// Writes a size into `control`, which sends no event: nobody waits for us over it.
fn tell_size(directory: &DeviceDirectory, id: DeviceId, bytes: u64) -> Result<(), String> {
    // One that is being removed may be locked.
    present(directory).map_err(|setback| setback.to_string())?;
    // Another device of this name has its own size. Where there is no number, the name has to do.
    if directory.device_id().is_ok_and(|current| current != id) {
        return Ok(());
    }
    directory.set_size(bytes).map_err(|error| error.to_string())
}

/// Old kernels have no `action` directory.
pub(crate) fn tolerate_absence(result: Result<(), ConfigfsError>) -> Result<(), ConfigfsError> {
    result.or_else(|error| if error.is_absent() { Ok(()) } else { Err(error) })
}

/// What the kernel is told when a device can not be served. tcmu-runner's answer to every such failure.
pub const ADMISSION_FAILED: Errno = Errno::ENOENT;
