//! Serving a node that was announced or found.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use lunbox_tcmu::{ConfigfsError, DeviceDirectory, DeviceId, Minor, NameError, Reset, UioError, UioNode};

use super::{Admission, Course, Reason, Surroundings, tolerate_absence};
use crate::service::{Running, Setback, Starter};

/// How often a busy UIO node is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// How often a launch is tried whose worker dies on the way, perhaps of another device.
const LAUNCHES: u32 = 3;

/// Looks at a node and serves it; also tells why commands may be kept away still.
pub(super) fn admit<S: Starter>(
    minor: Minor,
    reason: Reason,
    patience: Duration,
    course: &Course,
    starter: &S,
    around: &Surroundings,
) -> (Admission<S::Device>, Option<String>) {
    let mut blocked = None;
    let admission = look_at(minor, reason, patience, course, starter, around, &mut blocked);
    (admission, blocked)
}

fn look_at<S: Starter>(
    minor: Minor,
    reason: Reason,
    patience: Duration,
    course: &Course,
    starter: &S,
    around: &Surroundings,
    blocked: &mut Option<String>,
) -> Admission<S::Device> {
    let progress = &course.progress;
    let announced = match reason {
        Reason::Announced(id) | Reason::Abandoned(id) => id,
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
    let ours = starter.serves(&node.name.subtype);
    if around.foreign.is_left_alone(&node.name.subtype, ours) {
        tracing::info!(device = %node.name, "left alone: {:?} is another daemon's", node.name.subtype);
        return Admission::Skipped;
    }
    let directory = around.configfs.device(&node.name);
    if let Reason::Abandoned(id) = reason {
        progress.at(format!("device {}: reading {}", node.name, directory.path().display()));
        match still_waits(&directory, patience, course) {
            Ok(Wait::Over) => return Admission::Skipped,
            Ok(Wait::Removal) => return refused(id, "it is being removed".to_owned()),
            Ok(Wait::Enable) => {}
            Err(error) => return refused(id, error.to_string()),
        }
    }
    if !ours {
        let known = starter.subtypes();
        let text = format!("no handler for subtype {:?}; known subtypes: {known}", node.name.subtype);
        // Found, not announced: another daemon may be about to answer.
        return match reason {
            Reason::Announced(id) | Reason::Abandoned(id) => refused(id, text),
            Reason::Waiting | Reason::TakeOver => {
                tracing::info!(device = %node.name, "left alone: {text}");
                Admission::Skipped
            }
        };
    }
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
    let uio = match claim(minor, patience, course, starter) {
        Ok(uio) => uio,
        Err(UioError::Busy { .. }) if course.cancel.is_cancelled() => return Admission::Skipped,
        Err(error @ UioError::Busy { .. }) => {
            return Admission::Busy { error, waiting: (reason == Reason::Waiting).then_some(id) };
        }
        Err(error) => return refused(Some(id), error.to_string()),
    };
    let taken_over = reason == Reason::TakeOver;
    if taken_over {
        progress.at(format!("device {}: keeping new commands away", node.name));
        // It may have gone while the node was busy.
        if !directory.exists() {
            return Admission::Skipped;
        }
        if let Err(error) = tolerate_absence(directory.block(true)) {
            return refused(Some(id), error.to_string());
        }
    }
    let started = bring_up(&node, id, uio, taken_over.then_some(&directory), course, starter);
    if taken_over {
        *blocked = unblock(&directory).err();
    }
    match started {
        Ok(device) => Admission::Served { node, id, device },
        Err(Setback::Cancelled) => Admission::Skipped,
        Err(setback) => refused(Some(id), setback.to_string()),
    }
}

/// What goes on at a device whose announcement another daemon may have answered.
enum Wait {
    /// Nobody waits for the answer to the announcement.
    Over,
    /// Who enables it waits for the answer.
    Enable,
    /// The same, and a removal waits for that.
    Removal,
}

/// Whether the announcement of a device is unanswered still. An answer to an event that has one makes the kernel lose the
/// device's next event.
fn still_waits(
    directory: &DeviceDirectory,
    patience: Duration,
    course: &Course,
) -> Result<Wait, ConfigfsError> {
    match directory.exists().then(|| directory.enabled()) {
        Some(Ok(true)) => Ok(Wait::Over),
        Some(Ok(false)) => Ok(Wait::Enable),
        Some(Err(error)) if !error.is_absent() => Err(error),
        // Kernels that do not show it do not wait for answers.
        Some(Err(_)) if directory.exists() => Ok(Wait::Over),
        // Either the removal waits for `enable`, or its own event is on its way, which ends this job.
        _ if course.cancel.wait(patience) => Ok(Wait::Over),
        _ => Ok(Wait::Removal),
    }
}

/// Opens the storage, then sends commands back that a predecessor left in the ring, then starts the loop.
///
/// In this order no command gets lost and no buffer is used twice: new commands are kept away already; those in the
/// ring are sent back, which gives their buffers to others, only when no operation on the storage uses them any more.
fn bring_up<S: Starter>(
    node: &UioNode,
    id: DeviceId,
    uio: OwnedFd,
    left_behind: Option<&DeviceDirectory>,
    course: &Course,
    starter: &S,
) -> Result<S::Device, Setback> {
    let name = &node.name;
    course
        .progress
        .at(format!("device {name}: opening its storage and waiting for operations of a predecessor on it"));
    let mut device = starter.prepare(node, id, uio, &course.cancel)?;
    if left_behind.is_some() {
        device.fence(&course.cancel)?;
    } else {
        device.fence_new(&course.cancel)?;
    }
    let mut launches = 0;
    loop {
        if let Some(directory) = left_behind {
            course.progress.at(format!("device {name}: taking over its ring"));
            reset(directory)?;
        }
        course.progress.at(format!("device {name}: starting its handler"));
        launches += 1;
        match device.launch(&course.cancel) {
            Ok(()) => return Ok(device),
            Err(Setback::Lost) if launches < LAUNCHES => {
                tracing::warn!(device = %name, "its worker died or fell silent while the device was started; trying again");
                course.progress.at(format!("device {name}: waiting for operations of its worker that died"));
                device.fence(&course.cancel)?;
            }
            Err(setback) => return Err(setback),
        }
    }
}

/// Nothing goes on with a ring that could not be reset: its entries may be another loop's leavings.
pub(super) fn present(directory: &DeviceDirectory) -> Result<(), Setback> {
    if directory.exists() {
        return Ok(());
    }
    let path = directory.path().display();
    Err(Setback::NotNow(format!(
        "{path} is being removed or can not be opened; if the LUN is still there, see that lunboxd may have enough open files (LimitNOFILE)"
    )))
}

/// Sends the commands in the ring back to be tried again.
pub(super) fn reset(directory: &DeviceDirectory) -> Result<(), Setback> {
    // One that is being removed is locked.
    present(directory)?;
    tolerate_absence(directory.reset_ring(Reset::Retry)).map_err(|error| Setback::Refused(error.to_string()))
}

/// Lets commands in again. Behind an error they may stay away: it is to be tried again as long as there is the device.
pub(super) fn unblock(directory: &DeviceDirectory) -> Result<(), String> {
    // As a rule one that can not be seen is being removed.
    present(directory).map_err(|setback| setback.to_string())?;
    tolerate_absence(directory.block(false)).map_err(|error| error.to_string())
}

/// Opens the UIO node; waits for whoever has it open, but not longer than `patience`.
fn claim<S: Starter>(
    minor: Minor,
    patience: Duration,
    course: &Course,
    starter: &S,
) -> Result<OwnedFd, UioError> {
    let deadline = Instant::now().checked_add(patience);
    loop {
        let error = match starter.claim(minor) {
            Err(error @ UioError::Busy { .. }) => error,
            claimed => return claimed,
        };
        // The kernel tells nobody when a node is closed.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || course.cancel.wait(RETRY) {
            return Err(error);
        }
    }
}
