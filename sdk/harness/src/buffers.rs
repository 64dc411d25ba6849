//! The buffers that a handler takes from and puts into.

use std::collections::HashMap;

use lunbox_sdk::{BufferError, BufferId, Buffers, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Tag};

use crate::command::{Command, Direction};

/// All commands in progress.
#[derive(Debug, Default)]
pub(crate) struct Commands(pub(crate) HashMap<Tag, Command>);

impl Commands {
    /// The command, if the buffer exists and no operation uses it.
    fn idle(&mut self, tag: Tag, buffer: BufferId) -> Result<&mut Command, BufferError> {
        let command = self.0.get_mut(&tag).ok_or(BufferError::UnknownTag)?;
        if buffer.0 > MAX_SCRATCH_BUFFERS {
            return Err(BufferError::UnknownBuffer);
        }
        if command.in_use(buffer) {
            return Err(BufferError::InUse);
        }
        Ok(command)
    }
}

impl Buffers for Commands {
    fn take(&mut self, tag: Tag, buffer: BufferId, offset: u32, out: &mut [u8]) -> Result<(), BufferError> {
        let command = self.idle(tag, buffer)?;
        if buffer == BufferId::DATA {
            if command.direction != Direction::Out {
                return Err(BufferError::WrongDirection);
            }
        } else if command.scratch(buffer).is_none_or(|scratch| scratch.is_none()) {
            return Err(BufferError::UnknownBuffer);
        }
        let offset = usize::try_from(offset).map_err(|_| BufferError::OutOfRange)?;
        let bytes = command.bytes(buffer, offset, out.len()).ok_or(BufferError::OutOfRange)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn put(&mut self, tag: Tag, buffer: BufferId, offset: u32, data: &[u8]) -> Result<(), BufferError> {
        let command = self.idle(tag, buffer)?;
        let limit = if buffer == BufferId::DATA {
            if command.direction != Direction::In {
                return Err(BufferError::WrongDirection);
            }
            command.data.len()
        } else {
            usize::try_from(MAX_SCRATCH_BYTES).unwrap_or(usize::MAX)
        };
        let offset = usize::try_from(offset).map_err(|_| BufferError::OutOfRange)?;
        if offset.checked_add(data.len()).is_none_or(|end| end > limit) {
            return Err(BufferError::OutOfRange);
        }
        command.fill(buffer, offset, data.len()).ok_or(BufferError::OutOfRange)?.copy_from_slice(data);
        Ok(())
    }
}
