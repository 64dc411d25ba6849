//! The operations of an executor, in reusable places: warm operations allocate nothing.

use crate::operation::Operation;

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: the slot is free, or its operation is just being looked at.
    Idle,
    /// To be handed to the engine by the next `wait`.
    Queued,
    /// In front of a gate.
    Held,
    /// The engine has it.
    Running,
}

/// One operation and where it is.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) operation: Operation,
    pub(crate) place: Place,
}

/// Slots by key. Keys of free slots are reused, the last freed one first (its memory is warm).
#[derive(Debug, Default)]
pub(crate) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// A free slot's key.
    pub(crate) fn take(&mut self) -> u32 {
        if let Some(key) = self.free.pop() {
            return key;
        }
        let key = u32::try_from(self.all.len()).expect("2^32 operations need more memory than there is");
        self.all.push(Slot { operation: Operation::default(), place: Place::Idle });
        key
    }

    /// Gives a slot back.
    pub(crate) fn give_back(&mut self, key: u32) {
        self.get(key).place = Place::Idle;
        self.free.push(key);
    }

    pub(crate) fn get(&mut self, key: u32) -> &mut Slot {
        &mut self.all[key as usize]
    }

    /// Operations that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Key of the first slot at or after `from` whose operation has not ended and satisfies `wanted`.
    pub(crate) fn find(&self, from: u32, wanted: impl Fn(&Operation) -> bool) -> Option<u32> {
        (from..)
            .zip(self.all.get(from as usize..)?)
            .find_map(|(key, slot)| (slot.place != Place::Idle && wanted(&slot.operation)).then_some(key))
    }
}
