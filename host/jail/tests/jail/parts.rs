//! Each part by itself, and all of them together: the doors that a take-over would try.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use caps::{CapSet, Capability};
use lunbox_jail::{Part, ProcessLimits, Profile};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Uid, setuid};

use crate::raw::{self, call};
use crate::stage::{PAGE, Stage, flag, number};
use crate::trial::{Jail, LIMITS, Outcome, Trial};

/// Nobody and nogroup wherever there are any.
pub const NOBODY: u32 = 65534;

/// include/uapi/linux/ptrace.h: attaches without stopping the other, until this process ends.
const PTRACE_SEIZE: u64 = 0x4206;

const EPERM: Outcome = Outcome::Fails(Errno::EPERM);
const EACCES: Outcome = Outcome::Fails(Errno::EACCES);
const ENOENT: Outcome = Outcome::Fails(Errno::ENOENT);
const WORKS: Outcome = Outcome::Works;
const SIGSYS: Outcome = Outcome::Killed(Signal::SIGSYS);

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn io_done<T>(result: io::Result<T>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| errno(&error))
}

/// Something that an attacker would like to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    OpenSecret,
    OpenShadow,
    OpenOwnMemory,
    OpenParentsMemory,
    ReadParentsEnvironment,
    ListRoot,
    WriteNewFile,
    ClimbOut,
    OpenByRing,
    InternetSocket,
    UnixSocket,
    ConnectAbstract,
    ConnectPort,
    Mount,
    Trace,
    Kill,
    BecomeRoot,
    Execute,
    SetHostName,
    UseOpenFile,
    ShortenOpenFile,
}

impl Deed {
    fn act(self, s: &mut Stage) -> Result<(), Errno> {
        let out = &s.outside;
        let of_parent = |what: &str| format!("/proc/{}/{what}", out.parent);
        match self {
            Self::OpenSecret => io_done(File::open(&out.secret)),
            Self::OpenShadow => io_done(File::open("/etc/shadow")),
            Self::OpenOwnMemory => io_done(File::open("/proc/self/mem")),
            Self::OpenParentsMemory => io_done(File::open(of_parent("mem"))),
            Self::ReadParentsEnvironment => io_done(fs::read(of_parent("environ"))),
            Self::ListRoot => io_done(fs::read_dir("/")),
            Self::WriteNewFile => io_done(File::create("/new-file-of-a-jailed-process").inspect(|_| {
                let _ = fs::remove_file("/new-file-of-a-jailed-process");
            })),
            Self::ClimbOut => {
                io_done(std::env::set_current_dir("../../../..").and_then(|()| File::open("etc/passwd")))
            }
            Self::OpenByRing => {
                let path = std::ffi::CString::new(out.secret.to_str().unwrap()).unwrap();
                raw::open_by_io_uring(&mut s.ring, &path)
            }
            Self::InternetSocket => {
                call(libc::SYS_socket, &[flag(libc::AF_INET), flag(libc::SOCK_STREAM)]).map(drop)
            }
            Self::UnixSocket => {
                call(libc::SYS_socket, &[flag(libc::AF_UNIX), flag(libc::SOCK_STREAM)]).map(drop)
            }
            Self::ConnectAbstract => io_done(out.connect_abstract()),
            Self::ConnectPort => io_done(out.connect_tcp()),
            Self::Mount => {
                let none: Option<&str> = None;
                nix::mount::mount(none, "/", none, nix::mount::MsFlags::MS_REMOUNT, none)
            }
            Self::Trace => call(libc::SYS_ptrace, &[PTRACE_SEIZE, flag(out.parent.as_raw())]).map(drop),
            Self::Kill => kill(out.parent, None),
            Self::BecomeRoot => setuid(Uid::from_raw(0)),
            Self::Execute => call(libc::SYS_execve, &[s.root_path, 0, 0]).map(drop),
            Self::SetHostName => call(libc::SYS_sethostname, &[s.root_path, 1]).map(drop),
            Self::UseOpenFile => {
                io_done(s.file.write_all_at(b"new", 0).and_then(|()| s.file.read_at(&mut [0; 8], 0)))
            }
            // Rights of Landlock are those of the moment of opening: only the filter keeps the common log whole.
            Self::ShortenOpenFile => io_done(s.file.set_len(0)),
        }
    }
}

fn deeds(list: &mut Vec<Trial>, of: &str, jail: &Jail, deeds: &[(Deed, Outcome)]) {
    for &(deed, outcome) in deeds {
        let name = format!("{of}: {deed:?}");
        list.push(Trial::new(name, Some(jail.clone()), outcome, move |s| deed.act(s)));
    }
}

fn worker(parts: &[Part]) -> Jail {
    Jail::of(Profile::Worker, parts)
}

