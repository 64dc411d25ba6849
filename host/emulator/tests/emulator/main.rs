//! The emulated kernel against a daemon that is written down straight from the header, without any crate that
//! a real daemon would use.
#![allow(
    clippy::unwrap_used,
    reason = "all of this is test code; clippy recognises only functions marked as tests"
)]

mod blocks;
mod control;
mod daemon;
mod features;
mod initiator;
mod model;
mod poison;
mod ring;
