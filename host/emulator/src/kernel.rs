//! The emulated device: what is outstanding, and putting commands into the ring.

mod collect;
mod control;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_memory::Mapping;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub use control::{ControlError, ResetMode};

use crate::abi::{CDB_MAX, Op, SENSE_BYTES, cdb_offset, command_bytes, entry, task_management_bytes};
use crate::bitmap::Bitmap;
use crate::data_area::{DataArea, allocate, blocks_for};
use crate::options::{Features, Options, SetupError};
use crate::ring::{Entry, Ring};
use crate::violation::{LastUser, Report};

/// `cmd_id` of a command: 1 to 65535, reused lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Data of a command, as seen from the initiator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Data<'a> {
    /// No data.
    #[default]
    None,
    /// Data-out: these bytes go to the device.
    Out(&'a [u8]),
    /// Data-in: so many bytes are asked for.
    In(u32),
    /// Bidirectional: `out` goes to the device and `input` bytes are asked for.
    Both {
        /// Data-out.
        out: &'a [u8],
        /// Bytes of data-in.
        input: u32,
    },
}

impl<'a> Data<'a> {
    fn out(self) -> &'a [u8] {
        match self {
            Self::Out(out) | Self::Both { out, .. } => out,
            Self::None | Self::In(_) => &[],
        }
    }

    fn input(self) -> u32 {
        match self {
            Self::In(input) | Self::Both { input, .. } => input,
            Self::None | Self::Out(_) => 0,
        }
    }
}

/// A command to queue.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec<'a> {
    /// 1 to 260 bytes.
    pub cdb: &'a [u8],
    /// Its data.
    pub data: Data<'a>,
    /// Comes back in the completion. Ids are reused at once; this tells which command it was.
    pub token: u64,
}

/// `tmr_type` of a task management entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskManagement {
    /// None of the others.
    Unknown = 0,
    /// ABORT TASK.
    AbortTask = 1,
    /// ABORT TASK SET.
    AbortTaskSet = 2,
    /// CLEAR ACA.
    ClearAca = 3,
    /// CLEAR TASK SET.
    ClearTaskSet = 4,
    /// LOGICAL UNIT RESET.
    LunReset = 5,
    /// Target warm reset.
    WarmReset = 6,
    /// Target cold reset.
    ColdReset = 7,
    /// LOGICAL UNIT RESET as part of PERSISTENT RESERVE OUT with PREEMPT AND ABORT.
    LunResetByReservation = 128,
}

/// Why a command was not queued. Nothing of it is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// No room in the ring, no id, or not enough data blocks. Goes away when commands complete; the kernel
    /// would hold the command back until then.
    #[error("ring or data area is full: collect completions and try again")]
    Full,
    /// The device is blocked; the kernel would answer BUSY.
    #[error("the device is blocked: unblock it first")]
    Blocked,
    /// The device is broken; the kernel would answer NOT READY, LOGICAL UNIT COMMUNICATION FAILURE.
    #[error("the device is broken: only a ring reset mends it")]
    Broken,
    /// More data than the data area holds or an entry longer than half of the ring; the kernel would answer
    /// ILLEGAL REQUEST, INVALID FIELD IN CDB.
    #[error("the command can never fit: use a larger ring or data area")]
    TooBig,
    /// The length of the CDB is not 1 to 260 bytes.
    #[error("the CDB has {length} bytes: give 1 to 260")]
    Cdb {
        /// Bytes given.
        length: usize,
    },
    /// The mailbox does not offer task management entries.
    #[error("task management notification is off: set features.tmr")]
    NoTaskManagement,
    /// The memory file could not grow.
    #[error("get a page for the data area: {0}")]
    Memory(nix::Error),
}

/// What the daemon gets: the counterpart of an opened UIO device.
#[derive(Debug)]
pub struct UserSide {
    /// Memory file; map it shared from offset 0. Its pages behind the ring come and go.
    pub memory: OwnedFd,
    /// Bytes to map. The file may be shorter.
    pub length: usize,
    /// eventfd that the kernel signals, non-blocking: poll it, and read 8 bytes before looking at the ring.
    pub wait: OwnedFd,
    /// eventfd that the daemon adds to after completing, instead of writing 4 bytes to the UIO device.
    pub ring: OwnedFd,
}

/// What a command id stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// In the ring, the initiator waits.
    Outstanding,
    /// In the ring, the initiator has its answer.
    Expired,
    /// Out of the ring, the daemon uses the buffer.
    Kept,
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    token: u64,
    opcode: u8,
    out_bytes: u32,
    in_bytes: u32,
    /// Of data-out first, then of data-in.
    blocks: Vec<u32>,
}

