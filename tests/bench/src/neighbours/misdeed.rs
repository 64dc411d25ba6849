//! What handlers do to their neighbours.

use lunbox_test_hostile as hostile;
use lunbox_test_wasi as wasi;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misdeed {
    /// For tables and command lines.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// The handler's crate.
    pub package: &'static str,
    /// Of that crate; `None` reads without harm.
    pub trigger: Option<u64>,
    /// Whether the instance is lost and the command answered BUSY.
    pub costs_instance: bool,
}

const fn of_hostile(name: &'static str, trigger: u64, costs_instance: bool, what: &'static str) -> Misdeed {
    Misdeed { name, what, package: "lunbox-test-hostile", trigger: Some(trigger), costs_instance }
}

const fn of_wasi(name: &'static str, trigger: u64, costs_instance: bool, what: &'static str) -> Misdeed {
    Misdeed { name, what, package: "lunbox-test-wasi", trigger: Some(trigger), costs_instance }
}

impl Misdeed {
    /// Where a READ has to begin on a LUN of `size` bytes; 0 without a trigger, `None` if the LUN is too small.
    #[must_use]
    pub fn place(&self, size: u64) -> Option<u64> {
        // Both crates put their triggers at the same places.
        self.trigger.map_or(Some(0), |trigger| hostile::trigger_offset(size, trigger))
    }
}

/// All of them. The first is none.
pub const MISDEEDS: &[Misdeed] = &[
    Misdeed {
        name: "busy",
        what: "none: an honest LUN that reads as fast as it can",
        package: "lunbox-handler-file",
        trigger: None,
        costs_instance: false,
    },
    of_hostile("loop", hostile::TRIGGER_LOOP, true, "endless loop"),
    of_hostile("loop-in-resume", hostile::TRIGGER_LOOP_IN_RESUME, true, "endless loop after an operation"),
    of_hostile("memory", hostile::TRIGGER_MEMORY, true, "memory that grows without bound"),
    of_hostile("trap", hostile::TRIGGER_TRAP, true, "panic"),
    of_hostile("recursion", hostile::TRIGGER_RECURSION, true, "recursion without end"),
    of_hostile("too-many-ops", hostile::TRIGGER_TOO_MANY_OPS, true, "a forbidden answer"),
    of_hostile("log-flood", hostile::TRIGGER_LOG_FLOOD, false, "10,000 log lines for each read"),
    of_hostile("buffer-calls", hostile::TRIGGER_BAD_BUFFER_CALLS, false, "forbidden calls of the host"),
    of_hostile("bad-store", hostile::TRIGGER_UNKNOWN_STORE, false, "a store that was not granted"),
    of_wasi("wasi-sleep", wasi::TRIGGER_SLEEP, true, "WASI: sleeps for an hour"),
    of_wasi("wasi-poll", wasi::TRIGGER_POLL, true, "WASI: waits for what never comes"),
    of_wasi("wasi-busy-poll", wasi::TRIGGER_BUSY_POLL, true, "WASI: endless loop of polls"),
    of_wasi("wasi-resources", wasi::TRIGGER_RESOURCES, true, "WASI: 100,000 resources"),
    of_wasi("wasi-flood", wasi::TRIGGER_FLOOD_OUTPUT, false, "WASI: 1 MiB of output for each read"),
];

#[cfg(test)]
mod tests {
    use super::MISDEEDS;

    #[test]
    fn triggers_of_both_crates_are_at_the_same_places() {
        for trigger in 1..30 {
            assert_eq!(
                lunbox_test_hostile::trigger_offset(1 << 20, trigger),
                lunbox_test_wasi::trigger_offset(1 << 20, trigger)
            );
        }
        assert_eq!(MISDEEDS[0].place(4096), Some(0));
        assert_eq!(MISDEEDS[1].place(0), None);
    }

    #[test]
    fn names_are_unique_and_the_first_does_no_harm() {
        let mut names: Vec<&str> = MISDEEDS.iter().map(|misdeed| misdeed.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MISDEEDS.len());
        assert_eq!(MISDEEDS[0].trigger, None);
        assert!(MISDEEDS[1..].iter().all(|misdeed| misdeed.trigger.is_some()));
    }
}
