//! Namespaces of the process's own (namespaces(7)), and a root directory with nothing in it.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use crate::error::Missing;

/// Where the empty file system is mounted for a moment. Any directory does; this one is there wherever a process
/// was started as `/proc/self/exe`.
const MOUNT_POINT: &str = "/proc";

const NONE: Option<&str> = None;

/// Leaves network, IPC objects, host name and every mounted file system behind. Needs CAP_SYS_ADMIN.
///
/// Not the process ids: entering a new pid namespace takes a fork, and the supervisor's word with a worker is based
/// on its pid. Signals to others are refused by the other parts.
pub(crate) fn leave() -> Result<(), Missing> {
    // One by one: a kernel that lacks one kind gives the others nevertheless. The part is reported as in force
    // only with all of them.
    let mut lacking = Ok(());
    for (kind, step) in [
        (CloneFlags::CLONE_NEWNET, "unshare(CLONE_NEWNET)"),
        (CloneFlags::CLONE_NEWIPC, "unshare(CLONE_NEWIPC)"),
        (CloneFlags::CLONE_NEWUTS, "unshare(CLONE_NEWUTS)"),
    ] {
        if let Err(errno) = unshare(kind) {
            lacking = lacking.and(Err(Missing::Call { step, errno }));
        }
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(Missing::call("unshare(CLONE_NEWNS)"))?;
    empty_root()?;
    lacking
}

fn empty_root() -> Result<(), Missing> {
    // Private first: what follows must not reach the mounts of the host.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(Missing::call("making the mounts private"))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), MOUNT_POINT, Some("tmpfs"), flags, Some("size=0,nr_inodes=1,mode=0555"))
        .or_else(|_| mount(Some("tmpfs"), MOUNT_POINT, Some("tmpfs"), flags, NONE))
        .map_err(Missing::call("mounting an empty tmpfs"))?;
    chdir(MOUNT_POINT).map_err(Missing::call("chdir to the empty tmpfs"))?;
    // With one directory for both, the old root lands on top of the new one, from where it is detached
    // (pivot_root(2)).
    pivot_root(".", ".").map_err(Missing::call("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(Missing::call("detaching the old root"))?;
    chdir("/").map_err(Missing::call("chdir to the empty root"))
}
