//! What a handler is told and what it tells, once per device.

/// A store that the host opened and granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// Which option asked for it; empty for the whole cfgstring.
    pub option: String,
    /// Bytes at the time of opening.
    pub size: u64,
    /// Writes will be refused.
    pub read_only: bool,
    /// A discarded range reads as zeros.
    pub discard_zeroes: bool,
    /// A write beyond `size` makes the store longer; false for block devices.
    pub can_grow: bool,
    /// Bytes of the unit that the medium writes at once; 0 if unknown.
    pub physical_block_size: u32,
    /// Bytes; best size and alignment of a discard. 0: the store can not discard.
    pub discard_granularity: u32,
}

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The device's name in configfs.
    pub name: String,
    /// Bytes; a multiple of the block size, not 0.
    pub size: u64,
    /// Bytes; a power of two, 512 or more.
    pub block_size: u32,
    /// The device refuses writes.
    pub read_only: bool,
    /// Longest transfer of one command in bytes.
    pub max_transfer: u32,
    /// Grants; the index is the store id.
    pub stores: Vec<StoreInfo>,
    /// Other option values in the order of the cfgstring.
    pub options: Vec<(String, String)>,
}

/// What the handler offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Bytes; a multiple of the block size, not 0. Another one than [`DeviceConfig::size`] becomes the LUN's.
    pub size: u64,
    /// Writes may be volatile until a flush (WCE=1).
    pub write_cache: bool,
    /// No seek penalty.
    pub solid_state: bool,
    /// Bytes of a physical block: 0 if it is the logical one, else a power of two, from the block size to 2^15 times it.
    pub physical_block_size: u32,
}

/// Why a configuration is refused, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The option or field at fault, or empty.
    pub field: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for ConfigError {}

/// Who a handler is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Text before the first `/` of a cfgstring: 1 to 32 of a-z, 0-9, `_`.
    pub subtype: String,
    /// For people.
    pub name: String,
    /// Version of the handler.
    pub version: String,
    /// What to write after `<subtype>/`.
    pub config_help: String,
}
