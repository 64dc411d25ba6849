//! Kernels and privileges that lack something: go on without it where that is allowed, fail where it is not.

use std::collections::BTreeMap;
use std::fs::File;

use lunbox_jail::{JailError, Part, Profile, enter};
use nix::errno::Errno;
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::parts::NOBODY;
use crate::trial::{Jail, Outcome, Trial};

/// From here on the kernel answers a call with this error, like one that does not have it.
fn take_away(call: i64, errno: Errno) {
    let errno = u32::try_from(errno as i32).unwrap();
    let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let table = BTreeMap::from([(call, Vec::new())]);
    let filter =
        SeccompFilter::new(table, SeccompAction::Allow, SeccompAction::Errno(errno), architecture).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn all_but(missing: &[Part]) -> Vec<Part> {
    Part::ALL.into_iter().filter(|part| !missing.contains(part)).collect()
}

fn passes<'a>(list: &'a mut Vec<Trial>, name: &str, act: impl Fn() + 'static) -> &'a mut Trial {
    list.push(Trial::new(name, None, Outcome::Works, move |_| {
        act();
        Ok(())
    }));
    list.last_mut().unwrap()
}

fn without(list: &mut Vec<Trial>, part: Part, call: i64, errno: Errno) {
    let best_effort = move || {
        take_away(call, errno);
        let mut jail = Jail::of(Profile::Worker, &Part::ALL).user(NOBODY);
        jail.confinement.required = false;
        assert_eq!(enter(&jail.confinement).unwrap(), all_but(&[part]));
    };
    passes(list, &format!("a kernel without {part}: goes on"), best_effort).needs_root = true;
    let required = move || {
        take_away(call, errno);
        let jail = Jail::of(Profile::Worker, &Part::ALL).user(NOBODY);
        match enter(&jail.confinement) {
            Err(JailError::Missing { part: missing, .. }) => assert_eq!(missing, part),
            other => panic!("{other:?}"),
        }
    };
    passes(list, &format!("a kernel without {part}: fails if it is required"), required).needs_root = true;
}

pub fn trials(list: &mut Vec<Trial>) {
    without(list, Part::Landlock, libc::SYS_landlock_create_ruleset, Errno::ENOSYS);
    without(list, Part::Namespaces, libc::SYS_unshare, Errno::EINVAL);
    without(list, Part::Namespaces, libc::SYS_pivot_root, Errno::EPERM);
    without(list, Part::Seccomp, libc::SYS_seccomp, Errno::EINVAL);
    let user = || {
        // Allowed to become somebody else, and failing: never goes on as root.
        take_away(libc::SYS_setresuid, Errno::EAGAIN);
        let mut jail = Jail::of(Profile::Worker, &Part::ALL).user(NOBODY);
        jail.confinement.required = false;
        assert!(matches!(enter(&jail.confinement), Err(JailError::Failed { part: Part::User, .. })));
    };
    passes(list, "a user that can not be become", user).needs_root = true;

    let unprivileged = || {
        let mut jail = Jail::of(Profile::Worker, &Part::ALL);
        jail.confinement.required = false;
        assert_eq!(enter(&jail.confinement).unwrap(), all_but(&[Part::Namespaces, Part::User]));
        let refused = File::open("/proc/self/mem").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    };
    let trial = Trial::new("not root: what needs no privilege", None, Outcome::Works, move |_| {
        unprivileged();
        Ok(())
    });
    list.push(trial.start_as(NOBODY));
    let trial = Trial::new("not root: another user is not to be had", None, Outcome::Works, |_| {
        let mut jail = Jail::of(Profile::Worker, &Part::ALL).user(1);
        jail.confinement.required = false;
        assert_eq!(enter(&jail.confinement).unwrap(), all_but(&[Part::Namespaces, Part::User]));
        Ok(())
    });
    list.push(trial.start_as(NOBODY));
    let trial =
        Trial::new("not root: a compiler does not go on as another user", None, Outcome::Works, |_| {
            let mut jail = Jail::of(Profile::Compiler, &Part::ALL).user(1);
            jail.confinement.required = false;
            let error = enter(&jail.confinement).unwrap_err();
            assert!(matches!(error, JailError::Failed { part: Part::User, .. }), "{error}");
            assert!(error.to_string().contains("CAP_SETUID"), "names the remedy: {error}");
            Ok(())
        });
    list.push(trial.start_as(NOBODY));
    passes(list, "root without CAP_SETUID does not compile", || {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_SETUID).unwrap();
        let mut jail = Jail::of(Profile::Compiler, &Part::ALL).user(NOBODY);
        jail.confinement.required = false;
        let error = enter(&jail.confinement).unwrap_err();
        assert!(matches!(error, JailError::Failed { part: Part::User, .. }), "{error}");
    })
    .needs_root = true;
    let trial = Trial::new("not root: the own user is in force already", None, Outcome::Works, |_| {
        let mut jail = Jail::of(Profile::Worker, &Part::ALL).user(NOBODY);
        jail.confinement.required = false;
        assert_eq!(enter(&jail.confinement).unwrap(), all_but(&[Part::Namespaces]));
        Ok(())
    });
    list.push(trial.start_as(NOBODY));
    let trial = Trial::new("not root: fails if everything is required", None, Outcome::Works, |_| {
        let jail = Jail::of(Profile::Worker, &Part::ALL);
        let error = enter(&jail.confinement).unwrap_err();
        assert!(matches!(error, JailError::Missing { part: Part::Namespaces, .. }), "{error}");
        assert!(error.to_string().contains("CAP_SYS_ADMIN"), "names the remedy: {error}");
        Ok(())
    });
    list.push(trial.start_as(NOBODY));

    passes(list, "a second thread is refused", || {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let refused = enter(&Jail::of(Profile::Worker, &Part::ALL).confinement).unwrap_err();
        assert!(matches!(refused, JailError::Threads { count: 2 }), "{refused}");
        drop(go);
        assert!(thread.join().unwrap().is_err());
    });
    let directory = || {
        let held = File::open("/").unwrap();
        let jail = Jail::of(Profile::Worker, &[Part::Namespaces]);
        let refused = jail.enter().unwrap_err();
        let number = std::os::fd::AsRawFd::as_raw_fd(&held).to_string();
        assert!(
            matches!(&refused, JailError::OpenDirectory { descriptor } if *descriptor == number),
            "{refused}"
        );
    };
    passes(list, "an open directory is refused", directory);
    passes(list, "a limit above the hard limit keeps that", || {
        // As root without CAP_SYS_RESOURCE, or as anybody.
        caps::clear(None, caps::CapSet::Effective).unwrap();
        use nix::sys::resource::{Resource, getrlimit};
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let mut jail = Jail::of(Profile::Worker, &[Part::Limits]);
        jail.confinement.limits.open_files = hard + 1;
        jail.enter().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    });
}
