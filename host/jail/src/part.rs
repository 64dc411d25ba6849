//! The parts of a jail.

use std::fmt;

/// One part of the confinement. Each holds without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Resource limits, no core dump, and a umask of 077.
    Limits,
    /// Network, IPC, host name and mounts of its own: no interface, and an empty read-only root directory.
    Namespaces,
    /// The configured user and group, and no supplementary group.
    User,
    /// No capability in any set (capabilities(7)).
    Capabilities,
    /// Execution gains nothing (PR_SET_NO_NEW_PRIVS), and other processes of the same user can not attach
    /// (PR_SET_DUMPABLE).
    NoNewPrivileges,
    /// Landlock: no right on any file, port, abstract socket or foreign process.
    Landlock,
    /// The system-call filter: [`crate::policy`].
    Seccomp,
}

impl Part {
    /// All of them, in the order in which they are taken into force. It matters: each step needs privileges that
    /// a later one gives up.
    pub const ALL: [Self; 7] = [
        Self::Limits,
        Self::Namespaces,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// What an operator can do when it is missing.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Limits => "raise the hard limits of the service, or configure lower ones",
            Self::Namespaces => {
                "run as root with CAP_SYS_ADMIN, on a kernel with CONFIG_NET_NS, CONFIG_IPC_NS and CONFIG_UTS_NS"
            }
            Self::Capabilities => "run as root with CAP_SETPCAP, or as a user without capabilities",
            Self::User => "run as root with CAP_SETUID and CAP_SETGID, or configure no other user",
            Self::NoNewPrivileges => "use Linux 3.5 or later",
            Self::Landlock => {
                "use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK and landlock in the lsm= list"
            }
            Self::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limits => "limits",
            Self::Namespaces => "namespaces",
            Self::Capabilities => "capabilities",
            Self::User => "user",
            Self::NoNewPrivileges => "no-new-privs",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        })
    }
}
