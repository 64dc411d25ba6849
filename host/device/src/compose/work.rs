//! Memory for the bytes of composite commands that are not the initiator's: what is read to be compared, a pattern, a
//! copy on its way.

use std::sync::Arc;

use lunbox_compose::MAX_WORK;
use lunbox_memory::Mapping;
use lunbox_store::{Executor, RegionId};

/// Commands that have work memory at the same time.
const PIECES: u32 = 16;

/// Pieces that keep their pages while nobody has them: the next command need not fault them in.
const KEPT: u32 = 1;

/// Where a piece begins in the area.
pub(super) const fn place(piece: u32) -> u64 {
    piece as u64 * MAX_WORK
}

/// A number of pieces of [`MAX_WORK`] bytes. There is no memory before the first is taken.
#[derive(Debug, Default)]
pub(crate) struct WorkArea {
    area: Option<(Arc<Mapping>, RegionId)>,
    /// The lowest is given out first: pages are touched anew as seldom as may be.
    free: Vec<u32>,
    /// Making it failed; that is told once.
    has_failed: bool,
}

impl WorkArea {
    /// The memory, once there is some.
    pub(crate) fn memory(&self) -> Option<Arc<Mapping>> {
        self.area.as_ref().map(|(memory, _)| Arc::clone(memory))
    }

    /// The executor's name for it.
    pub(crate) fn region(&self) -> Option<RegionId> {
        self.area.as_ref().map(|(_, region)| *region)
    }

    /// A piece, or None if all are taken, or if there is no memory: then the command waits until there is.
    pub(crate) fn take(&mut self, executor: &mut Executor) -> Option<u32> {
        if self.area.is_none() {
            let length = usize::try_from(u64::from(PIECES) * MAX_WORK).ok()?;
            match Mapping::anonymous(length) {
                Ok(memory) => {
                    let memory = Arc::new(memory);
                    let region = executor.register(Arc::clone(&memory));
                    self.area = Some((memory, region));
                    self.free = (0..PIECES).rev().collect();
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::error!(%error, "no address space for work memory; commands that need it wait");
                    }
                    return None;
                }
            }
        }
        self.free.pop()
    }

    /// Takes a piece back. No operation refers to it.
    pub(crate) fn give_back(&mut self, piece: u32) {
        debug_assert!(!self.free.contains(&piece), "a piece is given back twice");
        if piece >= KEPT
            && let Some((memory, _)) = &self.area
            && let Err(error) = memory.discard(place(piece), MAX_WORK)
        {
            tracing::debug!(%error, "pages of work memory stay");
        }
        let position = self.free.partition_point(|&other| other > piece);
        self.free.insert(position, piece);
    }
}

#[cfg(test)]
mod tests {
    use lunbox_store::Options;

    use super::*;

    #[test]
    fn pieces_are_distinct_run_out_and_come_back_lowest_first() {
        let mut executor = Executor::new(Options::default()).unwrap();
        let mut work = WorkArea::default();
        assert!(work.memory().is_none(), "a LUN without composites pays nothing");
        let taken: Vec<u32> = std::iter::from_fn(|| work.take(&mut executor)).collect();
        assert_eq!(taken, (0..PIECES).collect::<Vec<_>>());
        let memory = work.memory().unwrap();
        assert_eq!(memory.length() as u64, u64::from(PIECES) * MAX_WORK);
        for piece in [5, 3, 9] {
            memory.copy_in(place(piece), b"old").unwrap();
            work.give_back(piece);
            let mut bytes = [1; 3];
            memory.copy_out(place(piece), &mut bytes).unwrap();
            assert_eq!(bytes, [0; 3], "pages of idle pieces are given back");
        }
        assert_eq!([3, 5, 9].map(|_| work.take(&mut executor)), [Some(3), Some(5), Some(9)]);
        assert_eq!(work.take(&mut executor), None);
    }
}