pub fn trials(list: &mut Vec<Trial>) {
    outside(list);
    use Deed::*;
    deeds(
        list,
        "Landlock alone",
        &worker(&[Part::NoNewPrivileges, Part::Landlock]),
        &[
            (OpenSecret, EACCES),
            (OpenShadow, EACCES),
            (OpenOwnMemory, EACCES),
            (OpenParentsMemory, EACCES),
            (ReadParentsEnvironment, EACCES),
            (ListRoot, EACCES),
            (WriteNewFile, EACCES),
            (ClimbOut, EACCES),
            (OpenByRing, EACCES),
            (ConnectAbstract, EPERM),
            (ConnectPort, EACCES),
            (Mount, EPERM),
            (Trace, EPERM),
            (Kill, EPERM),
            (UseOpenFile, WORKS),
            (ShortenOpenFile, WORKS),
        ],
    );
    deeds(
        list,
        "namespaces alone",
        &worker(&[Part::Namespaces]),
        &[
            (OpenSecret, ENOENT),
            (OpenShadow, ENOENT),
            (OpenOwnMemory, ENOENT),
            (OpenParentsMemory, ENOENT),
            (ReadParentsEnvironment, ENOENT),
            (WriteNewFile, Outcome::Fails(Errno::EROFS)),
            (ClimbOut, ENOENT),
            (OpenByRing, ENOENT),
            (ConnectAbstract, Outcome::Fails(Errno::ECONNREFUSED)),
            (ConnectPort, Outcome::Fails(Errno::ENETUNREACH)),
            (UseOpenFile, WORKS),
            (ShortenOpenFile, WORKS),
        ],
    );
    deeds(
        list,
        "seccomp alone",
        &worker(&[Part::NoNewPrivileges, Part::Seccomp]),
        &[
            (OpenSecret, EPERM),
            (OpenShadow, EPERM),
            (OpenOwnMemory, EPERM),
            (OpenParentsMemory, EPERM),
            (ReadParentsEnvironment, EPERM),
            (ListRoot, EPERM),
            (WriteNewFile, EPERM),
            (ClimbOut, EPERM),
            (InternetSocket, EPERM),
            (UnixSocket, EPERM),
            (ConnectAbstract, EPERM),
            (ConnectPort, EPERM),
            (Mount, SIGSYS),
            (Trace, SIGSYS),
            (Kill, EPERM),
            (BecomeRoot, EPERM),
            (Execute, SIGSYS),
            (SetHostName, SIGSYS),
            (UseOpenFile, WORKS),
            (ShortenOpenFile, EPERM),
            // What the documentation says: the filter does not see what io_uring does. The other parts do.
            (OpenByRing, WORKS),
        ],
    );
    deeds(
        list,
        "capabilities alone",
        &worker(&[Part::Capabilities]),
        &[(Mount, EPERM), (SetHostName, EPERM), (UseOpenFile, WORKS), (ShortenOpenFile, WORKS)],
    );
    deeds(
        list,
        "user alone",
        &worker(&[Part::User]).user(NOBODY),
        &[
            (OpenShadow, EACCES),
            (OpenParentsMemory, EACCES),
            (ReadParentsEnvironment, EACCES),
            (Mount, EPERM),
            (Trace, EPERM),
            (Kill, EPERM),
            (BecomeRoot, EPERM),
            (SetHostName, EPERM),
            (UseOpenFile, WORKS),
            (ShortenOpenFile, WORKS),
        ],
    );
    let everything = worker(&Part::ALL).user(NOBODY);
    for (of, jail) in [
        ("everything", everything.clone()),
        ("compiler", Jail::of(Profile::Compiler, &Part::ALL).user(NOBODY)),
    ] {
        deeds(
            list,
            of,
            &jail,
            &[
                (OpenSecret, EPERM),
                (OpenShadow, EPERM),
                (OpenOwnMemory, EPERM),
                (OpenParentsMemory, EPERM),
                (ReadParentsEnvironment, EPERM),
                (ListRoot, EPERM),
                (InternetSocket, EPERM),
                (UnixSocket, EPERM),
                (ConnectAbstract, EPERM),
                (ConnectPort, EPERM),
                (Mount, SIGSYS),
                (Trace, SIGSYS),
                (Kill, EPERM),
                (BecomeRoot, EPERM),
                (Execute, SIGSYS),
                (ShortenOpenFile, EPERM),
            ],
        );
    }
    deeds(list, "everything", &everything, &[(OpenByRing, ENOENT), (UseOpenFile, WORKS)]);
    let every_part_but_user: Vec<_> = Part::ALL.into_iter().filter(|&part| part != Part::User).collect();
    let as_root = worker(&every_part_but_user);
    deeds(
        list,
        "everything, as root",
        &as_root,
        &[(OpenByRing, ENOENT), (BecomeRoot, EPERM), (UseOpenFile, WORKS)],
    );
    list.push(Trial::new("everything: a worker's work", Some(everything), WORKS, work_of_a_worker));
    list.push(Trial::new("everything, as root: a worker's work", Some(as_root), WORKS, work_of_a_worker));
    let in_thread = |s: &mut Stage| {
        let secret = s.outside.secret.clone();
        std::thread::spawn(move || io_done(File::open(secret))).join().unwrap()
    };
    for part in [Part::Landlock, Part::Seccomp] {
        let jail = worker(&[Part::NoNewPrivileges, part]);
        let outcome = if part == Part::Landlock { EACCES } else { EPERM };
        list.push(Trial::new(
            format!("{part} alone: a thread that starts later"),
            Some(jail),
            outcome,
            in_thread,
        ));
    }
    list.push(Trial::new("a scrubbed child", None, WORKS, |_| {
        let foreign =
            std::env::vars().find(|(name, _)| !name.starts_with("JAIL_") && name != "GLIBC_TUNABLES");
        assert_eq!(foreign, None, "only what the runner gave");
        assert_eq!(std::env::current_dir().unwrap(), std::path::Path::new("/"));
        Ok(())
    }));
    states(list);
    limits(list);
}

