//! The duty to complete a command exactly once, as a type.

use std::sync::atomic::{AtomicU64, Ordering};

static LOST: AtomicU64 = AtomicU64::new(0);

/// How many commands of this process were dropped without being completed or abandoned. Each is a bug of the
/// caller and leaves an initiator waiting; 0 in a sound program.
#[must_use]
pub fn lost_commands() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The lifetime of a ring between two resets. Commands of an earlier one must not be completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Count of resets that the ring went through.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn following(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A command that the kernel waits for. It can not be copied, so it is completed at most once
/// ([`crate::Ring::complete`] takes it); dropping it undone panics with debug assertions and is counted and
/// logged without.
#[must_use = "the kernel waits for this command: complete it, or abandon it after a ring reset"]
#[derive(Debug, PartialEq, Eq)]
pub struct Outstanding {
    id: u16,
    open: bool,
    generation: Generation,
}

impl Outstanding {
    pub(crate) fn new(id: u16, generation: Generation) -> Self {
        Self { id, open: true, generation }
    }

    /// cmd_id: 1…65535, unique among the commands outstanding on one ring.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The generation of the ring that handed it out.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Gives up a command that needs no completion any more: its ring was reset or has gone, and the kernel
    /// answered the initiator. Only when no operation refers to its buffer any more.
    pub fn abandon(mut self) {
        self.open = false;
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        if self.open {
            lost(self.id);
        }
    }
}

#[cold]
fn lost(id: u16) {
    // A second panic while one unwinds would abort the process and with it every other device.
    assert!(
        !cfg!(debug_assertions) || std::thread::panicking(),
        "command {id} dropped: complete it, or abandon it after a ring reset"
    );
    LOST.fetch_add(1, Ordering::Relaxed);
    tracing::error!(id, "command dropped without completion: its initiator waits until cmd_time_out");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_finished_command_is_dropped_in_silence() {
        Outstanding::new(3, Generation::default()).abandon();
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_lost_command_panics_with_debug_assertions() {
        let caught = catch_unwind(|| drop(Outstanding::new(7, Generation::default()))).unwrap_err();
        let message = caught.downcast::<String>().unwrap();
        assert!(message.contains("command 7 dropped"), "{message}");
    }

    #[test]
    fn a_command_lost_by_a_panic_is_counted_and_does_not_abort() {
        let before = lost_commands();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _command = Outstanding::new(8, Generation::default());
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        assert_eq!(lost_commands(), before + 1);
    }
}
