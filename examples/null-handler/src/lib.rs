//! The smallest handler: reads zeros, forgets writes. `null/anything` as cfgstring; any size.

#![forbid(unsafe_code)]

use lunbox_sdk::{
    Block, BlockCommand, BlockUnmap, BlockWriteZeroes, Buffers, ConfigError, Description, DeviceConfig,
    DeviceInfo, Handler, Outcome, Tag, UnmapLimits, export_handler,
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
        Ok((
            Self,
            DeviceInfo { size: config.size, write_cache: false, solid_state: true, physical_block_size: 0 },
        ))
    }
}

impl Block for Null {
    // GOOD without any operation: the host fills what a read left unfilled with zeros.
    fn submit(&mut self, _command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::GOOD
    }
}

// Two optional abilities, each a trait: initiators see a thin provisioned disk.
impl BlockUnmap for Null {
    fn limits(&mut self) -> Option<UnmapLimits> {
        Some(UnmapLimits { max_length: 0, granularity: 0, reads_zeroes: true })
    }

    fn unmap(&mut self, _tag: Tag, _offset: u64, _length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::GOOD
    }
}

impl BlockWriteZeroes for Null {
    fn write_zeroes(
        &mut self,
        _tag: Tag,
        _offset: u64,
        _length: u64,
        _may_unmap: bool,
        _fua: bool,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::GOOD
    }
}

// Makes the component's exports; natively it checks that the traits are there. Abilities that are not named here are
// not offered.
export_handler!(Null: block, block_unmap, block_write_zeroes);
