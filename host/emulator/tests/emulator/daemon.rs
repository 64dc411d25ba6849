//! The smallest daemon: reads entries, answers them, rings. All offsets are those of
//! `include/uapi/linux/target_core_user.h`, written out once more on purpose.

use std::os::fd::{AsFd, OwnedFd};

use lunbox_emulator::{CommandId, CommandSpec, Data, Kernel, Options, QueueError, UserSide};
use lunbox_memory::Mapping;
use nix::unistd::{read, write};

pub const UNKNOWN_OP: u8 = 1;
pub const READ_LEN: u8 = 2;
pub const KEEP_BUF: u8 = 4;

/// A command as the daemon copied it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: u16,
    /// Map offset of its entry.
    pub at: u64,
    pub cdb: Vec<u8>,
    /// First group of vectors: map offset and length.
    pub vectors: Vec<(u64, u64)>,
    pub bidi: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Its length in bytes.
    Pad(u32),
    Command(Request),
    TaskManagement {
        kind: u8,
        ids: Vec<u16>,
    },
}

/// What to write into an entry.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u8,
    pub flags: u8,
    pub read_len: u32,
    pub sense: &'a [u8],
}

pub const GOOD: Answer<'_> = Answer { status: 0, flags: 0, read_len: 0, sense: &[] };

pub struct Daemon {
    pub map: Mapping,
    wait: OwnedFd,
    bell: OwnedFd,
    start: u32,
    size: u32,
    cursor: u32,
    pub tail: u32,
}

impl Daemon {
    pub fn attach(user: UserSide) -> Self {
        let map = Mapping::shared(user.memory.as_fd(), user.length).unwrap();
        assert_eq!(map.load_u16(0).unwrap(), 2);
        let (start, size) = (map.load_u32(4).unwrap(), map.load_u32(8).unwrap());
        let tail = map.load_u32(64).unwrap();
        Self { map, wait: user.wait, bell: user.ring, start, size, cursor: tail, tail }
    }

    pub fn wait_fd(&self) -> &OwnedFd {
        &self.wait
    }

    /// Events since the last call.
    pub fn events(&self) -> u64 {
        let mut count = [0; 8];
        match read(&self.wait, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            Err(nix::Error::EAGAIN) => 0,
            other => panic!("reading the event gave {other:?}"),
        }
    }

    pub fn ring(&self) {
        assert_eq!(write(&self.bell, &1u64.to_ne_bytes()), Ok(8));
    }

    fn at(&self, offset: u32) -> u64 {
        u64::from(self.start + offset)
    }

    fn vectors(&self, from: u64, count: u32) -> Vec<(u64, u64)> {
        (0..u64::from(count))
            .map(|index| {
                let at = from + 16 * index;
                (self.map.load_u64(at).unwrap(), self.map.load_u64(at + 8).unwrap())
            })
            .collect()
    }

