//! The kernel's side of a ring, reduced to what the tests need and written from the ABI, not from the crate:
//! a second opinion about where entries lie. Its data area is never touched, only named.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use lunbox_memory::{Extent, Mapping};
use lunbox_tcmu::{Doorbell, Next, Outstanding, Request, Ring};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};

/// Start of the ring.
pub const RING: u64 = 128;
/// Bytes of the data area.
pub const DATA: u64 = 1 << 16;

pub const OOO: u16 = 1;
pub const READ_LEN: u16 = 2;
pub const TMR: u16 = 4;
pub const KEEP_BUF: u16 = 8;

/// A completion as the kernel finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    pub status: u8,
    pub uflags: u8,
    pub read_len: u32,
    pub sense: [u8; 96],
}

/// A command as an initiator sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub id: u16,
    pub cdb: Vec<u8>,
    pub data: Vec<Extent>,
    pub bidi: Vec<Extent>,
}

pub struct Kernel {
    pub map: Arc<Mapping>,
    pub size: u32,
    pub head: u32,
    pub cleaned: u32,
    /// Ids that the daemon owes an answer.
    pub live: BTreeSet<u16>,
    work: OwnedFd,
    rung: OwnedFd,
}

pub fn event() -> OwnedFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap().into()
}

/// The value of an eventfd, 0 if nobody wrote to it.
fn count(fd: &OwnedFd) -> u64 {
    let mut value = [0; 8];
    match read(fd, &mut value) {
        Ok(_) => u64::from_ne_bytes(value),
        Err(nix::Error::EAGAIN) => 0,
        Err(error) => panic!("eventfd: {error}"),
    }
}

impl Kernel {
    pub fn new(size: u32) -> Self {
        Self::with_flags(size, OOO | READ_LEN | TMR | KEEP_BUF)
    }

    pub fn with_flags(size: u32, flags: u16) -> Self {
        let length = usize::try_from(RING + u64::from(size) + DATA).unwrap();
        let map = Arc::new(Mapping::anonymous(length).unwrap());
        map.store_u16(0, 2).unwrap();
        map.store_u16(2, flags).unwrap();
        map.store_u32(4, 128).unwrap();
        map.store_u32(8, size).unwrap();
        Self { map, size, head: 0, cleaned: 0, live: BTreeSet::new(), work: event(), rung: event() }
    }

    pub fn doorbell(&self) -> Doorbell {
        Doorbell::Event { wait: self.work.try_clone().unwrap(), ring: self.rung.try_clone().unwrap() }
    }

    pub fn attach(&self) -> Ring {
        Ring::attach(Arc::clone(&self.map), self.doorbell()).unwrap()
    }

    pub fn data_start(&self) -> u64 {
        RING + u64::from(self.size)
    }

    pub fn signal(&self) {
        write(self.work.as_fd(), &1_u64.to_ne_bytes()).unwrap();
    }

    /// How often the daemon rang since the last call.
    pub fn rings(&self) -> u64 {
        count(&self.rung)
    }

    pub fn tail(&self) -> u32 {
        self.map.load_u32(64).unwrap()
    }

    /// Moves the head over `length` bytes, with a PAD before them if they would wrap. `None`: no room.
    pub fn claim(&mut self, length: u32) -> Option<u64> {
        let used = (self.head + self.size - self.cleaned) % self.size;
        let to_end = self.size - self.head;
        let pad = if to_end < length { to_end } else { 0 };
        if used + pad + length >= self.size {
            return None;
        }
        if pad > 0 {
            let at = RING + u64::from(self.head);
            self.map.store_u32(at, pad).unwrap();
            self.map.store_u32(at + 4, 0).unwrap();
        }
        let start = (self.head + pad) % self.size;
        self.head = (start + length) % self.size;
        let at = RING + u64::from(start);
        self.map.store_bytes(at, &vec![0; usize::try_from(length).unwrap()]).unwrap();
        Some(at)
    }

    pub fn publish(&self) {
        self.map.store_u32(12, self.head).unwrap();
    }

    /// The lowest id that is free: the kernel allocates so, which is why a late completion is dangerous.
    pub fn free_id(&self) -> u16 {
        (1..).find(|id| !self.live.contains(id)).unwrap()
    }

