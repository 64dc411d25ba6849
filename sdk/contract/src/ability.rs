//! Types of the optional abilities.

/// What a handler that can unmap says about it (`block-unmap.limits`); VPD B0 and B2 follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnmapLimits {
    /// Bytes; 0 means no limit.
    pub max_length: u64,
    /// Bytes; best size and alignment of a request, 0 if it does not matter.
    pub granularity: u64,
    /// Unmapped ranges read as zeros (LBPRZ).
    pub reads_zeroes: bool,
}

/// Things that happened to a device (`events.event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A store reconnected; cached knowledge about it may be stale.
    StoreReconnected,
    /// The device is idle: a chance for housekeeping in memory.
    Idle,
}
