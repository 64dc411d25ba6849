//! What a jail is to be, and the way into it.

use crate::error::Missing;
use crate::{JailError, Part, ProcessLimits};
use crate::{descriptors, filter, landlock_rules, limits, namespaces, privileges};

/// What the process is there for. Decides which system calls it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Serves devices by descriptors that it holds and is sent.
    Worker,
    /// Reads a component from stdin, writes machine code to stdout.
    Compiler,
}

impl Profile {
    /// The word for it in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Compiler => "compiler",
        }
    }
}

/// How a process is to be confined.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    /// Decides which system calls are left.
    pub profile: Profile,
    /// User and group to become, by number. None keeps them; root without capabilities is still the owner of
    /// root's files, though it can reach none by name. A compiler that can not become them does not go on.
    pub user: Option<(u32, u32)>,
    /// Resource limits.
    pub limits: ProcessLimits,
    /// Fail when the kernel or the privileges at hand lack a part, instead of going on without it.
    pub required: bool,
}

/// Confines the calling process as [`Confinement`] says. Returns the parts that are in force; each part that is
/// not, is logged as a warning that names the remedy. [`Part::User`] is in force only if a user is given.
///
/// Call it once, in a process with one thread and without open directories. There is no way back. Blocks for no
/// longer than its system calls take (a few milliseconds).
///
/// # Errors
/// See [`JailError`]. The process can be half confined then and has to end.
pub fn enter(confinement: &Confinement) -> Result<Vec<Part>, JailError> {
    enter_weakened(confinement, &Weakened::default())
}

/// Leaves something out, so that tests can show that each part and each rule does what it is there for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Weakened<'a> {
    /// Only these parts.
    pub parts: &'a [Part],
    /// Rules of the system-call policy that are left out, by the name of the call.
    pub without: &'a [&'a str],
}

impl Default for Weakened<'_> {
    fn default() -> Self {
        Self { parts: &Part::ALL, without: &[] }
    }
}

/// [`enter`] with something left out. For tests only.
///
/// # Errors
/// As [`enter`].
#[doc(hidden)]
pub fn enter_weakened(confinement: &Confinement, weakened: &Weakened<'_>) -> Result<Vec<Part>, JailError> {
    check_single_thread(confinement.required)?;
    let mut in_force = Vec::with_capacity(Part::ALL.len());
    for part in Part::ALL {
        if !weakened.parts.contains(&part) || part == Part::User && confinement.user.is_none() {
            continue;
        }
        match take(part, confinement, weakened)? {
            Ok(()) => in_force.push(part),
            Err(reason) if confinement.required => return Err(JailError::Missing { part, reason }),
            // It reads what strangers made.
            Err(reason) if part == Part::User && confinement.profile == Profile::Compiler => {
                return Err(JailError::Failed { part, reason });
            }
            Err(reason) => {
                let (name, remedy) = (confinement.profile.name(), part.remedy());
                match confinement.profile {
                    Profile::Worker => tracing::warn!("{name} goes on without {part}: {reason}; {remedy}"),
                    // One runs for each handler, and workers say the same of the same kernel.
                    Profile::Compiler => tracing::debug!("{name} goes on without {part}: {reason}; {remedy}"),
                }
            }
        }
    }
    Ok(in_force)
}

/// The outer error ends the attempt; the inner one means that the part is not to be had here.
fn take(
    part: Part,
    confinement: &Confinement,
    weakened: &Weakened<'_>,
) -> Result<Result<(), Missing>, JailError> {
    Ok(match part {
        Part::Limits => limits::set(&confinement.limits),
        Part::Namespaces => {
            descriptors::refuse_directories(confinement.required)?;
            namespaces::leave()
        }
        Part::User => match confinement.user {
            Some(user) => return privileges::become_user(user, weakened.parts.contains(&Part::Capabilities)),
            None => Ok(()),
        },
        Part::Capabilities => privileges::drop_capabilities(),
        Part::NoNewPrivileges => privileges::forbid_new(),
        Part::Landlock => landlock_rules::grant_nothing(),
        Part::Seccomp => filter::install(confinement.profile, weakened.without),
    })
}

fn check_single_thread(required: bool) -> Result<(), JailError> {
    match std::fs::read_dir("/proc/self/task") {
        Ok(threads) => match threads.count() {
            1 => Ok(()),
            count => Err(JailError::Threads { count }),
        },
        Err(error) if required => Err(JailError::Proc(error)),
        Err(error) => {
            tracing::warn!("can not count the own threads: {error}; mount /proc");
            Ok(())
        }
    }
}
