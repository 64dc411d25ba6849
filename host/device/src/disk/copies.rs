//! What became of EXTENDED COPY commands that carry a list identifier: RECEIVE COPY RESULTS tells (SPC-4 6.18).

use std::cell::Cell;
use std::rc::Rc;

use lunbox_compose::{Composite, Failure, Io, Next, Scope, Verdict};
use lunbox_scsi::{Bytes, CopyOutcome, CopyRecord};

/// Copies that are remembered.
const MOST: usize = 16;

/// The copies of one unit, oldest first.
#[derive(Debug, Default)]
pub(super) struct Copies {
    kept: Vec<(u8, Rc<Cell<Progress>>)>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    outcome: CopyOutcome,
    segments: u16,
    bytes: u64,
}

impl Copies {
    /// Watches a copy, which takes the place of an older one with this identifier.
    pub(super) fn watch(
        &mut self,
        list_id: u8,
        composite: Box<dyn Composite>,
        segments: u16,
        bytes: u64,
    ) -> Box<dyn Composite> {
        self.kept.retain(|(id, _)| *id != list_id);
        if self.kept.len() >= MOST {
            self.kept.remove(0);
        }
        let progress =
            Rc::new(Cell::new(Progress { outcome: CopyOutcome::InProgress, segments: 0, bytes: 0 }));
        self.kept.push((list_id, Rc::clone(&progress)));
        Box::new(Watched { composite, progress, segments, bytes })
    }

    /// What can be told, for [`lunbox_scsi::LogicalUnit::copies`].
    pub(super) fn list(&self, out: &mut Vec<CopyRecord>) {
        out.clear();
        out.extend(self.kept.iter().map(|(list_id, progress)| {
            let Progress { outcome, segments, bytes } = progress.get();
            CopyRecord { list_id: *list_id, outcome, segments, transferred: Bytes(bytes) }
        }));
    }
}

/// A copy that says how it ended.
#[derive(Debug)]
struct Watched {
    composite: Box<dyn Composite>,
    progress: Rc<Cell<Progress>>,
    segments: u16,
    bytes: u64,
}

impl Composite for Watched {
    fn scope(&self) -> Scope {
        self.composite.scope()
    }

    fn work(&self) -> u64 {
        self.composite.work()
    }

    fn is_immediate(&self) -> bool {
        self.composite.is_immediate()
    }

    fn occupies_unit(&self) -> bool {
        self.composite.occupies_unit()
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        let next = self.composite.next(last, io);
        if let Next::End(verdict) = next {
            let good = matches!(verdict, Verdict::Good);
            self.progress.set(if good {
                Progress { outcome: CopyOutcome::Completed, segments: self.segments, bytes: self.bytes }
            } else {
                Progress { outcome: CopyOutcome::Failed, ..self.progress.get() }
            });
        }
        next
    }
}

impl Drop for Watched {
    /// Aborted, or lost with the handler.
    fn drop(&mut self) {
        let progress = self.progress.get();
        if progress.outcome == CopyOutcome::InProgress {
            self.progress.set(Progress { outcome: CopyOutcome::Failed, ..progress });
        }
    }
}
