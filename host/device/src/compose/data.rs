//! What a composite sees of its command.

use std::sync::Arc;

use lunbox_compose::{Ask, Facts, Gone, Io, Where};
use lunbox_memory::Mapping;

use super::work::place;
use crate::table::{Direction, SlotIndex, Table};

/// A command's bytes, and the steps that are asked for.
pub(super) struct Data<'a> {
    pub(super) facts: Facts,
    pub(super) table: &'a Table,
    pub(super) index: SlotIndex,
    /// The work area and the command's piece of it.
    pub(super) work: Option<(Arc<Mapping>, u32)>,
    pub(super) work_length: u64,
    pub(super) asks: &'a mut Vec<Ask>,
    pub(super) progress: Option<u16>,
}

impl Data<'_> {
    /// Checks a range of the command's own data.
    fn own(&self, offset: u64, length: usize, direction: Direction) -> Result<(), Gone> {
        let slot = self.table.peek(self.index);
        let fits = offset.checked_add(length as u64).is_some_and(|end| end <= slot.data_length);
        if slot.direction == direction && fits { Ok(()) } else { Err(Gone) }
    }

    /// Where a range of the work buffer is in the work area.
    fn worked(&self, offset: u64, length: usize) -> Result<(&Mapping, u64), Gone> {
        let (memory, piece) = self.work.as_ref().ok_or(Gone)?;
        let fits = offset.checked_add(length as u64).is_some_and(|end| end <= self.work_length);
        if fits { Ok((memory, place(*piece) + offset)) } else { Err(Gone) }
    }
}

impl Io for Data<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn data_length(&self) -> u64 {
        self.table.peek(self.index).data_length
    }

    fn take(&mut self, from: Where, out: &mut [u8]) -> Result<(), Gone> {
        match from {
            Where::Nothing => Err(Gone),
            Where::Data(offset) => {
                self.own(offset, out.len(), Direction::FromInitiator)?;
                self.table.copy_out(self.index, offset, out).map_err(|_| Gone)
            }
            Where::Work(offset) => {
                let (memory, at) = self.worked(offset, out.len())?;
                memory.copy_out(at, out).map_err(|_| Gone)
            }
        }
    }

    fn put(&mut self, to: Where, bytes: &[u8]) -> Result<(), Gone> {
        match to {
            Where::Nothing => Err(Gone),
            Where::Data(offset) => {
                self.own(offset, bytes.len(), Direction::ToInitiator)?;
                self.table.copy_in(self.index, offset, bytes).map_err(|_| Gone)
            }
            Where::Work(offset) => {
                let (memory, at) = self.worked(offset, bytes.len())?;
                memory.copy_in(at, bytes).map_err(|_| Gone)
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    fn progress(&mut self, parts: u16) {
        self.progress = Some(parts);
    }
}
