//! What a Lunbox handler is written against.
//!
//! A handler is the code behind a LUN: it decides what a command *means* and answers with a plan; the host moves
//! the bytes. The rules stand in `wit/handler.wit`; this crate turns them into traits.
//!
//! * [`Handler`] is what every handler implements: who it is, how it starts, how it goes on after operations.
//! * [`Block`] (reads, writes, flushes in bytes) or [`Cdb`] (whole CDBs), or both, is its kind.
//! * [`Resize`], [`BlockUnmap`], [`BlockWriteZeroes`], [`BlockCompareAndWrite`], [`State`], [`Events`] and
//!   [`Options`] are abilities. The host probes which of them a component exports.
//! * [`export_handler!`] names the type and its kind and abilities; for Wasm targets it makes the component's
//!   exports, for others it only checks that the traits are there. So `cargo test` runs handlers natively, with
//!   the crate `lunbox-harness` in the place of the host.
//!
//! ```
//! use lunbox_sdk::{
//!     Block, BlockCommand, BlockKind, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Op,
//!     Outcome, StoreId, export_handler,
//! };
//!
//! struct Mirrorless;
//!
//! impl Handler for Mirrorless {
//!     fn describe() -> Description {
//!         Description {
//!             subtype: "mirrorless".into(),
//!             name: "One store, no mirror".into(),
//!             version: env!("CARGO_PKG_VERSION").into(),
//!             config_help: "the path of a file".into(),
//!         }
//!     }
//!
//!     fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
//!         Ok((Self, DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 }))
//!     }
//! }
//!
//! impl Block for Mirrorless {
//!     fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
//!         let store = StoreId(0);
//!         Outcome::Io(match command.kind {
//!             BlockKind::Read => Op::read(store, command.offset, command.length).zero_at_eof(),
//!             BlockKind::Write => Op::write(store, command.offset, command.length).durable(command.fua),
//!             BlockKind::Flush => Op::flush(store),
//!         })
//!     }
//! }
//!
//! export_handler!(Mirrorless: block);
//! # fn main() {}
//! ```
//!
//! A handler crate is a `cdylib` (the component) and an `rlib` (its tests), and is built with
//! `cargo build --target wasm32-unknown-unknown --profile guest`.
//!
//! # Panics
//! A panic ends the instance; the host logs its place and message and makes a new instance. Nothing in this crate
//! panics, whatever the host answers.

#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]

mod ability;
mod export;
mod handler;
pub mod log;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod wasm;

pub use ability::{
    BlockCompareAndWrite, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Events, Options, Resize, State,
};
pub use handler::{Block, Cdb, Handler};
pub use lunbox_contract::*;
pub use lunbox_scsi as scsi;
pub use lunbox_scsi::{Sense, SenseKey};
