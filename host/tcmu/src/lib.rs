//! The user-space side of the TCM-User ring, its netlink family and its configfs and UIO discovery.

mod doorbell;
mod entry;
mod id_set;
mod mailbox;
mod outstanding;
mod request;
mod ring;
mod ring_error;

pub use doorbell::Doorbell;
pub use mailbox::Features;
pub use outstanding::{Generation, Outstanding, lost_commands};
pub use request::{CDB_MAX, Cdb, Request, Response, SENSE_SIZE, TaskManagement, TmrFunction};
pub use ring::{Next, Refused, Ring};
pub use ring_error::RingError;

mod alua;
mod configfs;
mod name;
mod netlink;
mod uio;

pub use alua::{AccessStatus, AccessType, MAX_GROUPS, MAX_PORTS, Port, PortGroup};
pub use configfs::{Configfs, ConfigfsError, DeviceDirectory, Reset};
pub use name::{DeviceId, DeviceName, Minor, NameError};
pub use netlink::{Change, DeviceEvent, Event, EventKind, Netlink, NetlinkError, RECEIVE_BUFFER};
pub use uio::{Held, Uio, UioError, UioNode};
