//! tcmu.conf: its grammar, its keys, and word of its changes.
//!
//! * [`Document`] turns the bytes of a file into a [`Conf`], whatever they are, and says line by line what it could
//!   not use.
//! * [`load`] reads the file. One that is missing is a file without lines, and a warning.
//! * [`Watcher`] tells when it may have changed: written in place, replaced by another, removed, or made at last.
//!
//! Nothing here knows what a key does, or what else (command line, environment) may set the same thing.

mod conf;
mod document;
mod load;
mod warning;
mod watcher;

pub use conf::{Conf, ForeignSubtypes, MAX_LOG_LEVEL, MAX_PATH};
pub use document::{Document, MAX_BYTES, MAX_WARNINGS};
pub use load::{LoadError, Loaded, PATH, load};
pub use warning::Warning;
pub use watcher::{Pace, WatchError, Watcher};
