//! The operator's policy: which tenant a device belongs to, and what that tenant may.
//!
//! * [`Policy`] is a whole file, `/etc/lunbox/policy.toml`; [`EXAMPLE`] explains every key.
//! * [`Tenant`] is what one tenant may. A device belongs to the first tenant in the file that has a match for it, else
//!   to the tenant `default`.
//! * [`PolicyError`] tells everything that is wrong with a file at once.
//!
//! Nothing here opens, resolves or enforces: users are names, paths are text.

mod document;
mod error;
mod file;
mod matching;
mod policy;
mod quantity;
mod rules;
mod tenant;

pub use error::{PolicyError, Problem};
pub use policy::{PATH, Policy};
pub use tenant::{Allowed, DEFAULT, Jail, Limits, Tenant, User};

/// A file that explains every key, for `/etc/lunbox/policy.toml` to begin with. It is a right one.
pub const EXAMPLE: &str = include_str!("../example.toml");
