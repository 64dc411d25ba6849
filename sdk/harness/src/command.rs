//! A command in progress.

use lunbox_sdk::{BufferId, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Op, OpKind, Tag};

/// Which way the command's own data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the initiator.
    In,
    /// From the initiator.
    Out,
    /// Nowhere.
    None,
}

/// Why GOOD means durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It does not.
    Nothing,
    /// What this command wrote is durable; the text names who asked for it.
    Own(&'static str),
    /// What these commands wrote, which had ended GOOD when this one came.
    Earlier(Vec<Tag>),
}

/// What is to happen next.
#[derive(Debug)]
pub(crate) enum Pending {
    /// Operations, then the end (`true`) or a resume.
    Operations(Vec<Op>, bool),
    /// Nothing: it ended.
    Ended(crate::Ending),
}

/// A command in progress, with its buffers.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) tag: Tag,
    pub(crate) direction: Direction,
    pub(crate) promise: Promise,
    pub(crate) data: Vec<u8>,
    pub(crate) pending: Pending,
    scratch: [Option<Vec<u8>>; MAX_SCRATCH_BUFFERS as usize],
}

impl Command {
    pub(crate) fn new(tag: Tag, direction: Direction, promise: Promise, data: Vec<u8>) -> Self {
        Self {
            tag,
            direction,
            promise,
            data,
            pending: Pending::Operations(Vec::new(), false),
            scratch: Default::default(),
        }
    }

    /// Whether an operation that uses this buffer is under way.
    pub(crate) fn in_use(&self, buffer: BufferId) -> bool {
        let Pending::Operations(ops, _) = &self.pending else { return false };
        ops.iter().any(|op| {
            op.buffer == buffer && matches!(op.kind, OpKind::Read | OpKind::Write | OpKind::Extents)
        })
    }

    /// The scratch buffer with this number; `None` if there is no such number, `Some(None)` if it was never filled.
    pub(crate) fn scratch(&mut self, buffer: BufferId) -> Option<&mut Option<Vec<u8>>> {
        let index = usize::try_from(buffer.0.checked_sub(1)?).ok()?;
        self.scratch.get_mut(index)
    }

    /// Whether `length` bytes from `offset` on are within a buffer's limit: for scratch buffers that are to be
    /// filled the contract's, else the bytes that are there.
    pub(crate) fn available(&mut self, buffer: BufferId, to_fill: bool) -> u64 {
        let bytes = if buffer == BufferId::DATA {
            self.data.len()
        } else if to_fill {
            return u64::from(MAX_SCRATCH_BYTES);
        } else {
            self.scratch(buffer).and_then(|scratch| scratch.as_ref()).map_or(0, Vec::len)
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The bytes `offset..offset + length` of a buffer for filling; scratch buffers are made and grown.
    /// The caller has checked the range with [`Self::available`].
    pub(crate) fn fill(&mut self, buffer: BufferId, offset: usize, length: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(length)?;
        if buffer == BufferId::DATA {
            return self.data.get_mut(offset..end);
        }
        let bytes = self.scratch(buffer)?.get_or_insert_with(Vec::new);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes.get_mut(offset..end)
    }

    /// The bytes `offset..offset + length` of a buffer.
    pub(crate) fn bytes(&mut self, buffer: BufferId, offset: usize, length: usize) -> Option<&[u8]> {
        let range = offset..offset.checked_add(length)?;
        if buffer == BufferId::DATA {
            self.data.get(range)
        } else {
            self.scratch(buffer)?.as_ref()?.get(range)
        }
    }
}