    /// Length of a CDB by its group code (SPC-4 4.3); groups 3, 6 and 7 are not used in these tests.
    fn cdb_length(opcode: u8) -> usize {
        match opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            group => panic!("no test sends opcode group {group}"),
        }
    }

    /// Everything from the cursor to the head.
    pub fn take(&mut self) -> Vec<Entry> {
        let head = self.map.load_u32(12).unwrap();
        let mut taken = Vec::new();
        while self.cursor != head {
            let at = self.at(self.cursor);
            let len_op = self.map.load_u32(at).unwrap();
            let length = len_op & !7;
            assert!(length >= 8 && self.cursor + length <= self.size, "entries never wrap");
            taken.push(match len_op & 7 {
                0 => Entry::Pad(length),
                1 => Entry::Command(self.request(at)),
                2 => {
                    let count = u64::from(self.map.load_u32(at + 12).unwrap());
                    let ids = (0..count).map(|i| self.map.load_u16(at + 32 + 2 * i).unwrap()).collect();
                    Entry::TaskManagement { kind: self.map.load_u8(at + 8).unwrap(), ids }
                }
                op => panic!("entry with operation {op}"),
            });
            self.cursor = (self.cursor + length) % self.size;
        }
        taken
    }

    fn request(&self, at: u64) -> Request {
        let count = self.map.load_u32(at + 8).unwrap();
        let bidi = self.map.load_u32(at + 12).unwrap();
        assert_eq!(self.map.load_u32(at + 16).unwrap(), 0, "iov_dif_cnt");
        assert_eq!((self.map.load_u64(at + 32), self.map.load_u64(at + 40)), (Ok(0), Ok(0)), "reserved");
        let cdb_at = self.map.load_u64(at + 24).unwrap();
        let mut cdb = vec![0; Self::cdb_length(self.map.load_u8(cdb_at).unwrap())];
        self.map.load_bytes(cdb_at, &mut cdb).unwrap();
        Request {
            id: self.map.load_u16(at + 4).unwrap(),
            at,
            cdb,
            vectors: self.vectors(at + 48, count),
            bidi: self.vectors(at + 48 + 16 * u64::from(count), bidi),
        }
    }

    /// Only the commands of [`Self::take`].
    pub fn commands(&mut self) -> Vec<Request> {
        let only_commands = |entry| match entry {
            Entry::Command(request) => Some(request),
            Entry::Pad(_) | Entry::TaskManagement { .. } => None,
        };
        self.take().into_iter().filter_map(only_commands).collect()
    }

    /// Writes an answer into the oldest entry that has none, whoever it was for, and moves the tail.
    pub fn answer(&mut self, id: u16, answer: Answer<'_>) {
        loop {
            let at = self.at(self.tail);
            let len_op = self.map.load_u32(at).unwrap();
            let is_command = len_op & 7 == 1;
            if is_command {
                self.map.store_u16(at + 4, id).unwrap();
                self.map.store_u8(at + 7, answer.flags).unwrap();
                self.map.store_u8(at + 8, answer.status).unwrap();
                self.map.store_u32(at + 12, answer.read_len).unwrap();
                self.map.store_bytes(at + 16, answer.sense).unwrap();
            }
            self.tail = (self.tail + (len_op & !7)) % self.size;
            self.map.store_u32(64, self.tail).unwrap();
            if is_command {
                break;
            }
        }
    }

    pub fn good(&mut self, id: u16) {
        self.answer(id, GOOD);
    }

    /// Starts again at 0, as after a ring reset.
    pub fn restart(&mut self) {
        (self.cursor, self.tail) = (0, 0);
    }

    /// Copies the start of `data` into vectors.
    pub fn fill(&self, vectors: &[(u64, u64)], data: &[u8]) {
        let mut rest = data;
        for &(at, length) in vectors {
            let (part, left) = rest.split_at(rest.len().min(usize::try_from(length).unwrap()));
            self.map.copy_in(at, part).unwrap();
            rest = left;
        }
        assert!(rest.is_empty(), "{} bytes do not fit the vectors", rest.len());
    }

    /// All bytes of some vectors.
    pub fn fetch(&self, vectors: &[(u64, u64)]) -> Vec<u8> {
        let mut data = Vec::new();
        for &(at, length) in vectors {
            let old = data.len();
            data.resize(old + usize::try_from(length).unwrap(), 0);
            self.map.copy_out(at, &mut data[old..]).unwrap();
        }
        data
    }
}

/// A device and a daemon on it.
pub fn pair(options: Options) -> (Kernel, Daemon) {
    let (kernel, user) = Kernel::new(options).unwrap();
    (kernel, Daemon::attach(user))
}

/// Bytes that differ from place to place and from `seed` to `seed`.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ seed.wrapping_mul(97)).to_le_bytes()[0])
        .collect()
}

/// A 6-byte CDB that carries a number.
pub fn numbered(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0, 0, high, low, 0, 0]
}

/// Queues such a command; its token is the number too.
pub fn queue(kernel: &mut Kernel, number: u16, data: Data<'_>) -> Result<CommandId, QueueError> {
    kernel.queue(&CommandSpec { cdb: &numbered(number), data, token: number.into() })
}

pub fn collected(kernel: &mut Kernel) -> Vec<lunbox_emulator::Completion> {
    let mut all = Vec::new();
    assert_eq!(kernel.collect(&mut all), all.len());
    all
}

/// Tokens of what can be collected.
pub fn tokens(kernel: &mut Kernel) -> Vec<u64> {
    collected(kernel).iter().map(|completion| completion.token).collect()
}
