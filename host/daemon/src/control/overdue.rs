//! Admissions that take too long. Opening storage may hang without limit (a file server that is down), and whoever
//! enables the device hangs with it. A removal of the device at the same time is worse: it waits for `enable` and
//! holds locks of configfs that the admission needs, so that all three wait for each other.
//!
//! And recoveries that go on although the device is to be removed: nothing waits for them.

use super::jobs::Task;
use super::{Control, Kernel};
use crate::job::{ADMISSION_FAILED, Admission, Finished, Job};
use crate::service::Starter;

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Waits no longer for jobs that take too long: who caused them is answered, and the node is free for the next
    /// device. What becomes of such a job later is dealt with by `too_late`.
    pub(super) fn give_up(&mut self) {
        for (ticket, minor) in self.jobs.overdue(self.around.admission) {
            let Some(watch) = self.jobs.end(ticket) else { continue };
            let (Task::Admission(course) | Task::HandOver(course) | Task::Recovery(course)) = &watch.task
            else {
                continue;
            };
            course.cancel.cancel();
            tracing::error!(
                %minor,
                "given up: {} takes more than {} s; see that its storage answers (a network file \
                 system whose server is down?) and that nobody removes it at the same time, then enable it again",
                course.progress,
                self.around.admission.as_secs(),
            );
            self.later.forget_all(minor);
            let entry = self.registry.entry(minor);
            entry.job = None;
            entry.found_size = None;
            entry.found_modes = None;
            entry.early_wishes.clear();
            // The job has the device.
            if entry.served.as_ref().is_some_and(|served| served.device.is_none()) {
                entry.served = None;
            }
            if let Some(event) = entry.current.take() {
                self.answer(&event, Err(ADMISSION_FAILED));
            }
            self.proceed(minor);
        }
    }

    /// The result of a job that was given up.
    pub(super) fn too_late(&mut self, finished: Finished<S::Device>) {
        let (minor, name, device) = match finished {
            Finished::Admitted { minor, admission: Admission::Served { node, device, .. }, .. } => {
                (minor, node.name, device)
            }
            Finished::Revived { minor, device, name, .. }
            | Finished::HandedOver { minor, device, name, .. } => (minor, name, device),
            _ => return,
        };
        tracing::warn!(device = %name, "came back at last, too late; stopping it");
        self.submit(minor, Job::Discard { minor, device, name });
    }
}
