//! Why a process could not be confined.

use std::io;

use crate::Part;

/// Some steps can have been taken when this is returned, and none can be taken back: end the process.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The process has more than one thread: the others would stay outside of the jail.
    #[error("the process has {count} threads; confine it before it starts any")]
    Threads {
        /// How many there are.
        count: usize,
    },
    /// A directory is open. Everything below it could be opened through it.
    #[error("descriptor {descriptor} is a directory, which would lead out of the jail; close it before")]
    OpenDirectory {
        /// Its number.
        descriptor: String,
    },
    /// A part is required, and can not be had.
    #[error("{part} is required but not to be had: {reason}; {}, or do not require the whole jail", part.remedy())]
    Missing {
        /// Which.
        part: Part,
        /// What failed.
        reason: Missing,
    },
    /// A step failed after which going on would be wrong even where no part is required.
    #[error("{part}: {reason}; {}", part.remedy())]
    Failed {
        /// Which part it belongs to.
        part: Part,
        /// What failed.
        reason: Missing,
    },
    /// `/proc/self` can not be read, so it is not known what the process holds.
    #[error("can not look at the own process: {0}; mount /proc, or do not require the whole jail")]
    Proc(io::Error),
}

/// What failed when a part was to be taken into force.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// A system call.
    #[error("{step}: {errno}")]
    Call {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        errno: nix::Error,
    },
    /// A library or the kernel said so in words.
    #[error("{step}: {text}")]
    Text {
        /// What was tried.
        step: &'static str,
        /// What was said.
        text: String,
    },
}

impl Missing {
    /// For `map_err`.
    pub(crate) fn call(step: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |errno| Self::Call { step, errno }
    }

    /// For `map_err`, where the error is no errno.
    pub(crate) fn text<E: ToString>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Text { step, text: error.to_string() }
    }
}