/// The same deeds without a jail, as root: they would work, so it is the jail that refuses them.
fn outside(list: &mut Vec<Trial>) {
    use Deed::*;
    for deed in [
        OpenSecret,
        OpenShadow,
        OpenOwnMemory,
        OpenParentsMemory,
        ReadParentsEnvironment,
        ListRoot,
        WriteNewFile,
        ClimbOut,
        OpenByRing,
        InternetSocket,
        UnixSocket,
        ConnectAbstract,
        ConnectPort,
        Trace,
        Kill,
        BecomeRoot,
        UseOpenFile,
        ShortenOpenFile,
    ] {
        let name = format!("outside: {deed:?}");
        list.push(Trial::new(name, None, WORKS, move |s| deed.act(s)).needs_root());
    }
    // The execution fails behind the check of privileges.
    let execute = |s: &mut Stage| Execute.act(s);
    list.push(Trial::new("outside: Execute", None, EACCES, execute));
}

fn check(list: &mut Vec<Trial>, name: &str, jail: Jail, act: impl Fn(&mut Stage) + 'static) {
    let act = move |s: &mut Stage| {
        act(s);
        Ok(())
    };
    list.push(Trial::new(name, Some(jail), WORKS, act));
}

fn no_capabilities() {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient, CapSet::Bounding]
    {
        let left = caps::read(None, set).unwrap();
        assert!(left.is_empty(), "{set:?}: {left:?}");
    }
}

/// What each part leaves behind, where it can be read.
fn states(list: &mut Vec<Trial>) {
    let capabilities = || worker(&[Part::Capabilities]);
    // Not root: nothing is gained by execution, so the bounding set may stay.
    let mut emptied =
        Trial::new("capabilities alone: every set is empty", Some(capabilities()), WORKS, |_| {
            no_capabilities();
            Ok(())
        });
    emptied.needs_root = true;
    list.push(emptied);
    let act = |s: &mut Stage| io_done(File::open(&s.outside.foreign));
    list.push(Trial::new("outside: root opens a foreign file", None, WORKS, act).needs_root());
    let foreign = Trial::new("capabilities alone: a foreign file", Some(capabilities()), EACCES, act);
    list.push(foreign.needs_root());
    let act = |s: &mut Stage| {
        let read = Command::new("cat").arg(&s.outside.foreign).output().unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
        Ok(())
    };
    let name = "capabilities alone: execution as root brings none back";
    list.push(Trial::new(name, Some(capabilities()), WORKS, act).needs_root());
    let both = worker(&[Part::User, Part::Capabilities]).user(NOBODY);
    check(list, "user and capabilities: both hold", both, |_| {
        no_capabilities();
        assert_eq!(nix::unistd::getuid().as_raw(), NOBODY);
    });
    check(list, "user alone: user, group, no other groups", worker(&[Part::User]).user(NOBODY), |_| {
        let users = nix::unistd::getresuid().unwrap();
        assert_eq!([users.real, users.effective, users.saved], [Uid::from_raw(NOBODY); 3]);
        let groups = nix::unistd::getresgid().unwrap();
        assert_eq!([groups.real, groups.effective, groups.saved], [Gid::from_raw(NOBODY); 3]);
        assert_eq!(nix::unistd::getgroups().unwrap(), []);
        for set in [CapSet::Effective, CapSet::Permitted] {
            assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
        }
        assert!(!caps::has_cap(None, CapSet::Ambient, Capability::CAP_SYS_ADMIN).unwrap());
    });
    check(list, "no-new-privs alone: set, and no dumps", worker(&[Part::NoNewPrivileges]), |s| {
        assert!(prctl::get_no_new_privs().unwrap());
        assert!(!prctl::get_dumpable().unwrap());
        let own = u64::from(std::process::id());
        call(libc::SYS_process_vm_readv, &[own, s.vector, 1, s.vector, 1])
            .expect("own memory stays readable");
    });
    check(list, "namespaces alone: an empty root", worker(&[Part::Namespaces]), |_| {
        assert_eq!(fs::read_dir("/").unwrap().count(), 0);
        assert_eq!(fs::read_dir(".").unwrap().count(), 0);
        assert_eq!(std::env::current_dir().unwrap(), std::path::Path::new("/"));
    });
}

