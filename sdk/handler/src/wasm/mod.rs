//! The guest side of the contract: between the generated bindings and the traits. Only for Wasm targets and only
//! for [`crate::export_handler!`].

// The build target of documentation and lints is the host; these items are not part of the interface.
#![allow(missing_docs)]

pub mod bindings;
mod component;
mod convert;

pub use component::{Component, Place};

use bindings::base::lunbox::handler as imports;
use lunbox_contract::{BufferError, BufferId, Buffers, Tag};

use crate::log::Level;

/// The host's buffers by way of the imports.
pub(crate) struct HostBuffers;

impl Buffers for HostBuffers {
    fn take(&mut self, tag: Tag, buffer: BufferId, offset: u32, out: &mut [u8]) -> Result<(), BufferError> {
        let length = u32::try_from(out.len()).map_err(|_| BufferError::OutOfRange)?;
        let bytes = imports::buffers::take(tag.0, buffer.0, offset, length).map_err(convert::buffer_error)?;
        // A host that answers another length is broken; its bytes can not be trusted.
        if bytes.len() != out.len() {
            return Err(BufferError::Lost);
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }

    fn put(&mut self, tag: Tag, buffer: BufferId, offset: u32, data: &[u8]) -> Result<(), BufferError> {
        imports::buffers::put(tag.0, buffer.0, offset, data).map_err(convert::buffer_error)
    }
}

/// One line to the host's log.
pub(crate) fn log_line(level: Level, text: &str) {
    let level = match level {
        Level::Error => imports::log::Level::Error,
        Level::Warning => imports::log::Level::Warning,
        Level::Info => imports::log::Level::Info,
        Level::Debug => imports::log::Level::Debug,
    };
    imports::log::write(level, text);
}

/// Tells the host where and why the handler panicked. The trap that follows names neither.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let reason = panic.payload_as_str().unwrap_or("no message");
        match panic.location() {
            Some(place) => crate::log::error!("panic at {}:{}: {reason}", place.file(), place.line()),
            None => crate::log::error!("panic: {reason}"),
        }
    }));
}
