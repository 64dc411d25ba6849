//! What a cfgstring grants to a handler, and how it is opened.
//!
//! Everything that stands between what an operator wrote and the descriptors that a device loop gets. `lunboxd` and
//! `lunbox serve` share it, so a LUN is refused for the same reasons by both.
//!
//! * [`Cfgstring`] takes the text behind `<subtype>/` apart.
//! * [`Geometry`] checks size, block size and transfer limit; [`Wording`] says in whose terms it complains.
//! * [`open_store`] opens a file or block device, [`Claims`] keeps it from being written by two LUNs of this
//!   process, and a lock on the file keeps other processes of ours away from it.
//! * [`open_grant`] does all of that for a whole cfgstring and returns what a device is started with.
//!
//! Nothing in here needs root; what the user may not open is refused with the system's answer.

mod cfgstring;
mod claims;
mod geometry;
mod lock;
mod open;
mod whole;

pub use cfgstring::Cfgstring;
pub use claims::{Claim, Claims};
pub use geometry::{Geometry, GeometryError, Wording};
pub use open::{Access, Grant, GrantError, open_store};
pub use whole::{OpenGrantError, Opened, OpenedStore, open_grant};
