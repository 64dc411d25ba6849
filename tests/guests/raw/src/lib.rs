//! A handler for raw images under the subtype `raw`, for measurements with two of our daemons on one kernel: each must
//! serve a subtype that the other does not know.

#![forbid(unsafe_code)]

mod image;

use lunbox_sdk::{
    Block, BlockCommand, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Outcome,
    Resize, export_handler,
};

/// One device.
#[derive(Debug)]
pub struct Raw;

impl Handler for Raw {
    fn describe() -> Description {
        image::describe("raw")
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        image::configure(config).map(|info| (Self, info))
    }
}

impl Block for Raw {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        image::plan(command)
    }
}

impl Resize for Raw {
    fn resize(&mut self, _size: u64) -> Result<(), ConfigError> {
        Ok(())
    }
}

export_handler!(Raw: block, resize);
