//! Composites on a disk of bytes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod cases;
mod compare;
mod copy;
mod fake;
mod faults;
mod fills;
mod lba_status;
mod modes;
mod property;
mod unmap;
