//! What users of `lunbox serve` may expect, tried with clients that others wrote. Every test has its own server on a
//! free port and its own files.
#![allow(
    clippy::unwrap_used,
    reason = "all of this is test code; clippy recognises only functions marked as tests"
)]

mod capacity;
mod chap;
mod digests;
mod discovery;
mod ending;
mod garbage;
mod identity;
mod images;
mod killed_client;
mod read_only;
mod refusals;
mod several_luns;
mod single_requests;
mod slow_loris;
mod support;
mod two_initiators;
