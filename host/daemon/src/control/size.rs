//! Sizes that handlers find themselves. The LUN has such a size at once; here the kernel is told of it (`dev_size` in
//! configfs), and whoever starts the device anew.
//!
//! Nothing waits for the kernel to know: it does not look at the size of a command. So the write is a job that no node
//! waits for, and a removal of the device finds the way free.

use lunbox_control::EventKind;
use lunbox_tcmu::{DeviceId, Minor};

use super::later::Chore;
use super::{Control, Kernel};
use crate::job::Job;
use crate::service::{Running, Starter};

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Takes over the last size that the handler of a device found, if there is one, and has the kernel told. Behind
    /// jobs on the node: whoever enables the device holds it in configfs until he was answered.
    pub(super) fn tell_size(&mut self, minor: Minor) {
        if self.later.is_waiting(Chore::TellSize, minor) {
            return;
        }
        let Some(entry) = self.registry.get(minor).filter(|entry| entry.job.is_none()) else { return };
        let Some(served) = entry.served.as_mut() else {
            entry.found_size = None;
            return;
        };
        // One that was adopted may have a writer of `enable` that waits for us.
        if served.telling_size || served.adopted {
            return;
        }
        let Some(device) = served.device.as_mut() else { return };
        let Some(bytes) = entry.found_size.take() else { return };
        let (id, name) = (served.id, served.name.clone());
        match device.accept_size(bytes) {
            Err(reason) => {
                tracing::error!(device = %name, "the size that its handler found is not taken over: {reason}");
                return;
            }
            Ok(true) => {
                tracing::info!(device = %name, bytes, "its handler found another size");
                self.around.journal.device(EventKind::DeviceChanged, &name, format!("dev_size={bytes}"));
            }
            Ok(false) => {}
        }
        served.telling_size = true;
        self.submit(minor, Job::TellSize { minor, id, name, bytes });
    }

    /// The kernel was told of a size, or could not be.
    pub(super) fn size_told(&mut self, minor: Minor, id: DeviceId, bytes: u64, result: Result<(), String>) {
        let Some(entry) = self.registry.get(minor) else { return };
        let Some(served) = entry.served.as_mut().filter(|served| served.id == id) else { return };
        served.telling_size = false;
        let name = served.name.clone();
        match result {
            Ok(()) => {
                tracing::debug!(device = %name, bytes, "the kernel knows the size");
                self.later.forget(Chore::TellSize, minor);
            }
            Err(reason) => {
                // A later one is the one that counts.
                entry.found_size.get_or_insert(bytes);
                if self.later.put_off(Chore::TellSize, minor) {
                    tracing::warn!(
                        device = %name,
                        "the kernel does not know yet that it has {bytes} bytes (dev_size): {reason}; trying again"
                    );
                }
            }
        }
        self.tell_size(minor);
    }
}
