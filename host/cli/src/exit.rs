//! Exit statuses.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to do.
    Ok,
    /// It failed, and said why on stderr.
    Failed,
    /// Its command line was not understood.
    Usage,
    /// SIGINT, SIGTERM or SIGHUP came while it was starting, or a second one before everything was finished: 128 and
    /// the number of the signal.
    Interrupted(u8),
}

/// The table of `--help` and the manual pages.
pub const MEANINGS: &[(&str, &str)] = &[
    ("0", "done; for serve: ended by SIGINT, SIGTERM or SIGHUP, everything flushed"),
    (
        "1",
        "failed; stderr says why and what to do. For inspect: this host would not serve the handler; for policy check: \
         the file is wrong, or a device would be refused; for doctor: there is a problem",
    ),
    ("2", "the command line was not understood"),
    (
        "129, 130, 143",
        "serve: SIGHUP, SIGINT or SIGTERM came while it was starting, or a second one before everything was flushed",
    ),
];

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Interrupted(signal) => 128 + signal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_documented() {
        let documented: Vec<&str> = MEANINGS.iter().flat_map(|(codes, _)| codes.split(", ")).collect();
        let ends = [1, 2, 15].map(Exit::Interrupted);
        for exit in [Exit::Ok, Exit::Failed, Exit::Usage].into_iter().chain(ends) {
            assert!(documented.contains(&exit.code().to_string().as_str()), "{exit:?}");
        }
        assert_eq!(documented.len(), 6);
    }
}
