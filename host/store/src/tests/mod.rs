//! Tests through the public interface, on both backends.

mod block;
mod cancel;
mod extents;
mod failures;
mod gate;
mod memory;
mod model;
mod no_space;
mod ranges;
mod steps;
mod transfers;
mod wakeups;

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_memory::{Extent, Mapping};

use crate::{
    Backend, Done, Executor, FileOptions, Kind, Options, RegionId, Request, Store, StoreError, StoreIndex,
    Target, Token,
};

/// No step of a test takes so long, on a loaded machine either.
const LIMIT: Duration = Duration::from_secs(60);

const READ: Kind = Kind::Read { zero_at_eof: false };
const READ_ZERO: Kind = Kind::Read { zero_at_eof: true };
const WRITE: Kind = Kind::Write { durable: false };

/// Runs the named functions on each backend.
macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod uring {
            $(#[test] fn $name() { super::$name($crate::Backend::Uring); })*
        }
        mod threads {
            $(#[test] fn $name() { super::$name($crate::Backend::Threads); })*
        }
    };
}
use on_both_backends;

/// An executor with a region of 4 MiB.
struct Rig {
    executor: Executor,
    memory: Arc<Mapping>,
    region: RegionId,
}

impl Rig {
    fn new(backend: Backend) -> Self {
        Self::with(Options { backend, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let mut executor = Executor::new(options).unwrap();
        assert_eq!(executor.backend(), options.backend);
        let memory = Arc::new(Mapping::anonymous(4 << 20).unwrap());
        let region = executor.register(Arc::clone(&memory));
        Self { executor, memory, region }
    }

    fn file(&mut self, file: &File) -> StoreIndex {
        let fd = file.as_fd().try_clone_to_owned().unwrap();
        self.executor.add(Store::file(fd, FileOptions::default()).unwrap())
    }

    fn submit(&mut self, token: u64, store: StoreIndex, kind: Kind, offset: u64, extents: &[Extent]) {
        let length = extents.iter().map(|extent| extent.length).sum();
        let target = Target::Region { region: self.region, extents, skip: 0 };
        self.executor.submit(Token(token), Request { store, kind, offset, length, target });
    }

    /// Submits and waits; for one operation at a time.
    fn run(&mut self, request: Request<'_>) -> Done {
        self.executor.submit(Token(77), request);
        let done = next(&mut self.executor);
        assert_eq!(done.token, Token(77));
        assert_eq!(self.executor.in_flight(), 0);
        done
    }

    /// Reads or writes scattered memory.
    fn scattered(
        &mut self,
        store: StoreIndex,
        kind: Kind,
        offset: u64,
        extents: &[Extent],
    ) -> Result<u64, StoreError> {
        let length = extents.iter().map(|extent| extent.length).sum();
        let target = Target::Region { region: self.region, extents, skip: 0 };
        self.run(Request { store, kind, offset, length, target }).result
    }

    /// An operation without bytes.
    fn bare(&mut self, store: StoreIndex, kind: Kind, offset: u64, length: u64) -> Result<u64, StoreError> {
        self.run(Request { store, kind, offset, length, target: Target::Nothing }).result
    }

    /// Reads into an owned buffer that was full of 0xee.
    fn read(
        &mut self,
        store: StoreIndex,
        kind: Kind,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let target = Target::Owned { buffer: vec![0xee; length], skip: 0 };
        let done = self.run(Request { store, kind, offset, length: length as u64, target });
        let buffer = done.buffer.expect("the buffer comes back");
        assert_eq!(buffer.len(), length);
        done.result.map(|bytes| {
            assert_eq!(bytes, length as u64);
            buffer
        })
    }

    fn write(&mut self, store: StoreIndex, offset: u64, data: &[u8]) -> Result<u64, StoreError> {
        let target = Target::Owned { buffer: data.to_vec(), skip: 0 };
        let done = self.run(Request { store, kind: WRITE, offset, length: data.len() as u64, target });
        assert_eq!(done.buffer.as_deref(), Some(data));
        done.result
    }

    fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.copy_out(offset, &mut bytes).unwrap();
        bytes
    }
}

/// The next end; fails the test if none comes.
fn next(executor: &mut Executor) -> Done {
    let start = Instant::now();
    loop {
        if let Some(done) = executor.next_done() {
            return done;
        }
        assert!(start.elapsed() < LIMIT, "no operation has ended");
        executor.wait(Some(LIMIT)).unwrap();
    }
}

fn extent(offset: u64, length: u64) -> Extent {
    Extent { offset, length }
}

fn scratch(content: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, content, 0).unwrap();
    file
}

fn content(file: &File) -> Vec<u8> {
    let mut all = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut all, 0).unwrap();
    all
}

/// Numbers that look random and are the same every time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}
