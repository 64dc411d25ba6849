//! Which system calls a jailed process may use, as data: one [`Rule`] for each call, with its reason.
//!
//! What no rule lists is refused with [`REFUSED`] and nothing else happens: libraries try calls that they can do
//! without, and a probe by a library must not end a tenant's devices. Calls that nothing of ours and no library in
//! use makes, but a take-over does, end the process ([`Verdict::Kill`]), which the kernel writes to the audit log.
//! Calls of a foreign ABI (32-bit, x32) end it, too: their numbers mean something else.

mod allowed;
mod fatal;

use nix::libc;

use crate::Profile;

/// What the caller of an unlisted call gets, as from a kernel that does not permit it.
pub const REFUSED: i32 = libc::EPERM;

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    symbol: &'static str,
    number: i64,
}

impl Call {
    /// As in the manual.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.symbol.trim_start_matches("SYS_")
    }

    /// Its number on the architecture that this was compiled for.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.number
    }
}

/// What becomes of a call that a rule lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is answered with ENOSYS, so that its caller takes the older way.
    Absent,
    /// The process is killed with SIGSYS.
    Kill,
}

/// What is to be done with one system call.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which.
    pub call: Call,
    /// What becomes of it.
    pub verdict: Verdict,
    /// With which arguments: one of these has to fit. Empty means any.
    pub cases: &'static [Case],
    /// In which profiles the rule stands.
    pub profiles: &'static [Profile],
    /// Why.
    pub reason: &'static str,
}

/// Arguments of a call.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The word for it.
    pub name: &'static str,
    /// All of these have to hold.
    pub checks: &'static [Check],
}

/// A condition on one argument, of which the kernel uses the lower 32 bits in all calls that have conditions here
/// (commands, flags, protections, process ids). Memory that an argument points to can not be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Which argument, from 0.
    pub argument: u8,
    /// What is asked of it.
    pub test: Test,
}

/// What is asked of an argument.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// It has this value.
    Equals(u32),
    /// Of the bits in `mask` exactly those in `value` are set.
    Bits {
        /// Which are looked at.
        mask: u32,
        /// Which of these are set.
        value: u32,
    },
    /// It is the id of the calling process.
    OwnProcess,
    /// It is not.
    OtherProcess,
}

/// The rules of a profile. No two of one verdict are about the same call.
pub fn rules(profile: Profile) -> impl Iterator<Item = &'static Rule> {
    allowed::RULES.iter().chain(fatal::RULES).filter(move |rule| rule.profiles.contains(&profile))
}

const BOTH: &[Profile] = &[Profile::Worker, Profile::Compiler];

/// A call by its symbol in libc.
macro_rules! call {
    ($symbol:ident) => {
        $crate::policy::Call { symbol: stringify!($symbol), number: nix::libc::$symbol }
    };
}
use call;

const fn rule(
    verdict: Verdict,
    profiles: &'static [Profile],
    call: Call,
    cases: &'static [Case],
    reason: &'static str,
) -> Rule {
    Rule { call, verdict, cases, profiles, reason }
}

const fn case(name: &'static str, checks: &'static [Check]) -> Case {
    Case { name, checks }
}

const fn check(argument: u8, test: Test) -> Check {
    Check { argument, test }
}

/// A flag or command of libc as the kernel sees it in a 32-bit argument.
const fn int(value: i32) -> u32 {
    value.cast_unsigned()
}
