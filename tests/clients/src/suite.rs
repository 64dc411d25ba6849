//! The libiscsi conformance suite, and the ratchet that keeps what passes.

pub mod list;
pub mod outcome;
pub mod ratchet;
pub mod run;
