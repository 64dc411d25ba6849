//! Admissions that take too long. Opening storage may hang without limit (a file server that is down), and whoever
//! enables the device hangs with it. A removal of the device at the same time is worse: it waits for `enable` and
//! holds locks of configfs that the admission needs, so that all three wait for each other.

use lunbox_tcmu::EventKind;

use super::jobs::Task;
use super::{Control, Kernel};
use crate::job::{ADMISSION_FAILED, Admission, Finished, Job, Reason};
use crate::service::Starter;

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Waits no longer for admissions that take too long: who caused them is answered, and the node is free for
    /// the next device. What becomes of such a job later is dealt with by `too_late`.
    pub(super) fn give_up(&mut self) {
        for (ticket, minor, reason) in self.jobs.overdue(self.around.admission) {
            let entry = self.registry.entry(minor);
            let removed = entry.waiting.iter().any(|event| event.kind == EventKind::Removed);
            // Nobody waits while a device is taken over, unless it is to be removed: better late than never.
            if reason == Reason::TakeOver && !removed {
                continue;
            }
            let Some(watch) = self.jobs.end(ticket) else { continue };
            if let Task::Admission(_, progress) = &watch.task {
                tracing::error!(
                    %minor,
                    "given up: {progress} takes more than {} s; see that its storage answers (a network file \
                     system whose server is down?) and that nobody removes it at the same time, then enable it again",
                    self.around.admission.as_secs(),
                );
            }
            let entry = self.registry.entry(minor);
            entry.job = None;
            if let Some(event) = entry.current.take() {
                self.answer(&event, Err(ADMISSION_FAILED));
            }
            self.proceed(minor);
        }
    }

    /// The result of a job that was given up.
    pub(super) fn too_late(&mut self, finished: Finished<S::Device>) {
        if let Finished::Admitted { minor, admission: Admission::Served { node, device, .. }, .. } = finished
        {
            tracing::warn!(device = %node.name, "could be opened at last, too late; stopping it");
            self.submit(minor, Job::Discard { minor, device, name: node.name });
        }
    }
}
