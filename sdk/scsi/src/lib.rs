//! Target-side SCSI: CDB decoding, parameter lists, sense data, parameter data. No I/O, no transport, no Wasm; builds
//! for hosts and for handlers.
//!
//! # The way of a command
//!
//! ```
//! use lunbox_scsi::{BlockSize, Bytes, Command, Geometry, Identity, LogicalUnit, decode_for, parameter_data};
//!
//! let geometry = Geometry::new(Bytes(1 << 30), BlockSize::B512)?;
//! let unit = LogicalUnit::new(Identity::tcmu("6b1c4f2e-0a37"), geometry);
//!
//! // READ(10) of 8 blocks at LBA 2048.
//! let cdb = [0x28, 0, 0, 0, 8, 0, 0, 0, 8, 0];
//! let mut reply = Vec::new();
//! let command = decode_for(&unit, &cdb)?;
//! match parameter_data(&command, &unit, &mut reply) {
//!     Some(outcome) => outcome?, // GOOD; send `reply`
//!     None => match command {
//!         Command::Read { lba, blocks, .. } => geometry.check_range(lba, blocks)?,
//!         _ => unreachable!("the CDB is a READ"),
//!     },
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What initiators send along with a command is read by the parsers of [`list`]; [`opcode`] holds the table that all
//! this hangs on.
//!
//! # Rules
//!
//! * What the initiator sees is data: [`decode`] and the builders answer with a [`Sense`], to be sent as CHECK
//!   CONDITION. Nothing here can fail in any other way.
//! * Every function is pure: it does not block, keeps no state and may be called from any thread. Decoding does
//!   not allocate; the builders append to a `Vec` that the caller reuses.
//! * No input makes it panic. CDBs are untrusted.
//! * Reserved bits in CDBs are ignored, as SPC-5 permits (4.2.5.1): initiators of newer standards set bits that
//!   this crate does not know, and refusing them would break those initiators.

#![forbid(unsafe_code)]

pub mod capacity;
pub mod copy_results;
pub mod inquiry;
pub mod lba_status;
pub mod list;
pub mod log_page;
pub mod mode;
pub mod opcode;
pub mod supported;
pub mod target_port;
pub mod vpd;

mod cdb;
mod command;
mod logical_unit;
mod response;
mod sense;
mod units;

pub use cdb::{cdb_length, decode, decode_for, invalid_field};
pub use command::{ByteCheck, Command, CopyResults, Data, ModeSense, PageControl};
pub use copy_results::{CopyOutcome, CopyRecord};
pub use logical_unit::{
    Changeable, Characteristics, Geometry, GeometryError, Identity, LogicalUnit, Provisioning, ThinSpace,
    Unmap, WriteSame,
};
pub use opcode::opcode_name;
pub use response::{parameter_data, refused_field};
pub use sense::{
    FieldPointer, InvalidSenseKey, SENSE_BUFFER_LENGTH, Sense, SenseData, SenseFormat, SenseKey,
    SenseKeySpecific,
};
pub use target_port::{AccessState, TargetPort, TargetPortGroup};
pub use units::{BlockSize, Blocks, Bytes, InvalidBlockSize, Lba};
