//! A LUN in a raw image: byte n of the LUN is byte n of store 0, as with the handler `file`.
//!
//! Shared as source by the crates beside this one: a handler crate exports its component, so that it can not be
//! another handler's dependency on Wasm.

use lunbox_sdk::{
    BlockCommand, BlockKind, ConfigError, Description, DeviceConfig, DeviceInfo, Op, Outcome, StoreId,
};

/// The whole text after the subtype is the only grant.
const STORE: StoreId = StoreId(0);

/// What a handler of this kind says of itself under `subtype`.
pub(crate) fn describe(subtype: &str) -> Description {
    Description {
        subtype: subtype.to_owned(),
        name: "Raw image".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_help: "path of a regular file; for tests only".to_owned(),
    }
}

/// Refuses a device without an image.
pub(crate) fn configure(config: &DeviceConfig) -> Result<DeviceInfo, ConfigError> {
    if config.stores.is_empty() {
        let message = "no file was granted; write its path after the subtype".to_owned();
        return Err(ConfigError { field: String::new(), message });
    }
    Ok(DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 })
}

/// One final operation for each command.
pub(crate) fn plan(command: &BlockCommand) -> Outcome {
    Outcome::Io(match command.kind {
        BlockKind::Read => Op::read(STORE, command.offset, command.length).zero_at_eof(),
        BlockKind::Write => Op::write(STORE, command.offset, command.length).durable(command.fua),
        BlockKind::Flush => Op::flush(STORE),
    })
}
