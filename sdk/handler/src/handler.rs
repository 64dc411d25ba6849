//! What every handler is, and the two kinds of handlers.

use lunbox_contract::{
    BlockCommand, Buffers, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, OpsResult,
    Outcome, Tag,
};

/// Exported by every handler (`handler` in the WIT).
///
/// One value serves one device. The host makes one call at a time and waits for it, within a CPU budget: a handler
/// needs no locks and must not wait.
pub trait Handler: Sized + 'static {
    /// Who the handler is. Called in a throw-away instance; must not depend on anything.
    fn describe() -> Description;

    /// Takes up service. Makes no operations: there is no command that could carry them.
    ///
    /// # Errors
    /// [`ConfigError`] names the field at fault and the remedy; the operator reads it.
    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError>;

    /// All operations of the [`Outcome::More`] that this command answered last have ended.
    ///
    /// The default is for handlers that never answer `More`: it blames the handler or its host.
    fn resume(&mut self, tag: Tag, result: &OpsResult, buffers: &mut dyn Buffers) -> Outcome {
        let _ = (tag, result, buffers);
        Outcome::INTERNAL
    }

    /// The initiator aborted the command, and `resume` will not be called for it: forget the tag. Operations that
    /// had started may have changed the store.
    fn cancel(&mut self, tag: Tag) {
        let _ = tag;
    }
}

/// The usual kind (`block` in the WIT): reads, writes and flushes in bytes; the host does all of SPC and SBC.
pub trait Block: Handler {
    /// Decides what a command means. Never answers [`Outcome::NotHandled`].
    ///
    /// Commands come in the order in which the initiator's arrived; many may be in progress. For a simple plan
    /// answer [`Outcome::Io`]: the handler is not called again and nothing is allocated.
    fn submit(&mut self, command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome;
}

/// The kind that speaks SCSI itself (`cdb` in the WIT): sees each CDB first.
pub trait Cdb: Handler {
    /// Decides what a CDB means, or answers [`Outcome::NotHandled`] and leaves it to the host's generic layer,
    /// which goes on with [`Block`] if the handler exports that too.
    fn submit(&mut self, command: &CdbCommand<'_>, buffers: &mut dyn Buffers) -> Outcome;
}
