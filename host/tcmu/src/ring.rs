//! The command ring: taking entries, completing commands, noticing a reset.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use lunbox_memory::Mapping;

use crate::doorbell::Doorbell;
use crate::entry::{self, Header, Kind};
use crate::id_set::IdSet;
use crate::mailbox::{CMD_HEAD, CMD_TAIL, Features, Geometry, Position};
use crate::outstanding::{Generation, Outstanding};
use crate::request::{Request, Response, TaskManagement};
use crate::ring_error::RingError;

/// What [`Ring::next`] took.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the kernel waits for the command"]
pub enum Next {
    /// A command; the [`Request`] holds its CDB and buffer.
    Command(Outstanding),
    /// The initiator side aborted the commands in [`Request::aborted`].
    TaskManagement(TaskManagement),
}

/// Why a completion did not happen. The command comes back: it is still the caller's to finish.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The ring was reset since the command was taken, and the kernel has answered it. Wait for the operations
    /// on its buffer, [`Outstanding::abandon`] it, then [`Ring::resync`].
    #[error("command {} belongs to a ring that was reset: abandon it", .0.id())]
    Reset(Outstanding),
    /// The response or the ring does not allow it.
    #[error("command {} can not be completed: {error}", .command.id())]
    Failed {
        /// The command.
        command: Outstanding,
        /// The reason.
        error: RingError,
    },
}

/// An entry between cmd_tail and the cursor: consumed here, not yet given back.
#[derive(Clone, Copy, Debug)]
struct Consumed {
    position: Position,
    length: u32,
    /// What marks the command's entry as the one that was copied; 0 for entries that need no completion.
    nonce: u64,
}

/// One device's ring, owned by one thread. No method blocks.
///
/// The order of use: wait until [`Self::doorbell`] is readable, [`Self::acknowledge`], [`Self::next`] until
/// `None`, [`Self::complete`] in any order, [`Self::notify`] once for each batch. When [`Self::was_reset`] says
/// so, abandon what is outstanding and [`Self::resync`].
///
/// Positions, lengths and the order of entries are remembered privately: what the kernel (or whoever else has
/// the memory) writes later can not misdirect a completion.
#[derive(Debug)]
pub struct Ring {
    map: Arc<Mapping>,
    doorbell: Doorbell,
    geometry: Geometry,
    features: Features,
    /// Where the next entry is read.
    cursor: Position,
    /// Our last store to cmd_tail.
    tail: Position,
    consumed: VecDeque<Consumed>,
    live: IdSet,
    outstanding: usize,
    generation: Generation,
    /// Commands taken over the ring's whole life, of all generations.
    taken: u64,
    /// A reset was seen. Kept, because the memory may look sound again once the kernel has queued enough.
    reset_seen: bool,
    /// cmd_tail moved since the last doorbell.
    dirty: bool,
    syscalls: u64,
}

impl Ring {
    /// Starts on a ring whose first unconsumed entry is at the mailbox's cmd_tail.
    ///
    /// A predecessor that completed out of order has left entries there that name commands which are finished
    /// already. After one that did not stop cleanly, write to `action/reset_ring` before this.
    ///
    /// # Errors
    /// [`RingError::Version`], [`RingError::Inconsistent`], [`RingError::NotOffered`] (out-of-order
    /// completion), [`RingError::Blocking`], [`RingError::Gone`].
    pub fn attach(map: Arc<Mapping>, doorbell: Doorbell) -> Result<Self, RingError> {
        doorbell.check()?;
        let (geometry, features) = Geometry::load(&map)?;
        if !features.out_of_order {
            return Err(RingError::NotOffered { feature: "out-of-order completion" });
        }
        let tail = geometry.load_position(&map, "cmd_tail", CMD_TAIL)?;
        geometry.load_position(&map, "cmd_head", CMD_HEAD)?;
        Ok(Self {
            map,
            doorbell,
            geometry,
            features,
            cursor: tail,
            tail,
            consumed: VecDeque::new(),
            live: IdSet::new(),
            outstanding: 0,
            generation: Generation::default(),
            taken: 0,
            reset_seen: false,
            dirty: false,
            syscalls: 0,
        })
    }