    /// Queues a command and publishes it; false if there is no room. Returns the entry's offset.
    pub fn try_queue(&mut self, command: &Command) -> Option<u64> {
        let vectors = command.data.len() + command.bidi.len();
        let fixed = (48 + 16 * vectors).max(112);
        let length = u32::try_from((fixed + command.cdb.len()).next_multiple_of(8)).unwrap();
        let at = self.claim(length)?;
        let map = &self.map;
        map.store_u32(at, length | 1).unwrap();
        map.store_u16(at + 4, command.id).unwrap();
        map.store_u32(at + 8, u32::try_from(command.data.len()).unwrap()).unwrap();
        map.store_u32(at + 12, u32::try_from(command.bidi.len()).unwrap()).unwrap();
        map.store_u64(at + 24, at + fixed as u64).unwrap();
        for (slot, extent) in (0_u64..).zip(command.data.iter().chain(&command.bidi)) {
            map.store_u64(at + 48 + 16 * slot, extent.offset).unwrap();
            map.store_u64(at + 56 + 16 * slot, extent.length).unwrap();
        }
        map.store_bytes(at + fixed as u64, &command.cdb).unwrap();
        assert!(self.live.insert(command.id), "test reuses id {}", command.id);
        self.publish();
        Some(at)
    }

    /// Queues a 6-byte command with the lowest free id. Returns id and the entry's offset.
    pub fn queue(&mut self) -> (u16, u64) {
        let id = self.free_id();
        let command = Command { id, cdb: vec![0x12; 6], data: vec![self.extent()], bidi: vec![] };
        let at = self.try_queue(&command).unwrap();
        (id, at)
    }

    pub fn extent(&self) -> Extent {
        Extent { offset: self.data_start(), length: 512 }
    }

    /// Queues a task management notice; false if there is no room.
    pub fn queue_notice(&mut self, function: u8, ids: &[u16]) -> bool {
        let length = u32::try_from((32 + 2 * ids.len()).next_multiple_of(8)).unwrap();
        let Some(at) = self.claim(length) else { return false };
        self.map.store_u32(at, length | 2).unwrap();
        self.map.store_u8(at + 8, function).unwrap();
        self.map.store_u32(at + 12, u32::try_from(ids.len()).unwrap()).unwrap();
        for (slot, id) in (0_u64..).zip(ids) {
            self.map.store_u16(at + 32 + 2 * slot, *id).unwrap();
        }
        self.publish();
        true
    }

    /// Walks from its own mark to cmd_tail. An id that is not outstanding breaks a real device; here it fails
    /// the test.
    pub fn collect(&mut self) -> Vec<Answer> {
        let mut answers = vec![];
        let tail = self.tail();
        while self.cleaned != tail {
            let at = RING + u64::from(self.cleaned);
            let len_op = self.map.load_u32(at).unwrap();
            assert!(len_op >= 8, "cmd_tail {tail} is not at an entry's end");
            if len_op & 7 == 1 {
                let id = self.map.load_u16(at + 4).unwrap();
                assert!(self.live.remove(&id), "device BROKEN: id {id} is not outstanding");
                let mut sense = [0; 96];
                self.map.load_bytes(at + 16, &mut sense).unwrap();
                answers.push(Answer {
                    id,
                    status: self.map.load_u8(at + 8).unwrap(),
                    uflags: self.map.load_u8(at + 7).unwrap(),
                    read_len: self.map.load_u32(at + 12).unwrap(),
                    sense,
                });
            }
            self.cleaned = (self.cleaned + (len_op & !7)) % self.size;
        }
        answers
    }

    /// `action/reset_ring`. Returns the ids that the kernel answered itself.
    pub fn reset(&mut self) -> BTreeSet<u16> {
        self.head = 0;
        self.cleaned = 0;
        self.map.store_u32(64, 0).unwrap();
        self.map.store_u32(12, 0).unwrap();
        std::mem::take(&mut self.live)
    }
}

/// Takes a command that must be there.
pub fn take(ring: &mut Ring, request: &mut Request) -> Outstanding {
    match ring.next(request) {
        Ok(Some(Next::Command(command))) => command,
        other => panic!("no command but {other:?}"),
    }
}
