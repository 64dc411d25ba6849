//! Metrics in the text format of Prometheus, and where they are fetched.
//!
//! * [`Family`] and [`Sample`] are what is told; [`text`] writes them down (OpenMetrics 1.0.0, which Prometheus reads
//!   since 2.5).
//! * [`Address`] is where: a Unix socket, or a port of this machine only.
//! * [`Endpoint`] answers `GET /metrics` there, with what a [`Source`] knows at that moment.
//!
//! The HTTP server is our own because it needs little (one resource, no body, no kept connection) and must promise what
//! ready-made small ones do not: a bounded number of connections, a deadline for each, and one thread in all.

mod address;
mod endpoint;
mod family;
mod http;
mod place;

pub use address::{Address, AddressError};
pub use endpoint::{Endpoint, EndpointError, Source};
pub use family::{CONTENT_TYPE, Family, Histogram, Labels, Sample, Unit, Value, text};
