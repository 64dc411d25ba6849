//! Why a store is not granted.

use nix::errno::Errno;

use crate::fence::lock_remedy;

/// Why a file is not granted. Nothing stays open or was changed, except that an empty file may have been created.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// No absolute path.
    #[error("{path:?} is not an absolute path; write it as <subtype>//directory/file")]
    Relative {
        /// As it stands in the cfgstring.
        path: String,
    },
    /// A directory.
    #[error("{path} is a directory; name a file in it, which is created if it does not exist")]
    Directory {
        /// Where.
        path: String,
    },
    /// Something that has no blocks.
    #[error("{path} is a {kind}; only regular files and block devices can back a LUN")]
    NotStorage {
        /// Where.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A device node that is not there. It is not created: it would be a file in memory.
    #[error("{path} does not exist; check that the disk is attached, or name a file outside of /dev")]
    NoDevice {
        /// Where.
        path: String,
    },
    /// A symbolic link to something that is not there. Its target is not created.
    #[error(
        "{path} is a symbolic link that leads nowhere; create the file that it points to, or name that file itself"
    )]
    DanglingLink {
        /// Where.
        path: String,
    },
    /// A directory on the way is missing.
    #[error("{path}: a directory of this path does not exist; create it first (mkdir -p)")]
    NoDirectory {
        /// Where.
        path: String,
    },
    /// Permissions.
    #[error(
        "{path} can not be opened for {purpose}: {errno}; check its permissions, its file system's \
             mount options, and this process's confinement (SELinux, AppArmor, systemd)"
    )]
    Denied {
        /// Where.
        path: String,
        /// What it was to be opened for.
        purpose: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// It is not there, and was not to be created.
    #[error("{path} does not exist; create it, or correct the path")]
    Missing {
        /// Where.
        path: String,
    },
    /// Another process of ours has it.
    #[error(
        "{path} is in use by another process of Lunbox; two LUNs on one file destroy each other's data: stop the other \
         one (lsof or fuser {path} finds it), or serve both read-only"
    )]
    Locked {
        /// Where.
        path: String,
    },
    /// Two devices must not use one file if one of them writes.
    #[error(
        "{path} is already in use by {holder}; two LUNs on one file destroy each other's data: give each a file of its \
         own, or serve both read-only"
    )]
    Claimed {
        /// Where.
        path: String,
        /// Who was first.
        holder: String,
    },
    /// It can not have the length that was asked for.
    #[error(
        "{path} can not be made {bytes} bytes long ({errno}) and stays empty; choose a smaller size, or a file system for \
         larger files"
    )]
    Length {
        /// Where.
        path: String,
        /// The length that was asked for.
        bytes: u64,
        /// The system's answer.
        errno: Errno,
    },
    /// It was found and can not be reached.
    #[error("{path} can not be opened by way of /proc/self/fd: {errno}; is /proc mounted?")]
    NoProc {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// It was opened and can not be locked, so nobody knows whether another process of ours has it.
    #[error("{path} can not be locked: {errno}; {}", lock_remedy(*.errno))]
    Lock {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// Anything else.
    #[error(
        "{path} can not be opened: {errno}; check that its disk or file server answers and has room (dmesg), then try \
         again"
    )]
    System {
        /// Where.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// Not in any root of the tenant.
    #[error(
        "{path} is in no root of this tenant ({}); use a path in one of them, or add a root to the tenant in policy.toml",
        roots.join(", ")
    )]
    OutsideRoots {
        /// Where.
        path: String,
        /// Those that the tenant has.
        roots: Vec<String>,
    },
    /// `..` can not be judged by looking at it.
    #[error("{path} has a \"..\" in it, which a tenant with roots must not use; write the path without it")]
    DotDot {
        /// Where.
        path: String,
    },
    /// A symbolic link at the end of a path in a root.
    #[error(
        "{path} is a symbolic link, which a tenant with roots must not use as its disk; name the file that it points to"
    )]
    FinalLink {
        /// Where.
        path: String,
    },
    /// A file in a root that has other names, perhaps in the place of another tenant.
    #[error(
        "{path} has other names (hard links) and may be another tenant's file, so a tenant with roots must not use it as \
         its disk; remove the other names (find -samefile shows them), or use a copy"
    )]
    HardLinked {
        /// Where.
        path: String,
    },
    /// A symbolic link on the way that leaves the root.
    #[error(
        "the way to {path} leaves the tenant's root {root}; replace the symbolic link on the way by a relative one that \
         stays in the root, or name the real path"
    )]
    Escapes {
        /// Where.
        path: String,
        /// Which root.
        root: String,
    },
    /// The root itself.
    #[error(
        "the tenant's root {root} can not be reached: {errno}; create that directory, or correct policy.toml"
    )]
    NoRoot {
        /// Which root.
        root: String,
        /// The system's answer.
        errno: Errno,
    },
    /// Linux before 5.6, or a system call filter.
    #[error(
        "{path} can not be opened: this kernel has no openat2 (Linux 5.6), without which the roots of a tenant can not \
         be held; use a newer kernel, or take the roots out of policy.toml"
    )]
    NoOpenat2 {
        /// Where.
        path: String,
    },
    /// A store that is not a file, and no library to reach it.
    #[error("{locator} can not be opened: this build has no {kind} store; use a file or block device")]
    NoClient {
        /// As it was written.
        locator: String,
        /// What is missing.
        kind: &'static str,
    },
    /// Memory without a size.
    #[error("a memory store of 0 bytes can not be made; give the LUN a size")]
    NoMemory,
    /// A descriptor that does not allow what the device is said to do.
    #[error(
        "the descriptor of {locator} that was handed over is not open for {purpose}; the device can not be taken over \
         with it, so remove and create the device"
    )]
    WrongDescriptor {
        /// What it is said to be.
        locator: String,
        /// What it should be open for.
        purpose: &'static str,
    },
    /// A disk that went away, and another one came under its number.
    #[error(
        "{locator} is another disk than it was when this device was made; nothing is written to it: remove and create \
         the device if that is the disk to use"
    )]
    Replaced {
        /// As it was written.
        locator: String,
    },
}
