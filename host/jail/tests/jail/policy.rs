//! Every rule of the policy, and its negation.

use std::collections::BTreeSet;

use lunbox_jail::policy::{self, Verdict};
use lunbox_jail::{Part, Profile};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use crate::allowed::{self, PROBES};
use crate::raw::{self, call};
use crate::refused::{self, REFUSED};
use crate::trial::{Jail, Outcome, Trial};

const PROFILES: [Profile; 2] = [Profile::Worker, Profile::Compiler];

/// Above every system call number there is for some time.
const NUMBERS: i64 = 600;

/// uretprobe and uprobe of x86_64. The kernel lets them pass without asking any filter (since 6.14), and ends a process
/// that makes them from anywhere but its own trampoline with SIGILL: nothing is gained by them.
const NEVER_FILTERED: [i64; 2] = [335, 336];

/// `CLONE_ARGS_SIZE_VER0` of include/uapi/linux/sched.h.
const CLONE3_ARGUMENTS: u64 = 64;

fn seccomp(profile: Profile) -> Jail {
    Jail::of(profile, &[Part::NoNewPrivileges, Part::Seccomp])
}

/// The filter, and what any user can have besides: should the filter let something pass, little comes of it.
fn harmless(profile: Profile) -> Jail {
    Jail::of(profile, &[Part::Capabilities, Part::NoNewPrivileges, Part::Landlock, Part::Seccomp])
}

fn rule(profile: Profile, verdict: Verdict, name: &str) -> Option<&'static policy::Rule> {
    policy::rules(profile).find(|rule| rule.verdict == verdict && rule.call.name() == name)
}

pub fn trials(list: &mut Vec<Trial>) {
    for profile in PROFILES {
        for probe in PROBES {
            let name = allowed::name_here(probe);
            let of = format!("{}: {name} {}", profile.name(), probe.case);
            if rule(profile, Verdict::Allow, name).is_none() {
                // The other profile's: here it is refused as it stands.
                let refused = Outcome::Fails(Errno::EPERM);
                list.push(Trial::new(
                    format!("{of} is not listed"),
                    Some(seccomp(profile)),
                    refused,
                    probe.act,
                ));
                continue;
            }
            list.push(Trial::new(format!("{of} works"), Some(seccomp(profile)), Outcome::Works, probe.act));
            let refused = match name {
                // The handler returns into nowhere.
                "rt_sigreturn" => Outcome::Crashes,
                _ => Outcome::Fails(Errno::EPERM),
            };
            let jail = seccomp(profile).without(name);
            list.push(Trial::new(
                format!("{of} is refused without its rule"),
                Some(jail),
                refused,
                probe.act,
            ));
        }
        for refused in REFUSED {
            let name = format!("{}: {} {}", profile.name(), refused.call, refused.what);
            let errno = Errno::from_raw(policy::REFUSED);
            let outcome = Outcome::Fails(errno);
            list.push(Trial::new(format!("{name} is refused"), Some(seccomp(profile)), outcome, refused.act));
        }
        for fatal in refused::FATAL {
            let name = format!("{}: {} {} kills", profile.name(), fatal.call, fatal.what);
            let killed = Outcome::Killed(Signal::SIGSYS);
            list.push(Trial::new(name, Some(seccomp(profile)), killed, fatal.act));
        }
        for fatal in policy::rules(profile).filter(|r| r.verdict == Verdict::Kill && r.cases.is_empty()) {
            let (name, number) = (fatal.call.name(), fatal.call.number());
            let of = format!("{}: {name}", profile.name());
            let jail = harmless(profile);
            let act = move |_: &mut _| call(number, &[u64::MAX; 6]).map(drop);
            let killed = Outcome::Killed(Signal::SIGSYS);
            list.push(Trial::new(format!("{of} kills"), Some(jail.clone()), killed, act));
            let refused = Outcome::Fails(Errno::EPERM);
            list.push(Trial::new(
                format!("{of} is refused without its rule"),
                Some(jail.without(name)),
                refused,
                act,
            ));
        }
        absent(profile, list);
        unlisted(profile, list);
    }
    controls(list);
    foreign(list);
}

fn absent(profile: Profile, list: &mut Vec<Trial>) {
    let of = format!("{}: clone3", profile.name());
    let act = |_: &mut _| call(libc::SYS_clone3, &[0, CLONE3_ARGUMENTS]).map(drop);
    let absent = Outcome::Fails(Errno::ENOSYS);
    list.push(Trial::new(format!("{of} is absent"), Some(seccomp(profile)), absent, act));
    let jail = seccomp(profile).without("clone3");
    let refused = Outcome::Fails(Errno::EPERM);
    list.push(Trial::new(format!("{of} is refused without its rule"), Some(jail), refused, act));
}

