//! Taking completions out of the ring.

use super::{CommandId, Kernel, State};
use crate::abi::{COMMUNICATION_FAILURE, Op, SENSE_BYTES, entry, status};
use crate::completion::{By, Completion, CompletionRef};
use crate::ring::Entry;
use crate::violation::Violation;

const NO_SENSE: [u8; SENSE_BYTES] = [0; SENSE_BYTES];

impl Kernel {
    /// What the kernel does when the daemon rings: walks the ring from its own mark to the daemon's tail and
    /// ends each command on the way. Answers that the kernel gave itself come first. Returns how many commands
    /// ended; those that had expired before count as nothing. Does not allocate when warm.
    ///
    /// A broken device collects nothing. Ask [`Kernel::is_broken`] and [`Kernel::check`] for what went wrong.
    pub fn collect_with(&mut self, mut ended: impl FnMut(CompletionRef<'_>)) -> usize {
        let mut count = self.deliver_made(&mut ended);
        let report = &mut self.report;
        self.ring.mend_mailbox(|violation| report.add(violation));
        while !self.broken {
            match self.ring.next_passed() {
                Ok(None) => break,
                Ok(Some(next)) => match self.pass(next, &mut ended) {
                    Ok(delivered) => {
                        count += usize::from(delivered);
                        self.ring.clean();
                    }
                    Err(violation) => self.break_down(violation),
                },
                Err(violation) => self.break_down(violation),
            }
        }
        count
    }

    /// As [`Kernel::collect_with`], into a list.
    pub fn collect(&mut self, into: &mut Vec<Completion>) -> usize {
        self.collect_with(|completion| into.push(completion.into()))
    }

    /// Hands out only the answers that the kernel gave itself (expiry, ring reset), without looking at the ring.
    pub fn deliver_made(&mut self, mut ended: impl FnMut(CompletionRef<'_>)) -> usize {
        let count = self.made.len();
        for made in self.made.drain(..) {
            ended(CompletionRef {
                id: made.id,
                token: made.token,
                status: made.status,
                sense: &made.sense,
                data_in: &[],
                residual: 0,
                read_len: false,
                kept: false,
                vanished: false,
                by: By::Kernel,
            });
        }
        count
    }

    fn break_down(&mut self, violation: Violation) {
        self.report.add(violation);
        self.broken = true;
    }

    /// Deals with one entry that the tail has passed; says whether an initiator got its answer.
    fn pass(&mut self, next: Entry, ended: &mut impl FnMut(CompletionRef<'_>)) -> Result<bool, Violation> {
        if next.op != Op::Command {
            return Ok(false);
        }
        let answer = self.ring.answer(next);
        let id = answer.id;
        let Some(slot) = self.slots.get(usize::from(id.0)) else {
            return Err(Violation::UnknownCommand { id });
        };
        match slot.state {
            State::Free => return Err(Violation::UnknownCommand { id }),
            State::Kept => return Err(Violation::CompletedKept { id }),
            State::Outstanding | State::Expired => {}
        }
        if !self.features.ooo && id != next.id {
            self.report.add(Violation::OutOfOrder { completed: id, due: next.id });
        }
        let kept = self.features.keep_buf && answer.flags & entry::USER_KEEP_BUF != 0;
        let (out_blocks, in_blocks) = slot.blocks.split_at(slot.out_blocks());
        if !kept {
            self.area.judge_rest(id, out_blocks, slot.out_bytes, &mut self.report);
            self.area.judge_rest(id, in_blocks, slot.in_bytes, &mut self.report);
        }
        if slot.state == State::Expired {
            self.end(id, kept);
            return Ok(false);
        }

        let token = slot.token;
        let unknown = answer.flags & entry::USER_UNKNOWN_OP != 0;
        let status = if unknown { status::CHECK_CONDITION } else { answer.status };
        let sense = match status {
            _ if unknown => COMMUNICATION_FAILURE,
            status::CHECK_CONDITION => self.ring.sense(next),
            _ => NO_SENSE,
        };
        // The kernel looks at READ_LEN for plain data-in commands only, and takes 0 for not given.
        let read_len = !unknown
            && self.features.read_len
            && answer.flags & entry::USER_READ_LEN != 0
            && answer.read_len > 0
            && slot.in_bytes > 0
            && slot.out_bytes == 0;
        let bytes = match (read_len, status) {
            (true, _) => answer.read_len.min(slot.in_bytes),
            (false, status::CHECK_CONDITION) => 0,
            (false, _) => slot.in_bytes,
        };
        let residual = if read_len { slot.in_bytes - bytes } else { 0 };

        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.len() < bytes as usize {
            scratch.resize(bytes as usize, 0);
        }
        let data_in = &mut scratch[..bytes as usize];
        let complete = self.area.read(in_blocks, data_in);
        if status == status::GOOD || read_len {
            self.area.judge_data(id, in_blocks, data_in, &mut self.report);
        }
        self.end(id, kept);
        ended(CompletionRef {
            id,
            token,
            status,
            sense: &sense,
            data_in,
            residual,
            read_len,
            kept,
            vanished: !complete,
            by: By::Daemon,
        });
        self.scratch = scratch;
        Ok(true)
    }

    /// The command has left the ring: its buffer and id are free, unless the daemon keeps them.
    pub(super) fn end(&mut self, id: CommandId, kept: bool) {
        let slot = &mut self.slots[usize::from(id.0)];
        if kept {
            slot.state = State::Kept;
        } else {
            slot.state = State::Free;
            self.ids.clear(u32::from(id.0));
            self.area.give_back(&slot.blocks, slot.user(id));
        }
    }
}
