//! What the control plane needs to know about the devices that it starts and stops. [`crate::open`] implements
//! it with real rings and handlers, the tests with a model.

use std::os::fd::OwnedFd;
use std::time::Duration;

use lunbox_tcmu::{Minor, UioError, UioNode};
use nix::errno::Errno;

/// Makes devices. Called on threads of their own, several at a time; may block.
pub trait Starter: Send + Sync + 'static {
    /// A device that runs.
    type Device: Running;

    /// There is a handler of exactly this subtype.
    fn serves(&self, subtype: &str) -> bool;

    /// The subtypes that there are, for messages.
    fn subtypes(&self) -> String;

    /// Opens the UIO node. As long as the descriptor lives nobody else can serve the device.
    ///
    /// # Errors
    /// [`UioError::Busy`] if somebody else does, this process included.
    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError>;

    /// Starts the device.
    ///
    /// # Errors
    /// One line for the operator: what is wrong and what to do about it. Nothing is left behind.
    fn start(&self, node: &UioNode, uio: OwnedFd) -> Result<Self::Device, String>;
}

/// A device that runs. Dropping it ends it without waiting.
pub trait Running: Send + 'static {
    /// Answers [`Notice::IdentityWanted`]; never blocks.
    fn set_serial(&self, serial: String);

    /// Changes the size; blocks for some seconds at the most.
    ///
    /// # Errors
    /// The old size stays in force.
    fn resize(&self, bytes: u64) -> Result<(), Refusal>;

    /// Ends the device and closes its UIO node; blocks for about twice `patience` at the most.
    ///
    /// # Errors
    /// One line for the operator. The device is not usable any more.
    fn stop(self, patience: Duration) -> Result<(), String>;
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For whoever wrote to configfs.
    pub errno: Errno,
    /// For the log.
    pub reason: String,
}

/// What a running device tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An INQUIRY waits for the serial number.
    IdentityWanted,
    /// Something happened to the handler; nothing needs to be done.
    Trouble(String),
    /// The trouble is over.
    Recovered,
    /// The device serves no more.
    Ended(String),
}