/// What a worker does all day.
fn work_of_a_worker(s: &mut Stage) -> Result<(), Errno> {
    let mut start = [0; 8];
    s.file.read_exact(&mut start).unwrap();
    let memory: &'static mut [u8] = Box::leak(vec![0; 4096].into_boxed_slice());
    raw::read_by_io_uring(&mut s.ring, std::os::fd::AsRawFd::as_raw_fd(&s.file), memory)?;
    let mut more = io_uring::IoUring::new(8).map_err(|error| errno(&error))?;
    raw::read_by_io_uring(
        &mut more,
        std::os::fd::AsRawFd::as_raw_fd(&s.file),
        Box::leak(Box::new([0; 512])),
    )?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let sender = sender.clone();
            let name = format!("thread-{n}");
            std::thread::Builder::new().name(name).spawn(move || sender.send(n).unwrap()).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(sender);
    assert_eq!(receiver.iter().sum::<i32>(), 6);
    let copy = s.file.try_clone().map_err(|error| errno(&error))?;
    assert_eq!(copy.metadata().map_err(|error| errno(&error))?.len(), 65536);
    copy.sync_data().map_err(|error| errno(&error))?;
    let large = vec![1u8; 64 << 20];
    assert_eq!(large.iter().map(|&byte| usize::from(byte)).sum::<usize>(), large.len());
    // A panic is caught, though its trace can open no file.
    assert!(std::panic::catch_unwind(|| assert!(large.is_empty(), "meant to fail")).is_err());
    Ok(())
}

fn limits(list: &mut Vec<Trial>) {
    let only_limits = |limits: ProcessLimits| worker(&[Part::Limits]).limits(limits);
    check(list, "limits: core, files, umask", only_limits(LIMITS), |_| {
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (64, 64));
        let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        assert_eq!(mask.bits(), 0o077);
    });
    let score = || -> i32 { fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap() };
    let offered = move |_: &mut Stage| {
        let before = score();
        lunbox_jail::offer_to_oom_killer(0);
        assert_eq!(score(), before);
        lunbox_jail::offer_to_oom_killer(7);
        assert_eq!(score(), (before + 7).min(1000));
        lunbox_jail::offer_to_oom_killer(u16::MAX);
        assert_eq!(score(), 1000, "the end of the scale");
        Ok(())
    };
    list.push(Trial::new("limits: offered to the OOM killer", None, WORKS, offered));
    let many = |s: &mut Stage| {
        (0..64).try_for_each(|_| io_done(s.file.try_clone().map(std::mem::ManuallyDrop::new)))
    };
    list.push(Trial::new(
        "limits: too many files",
        Some(only_limits(LIMITS)),
        Outcome::Fails(Errno::EMFILE),
        many,
    ));
    let space = ProcessLimits { address_space: Some(256 << 20), ..LIMITS };
    let map = |_: &mut Stage| {
        let private = flag(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        call(libc::SYS_mmap, &[0, 512 << 20, 0, private, u64::MAX]).map(drop)
    };
    list.push(Trial::new("outside: much address space", None, WORKS, map));
    list.push(Trial::new(
        "limits: address space",
        Some(only_limits(space)),
        Outcome::Fails(Errno::ENOMEM),
        map,
    ));
    let size = ProcessLimits { file_size: Some(PAGE), ..LIMITS };
    let grow = |s: &mut Stage| call(libc::SYS_ftruncate, &[number(&s.file), 2 << 20]).map(drop);
    list.push(Trial::new("outside: a large file", None, WORKS, grow));
    let killed = Outcome::Killed(Signal::SIGXFSZ);
    list.push(Trial::new("limits: file size", Some(only_limits(size)), killed, grow));
    let cpu = ProcessLimits { cpu_seconds: Some(1), ..LIMITS };
    let compute = |_: &mut Stage| loop {
        std::hint::spin_loop();
    };
    let killed = Outcome::Killed(Signal::SIGXCPU);
    list.push(Trial::new("limits: CPU time", Some(only_limits(cpu)), killed, compute));
}
