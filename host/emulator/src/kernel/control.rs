//! What happens to a device beside its commands: reset, block, expiry, kept buffers, vanishing pages, checks.

use lunbox_memory::Mapping;

use super::{CommandId, Kernel, Made, State};
use crate::abi::{COMMUNICATION_FAILURE, SENSE_BYTES, status};
use crate::violation::Report;

/// What outstanding commands end with when the ring is reset: the value written to `action/reset_ring`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetMode {
    /// 1: BUSY; the initiator tries again.
    Busy,
    /// 2: CHECK CONDITION, NOT READY, LOGICAL UNIT COMMUNICATION FAILURE.
    Check,
}

/// Why a control action failed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such command is waiting for the daemon.
    #[error("command {id} is not outstanding: name one that was queued and has not ended or expired")]
    NotOutstanding {
        /// Which id was named.
        id: CommandId,
    },
    /// No such command was completed with KEEP_BUF. (The kernel answers EINVAL.)
    #[error("command {id} holds no kept buffer: name one that was completed with KEEP_BUF")]
    NotKept {
        /// Which id was named.
        id: CommandId,
    },
    /// The size of the memory file could not be changed.
    #[error("change the size of the memory file: {0}")]
    Memory(#[from] nix::Error),
}

impl Kernel {
    /// Resets the ring as `action/reset_ring` does: every outstanding command ends, kept buffers are freed,
    /// head, tail and the kernel's mark become 0, and a broken device works again. The answers come with the
    /// next collection. Ids and blocks are free at once, although a daemon that lives may still be working on
    /// them; what it writes there until somebody takes the block is not held against it.
    pub fn reset_ring(&mut self, mode: ResetMode) {
        let (status, sense) = match mode {
            ResetMode::Busy => (status::BUSY, [0; SENSE_BYTES]),
            ResetMode::Check => (status::CHECK_CONDITION, COMMUNICATION_FAILURE),
        };
        for (number, slot) in (0u16..).zip(&mut self.slots) {
            let id = CommandId(number);
            match slot.state {
                State::Free => continue,
                State::Outstanding => self.made.push_back(Made { id, token: slot.token, status, sense }),
                State::Expired | State::Kept => {}
            }
            slot.state = State::Free;
            self.ids.clear(u32::from(number));
            self.area.give_back_doubtful(&slot.blocks, slot.user(id));
        }
        self.ring.reset();
        self.broken = false;
    }

    /// `action/block_dev` = 1: new commands are refused with [`crate::QueueError::Blocked`]. Those in the ring
    /// go on.
    pub fn block(&mut self) {
        self.blocked = true;
    }

    /// `action/block_dev` = 0.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// What `cmd_time_out` does to a command: the initiator gets CHECK CONDITION, NOT READY, LOGICAL UNIT
    /// COMMUNICATION FAILURE with the next collection. Entry, id and buffer stay the daemon's until it
    /// completes the command, which then nobody hears of.
    ///
    /// # Errors
    /// [`ControlError::NotOutstanding`].
    pub fn expire(&mut self, id: CommandId) -> Result<(), ControlError> {
        let slot = self
            .slots
            .get_mut(usize::from(id.0))
            .filter(|slot| slot.state == State::Outstanding)
            .ok_or(ControlError::NotOutstanding { id })?;
        slot.state = State::Expired;
        let (status, sense) = (status::CHECK_CONDITION, COMMUNICATION_FAILURE);
        self.made.push_back(Made { id, token: slot.token, status, sense });
        Ok(())
    }

    /// `action/free_kept_buf`: frees id and buffer of a command that was completed with KEEP_BUF.
    ///
    /// # Errors
    /// [`ControlError::NotKept`].
    pub fn free_kept_buf(&mut self, id: CommandId) -> Result<(), ControlError> {
        match self.slots.get(usize::from(id.0)) {
            Some(slot) if slot.state == State::Kept => {}
            _ => return Err(ControlError::NotKept { id }),
        }
        self.end(id, false);
        Ok(())
    }

    /// The daemon closed its device or died: kept buffers are freed. Outstanding commands stay.
    pub fn user_closed(&mut self) {
        for (number, slot) in (0u16..).zip(&mut self.slots) {
            if slot.state == State::Kept {
                slot.state = State::Free;
                self.ids.clear(u32::from(number));
                self.area.give_back_doubtful(&slot.blocks, slot.user(CommandId(number)));
            }
        }
    }

