//! A write that is alone, done on the calling thread.
//!
//! Most file systems refuse to write to their page cache when io_uring asks them not to wait, so that each write
//! costs a hand-over to a kernel thread and back: more than the write. With many in flight the hand-overs overlap;
//! with one they are its latency. Nothing else is in flight then, so a write that does have to wait, for a block to be
//! read or for the dirty limit, delays only what arrives meanwhile.

use crate::StoreError;
use crate::operation::{Next, Operation};
use crate::request::Kind;
use crate::store::FileStore;
use crate::syscalls;

/// Bytes at most: a longer copy is better shared with another core.
const SHORT: u64 = 64 << 10;

/// Whether an operation may be done by [`run`]. Durable writes wait for storage and may not.
pub(crate) fn suits(file: &FileStore, operation: &Operation) -> bool {
    let write = operation.kind == Kind::Write { durable: false };
    file.page_cache && write && operation.length <= SHORT && !operation.may_wait
}

/// Does all of a write.
pub(crate) fn run(
    file: &mut FileStore,
    operation: &mut Operation,
    syscalls: &mut u64,
) -> Result<u64, StoreError> {
    loop {
        let call = operation.call(file);
        *syscalls += 1;
        let result = syscalls::run(&file.fd, call, &mut operation.transfer);
        if let Next::End(result) = operation.after(result, file, syscalls) {
            return result;
        }
    }
}
