//! A handler for raw images under the subtype `qcow`, for tests that switch a LUN between daemons.
//!
//! Debian's tcmu-runner has no handler for a plain file, but its `qcow` handler takes a file without qcow's magic
//! number for a raw image. With this handler, one cfgstring (`qcow/<path>`) means the same bytes to both daemons.

#![forbid(unsafe_code)]

#[path = "../../raw/src/image.rs"]
mod image;

use lunbox_sdk::{
    Block, BlockCommand, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Outcome,
    Resize, export_handler,
};

/// One device.
#[derive(Debug)]
pub struct RawQcow;

impl Handler for RawQcow {
    fn describe() -> Description {
        image::describe("qcow")
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        image::configure(config).map(|info| (Self, info))
    }
}

impl Block for RawQcow {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        image::plan(command)
    }
}

impl Resize for RawQcow {
    fn resize(&mut self, _size: u64) -> Result<(), ConfigError> {
        Ok(())
    }
}

export_handler!(RawQcow: block, resize);
