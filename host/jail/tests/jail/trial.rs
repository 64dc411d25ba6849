//! One thing tried in one process: described alike in the runner and in its child, which finds it by its name.

use std::fmt;

use lunbox_jail::{Confinement, JailError, Part, ProcessLimits, Profile, Weakened, enter_weakened};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use crate::raw;
use crate::stage::Stage;

/// What the runner is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Works,
    Fails(Errno),
    /// Anything but this error, and no signal. For controls: that the error comes from the jail.
    NotFails(Errno),
    Killed(Signal),
    /// By whichever signal.
    Crashes,
}

impl Outcome {
    pub fn is_met_by(self, seen: Self) -> bool {
        match (self, seen) {
            (Self::NotFails(unwanted), Self::Fails(errno)) => errno != unwanted,
            (Self::NotFails(_), Self::Works) | (Self::Crashes, Self::Killed(_)) => true,
            (expected, seen) => expected == seen,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Fails(errno) => write!(f, "{errno:?}"),
            Self::NotFails(errno) => write!(f, "anything but {errno:?}"),
            Self::Killed(signal) => write!(f, "{signal}"),
            Self::Crashes => f.write_str("any signal"),
        }
    }
}

/// Exit code of a child whose probe worked.
const WORKED: u64 = 0;
/// Exit code of a child that could not enter its jail.
pub const NOT_ENTERED: i32 = 2;
/// Exit code for an errno is this plus the errno. 101 is that of a panic.
pub const ERRNO_BASE: i32 = 110;

/// Which jail, and whether one at all.
#[derive(Clone, Debug)]
pub struct Jail {
    pub confinement: Confinement,
    pub parts: Vec<Part>,
    pub without: Vec<&'static str>,
}

pub const LIMITS: ProcessLimits =
    ProcessLimits { open_files: 64, address_space: None, cpu_seconds: None, file_size: None };

impl Jail {
    pub fn of(profile: Profile, parts: &[Part]) -> Self {
        let confinement = Confinement { profile, user: None, limits: LIMITS, required: true };
        Self { confinement, parts: parts.to_vec(), without: Vec::new() }
    }

    pub fn user(mut self, uid: u32) -> Self {
        self.confinement.user = Some((uid, uid));
        self
    }

    pub fn without(mut self, call: &'static str) -> Self {
        self.without.push(call);
        self
    }

    pub fn limits(mut self, limits: ProcessLimits) -> Self {
        self.confinement.limits = limits;
        self
    }

    pub fn enter(&self) -> Result<Vec<Part>, JailError> {
        enter_weakened(&self.confinement, &Weakened { parts: &self.parts, without: &self.without })
    }
}

/// What a trial does.
pub type Act = dyn Fn(&mut Stage) -> Result<(), Errno>;

/// What is done, in what, and what comes of it.
pub struct Trial {
    pub name: String,
    pub jail: Option<Jail>,
    pub act: Box<Act>,
    pub expected: Outcome,
    /// Apart from the jail: the child is started as this user.
    pub start_as: Option<u32>,
    /// The trial makes sense for root only.
    pub needs_root: bool,
}

impl Trial {
    pub fn new(
        name: impl Into<String>,
        jail: Option<Jail>,
        expected: Outcome,
        act: impl Fn(&mut Stage) -> Result<(), Errno> + 'static,
    ) -> Self {
        Self { name: name.into(), jail, act: Box::new(act), expected, start_as: None, needs_root: false }
    }

    pub fn needs_root(mut self) -> Self {
        self.needs_root = true;
        self
    }

    pub fn start_as(mut self, uid: u32) -> Self {
        self.start_as = Some(uid);
        self.needs_root()
    }

    /// Runs in the child. Does not return.
    pub fn run(&self) -> ! {
        let mut stage = Stage::new();
        if let Some(jail) = &self.jail {
            match jail.enter() {
                Ok(parts) => {
                    assert_eq!(parts, jail.parts, "the parts in force are those that were asked for")
                }
                Err(error) => {
                    eprintln!("{error}");
                    end(u64::from(NOT_ENTERED.cast_unsigned()));
                }
            }
        }
        match (self.act)(&mut stage) {
            Ok(()) => end(WORKED),
            Err(errno) => end(u64::from((ERRNO_BASE + errno as i32).cast_unsigned())),
        }
    }
}

/// Ends the process by whichever of the two calls the jail has left. What the stage made is not dropped.
pub fn end(code: u64) -> ! {
    let _ = raw::call(libc::SYS_exit_group, &[code]);
    let _ = raw::call(libc::SYS_exit, &[code]);
    std::process::abort()
}
