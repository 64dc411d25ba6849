//! Hostile ring contents: whatever is in the shared memory and however it changes, the ring does not panic,
//! hands out no range outside of the data area and no id twice, and writes nothing outside of the command ring
//! and cmd_tail.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lunbox_memory::Mapping;
use lunbox_tcmu::{CDB_MAX, Doorbell, Next, Outstanding, Refused, Request, Response, Ring, RingError};
use nix::sys::eventfd::{EfdFlags, EventFd};

const RING: u64 = 128;
const DATA: u64 = 4096;
const HEAD: u64 = 12;
const TAIL: u64 = 64;

/// The fuzzer's bytes, zero when used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Small numbers, powers of two and their neighbours, or anything.
    fn word(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => self.byte().into(),
            1 => (1_u64 << (self.byte() % 64)).wrapping_add(u64::from(self.byte() % 3)).wrapping_sub(1),
            2 => u64::from(self.short()) & !7,
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }
}

struct Run<'a> {
    input: Input<'a>,
    map: Arc<Mapping>,
    size: u32,
    /// Mailbox and data area as the hostile side left them; cmd_tail aside.
    expected: Vec<u8>,
    next_id: u16,
}

impl Run<'_> {
    fn length(&self) -> u64 {
        self.map.length() as u64
    }

    /// Writes as the other side does.
    fn store(&mut self, at: u64, word: u64) {
        self.map.store_u64(at, word).expect("inside and aligned");
        let start = usize::try_from(at).expect("small");
        self.expected[start..start + 8].copy_from_slice(&word.to_ne_bytes());
    }

    fn store_half(&mut self, at: u64, half: u32) {
        self.map.store_u32(at, half).expect("inside and aligned");
        let start = usize::try_from(at).expect("small");
        self.expected[start..start + 4].copy_from_slice(&half.to_ne_bytes());
    }

    /// An entry at cmd_head that is sound or nearly so.
    fn queue(&mut self) {
        let head = self.map.load_u32(HEAD).expect("inside");
        let kind = self.input.byte();
        let vectors = u32::from(self.input.byte() % 8);
        let op = match kind % 16 {
            0 => 0,
            1 => 2,
            2 => 5,
            _ => 1,
        };
        let length = match op {
            1 => (48 + 16 * vectors).max(112) + 16,
            2 => 32 + 8 * vectors,
            _ => 8 + 8 * vectors,
        };
        let (Some(room), true) = (self.size.checked_sub(head), head.is_multiple_of(8)) else { return };
        let at = RING + u64::from(head);
        if room < length {
            if room >= 8 {
                self.store(at, u64::from(room));
            }
            self.store_half(HEAD, 0);
            return;
        }
        for offset in (0..u64::from(length)).step_by(8) {
            self.store(at + offset, 0);
        }
        self.next_id = self.next_id.wrapping_add(1);
        let id = if self.input.byte() < 8 { self.input.byte().into() } else { self.next_id };
        self.store(at, u64::from(length | op) | u64::from(id) << 32);
        match op {
            1 => {
                let bidi = u32::from(self.input.byte()) % (vectors + 1);
                self.store(at + 8, u64::from(vectors - bidi) | u64::from(bidi) << 32);
                self.store(at + 24, at + u64::from(length) - 16);
                for vector in 0..u64::from(vectors) {
                    let offset = RING + u64::from(self.size) + u64::from(self.input.short()) % DATA;
                    self.store(at + 48 + 16 * vector, offset);
                    let length = u64::from(self.input.byte()) % (self.length() - offset + 1);
                    self.store(at + 56 + 16 * vector, length);
                }
            }
            2 => self.store(at + 8, 1 | u64::from(4 * vectors) << 32),
            _ => {}
        }
        if self.input.byte() < 32 {
            let offset = 8 * (u64::from(self.input.byte()) % u64::from(length / 8));
            let word = self.input.word();
            self.store(at + offset, word);
        }
        let head = if room == length { 0 } else { head + length };
        self.store_half(HEAD, head);
    }

    /// What the ring may not have touched is as it was.
    fn check_memory(&self) {
        let mut now = vec![0; self.map.length()];
        self.map.load_bytes(0, &mut now).expect("inside");
        let data = usize::try_from(RING + u64::from(self.size)).expect("small");
        assert_eq!(now[..64], self.expected[..64], "mailbox written");
        assert_eq!(now[68..128], self.expected[68..128], "mailbox written");
        assert_eq!(now[data..], self.expected[data..], "data area written");
    }
}

fn event() -> OwnedFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).expect("an eventfd").into()
}

/// Every range is in the data area, and the CDB is no longer than one can be.
fn check_request(request: &Request, data: u64, end: u64) {
    assert!(request.cdb.len() <= CDB_MAX);
    for extent in request.data.iter().chain(&request.bidi) {
        assert!(extent.offset >= data, "{extent:?}");
        assert!(extent.offset.checked_add(extent.length).is_some_and(|last| last <= end), "{extent:?}");
    }
}

