//! Short operations on the page cache, done on the calling thread.
//!
//! Most file systems refuse to write to their page cache when io_uring asks them not to wait, and those that live in
//! memory refuse to read from it, too. Then each operation costs a hand-over to a kernel thread, which works on one write
//! to a file at a time: more than the copy, and no concurrency is gained. So short operations are done here as long
//! as they do not have to wait in fact: when a turn of them took too long (a block to be read first, the limit of
//! dirty pages), all go the other way for a while, and what else is in flight is not delayed by them.

use std::time::{Duration, Instant};

use crate::StoreError;
use crate::operation::{Next, Operation};
use crate::request::Kind;
use crate::store::FileStore;
use crate::syscalls;

/// Bytes of one operation at most where the kernel's threads would do it: a longer copy is worth its hand-over.
const SHORT: u64 = 16 << 10;

/// The same for a file in memory, where nothing can come of it but a copy.
const SHORT_IN_MEMORY: u64 = 128 << 10;

/// Bytes of one turn at most: about 100 µs of copying.
const BUDGET: u64 = 512 << 10;

/// A turn that took longer has waited.
const SLOW: Duration = Duration::from_millis(2);

/// How long operations go the other way then.
const PAUSE: Duration = Duration::from_secs(1);

/// Which operations on a file are better done directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suited {
    /// A disk, a file on another machine, or a file system that nobody has looked at.
    None,
    /// A local file system: io_uring reads its page cache without waiting, but does not write to it so.
    Writes,
    /// The file is in memory.
    ReadsAndWrites,
}

/// Decides what is done directly.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    paused_until: Option<Instant>,
    /// Bytes that may still be moved in this turn.
    left: u64,
}

impl Direct {
    /// A turn begins with so many operations in flight. One that is alone delays nobody, so it needs no clock.
    pub(crate) fn begin(&mut self, in_flight: usize) -> Option<Instant> {
        self.left = BUDGET;
        if in_flight <= 1 {
            return None;
        }
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            self.left = 0;
        } else {
            self.paused_until = None;
        }
        Some(now)
    }

    /// Whether an operation may be done by [`run`] in this turn. Durable writes wait for storage and may not.
    pub(crate) fn takes(&mut self, file: &FileStore, operation: &Operation) -> bool {
        let most = match (file.direct, operation.kind) {
            (Suited::ReadsAndWrites, Kind::Read { .. } | Kind::Write { durable: false }) => SHORT_IN_MEMORY,
            (Suited::Writes, Kind::Write { durable: false }) => SHORT,
            _ => return false,
        };
        let takes = !operation.may_wait && operation.length <= most.min(self.left);
        if takes {
            self.left -= operation.length;
        }
        takes
    }

    /// The turn has ended.
    pub(crate) fn end(&mut self, begun: Option<Instant>) {
        if let Some(begun) = begun
            && self.left < BUDGET
        {
            let now = Instant::now();
            if now.saturating_duration_since(begun) > SLOW {
                self.paused_until = Some(now + PAUSE);
            }
        }
    }
}

/// Does all of an operation.
pub(crate) fn run(
    file: &mut FileStore,
    operation: &mut Operation,
    syscalls: &mut u64,
) -> Result<u64, StoreError> {
    loop {
        let call = operation.call(file);
        *syscalls += 1;
        let result = syscalls::run(&file.fd, call, &mut operation.transfer);
        if let Next::End(result) = operation.after(result, file, syscalls) {
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_waited_sends_the_next_ones_the_other_way_for_a_while() {
        let mut direct = Direct::default();
        let begun = direct.begin(2);
        assert_eq!(direct.left, BUDGET);
        direct.left -= 1;
        direct.end(begun.map(|begun| begun - SLOW - Duration::from_millis(1)));
        direct.begin(2);
        assert_eq!(direct.left, 0, "paused");
        direct.begin(1);
        assert_eq!(direct.left, BUDGET, "alone it delays nobody");
        direct.paused_until = direct.paused_until.map(|until| until - PAUSE);
        direct.begin(2);
        assert_eq!(direct.left, BUDGET, "the pause is over");
    }

    #[test]
    fn a_turn_without_operations_of_its_own_may_take_long() {
        let mut direct = Direct::default();
        let begun = direct.begin(2);
        direct.end(begun.map(|begun| begun - SLOW * 10));
        direct.begin(2);
        assert_eq!(direct.left, BUDGET);
    }
}
