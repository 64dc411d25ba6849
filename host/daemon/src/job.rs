//! Work on a device that may wait: for storage, for a handler, for configfs. It runs on a thread of its own, so
//! that the control thread is always free to answer the kernel.
//!
//! Even a look into configfs may wait, and for ourselves: while a directory is being removed, its parent stays
//! locked until the REMOVED event has been answered.

use std::fmt;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunbox_tcmu::{
    Configfs, ConfigfsError, DeviceDirectory, DeviceId, DeviceName, Minor, NameError, Reset, Uio, UioError,
    UioNode,
};
use nix::errno::Errno;

use crate::service::{Refusal, Running, Starter};

/// Why somebody looks at a UIO node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The kernel announced it, under this id if it is new enough.
    Announced(Option<DeviceId>),
    /// It was found; serve it if its `enable` waits for somebody to answer.
    Waiting,
    /// It was found; serve it if it is enabled, after the ring was taken over from a predecessor.
    TakeOver,
}

/// How often a busy UIO node is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// How far an admission has got: what it waits for, for the log. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<String>>);

impl Progress {
    fn at(&self, step: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
        progress: Progress,
    },
    /// Change the size.
    Resize {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Bytes.
        bytes: u64,
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
    /// Read the serial number.
    Serial {
        /// The device's node.
        minor: Minor,
        /// The device's name.
        name: DeviceName,
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
    Busy(UioError),
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
    },
    /// [`Job::Resize`].
    Resized {
        /// The device's node.
        minor: Minor,
        /// The device.
        device: D,
        /// Bytes.
        bytes: u64,
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
    /// [`Job::Serial`].
    Serial {
        /// The device's node.
        minor: Minor,
        /// The number, or why it could not be read.
        result: Result<String, String>,
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
}

impl<D: Running> Job<D> {
    /// A [`Job::Admit`] that has not begun.
    pub fn admit(minor: Minor, reason: Reason, patience: Duration) -> Self {
        Self::Admit { minor, reason, patience, progress: Progress::default() }
    }

    /// The node that it is about.
    pub fn minor(&self) -> Minor {
        match self {
            Self::Admit { minor, .. }
            | Self::Resize { minor, .. }
            | Self::Stop { minor, .. }
            | Self::Discard { minor, .. }
            | Self::Serial { minor, .. } => *minor,
        }
    }

    /// What it comes to if it can not be done or panics.
    pub fn lost(&self) -> Finished<D> {
        match self {
            Self::Serial { minor, .. } => {
                Finished::Serial { minor: *minor, result: Err("the look into configfs failed".to_owned()) }
            }
            Self::Discard { name, .. } => Finished::Discarded {
                name: name.clone(),
                result: Err("the job failed, which is a defect".to_owned()),
            },
            job => Finished::Lost { minor: job.minor() },
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
            Self::Admit { minor, reason, patience, progress } => {
                let admission = admit(minor, reason, patience, &progress, starter, around);
                Finished::Admitted { minor, reason, admission }
            }
            Self::Resize { minor, device, bytes } => {
                let result = device.resize(bytes);
                Finished::Resized { minor, device, bytes, result }
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
            Self::Serial { minor, name } => {
                let serial = around.configfs.device(&name).serial();
                Finished::Serial { minor, result: serial.map_err(|error| error.to_string()) }
            }
        }
    }
}

fn admit<S: Starter>(
    minor: Minor,
    reason: Reason,
    patience: Duration,
    progress: &Progress,
    starter: &S,
    around: &Surroundings,
) -> Admission<S::Device> {
    let announced = match reason {
        Reason::Announced(id) => id,
        Reason::Waiting | Reason::TakeOver => None,
    };
    let refused = |id, reason: String| Admission::Refused { id, reason };
    progress.at(format!("reading what sysfs says of {minor}"));
    let node = match around.uio.node(minor) {
        Ok(node) => node,
        // Nobody asked for it by name: it went, or belongs to another driver.
        Err(UioError::Gone { .. } | UioError::Name { source: NameError::Foreign { .. }, .. })
            if !matches!(reason, Reason::Announced(_)) =>
        {
            return Admission::Skipped;
        }
        Err(error) => return refused(announced, error.to_string()),
    };
    if !starter.serves(&node.name.subtype) {
        let known = starter.subtypes();
        let text = format!("no handler for subtype {:?}; known subtypes: {known}", node.name.subtype);
        // Found, not announced: another daemon may be about to answer.
        return match reason {
            Reason::Announced(id) => refused(id, text),
            Reason::Waiting | Reason::TakeOver => {
                tracing::info!(device = %node.name, "left alone: {text}");
                Admission::Skipped
            }
        };
    }
    let directory = around.configfs.device(&node.name);
    progress.at(format!("device {}: reading {}", node.name, directory.path().display()));
    if matches!(reason, Reason::Waiting | Reason::TakeOver) && !directory.exists() {
        // A closer look would wait for the removal, and the removal for our answer.
        tracing::debug!(device = %node.name, "is being removed");
        return Admission::Skipped;
    }
    if let Reason::Waiting | Reason::TakeOver = reason {
        let enabled = match directory.enabled() {
            // Kernels that do not show it do not wait for answers either.
            Err(error) if error.is_absent() => true,
            Err(error) => return refused(None, error.to_string()),
            Ok(enabled) => enabled,
        };
        if enabled != (reason == Reason::TakeOver) {
            return Admission::Skipped;
        }
    }
    let id = match announced.map_or_else(|| directory.device_id(), Ok) {
        Ok(id) => id,
        Err(error) => return refused(None, error.to_string()),
    };
    progress.at(format!("device {}: opening its UIO node", node.name));
    let uio = match claim(minor, patience, starter) {
        Ok(uio) => uio,
        Err(error @ UioError::Busy { .. }) => return Admission::Busy(error),
        Err(error) => return refused(Some(id), error.to_string()),
    };
    let taken_over = reason == Reason::TakeOver;
    if taken_over {
        progress.at(format!("device {}: taking over its ring", node.name));
        // It may have gone while the node was busy.
        if !directory.exists() {
            return Admission::Skipped;
        }
        // In this order no command gets lost: new ones are kept away, those in the ring are sent back to be
        // tried again, and the ring starts empty.
        let prepared = tolerate_absence(directory.block(true))
            .and_then(|()| tolerate_absence(directory.reset_ring(Reset::Retry)));
        if let Err(error) = prepared {
            if directory.exists() {
                let _ = directory.block(false);
            }
            return refused(Some(id), error.to_string());
        }
    }
    progress.at(format!("device {}: opening its storage and starting its handler", node.name));
    let started = starter.start(&node, uio);
    if taken_over
        && directory.exists()
        && let Err(error) = tolerate_absence(directory.block(false))
    {
        tracing::error!(device = %node.name, "commands stay blocked: {error}; write 0 to that file");
    }
    match started {
        Ok(device) => Admission::Served { node, id, device },
        Err(reason) => refused(Some(id), reason),
    }
}

/// Opens the UIO node; waits for whoever has it open, but not longer than `patience`.
fn claim<S: Starter>(minor: Minor, patience: Duration, starter: &S) -> Result<OwnedFd, UioError> {
    let deadline = Instant::now() + patience;
    loop {
        match starter.claim(minor) {
            // The kernel tells nobody when a node is closed.
            Err(UioError::Busy { .. }) if Instant::now() < deadline => std::thread::sleep(RETRY),
            claimed => return claimed,
        }
    }
}

/// Old kernels have no `action` directory.
fn tolerate_absence(result: Result<(), ConfigfsError>) -> Result<(), ConfigfsError> {
    result.or_else(|error| if error.is_absent() { Ok(()) } else { Err(error) })
}

/// What the kernel is told when a device can not be served. tcmu-runner's answer to every such failure.
pub const ADMISSION_FAILED: Errno = Errno::ENOENT;
