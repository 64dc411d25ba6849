//! Protocol data units of iSCSI (RFC 7143 clause 11) as values and bytes. Nothing here does I/O.
//!
//! * [`frame`] cuts a byte stream into frames and checks digests.
//! * [`request`] reads what initiators send; [`response`] writes what targets send.
//! * [`header`] is the basic header segment, [`ahs`] the additional ones, [`codes`] the numbers of the standard.

pub mod ahs;
pub mod codes;
mod encode;
pub mod frame;
pub mod header;
pub mod request;
pub mod response;
