//! A LUN that does what a test wants: a disk in memory that can keep commands back, have no room, or fail.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use lunbox_iscsi::lun::{CommandId, Data, Ended, LogicalUnit, Refusal, TaskManagement};
use lunbox_scsi::BlockSize;
use nix::sys::eventfd::{EfdFlags, EventFd};

pub const BLOCK: usize = 512;
/// Size of the disk in blocks.
pub const BLOCKS: usize = 4096;
/// Most data of one command.
pub const MAX_DATA: u32 = 1 << 20;

/// A command that the LUN was given.
#[derive(Clone, Debug)]
pub struct Begun {
    pub token: u64,
    pub cdb: Vec<u8>,
    pub out: Vec<u8>,
    pub input: usize,
    pub id: CommandId,
}

#[derive(Debug, Default)]
struct State {
    /// All commands ever begun.
    begun: Vec<Begun>,
    /// Commands that are kept back, as indices of `begun`.
    kept: Vec<usize>,
    /// Commands that have ended and were not collected: index, status.
    ended: Vec<(usize, u8)>,
    /// Commands in the LUN.
    running: usize,
    holding: bool,
    capacity: Option<usize>,
    refuse: Option<Refusal>,
    aborts: Vec<(TaskManagement, Vec<CommandId>)>,
    signals: usize,
    disk: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    doorbell: EventFd,
}

/// The LUN's end.
pub struct ScriptedLun(Arc<Shared>);

/// The test's end.
#[derive(Clone)]
pub struct Script(Arc<Shared>);

pub fn scripted() -> (ScriptedLun, Script) {
    let state = State { disk: vec![0; BLOCK * BLOCKS], ..State::default() };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        doorbell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap(),
    });
    (ScriptedLun(Arc::clone(&shared)), Script(shared))
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn wait<R>(&self, what: &str, mut condition: impl FnMut(&mut State) -> Option<R>) -> R {
        let mut found = None;
        let (_guard, timeout) = self
            .0
            .changed
            .wait_timeout_while(self.state(), Duration::from_secs(20), |state| {
                found = condition(state);
                found.is_none()
            })
            .unwrap();
        assert!(!timeout.timed_out(), "timed out: {what}");
        found.unwrap()
    }

    /// Commands are kept back from now on.
    pub fn hold(&self) {
        self.state().holding = true;
    }

    /// Commands that were kept back end now, in this order of their arrival; later ones end at once.
    pub fn release(&self) {
        let mut state = self.state();
        state.holding = false;
        let kept: Vec<_> = std::mem::take(&mut state.kept);
        state.ended.extend(kept.into_iter().map(|index| (index, 0)));
        drop(state);
        self.0.doorbell.write(1).unwrap();
    }

    /// Ends one kept command: `nth` counts all commands ever begun.
    pub fn finish(&self, nth: usize, status: u8) {
        let mut state = self.state();
        let at = state.kept.iter().position(|&index| index == nth).expect("the command is kept back");
        state.kept.remove(at);
        state.ended.push((nth, status));
        drop(state);
        self.0.doorbell.write(1).unwrap();
    }

    /// Has room for so many commands at a time.
    pub fn set_capacity(&self, commands: usize) {
        self.state().capacity = Some(commands);
    }

    /// Refuses every command.
    pub fn refuse(&self, why: Option<Refusal>) {
        self.state().refuse = why;
    }

    /// Waits until so many commands have been begun in all.
    pub fn wait_begun(&self, count: usize) -> Vec<Begun> {
        self.wait("commands begun", |state| (state.begun.len() >= count).then(|| state.begun.clone()))
    }

    pub fn begun(&self) -> Vec<Begun> {
        self.state().begun.clone()
    }

    /// Waits until the LUN has no command.
    pub fn wait_idle(&self) {
        self.wait("all commands collected", |state| (state.running == 0).then_some(()));
    }

    pub fn wait_abort(&self) -> (TaskManagement, Vec<CommandId>) {
        self.wait("an abort", |state| state.aborts.first().cloned())
    }

    pub fn running(&self) -> usize {
        self.state().running
    }

    pub fn signals(&self) -> usize {
        self.state().signals
    }

    pub fn disk(&self, lba: usize, blocks: usize) -> Vec<u8> {
        self.state().disk[lba * BLOCK..(lba + blocks) * BLOCK].to_vec()
    }

    pub fn fill(&self, byte: impl Fn(usize) -> u8) {
        for (at, place) in self.state().disk.iter_mut().enumerate() {
            *place = byte(at);
        }
    }
}

