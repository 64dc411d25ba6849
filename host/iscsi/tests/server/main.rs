//! The whole front over TCP on the loopback interface, against LUNs that do what the test says and an initiator that
//! builds its PDUs by hand. One file for each behaviour.
#![allow(clippy::unwrap_used, reason = "in helpers of tests as in tests: a failure is a panic with its line")]

mod aborts;
mod attentions;
mod backpressure;
mod closed;
mod connections;
mod data_in;
mod digests;
mod discovery;
mod garbage;
mod lies;
mod limits;
mod login;
mod logout;
mod lost;
mod luns;
mod numbering;
mod pings;
mod reinstatement;
mod resets;
mod residuals;
mod status;
mod stop;
mod support;
mod timeouts;
mod write_memory;
mod writes;