    /// What the kernel's side can do.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The memory that [`Request::data`] refers to.
    #[must_use]
    pub fn map(&self) -> &Arc<Mapping> {
        &self.map
    }

    /// The fd to poll for readability. Any other event on it means that the device is going away.
    #[must_use]
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.wait_fd()
    }

    /// Commands taken in this generation and not yet completed.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The present generation; commands of another are refused.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// System calls made so far.
    #[must_use]
    pub fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Consumes the event counter; false if there was no event. Call it *before* draining: an entry queued
    /// after the last [`Self::next`] then raises a new event.
    ///
    /// # Errors
    /// [`RingError::Gone`]: the device was removed.
    pub fn acknowledge(&mut self) -> Result<bool, RingError> {
        self.doorbell.consume(&mut self.syscalls)
    }

    /// Whether cmd_head is not where the last taken entry ended: there is work, or the ring was reset.
    #[must_use]
    pub fn head_moved(&self) -> bool {
        self.map.load_u32(CMD_HEAD) != Ok(self.cursor.0)
    }

    /// Whether `action/reset_ring` was used since the last [`Self::resync`]. Three loads, no system call.
    /// A reset with nothing outstanding and all positions 0 changes nothing and is not reported.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.reset_seen || self.tail_or_front_changed() || !self.head_covers(self.cursor)
    }

    /// A reset sets cmd_tail to 0. Where it was 0 already, or where our own store came right after, the entries
    /// that the kernel queues next wipe the mark that we left in the front entry.
    fn tail_or_front_changed(&self) -> bool {
        let tail_is_ours = self.map.load_u32(CMD_TAIL) == Ok(self.tail.0);
        let front_is_ours = self.consumed.front().is_none_or(|front| self.holds_nonce(front));
        !(tail_is_ours && front_is_ours)
    }

    fn holds_nonce(&self, entry: &Consumed) -> bool {
        entry::load_nonce(&self.map, self.geometry.at(entry.position)) == Ok(entry.nonce)
    }

    /// Whether everything from cmd_tail to `end` is still handed over to us. A cmd_head that is no position at
    /// all is not a reset; it is found when entries are taken.
    fn head_covers(&self, end: Position) -> bool {
        let head = self.map.load_u32(CMD_HEAD).ok().and_then(|head| self.geometry.position(head));
        head.is_none_or(|head| {
            self.geometry.distance(self.tail, head) >= self.geometry.distance(self.tail, end)
        })
    }

    /// Takes the next command or notice and copies it into `request`. `None`: nothing there, or the ring was
    /// reset (then [`Self::was_reset`] is true). Without a command the contents of `request` mean nothing.
    /// Allocates only while the vectors of `request` and the list of consumed entries still grow.
    ///
    /// # Errors
    /// [`RingError::Inconsistent`]: each further call finds the same entry.
    pub fn next(&mut self, request: &mut Request) -> Result<Option<Next>, RingError> {
        match self.take(request) {
            // Half of an entry from before a reset and half of one from after is no reason to stop the device.
            // What is wrong for good is still wrong at a second look.
            Err(RingError::Inconsistent { .. }) => self.take(request),
            other => other,
        }
    }

    fn take(&mut self, request: &mut Request) -> Result<Option<Next>, RingError> {
        loop {
            if self.was_reset() {
                self.reset_seen = true;
                return Ok(None);
            }
            let head = self.geometry.load_position(&self.map, "cmd_head", CMD_HEAD)?;
            if head == self.cursor {
                return Ok(None);
            }
            let at = self.geometry.at(self.cursor);
            let room = self.geometry.room(self.cursor);
            let published = self.geometry.distance(self.cursor, head);
            let header = Header::load(&self.map, at, room, published)?;
            match header.kind {
                Kind::Command => return self.take_command(at, header, request),
                Kind::TaskManagement => {
                    let function = entry::copy_task_management(&self.map, at, header.length, request)?;
                    let end = self.geometry.advance(self.cursor, header.length);
                    if self.tail_or_front_changed() || !self.head_covers(end) {
                        self.reset_seen = true;
                        return Ok(None);
                    }
                    self.skip(header.length)?;
                    return Ok(Some(Next::TaskManagement(TaskManagement { function })));
                }
                Kind::Unknown => {
                    entry::mark_unknown(&self.map, at)?;
                    self.skip(header.length)?;
                }
                Kind::Pad => self.skip(header.length)?,
            }
        }
    }

    /// The mark goes in before the copy is made. If the kernel then wipes it (reset and new entry), the copy is
    /// discarded; if it had wiped that place before, cmd_head either does not cover the entry yet or covers the
    /// whole new one, and the copy is of that one.
    fn take_command(
        &mut self,
        at: u64,
        header: Header,
        request: &mut Request,
    ) -> Result<Option<Next>, RingError> {
        let entry = self.mark(header.length)?;
        if !self.confirm(&entry)? {
            return Ok(None);
        }
        let copied = entry::copy_command(&self.map, &self.geometry, at, header.length, request);
        self.accept(entry, header.id, copied)
    }

    fn mark(&self, length: u32) -> Result<Consumed, RingError> {
        // Distinct for each command ever taken, and unlike anything small that the kernel writes (ids, counts,
        // lengths): an odd factor maps counts one to one, and none but 0 to 0.
        let nonce = (self.taken + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = self.geometry.at(self.cursor);
        entry::check_unmarked(&self.map, at)?;
        entry::store_nonce(&self.map, at, nonce)?;
        // Nothing of the entry may be read before the mark is visible to the kernel.
        fence(Ordering::SeqCst);
        Ok(Consumed { position: self.cursor, length, nonce })
    }

    /// Whether the marked entry is handed over to us; else the ring was reset.
    fn confirm(&mut self, entry: &Consumed) -> Result<bool, RingError> {
        let end = self.geometry.advance(entry.position, entry.length);
        if !self.tail_or_front_changed() && self.head_covers(end) {
            return Ok(true);
        }
        self.reset_seen = true;
        if self.holds_nonce(entry) {
            // It may be a new entry that was marked, and that is still to be taken.
            entry::store_nonce(&self.map, self.geometry.at(entry.position), 0)?;
        }
        Ok(false)
    }

    /// Notes the command as taken if its copy is whole and sound.
    fn accept(
        &mut self,
        entry: Consumed,
        id: u16,
        copied: Result<(), RingError>,
    ) -> Result<Option<Next>, RingError> {
        if !self.holds_nonce(&entry) {
            self.reset_seen = true;
            return Ok(None);
        }
        let at = self.geometry.at(entry.position);
        // The id last: nothing can fail once it is noted.
        let sound = copied.and_then(|()| match id != 0 && self.live.insert(id) {
            true => Ok(()),
            false => Err(entry::wrong_id(at, id)),
        });
        if let Err(error) = sound {
            // Not taken, so not marked: the next call finds the same error.
            entry::store_nonce(&self.map, at, 0)?;
            return Err(error);
        }
        self.taken += 1;
        self.outstanding += 1;
        self.cursor = self.geometry.advance(entry.position, entry.length);
        self.consumed.push_back(entry);
        Ok(Some(Next::Command(Outstanding::new(id, self.generation))))
    }

    /// Goes past an entry that needs no completion.
    fn skip(&mut self, length: u32) -> Result<(), RingError> {
        self.consumed.push_back(Consumed { position: self.cursor, length, nonce: 0 });
        self.cursor = self.geometry.advance(self.cursor, length);
        if self.consumed.len() == 1 {
            self.give_back()?;
        }
        Ok(())
    }

    /// Moves cmd_tail up to the oldest entry that still waits for a completion. False if the ring was reset
    /// meanwhile: a tail that the kernel has set to 0 is left alone, for it would take what lies before ours for
    /// completions, and the device for broken.
    fn give_back(&mut self) -> Result<bool, RingError> {
        let before = self.tail;
        while let Some(entry) = self.consumed.front().filter(|entry| entry.nonce == 0) {
            self.tail = self.geometry.advance(entry.position, entry.length);
            self.consumed.pop_front();
        }
        let mut moved = self.map.replace_u32(CMD_TAIL, before.0, self.tail.0)?;
        // At 0 a reset does not change the tail, but the head, which was beyond what was taken.
        let head = || self.geometry.position(self.map.load_u32(CMD_HEAD).ok()?);
        if moved && before == Position(0) && head().is_some_and(|head| head.0 < self.cursor.0) {
            self.map.replace_u32(CMD_TAIL, self.tail.0, before.0)?;
            moved = false;
        }
        self.dirty |= moved;
        self.reset_seen |= !moved;
        Ok(moved)
    }

    /// Completes a command. The kernel sees it after [`Self::notify`]; from then on its buffer may belong to
    /// another command, so no operation may refer to it any more (unless [`Response::keep_buf`]).
    ///
    /// A reset during the call is noticed when the tail is moved, which happens only if the kernel has not
    /// changed it. What it can not see is an entry that the kernel has queued anew between the first look and
    /// the response: block the device (`action/block_dev`) before resetting its ring, and there is none.
    ///
    /// # Errors
    /// [`Refused::Reset`] after a reset; [`Refused::Failed`] for [`Response::keep_buf`] where that is not
    /// offered and for a command of another ring. Nothing was written then.
    pub fn complete(&mut self, command: Outstanding, response: &Response<'_>) -> Result<(), Refused> {
        // With a tail other than 0, the tail alone tells a reset. Reading cmd_head each time would fetch a cache
        // line that the kernel is writing.
        let reset = command.generation() != self.generation
            || self.reset_seen
            || self.tail_or_front_changed()
            || (self.tail == Position(0) && !self.head_covers(self.cursor));
        if reset {
            self.reset_seen |= command.generation() == self.generation;
            return Err(Refused::Reset(command));
        }
        match self.write_response(&command, response) {
            Ok(true) => {
                command.abandon();
                Ok(())
            }
            Ok(false) => Err(Refused::Reset(command)),
            Err(error) => Err(Refused::Failed { command, error }),
        }
    }

    fn write_response(&mut self, command: &Outstanding, response: &Response<'_>) -> Result<bool, RingError> {
        let id = command.id();
        if response.keep_buf && !self.features.keep_buf {
            return Err(RingError::NotOffered { feature: "keeping a completed command's buffer (keep_buf)" });
        }
        // The front entry is a command's whenever one is outstanding: `give_back` drops all others.
        let (true, Some(front)) = (self.live.remove(id), self.consumed.front_mut()) else {
            return Err(RingError::NotOutstanding { id });
        };
        let at = self.geometry.at(front.position);
        entry::store_response(&self.map, at, id, response, self.features.read_len)?;
        front.nonce = 0;
        self.outstanding -= 1;
        self.give_back()
    }

    /// Rings the kernel's doorbell, once, if anything was given back since the last time.
    ///
    /// # Errors
    /// [`RingError::Gone`]: the device was removed.
    pub fn notify(&mut self) -> Result<(), RingError> {
        if self.dirty {
            self.doorbell.ring(&mut self.syscalls)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// After a reset: starts anew at the mailbox's cmd_tail with the next [`Generation`]. Does nothing if there
    /// was no reset. Before it, every command of the old generation must have been abandoned, which means that
    /// no operation refers to its buffer: the kernel gives those to new commands.
    ///
    /// # Errors
    /// As for [`Self::attach`]; the ring then still counts as reset.
    pub fn resync(&mut self) -> Result<(), RingError> {
        if !self.was_reset() {
            return Ok(());
        }
        self.reset_seen = true;
        let (geometry, features) = Geometry::load(&self.map)?;
        if (geometry, features) != (self.geometry, self.features) {
            return Err(RingError::Inconsistent {
                field: "mailbox",
                value: 0,
                at: 0,
                expected: "what it was before the reset",
            });
        }
        let tail = geometry.load_position(&self.map, "cmd_tail", CMD_TAIL)?;
        geometry.load_position(&self.map, "cmd_head", CMD_HEAD)?;
        self.cursor = tail;
        self.tail = tail;
        self.consumed.clear();
        self.live.clear();
        self.outstanding = 0;
        self.generation = self.generation.following();
        self.reset_seen = false;
        self.dirty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
