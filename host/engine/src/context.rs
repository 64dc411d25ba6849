//! What the host keeps for one instance, and the imports that use it (`buffers` and `log` in the WIT).

use std::cell::RefMut;

use lunbox_contract::{BufferError, BufferId, Buffers, Tag};

use crate::bindings::lunbox::handler::{buffers, log, types};
use crate::deadline::CallClock;
use crate::fault::Stop;
use crate::guest_log::GuestLog;
use crate::limiter::Limiter;
use crate::{Limits, SharedBuffers};

/// The host's side of one instance.
pub(crate) struct Context {
    pub(crate) limiter: Limiter,
    pub(crate) clock: CallClock,
    buffers: SharedBuffers,
    log: GuestLog,
    hostcall_bytes: u32,
}

impl Context {
    pub(crate) fn new(device: &str, buffers: SharedBuffers, limits: &Limits) -> Self {
        Self {
            limiter: Limiter::new(limits),
            clock: CallClock::new(limits),
            buffers,
            log: GuestLog::new(device, limits),
            hostcall_bytes: limits.hostcall_bytes,
        }
    }
}

/// `buffers.take`.
pub(crate) fn take(
    buffers: &SharedBuffers,
    limit: u32,
    tag: types::Tag,
    buffer: types::BufferId,
    offset: u32,
    length: u32,
) -> wasmtime::Result<Result<Vec<u8>, buffers::BufferError>> {
    // Before anything is allocated: the length is the guest's word.
    let Ok(size) = usize::try_from(length) else { return Ok(Err(buffers::BufferError::OutOfRange)) };
    if length > limit {
        return Ok(Err(buffers::BufferError::OutOfRange));
    }
    let mut bytes = vec![0; size];
    let taken = borrow(buffers)?.take(Tag(tag), BufferId(buffer), offset, &mut bytes);
    Ok(taken.map(|()| bytes).map_err(Into::into))
}

/// `buffers.put`.
pub(crate) fn put(
    buffers: &SharedBuffers,
    tag: types::Tag,
    buffer: types::BufferId,
    offset: u32,
    data: &[u8],
) -> wasmtime::Result<Result<(), buffers::BufferError>> {
    let put = borrow(buffers)?.put(Tag(tag), BufferId(buffer), offset, data);
    Ok(put.map_err(Into::into))
}

fn borrow(buffers: &SharedBuffers) -> Result<RefMut<'_, dyn Buffers + 'static>, Stop> {
    buffers
        .try_borrow_mut()
        .map_err(|_| Stop::Host("the buffers are borrowed during a call into the handler"))
}

impl buffers::Host for Context {
    fn take(
        &mut self,
        tag: types::Tag,
        buffer: types::BufferId,
        offset: u32,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, buffers::BufferError>> {
        take(&self.buffers, self.hostcall_bytes, tag, buffer, offset, length)
    }

    fn put(
        &mut self,
        tag: types::Tag,
        buffer: types::BufferId,
        offset: u32,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<(), buffers::BufferError>> {
        put(&self.buffers, tag, buffer, offset, &data)
    }
}

impl log::Host for Context {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.write(level, &message);
        Ok(())
    }
}

impl types::Host for Context {}

impl From<BufferError> for buffers::BufferError {
    fn from(error: BufferError) -> Self {
        match error {
            BufferError::UnknownTag => Self::UnknownTag,
            BufferError::UnknownBuffer => Self::UnknownBuffer,
            BufferError::OutOfRange => Self::OutOfRange,
            BufferError::WrongDirection => Self::WrongDirection,
            BufferError::Lost => Self::Lost,
            BufferError::InUse => Self::InUse,
        }
    }
}
