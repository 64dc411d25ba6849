//! Clients that nobody here wrote (libiscsi's tools, qemu's iSCSI driver) against the built `lunbox serve`.
//!
//! The library starts and ends servers and clients, each within a bound, and understands what they print. The tests in
//! `tests/` drive it; so do two programs: `libiscsi-suite` keeps the ratchet of the libiscsi test suite, and
//! `lunbox-bench-iscsi` compares with tgt. Nothing here links the server: what is tested is the program that users run.

pub mod bench;
pub mod built;
pub mod image;
pub mod process;
pub mod programs;
pub mod qemu;
pub mod raw;
pub mod serve;
pub mod suite;
pub mod tgt;
pub mod wait;
