//! The smallest handler: reads zeros, forgets writes. `null/anything` as cfgstring; any size.

#![forbid(unsafe_code)]

use lunbox_sdk::{
    Block, BlockCommand, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Outcome,
    export_handler,
};

/// One value of this type serves one device. This one has nothing to remember.
pub struct Null;

impl Handler for Null {
    // Who the handler is: `subtype` is what stands before the first `/` of a cfgstring.
    fn describe() -> Description {
        Description {
            subtype: "null".into(),
            name: "Null".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            config_help: "any text; it is ignored".into(),
        }
    }

    // Called once per device. A `ConfigError` here would refuse it and tell the operator why.
    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        Ok((Self, DeviceInfo { size: config.size, write_cache: false, solid_state: true }))
    }
}

impl Block for Null {
    // GOOD without any operation: the host fills what a read left unfilled with zeros.
    fn submit(&mut self, _command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::GOOD
    }
}

// Makes the component's exports; natively it checks that the traits are there.
export_handler!(Null: block);
