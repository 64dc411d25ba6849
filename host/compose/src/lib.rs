//! SCSI commands that are made of several steps of a block handler: UNMAP, WRITE SAME, COMPARE AND WRITE, VERIFY,
//! FORMAT UNIT, EXTENDED COPY and the like.
//!
//! Each is a small state machine that knows neither ring nor Wasm nor threads: it is told that what it asked for has
//! ended ([`Composite::next`]), looks at bytes through [`Io`], asks for more, or ends. The device loop runs it on a
//! real handler, tests run it on a disk of bytes.
//!
//! Whoever makes one has checked what follows from the CDB alone: that the unit supports it and may be written, that
//! the range lies on the medium ([`Facts::span`]) and the buffer has room. What follows from the data, from the
//! medium or from the handler is decided here.

#![forbid(unsafe_code)]

mod burst;
mod check;
mod compare_and_write;
mod extended_copy;
mod fill;
mod format_unit;
mod lba_status;
mod or_write;
mod set_modes;
mod span;
mod step;
mod unmap;
mod unmap_pieces;
mod verify;
mod write_and_verify;
mod write_same;

pub use compare_and_write::CompareAndWrite;
pub use extended_copy::ExtendedCopy;
pub use format_unit::FormatUnit;
pub use lba_status::LbaStatus;
pub use or_write::OrWrite;
pub use set_modes::{Modes, SetModes};
pub use span::{MAX_ASKS, Span};
pub use step::{
    Ask, Composite, DATA_GONE, Facts, Failure, Gone, Io, MAX_WORK, Next, Scope, Verb, Verdict, Where,
};
pub use unmap::Unmap;
pub use verify::Verify;
pub use write_and_verify::WriteAndVerify;
pub use write_same::WriteSame;