/// LBA and length of READ (10) and WRITE (10) as a range of bytes.
fn range(cdb: &[u8]) -> std::ops::Range<usize> {
    let lba = u32::from_be_bytes(cdb[2..6].try_into().unwrap()) as usize;
    let blocks = usize::from(u16::from_be_bytes(cdb[7..9].try_into().unwrap()));
    lba * BLOCK..(lba + blocks) * BLOCK
}

impl LogicalUnit for ScriptedLun {
    fn block_size(&self) -> BlockSize {
        BlockSize::B512
    }

    fn max_data(&self) -> u32 {
        MAX_DATA
    }

    fn start(&mut self, token: u64, cdb: &[u8], data: Data<'_>) -> Result<CommandId, Refusal> {
        let mut state = self.0.state.lock().unwrap();
        if let Some(refusal) = state.refuse {
            return Err(refusal);
        }
        if state.capacity.is_some_and(|capacity| state.running >= capacity) {
            return Err(Refusal::Full);
        }
        state.running += 1;
        let index = state.begun.len();
        let id = CommandId(u16::try_from(index + 1).unwrap());
        let (out, input) = match data {
            Data::None => (Vec::new(), 0),
            Data::In(length) => (Vec::new(), length as usize),
            Data::Out(out) | Data::Both { out, .. } => (out.to_vec(), 0),
        };
        if cdb[0] == 0x2a {
            state.disk[range(cdb)].copy_from_slice(&out);
        }
        state.begun.push(Begun { token, cdb: cdb.to_vec(), out, input, id });
        if state.holding {
            state.kept.push(index);
        } else {
            state.ended.push((index, 0));
            self.0.doorbell.write(1).unwrap();
        }
        self.0.changed.notify_all();
        Ok(id)
    }

    fn flush_signal(&mut self) -> nix::Result<()> {
        self.0.state.lock().unwrap().signals += 1;
        Ok(())
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.0.doorbell.as_fd()
    }

    fn collect(&mut self, ended: &mut dyn FnMut(Ended<'_>)) {
        let mut state = self.0.state.lock().unwrap();
        let list = std::mem::take(&mut state.ended);
        state.running -= list.len();
        let mut answers = Vec::new();
        for (index, status) in list {
            let command = state.begun[index].clone();
            let (data, status, sense) = match (status, command.cdb[0]) {
                (0, 0x28) => (state.disk[range(&command.cdb)].to_vec(), 0, None),
                // A short answer: 36 bytes of INQUIRY data, whatever was asked for.
                (0, 0x12) => (vec![0x55; command.input.min(36)], 0, None),
                (0, 0x00 | 0x2a | 0x35) => (Vec::new(), 0, None),
                (0, _) => (Vec::new(), 2, Some(lunbox_scsi::Sense::INVALID_COMMAND_OPERATION_CODE)),
                (2, _) => (Vec::new(), 2, Some(lunbox_scsi::Sense::UNRECOVERED_READ_ERROR)),
                // As a ring does: all of the buffer, in which nothing was put.
                (status, _) => (vec![0; command.input], status, None),
            };
            answers.push((command.token, status, sense.map_or([0; 96], lunbox_scsi::Sense::fixed), data));
        }
        drop(state);
        for (token, status, sense, data) in &answers {
            ended(Ended { token: *token, status: *status, sense, data_in: data });
        }
        self.0.changed.notify_all();
    }

    fn abort(&mut self, kind: TaskManagement, commands: &[CommandId]) -> Result<(), Refusal> {
        self.0.state.lock().unwrap().aborts.push((kind, commands.to_vec()));
        self.0.changed.notify_all();
        Ok(())
    }
}
