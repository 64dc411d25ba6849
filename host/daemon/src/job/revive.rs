//! Bringing a device back whose loop runs no more, and moving a device to another worker.

use std::time::Duration;

use lunbox_tcmu::DeviceName;
use lunbox_wire::Ending;

use super::admit::{present, reset, unblock};
use super::{Course, Surroundings, tolerate_absence};
use crate::service::{Running, Setback};

/// Keeps new commands away, waits until no operation of the old loop is left, sends the commands in the ring back to
/// be tried again, starts a new loop, and lets commands in. Also tells why they may be kept away still.
///
/// The ring is reset only behind the fence: the reset gives the buffers of its commands to others.
pub(super) fn revive<D: Running>(
    device: &mut D,
    name: &DeviceName,
    delay: Duration,
    course: &Course,
    around: &Surroundings,
) -> (Result<(), Setback>, Option<String>) {
    let progress = &course.progress;
    progress.at(format!("device {name}: waiting {delay:?} before the next try"));
    if course.cancel.wait(delay) {
        return (Err(Setback::Cancelled), None);
    }
    let directory = around.configfs.device(name);
    progress.at(format!("device {name}: keeping new commands away"));
    // A directory that is being removed may be locked, and its device needs no loop any more.
    if let Err(setback) = present(&directory) {
        return (Err(setback), None);
    }
    if let Err(error) = tolerate_absence(directory.block(true)) {
        return (Err(Setback::Refused(error.to_string())), None);
    }
    let mut bring_up = || {
        progress.at(format!("device {name}: ending its old loop"));
        if let Err(reason) = device.end(Ending::Cancel, around.patience) {
            // The fence waits for it.
            tracing::warn!(device = %name, "its old loop did not end as it should: {reason}");
        }
        progress.at(format!("device {name}: waiting for operations of its old loop on the storage"));
        device.fence(&course.cancel)?;
        progress.at(format!("device {name}: sending back what is in its ring"));
        reset(&directory)?;
        progress.at(format!("device {name}: starting its handler"));
        device.launch(&course.cancel)
    };
    let result = bring_up();
    (result, unblock(&directory).err())
}

/// Ends the loop with what it has taken, and starts another one that goes on where it stopped. Nothing is blocked or
/// sent back: commands wait in the ring meanwhile. A loop that serves is ended only when its place is sure.
pub(super) fn hand_over<D: Running>(
    device: &mut D,
    name: &DeviceName,
    course: &Course,
    around: &Surroundings,
) -> Result<(), Setback> {
    let progress = &course.progress;
    progress.at(format!("device {name}: seeing that there is a new worker for it"));
    device.make_ready(&course.halt)?;
    if course.halt.is_cancelled() {
        return Err(Setback::Cancelled);
    }
    progress.at(format!("device {name}: ending its loop in the old worker"));
    device.end(Ending::HandOver, around.patience).map_err(Setback::Refused)?;
    progress.at(format!("device {name}: waiting for the old worker's operations on the storage"));
    // Commands wait in the ring: not as long as it takes, but a moment. Then it is brought back, with BUSY for all.
    device.fence_within(Some(around.patience), &course.cancel)?;
    progress.at(format!("device {name}: starting its handler in the new worker"));
    device.launch(&course.cancel)
}