/// Contents never make the ring go out of its mapping.
fn check_error(error: RingError) {
    assert!(!matches!(error, RingError::Access(_)), "{error}");
}

/// Runs one input. Returns how many commands it took, to see that it gets somewhere.
///
/// # Panics
/// If the ring breaks a promise.
pub fn drive(bytes: &[u8]) -> u64 {
    let mut input = Input(bytes);
    let size = 256 + 8 * u32::from(input.byte());
    let length = RING + u64::from(size) + DATA;
    let length = usize::try_from(length).expect("small");
    let map = Arc::new(Mapping::anonymous(length).expect("memory"));
    let mut run = Run { input, map, size, expected: vec![0; length], next_id: 0 };
    let flags = u64::from(run.input.byte() | 1);
    run.store(0, 2 | flags << 16 | 128 << 32);
    run.store_half(8, size);
    if run.input.byte() < 16 {
        // A spoilt mailbox, mostly to be refused.
        let at = 8 * (u64::from(run.input.byte()) % 16);
        let word = run.input.word();
        run.store(at, word);
    }
    let doorbell = Doorbell::Event { wait: event(), ring: event() };
    let mut ring = match Ring::attach(Arc::clone(&run.map), doorbell) {
        Ok(ring) => ring,
        Err(error) => {
            check_error(error);
            run.check_memory();
            return 0;
        }
    };
    // A spoilt mailbox that was accepted names another layout: take that.
    if run.map.load_u32(4) != Ok(128) || run.map.load_u32(8) != Ok(size) {
        return 0;
    }
    let taken = play(&mut run, &mut ring);
    run.check_memory();
    taken
}

fn play(run: &mut Run<'_>, ring: &mut Ring) -> u64 {
    let (data, end) = (RING + u64::from(run.size), run.length());
    let mut request = Request::default();
    let mut held: Vec<Outstanding> = vec![];
    let mut taken = 0;
    while !run.input.0.is_empty() {
        match run.input.byte() % 32 {
            0 => {
                let at = 8 * (u64::from(run.input.short()) % (run.length() / 8));
                let word = run.input.word();
                run.store(at, word);
            }
            1 => {
                let head = u32::from(run.input.short());
                run.store_half(HEAD, if head.is_multiple_of(4) { head } else { head & !7 });
            }
            2 => {
                let tail = u32::from(run.input.short()) & !7;
                run.store_half(TAIL, tail);
            }
            3 => {
                run.store_half(TAIL, 0);
                run.store_half(HEAD, 0);
            }
            4..=14 => run.queue(),
            15..=22 => match ring.next(&mut request) {
                Ok(Some(Next::Command(command))) => {
                    taken += 1;
                    check_request(&request, data, end);
                    assert_ne!(command.id(), 0);
                    held.push(command);
                    let ids: BTreeSet<_> = held.iter().map(Outstanding::id).collect();
                    assert_eq!(ids.len(), held.len(), "an id twice");
                }
                Ok(Some(Next::TaskManagement(_)) | None) => {}
                Err(error) => check_error(error),
            },
            23..=29 if !held.is_empty() => {
                let command = held.swap_remove(usize::from(run.input.byte()) % held.len());
                complete(run, ring, command);
            }
            30 => {
                ring.notify().expect("eventfds do not go away");
                ring.acknowledge().expect("eventfds do not go away");
            }
            _ => {}
        }
        if ring.was_reset() && run.input.byte() < 128 {
            held.drain(..).for_each(Outstanding::abandon);
            if let Err(error) = ring.resync() {
                check_error(error);
            }
        } else if !ring.was_reset() {
            assert_eq!(ring.outstanding(), held.len());
        }
    }
    held.drain(..).for_each(Outstanding::abandon);
    taken
}

fn complete(run: &mut Run<'_>, ring: &mut Ring, command: Outstanding) {
    let sense = [0x70; 120];
    let response = Response {
        status: run.input.byte(),
        sense: (run.input.byte() < 128).then(|| &sense[..usize::from(run.input.byte() % 120)]),
        read_len: (run.input.byte() < 64).then_some(512),
        keep_buf: run.input.byte() < 32,
    };
    match ring.complete(command, &response) {
        Ok(()) => {}
        Err(Refused::Reset(command)) => command.abandon(),
        Err(Refused::Failed { command, error }) => {
            assert!(matches!(error, RingError::NotOffered { .. }), "{error}");
            let response = Response { keep_buf: false, ..response };
            if let Err(refused) = ring.complete(command, &response) {
                panic!("refused although only keep_buf stood in the way: {refused}");
            }
        }
    }
}
