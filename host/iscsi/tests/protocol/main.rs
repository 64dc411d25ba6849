//! The protocol layer against bytes that were laid out by hand from the figures of RFC 7143.
#![allow(clippy::unwrap_used, reason = "in helpers of tests as in tests: a failure is a panic with its line")]

mod bytes;
mod framing;
mod fuzz;
mod login;
mod login_refusals;
mod requests;
mod responses;
mod text_requests;
