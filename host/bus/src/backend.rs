//! What the service needs of the daemon.

/// A handler as it is shown on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What cfgstrings begin with. One that [`can_be_announced`](crate::can_be_announced) refuses is left out, with a
    /// warning.
    pub subtype: String,
    /// Property `ConfigDesc`: targetcli prints it as the help on cfgstrings. May have several lines.
    pub config_desc: String,
}

/// What the service asks the daemon, and tells it.
pub trait Backend: Send + Sync + 'static {
    /// Whether a device of this handler could be configured so. `configstr` is what the caller wrote, at most 4096
    /// bytes: by convention the whole of what would be written to `dev_config`, `<subtype>/` included.
    ///
    /// Called on a thread of its own; it may block for 5 s: a caller waits 25 s with most libraries, and may have waited
    /// for its turn before. At most four calls run at a time.
    ///
    /// # Errors
    /// Why not: one line for the operator.
    fn check(&self, subtype: &str, configstr: &str) -> Result<(), String>;

    /// The same without the handler: what the daemon itself finds wrong. For a caller of root's for whom there is no
    /// turn in time.
    ///
    /// Called on any thread of the bus: must not block.
    ///
    /// # Errors
    /// As [`Self::check`].
    fn glance(&self, subtype: &str, configstr: &str) -> Result<(), String>;

    /// A program of root's serves this subtype itself from now on, or does not any more. Between the two, its devices
    /// are none of ours. Calls come in the order in which it happened; one may repeat the last one.
    ///
    /// Called on the bus' own threads, with its tables locked: must not block, nor call the [`Handle`](crate::Handle).
    fn external(&self, subtype: &str, added: bool);
}
