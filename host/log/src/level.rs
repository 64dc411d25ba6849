//! Levels as tcmu-runner numbers them.

use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::CRIT_TARGET;

/// How much is logged, or how important a line is: 0 (least, most important) to 5. The numbers are those of `log_level`
/// in tcmu.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

/// A word that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no level of the log; use crit, error, warn, info, debug, trace, or 0 to 5")]
pub struct UnknownLevel(String);

impl Level {
    /// Starts, stops, changes of the configuration.
    pub const CRIT: Self = Self(0);
    /// Something failed.
    pub const ERROR: Self = Self(1);
    /// Something is not as it should be.
    pub const WARN: Self = Self(2);
    /// What an operator wants to know.
    pub const INFO: Self = Self(3);
    /// What helps to find faults.
    pub const DEBUG: Self = Self(4);
    /// Every command as it comes. Neither the journal nor syslog gets these.
    pub const TRACE: Self = Self(5);

    /// The level of this number; `None` above 5.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= 5 { Some(Self(number)) } else { None }
    }

    /// 0 to 5.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// As it stands in a line of the file.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self.0 {
            0 => "CRIT",
            1 => "ERROR",
            2 => "WARN",
            3 => "INFO",
            4 => "DEBUG",
            _ => "DEBUG_SCSI_CMD",
        }
    }

    /// Priority in the journal and in syslog (RFC 5424 6.2.1): 2 to 7. Level 5 has 7 too; it is never sent there.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self.0 {
            0 => 2,
            1 => 3,
            2 => 4,
            3 => 6,
            _ => 7,
        }
    }

    /// What tracing calls it; `off` for [`Level::CRIT`], which it does not have.
    #[must_use]
    pub const fn tracing_word(self) -> &'static str {
        match self.0 {
            0 => "off",
            1 => "error",
            2 => "warn",
            3 => "info",
            4 => "debug",
            _ => "trace",
        }
    }

    /// What passes: our own crates at this level, all others with warnings at most, [`Level::CRIT`] always.
    pub(crate) fn targets(self) -> Targets {
        let level = LevelFilter::from(self);
        Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target("lunbox", level)
            .with_target(CRIT_TARGET, LevelFilter::ERROR)
    }

    /// The level of an event.
    pub(crate) fn of(metadata: &tracing::Metadata<'_>) -> Self {
        if metadata.target() == CRIT_TARGET { Self::CRIT } else { (*metadata.level()).into() }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::ERROR,
            tracing::Level::WARN => Self::WARN,
            tracing::Level::INFO => Self::INFO,
            tracing::Level::DEBUG => Self::DEBUG,
            tracing::Level::TRACE => Self::TRACE,
        }
    }
}

impl From<LevelFilter> for Level {
    fn from(filter: LevelFilter) -> Self {
        filter.into_level().map_or(Self::CRIT, Self::from)
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level.0 {
            0 => Self::OFF,
            1 => Self::ERROR,
            2 => Self::WARN,
            3 => Self::INFO,
            4 => Self::DEBUG,
            _ => Self::TRACE,
        }
    }
}

/// `crit`, `error`, `warn`, `info`, `debug`, `trace`.
impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(if self.0 == 0 { "crit" } else { self.tracing_word() })
    }
}

/// Words of [`Level`]'s `Display`, some others that are used for them, and numbers; upper and lower case.
impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "crit" | "critical" | "off" | "0" => Self::CRIT,
            "error" | "1" => Self::ERROR,
            "warn" | "warning" | "2" => Self::WARN,
            "info" | "3" => Self::INFO,
            "debug" | "4" => Self::DEBUG,
            "trace" | "debug_scsi_cmd" | "5" => Self::TRACE,
            _ => return Err(UnknownLevel(word.chars().take(40).collect())),
        })
    }
}
