//! What a cfgstring grants to a handler, and how it is opened.
//!
//! Everything that stands between what an operator wrote and the descriptors that a device loop gets. `lunboxd` and
//! `lunbox serve` share it, so a LUN is refused for the same reasons by both.
//!
//! * [`Cfgstring`] takes the host's own arguments out of the text behind `<subtype>/`, and [`parse`] takes the rest apart
//!   by the handler's option schema: values, and [`Locator`]s of stores.
//! * [`Geometry`] checks size, block size and transfer limit; [`Wording`] says in whose terms it complains.
//! * [`Master::open`] finds a file or block device by the rules of the tenant, [`Claims`] keeps it from being written
//!   by two LUNs of this process, and [`Master::describe`] opens it for one process that serves it, once no
//!   operation of that process's predecessor is left. Locks keep other processes of ours away.
//! * [`open_grant`] and [`open_requests`] do all of that for a process that serves the stores itself.
//!
//! Nothing in here needs root; what the user may not open is refused with the system's answer.

mod claims;
mod error;
mod fence;
mod find;
mod geometry;
mod locator;
mod lock;
mod master;
mod open;
mod options;
mod runner_arguments;
mod whole;

pub use claims::{Claim, Claims};
pub use error::GrantError;
pub use fence::{Blocker, FenceError, Fenced, Patience, Wait};
pub use geometry::{Geometry, GeometryError, Wording};
pub use locator::{Locator, LocatorError};
pub use master::{Adopted, Description, Kind, Master, Wanted};
pub use open::{Access, Grant, open_store};
pub use options::{MAX_TEXT, OptionError, Parsed, StoreRequest, parse, whole_text};
pub use runner_arguments::Cfgstring;
pub use whole::{OpenGrantError, Opened, OpenedStore, open_grant, open_requests};
