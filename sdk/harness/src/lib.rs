//! Runs a handler natively, in memory, without a kernel and without Wasm: for a handler's own tests.
//!
//! A [`Harness`] takes the place of the host. It executes commands, runs the plans that the handler answers
//! (barriers, zero-fill at the end of a store, durability, scratch buffers with the contract's limits), resumes and
//! cancels. Whatever the contract forbids is an [`Error::Violation`] that names the rule; what the initiator would
//! see, good or bad, is a [`Reply`].
//!
//! Storage can misbehave: [`Harness::fail_next`] makes operations fail, [`Harness::power_cut`] forgets writes that
//! no flush made durable, [`Setup::reverse_order`] runs operations that may run at the same time in the opposite
//! order.
//!
//! ```
//! use lunbox_harness::{Harness, MemStore};
//! # use lunbox_sdk::*;
//! # struct Plain;
//! # impl Handler for Plain {
//! #     fn describe() -> Description {
//! #         Description {
//! #             subtype: "plain".into(), name: String::new(), version: String::new(), config_help: String::new(),
//! #         }
//! #     }
//! #     fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
//! #         Ok((Self, DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 }))
//! #     }
//! # }
//! # impl Block for Plain {
//! #     fn submit(&mut self, command: &BlockCommand, _: &mut dyn Buffers) -> Outcome {
//! #         Outcome::Io(match command.kind {
//! #             BlockKind::Read => Op::read(StoreId(0), command.offset, command.length).zero_at_eof(),
//! #             BlockKind::Write => Op::write(StoreId(0), command.offset, command.length).durable(command.fua),
//! #             BlockKind::Flush => Op::flush(StoreId(0)),
//! #         })
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut disk = Harness::<Plain>::setup(1 << 20).store(MemStore::growing(0)).start()?;
//! disk.write(4096, &[0x5a; 512])?.good()?;
//! assert_eq!(disk.read(4096, 512)?.good()?, vec![0x5a; 512]);
//! # Ok(())
//! # }
//! ```
//!
//! Not imitated: limits of time and memory, and traps; a handler's panic unwinds into the test.

#![forbid(unsafe_code)]

mod abilities;
mod buffers;
mod command;
mod error;
mod harness;
mod plan;
mod reply;
mod setup;
mod store;

pub use error::{Error, StartError, Violation};
pub use harness::{CancelPoint, Harness};
pub use reply::{Ending, NotGood, Reply};
pub use setup::Setup;
pub use store::MemStore;