impl Slot {
    fn user(&self, id: CommandId) -> LastUser {
        LastUser { id, opcode: self.opcode }
    }

    fn out_blocks(&self) -> usize {
        blocks_for(self.out_bytes) as usize
    }
}

/// An answer that the kernel gave itself and that nobody fetched yet.
#[derive(Clone, Copy, Debug)]
struct Made {
    id: CommandId,
    token: u64,
    status: u8,
    sense: [u8; SENSE_BYTES],
}

/// An emulated TCM-User device. One thread drives it; nothing in here blocks except [`Kernel::wait_rung`].
#[derive(Debug)]
pub struct Kernel {
    map: Arc<Mapping>,
    ring: Ring,
    area: DataArea,
    features: Features,
    ids: Bitmap,
    /// Indexed by id, as long as the highest id ever used.
    slots: Vec<Slot>,
    made: VecDeque<Made>,
    /// Lent to completions; grows to the largest data-in seen.
    scratch: Vec<u8>,
    report: Report,
    blocked: bool,
    broken: bool,
    wait: EventFd,
    doorbell: EventFd,
}

impl Kernel {
    /// Creates a device and the daemon's end of it.
    ///
    /// # Errors
    /// [`SetupError`]: an option out of range, or the errno of getting memory and events.
    pub fn new(options: Options) -> Result<(Self, UserSide), SetupError> {
        options.validate()?;
        let (file, map) = allocate(&options)?;
        let event = || {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(SetupError::system("create an eventfd"))
        };
        let mut ids = Bitmap::new(1 << 16);
        ids.set(0); // 0 stands for "no command" in pads and task management entries.
        let kernel = Self {
            ring: Ring::new(Arc::clone(&map), options.ring_bytes, options.features.flags()),
            area: DataArea::new(file, &options),
            map,
            features: options.features,
            ids,
            slots: Vec::new(),
            made: VecDeque::new(),
            scratch: Vec::new(),
            report: Report::default(),
            blocked: false,
            broken: false,
            wait: event()?,
            doorbell: event()?,
        };
        let user = kernel.user_side()?;
        Ok((kernel, user))
    }

