//! Stores that answer at once: memory and null.

use lunbox_memory::Mapping;

use crate::operation::Operation;
use crate::request::Kind;
use crate::store::MemoryStore;
use crate::transfer::zero_memory;
use crate::{StoreError, extents};

/// Does an operation on memory. Ranges that are written to were checked against the store's end.
pub(crate) fn memory(
    store: &mut MemoryStore,
    operation: &mut Operation,
    syscalls: &mut u64,
) -> Result<u64, StoreError> {
    let (offset, length) = (operation.offset, operation.length);
    match operation.kind {
        Kind::Read { zero_at_eof } => {
            let here = available(store.mapping.length() as u64, offset, length, zero_at_eof)?;
            operation.transfer.fill_from(&store.mapping, offset, here, syscalls)?;
            operation.transfer.zero_rest(syscalls)?;
        }
        Kind::Write { .. } => {
            // Before it is done: a copy that fails may have been done in part.
            store.pages.written(offset, length);
            pour(&store.mapping, operation, syscalls)?;
        }
        Kind::Flush => return Ok(0),
        Kind::Discard { .. } | Kind::WriteZeroes { .. } => {
            // The ends that are no whole pages are written to.
            store.pages.ends_written(offset, length);
            zero_memory(&store.mapping, store.page, offset, length, syscalls)?;
            store.pages.given_back(offset, length);
        }
        Kind::Extents => return extents::of_memory(&mut operation.transfer, &store.pages, offset, length),
        Kind::Space => return Err(StoreError::Unsupported),
    }
    Ok(length)
}

fn pour(mapping: &Mapping, operation: &mut Operation, syscalls: &mut u64) -> Result<(), StoreError> {
    operation.transfer.pour_into(mapping, operation.offset, syscalls)
}

/// Does an operation on nothing.
pub(crate) fn null(bytes: u64, operation: &mut Operation, syscalls: &mut u64) -> Result<u64, StoreError> {
    match operation.kind {
        Kind::Read { zero_at_eof } => {
            available(bytes, operation.offset, operation.length, zero_at_eof)?;
            operation.transfer.zero_rest(syscalls)?;
        }
        Kind::Flush => return Ok(0),
        Kind::Write { .. } | Kind::Discard { .. } | Kind::WriteZeroes { .. } => {}
        Kind::Extents => {
            return extents::all(&mut operation.transfer, operation.offset, operation.length, false);
        }
        Kind::Space => return Err(StoreError::Unsupported),
    }
    Ok(operation.length)
}

/// Bytes of a read that lie inside of the store.
fn available(size: u64, offset: u64, length: u64, zero_at_eof: bool) -> Result<u64, StoreError> {
    let here = size.saturating_sub(offset).min(length);
    if here == length || zero_at_eof { Ok(here) } else { Err(StoreError::EndOfStore) }
}