/// The same calls outside of the jail: neither EPERM nor a signal.
fn controls(list: &mut Vec<Trial>) {
    let not_refused = Outcome::NotFails(Errno::EPERM);
    for refused in REFUSED.iter().chain(refused::FATAL) {
        let name = format!("outside: {} {} is not refused", refused.call, refused.what);
        list.push(Trial::new(name, None, not_refused, refused.act).needs_root());
    }
    let clone3 = |_: &mut _| call(libc::SYS_clone3, &[0, CLONE3_ARGUMENTS]).map(drop);
    list.push(Trial::new("outside: clone3 is there", None, Outcome::Fails(Errno::EFAULT), clone3));
}

/// All numbers that no rule lists.
fn unlisted(profile: Profile, list: &mut Vec<Trial>) {
    let listed: BTreeSet<_> = policy::rules(profile).map(|rule| rule.call.number()).collect();
    let act = move |_: &mut _| {
        let passed: Vec<_> = (0..NUMBERS)
            .filter(|number| !listed.contains(number) && !NEVER_FILTERED.contains(number))
            .filter(|&number| call(number, &[]) != Err(Errno::EPERM))
            .collect();
        assert_eq!(passed, [] as [i64; 0], "numbers of calls that no rule lists and that are not refused");
        Ok(())
    };
    let name = format!("{}: every call that is not listed is refused", profile.name());
    list.push(Trial::new(name, Some(harmless(profile)), Outcome::Works, act));
}

/// Calls of other ABIs.
fn foreign(list: &mut Vec<Trial>) {
    #[cfg(target_arch = "x86_64")]
    {
        let worker = || Some(seccomp(Profile::Worker));
        let killed = Outcome::Killed(Signal::SIGSYS);
        let x32 = |_: &mut _| call(0x4000_0000 + libc::SYS_getpid, &[]).map(drop);
        list.push(Trial::new("x32 getpid kills", worker(), killed, x32));
        let old = |_: &mut _| match raw::getpid_of_32_bits() {
            pid if pid == i64::from(std::process::id()) => Ok(()),
            _ => Err(Errno::ENOSYS),
        };
        list.push(Trial::new("32-bit getpid kills", worker(), killed, old));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (list, raw::call);
}

/// What is tried is what the policy has: no rule, and no case of a rule, is without its probe and its negation.
pub fn check_completeness() {
    let tried: BTreeSet<_> = PROBES.iter().map(|probe| (allowed::name_here(probe), probe.case)).collect();
    assert_eq!(tried.len(), PROBES.len(), "no case is probed twice");
    let mut allowed_cases = BTreeSet::new();
    let mut conditioned = BTreeSet::new();
    let mut fatal_conditions = BTreeSet::new();
    let mut absent = BTreeSet::new();
    for profile in PROFILES {
        let mut calls = BTreeSet::new();
        for rule in policy::rules(profile) {
            let name = rule.call.name();
            assert!(!rule.reason.is_empty(), "{name}: a rule has its reason");
            let kills = rule.verdict == Verdict::Kill;
            assert!(calls.insert((name, kills)), "{name}: one rule of a kind for each call");
            match rule.verdict {
                Verdict::Allow if rule.cases.is_empty() => {
                    allowed_cases.insert((name, ""));
                }
                Verdict::Allow => {
                    allowed_cases.extend(rule.cases.iter().map(|case| (name, case.name)));
                    conditioned.insert(name);
                }
                Verdict::Kill if !rule.cases.is_empty() => {
                    fatal_conditions.insert(name);
                }
                Verdict::Kill => {}
                Verdict::Absent => {
                    absent.insert(name);
                }
            }
        }
    }
    assert_eq!(tried, allowed_cases, "probes of allowed.rs (left) and allowed cases of the policy (right)");
    let negated: BTreeSet<_> = REFUSED.iter().map(|refused| refused.call).collect();
    let negated: BTreeSet<_> =
        negated.union(&refused::FATAL.iter().map(|f| f.call).collect()).copied().collect();
    assert_eq!(negated, conditioned, "negations of refused.rs (left) and rules with conditions (right)");
    let killing: BTreeSet<_> = refused::FATAL.iter().map(|fatal| fatal.call).collect();
    assert_eq!(killing, fatal_conditions, "conditions that kill");
    assert_eq!(absent, BTreeSet::from(["clone3"]), "calls that are answered as absent");
}