    /// Takes away the pages behind the highest data block in use, as the kernel does with an idle device when
    /// data areas together grow too large. Returns how many blocks lost their page. They get a new one when a
    /// command takes them; until then the daemon gets SIGBUS or EFAULT there.
    ///
    /// # Errors
    /// [`ControlError::Memory`].
    pub fn reclaim(&mut self) -> Result<u32, ControlError> {
        Ok(self.area.reclaim()?)
    }

    /// Takes away the pages of all data blocks from `block` on, even under outstanding commands, until
    /// [`Self::restore_pages`]. Meanwhile commands get lower blocks only, and what was in the buffers is lost.
    ///
    /// # Errors
    /// [`ControlError::Memory`].
    pub fn vanish_pages(&mut self, block: u32) -> Result<(), ControlError> {
        Ok(self.area.withhold(block)?)
    }

    /// Ends [`Self::vanish_pages`]: blocks in use have a page again, zeroed.
    ///
    /// # Errors
    /// [`ControlError::Memory`]; the pages are still away.
    pub fn restore_pages(&mut self) -> Result<(), ControlError> {
        Ok(self.area.restore()?)
    }

    /// Says what the daemon has done wrong since the last call, and forgets it. Looks at the pattern of every
    /// free data block, so call it at the end of each test, and in between as often as wanted. With
    /// [`crate::Options::poison`] off it knows only breaches of the ring's protocol.
    ///
    /// # Errors
    /// [`Report`]: all violations.
    pub fn check(&mut self) -> Result<(), Report> {
        self.area.judge_all_free(&mut self.report);
        let report = std::mem::take(&mut self.report);
        if report.violations.is_empty() { Ok(()) } else { Err(report) }
    }

    /// The device stopped because of a completion that made no sense; only [`Self::reset_ring`] mends it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// New commands are refused.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Ids of the commands that are in the ring, expired ones included.
    pub fn outstanding(&self) -> impl Iterator<Item = CommandId> {
        self.ids_in(|state| matches!(state, State::Outstanding | State::Expired))
    }

    /// Ids of the commands whose buffers the daemon keeps.
    pub fn kept(&self) -> impl Iterator<Item = CommandId> {
        self.ids_in(|state| state == State::Kept)
    }

    fn ids_in(&self, wanted: impl Fn(State) -> bool) -> impl Iterator<Item = CommandId> {
        (0u16..)
            .zip(&self.slots)
            .filter(move |(_, slot)| wanted(slot.state))
            .map(|(number, _)| CommandId(number))
    }

    /// Data blocks that commands can get now.
    #[must_use]
    pub fn free_blocks(&self) -> u32 {
        self.area.free()
    }

    /// Data blocks from the first that have a page.
    #[must_use]
    pub fn populated_blocks(&self) -> u32 {
        self.area.populated()
    }

    /// Data blocks of a command in the ring or kept, data-out first.
    #[must_use]
    pub fn blocks_of(&self, id: CommandId) -> &[u32] {
        match self.slots.get(usize::from(id.0)) {
            Some(slot) if slot.state != State::Free => &slot.blocks,
            _ => &[],
        }
    }

    /// Bytes of the ring in which entries may be queued.
    #[must_use]
    pub fn free_ring_bytes(&self) -> u32 {
        self.ring.free_bytes()
    }

    /// Where the next entry goes, in bytes from the start of the ring.
    #[must_use]
    pub fn head(&self) -> u32 {
        self.ring.head()
    }

    /// What the daemon stored as tail.
    #[must_use]
    pub fn tail(&self) -> u32 {
        self.ring.tail()
    }

    /// Map offset of the entry in which a command was queued, until the daemon's tail has passed it and the
    /// kernel has seen so.
    #[must_use]
    pub fn entry_of(&self, id: CommandId) -> Option<u64> {
        self.ring.entry_of(id)
    }

    /// The shared memory, for tests that corrupt it. Data blocks at or above [`Self::populated_blocks`] have no
    /// page: resident access there raises SIGBUS.
    #[must_use]
    pub fn map(&self) -> &Mapping {
        &self.map
    }
}
