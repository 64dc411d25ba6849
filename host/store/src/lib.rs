//! Stores: what a LUN keeps its bytes in, and the [`Executor`] that runs operations on them.
//!
//! A store is a file or block device ([`Store::file`]), memory ([`Store::memory`]) or nothing at all
//! ([`Store::null`]). An executor belongs to one thread. It takes requests without blocking, moves bytes
//! straight between store and shared memory, and hands out exactly one [`Done`] for every request.
//! It sleeps for ends of operations and for watched file descriptors at once, so that a device thread has one
//! place to wait.
//!
//! The buffer-lifetime rule is kept here: memory that an operation refers to stays mapped until the operation
//! has ended, whether it ends by itself, is cancelled, or the executor is dropped.
//!
//! ```
//! use lunbox_store::{Executor, Kind, Options, Request, Store, Target, Token};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut executor = Executor::new(Options::default())?;
//! let store = executor.add(Store::memory(1 << 20)?);
//! let write = Kind::Write { durable: false };
//! let target = Target::Owned { buffer: b"hello".to_vec(), skip: 0 };
//! executor.submit(Token(1), Request { store, kind: write, offset: 4096, length: 5, target });
//! executor.wait(None)?;
//! let done = executor.next_done().ok_or("an operation has ended")?;
//! assert_eq!((done.token, done.result), (Token(1), Ok(5)));
//! # Ok(())
//! # }
//! ```
//!
//! The crate knows no ring, no SCSI and no handler. Two error planes: [`StoreError`] is the answer of a store
//! and travels in [`Done`]; [`ExecutorError`] and [`OpenError`] say that the plumbing failed.

mod direct;
mod engine;
mod error;
mod executor;
mod extents;
mod gate;
mod instant;
mod operation;
mod pages;
mod pool;
mod request;
mod slots;
mod store;
mod syscalls;
#[cfg(test)]
mod tests;
mod transfer;
mod uring;
mod waker;
mod watch;

pub use error::{ExecutorError, OpenError, StoreError};
pub use executor::{Backend, Executor, Options};
pub use gate::{GateHandle, OnCancel};
pub use request::{Done, Kind, RegionId, Request, Space, StoreIndex, Target, Token};
pub use store::{FileOptions, Store};