    /// The daemon's end once more, as for a daemon that was started again. Both ends work; only one daemon at
    /// a time may serve the ring.
    ///
    /// # Errors
    /// [`SetupError::System`]: no more file descriptors.
    pub fn user_side(&self) -> Result<UserSide, SetupError> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|error| SetupError::System {
                what: "duplicate a file descriptor",
                errno: nix::Error::from_raw(error.raw_os_error().unwrap_or_default()),
            })
        };
        Ok(UserSide {
            memory: copy(self.area.file().as_fd())?,
            length: self.map.length(),
            wait: copy(self.wait.as_fd())?,
            ring: copy(self.doorbell.as_fd())?,
        })
    }

    /// Puts a command into the ring. The daemon may see it at once if it looks; [`Self::signal`] wakes it.
    /// Does not allocate once as many commands of that size have been outstanding before.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was queued.
    pub fn queue(&mut self, spec: &CommandSpec<'_>) -> Result<CommandId, QueueError> {
        let length = spec.cdb.len();
        let opcode = match spec.cdb.first() {
            Some(&opcode) if length <= CDB_MAX => opcode,
            _ => return Err(QueueError::Cdb { length }),
        };
        self.check_serving()?;
        let (out, in_bytes) = (spec.data.out(), spec.data.input());
        let out_bytes = u32::try_from(out.len()).map_err(|_| QueueError::TooBig)?;
        let needed = u64::from(blocks_for(out_bytes)) + u64::from(blocks_for(in_bytes));
        let needed = u32::try_from(needed).map_err(|_| QueueError::TooBig)?;
        if needed > self.area.total() {
            return Err(QueueError::TooBig);
        }
        let number = self.ids.lowest_free(1, 1 << 16).ok_or(QueueError::Full)?;
        let id = CommandId(u16::try_from(number).map_err(|_| QueueError::Full)?);
        if self.slots.len() <= number as usize {
            self.slots.resize_with(number as usize + 1, Slot::default);
        }

        let slot = &mut self.slots[number as usize];
        slot.blocks.clear();
        self.area.take(needed, &mut slot.blocks, &mut self.report)?;
        let (out_part, in_part) = slot.blocks.split_at(blocks_for(out_bytes) as usize);
        let out_vectors = self.area.count_vectors(out_part);
        let in_vectors = self.area.count_vectors(in_part);
        let bytes = command_bytes(out_vectors.saturating_add(in_vectors), length);
        let fitting = u32::try_from(bytes).ok().filter(|&bytes| bytes <= self.ring.size() / 2);
        let refusal = match fitting {
            None => Some(QueueError::TooBig),
            Some(bytes) if !self.ring.has_room(bytes) => Some(QueueError::Full),
            Some(_) => None,
        };
        let (Some(bytes), None) = (fitting, refusal) else {
            self.area.untake(&slot.blocks);
            return Err(refusal.unwrap_or(QueueError::TooBig));
        };

        self.area.write(out_part, out);
        let entry = self.ring.begin(bytes, Op::Command, id);
        let first_group = if out.is_empty() { in_vectors } else { out_vectors };
        self.ring.put_u32(entry, entry::VECTORS, first_group);
        self.ring.put_u32(entry, entry::BIDI_VECTORS, out_vectors + in_vectors - first_group);
        let mut at = entry::VECTOR_TABLE;
        let mut put = |base: u64, length: u64| {
            self.ring.put_u64(entry, at, base);
            self.ring.put_u64(entry, at + 8, length);
            at += entry::VECTOR_BYTES;
        };
        self.area.vectors(out_part, out_bytes, &mut put);
        self.area.vectors(in_part, in_bytes, &mut put);
        self.ring.put_cdb(entry, cdb_offset(out_vectors + in_vectors), spec.cdb);

        self.area.settle(&slot.blocks);
        slot.state = State::Outstanding;
        (slot.token, slot.opcode, slot.out_bytes, slot.in_bytes) = (spec.token, opcode, out_bytes, in_bytes);
        self.ids.set(number);
        self.ring.publish(entry);
        Ok(id)
    }

    /// Puts a task management notification into the ring. The commands that it names go on: the daemon still
    /// has to complete them. They may even have ended already.
    ///
    /// # Errors
    /// [`QueueError::Full`], [`QueueError::Broken`], [`QueueError::TooBig`], [`QueueError::NoTaskManagement`].
    pub fn queue_tmr(&mut self, kind: TaskManagement, ids: &[CommandId]) -> Result<(), QueueError> {
        if !self.features.tmr {
            return Err(QueueError::NoTaskManagement);
        }
        if self.broken {
            return Err(QueueError::Broken);
        }
        let count = u32::try_from(ids.len()).map_err(|_| QueueError::TooBig)?;
        let bytes = u32::try_from(task_management_bytes(ids.len()))
            .ok()
            .filter(|&bytes| bytes <= self.ring.size() / 2)
            .ok_or(QueueError::TooBig)?;
        if !self.ring.has_room(bytes) {
            return Err(QueueError::Full);
        }
        let entry: Entry = self.ring.begin(bytes, Op::TaskManagement, CommandId(0));
        self.ring.put_u8(entry, entry::TMR_TYPE, kind as u8);
        self.ring.put_u32(entry, entry::TMR_COUNT, count);
        for (at, id) in (entry::TMR_IDS..).step_by(2).zip(ids) {
            self.ring.put_u16(entry, at, id.0);
        }
        self.ring.publish(entry);
        Ok(())
    }

    fn check_serving(&self) -> Result<(), QueueError> {
        match (self.broken, self.blocked) {
            (true, _) => Err(QueueError::Broken),
            (_, true) => Err(QueueError::Blocked),
            _ => Ok(()),
        }
    }

    /// Wakes the daemon. One event may stand for many commands, as when the kernel plugs its queue.
    ///
    /// # Errors
    /// The errno of writing to the eventfd; EAGAIN when nobody read it 2^64 − 2 times.
    pub fn signal(&self) -> nix::Result<()> {
        self.wait.write(1).map(drop)
    }

    /// Readable while the daemon has rung and nobody took note ([`Self::rung`]).
    #[must_use]
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    /// Whether the daemon has rung since the last call. Call it before collecting.
    ///
    /// # Errors
    /// The errno of reading the eventfd.
    pub fn rung(&self) -> nix::Result<bool> {
        match self.doorbell.read() {
            Ok(_) => Ok(true),
            Err(nix::Error::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until the daemon rings, and takes note; false when the time is over. Blocks.
    ///
    /// # Errors
    /// The errno of polling or reading.
    pub fn wait_rung(&self, timeout: Duration) -> nix::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.rung()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Rounded up, so that the last millisecond is slept and not spun.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.doorbell(), PollFlags::POLLIN)], left) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
