//! What a server is told, and why it may not start.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::chap::Credentials;
use crate::lun::LogicalUnit;

/// A LUN to serve; its number is its place in [`ServerOptions::luns`].
pub struct LunConfig {
    /// Who does the commands.
    pub lun: Box<dyn LogicalUnit + Send>,
    /// For logs.
    pub name: String,
}

impl fmt::Debug for LunConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LunConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a server is told.
#[derive(Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one. An address that is not loopback needs `credentials`.
    pub listen: SocketAddr,
    /// Name of the one target: `iqn.`, `eui.` or `naa.` format (RFC 7143 4.2.7). The caller has checked it.
    pub target_name: String,
    /// TargetAlias, if initiators are to be told one.
    pub alias: Option<String>,
    /// What initiators have to prove with CHAP; nobody has to prove anything if there are none.
    pub credentials: Option<Credentials>,
    /// The LUNs, 1 to 256.
    pub luns: Vec<LunConfig>,
    /// Bounds.
    pub limits: ServerLimits,
}

/// Bounds on what clients can make the server do or keep.
///
/// Memory: a connection holds at most one receive buffer (the longest PDU and 256 KiB), `output_bytes` and the data
/// of one more command (twice as much while the buffer grows). Data of writes is bounded by `write_memory` for all
/// sessions together, plus for each session one write, to which it has a right whatever the others do, and what
/// initiators may send without being asked: 128 commands with the FirstBurstLength of 256 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Open connections. One more takes the place of the one that has tried to log in for longest; if all are logged
    /// in, it is closed at once.
    pub connections: usize,
    /// Time from connecting to the end of login, and from a logout to its answer. Both may have to wait for commands
    /// of sessions or connections of the same initiator that have gone.
    pub login_timeout: Duration,
    /// How long the answer to a failed authentication is held back, so that secrets can not be guessed quickly; not
    /// zero.
    pub refusal_delay: Duration,
    /// Time from the first to the last byte of a PDU, and from asking for data of writes until some comes.
    pub pdu_timeout: Duration,
    /// Silence after which the target pings the initiator.
    pub ping_after: Duration,
    /// Silence after a ping after which the connection is lost.
    pub ping_timeout: Duration,
    /// Unsent output, in bytes, above which nothing more is read from a connection. With what the commands that run
    /// may still return: above which no command that returns data is begun.
    pub output_bytes: usize,
    /// Time in which 64 KiB of unsent output, or all of it, must have been taken; otherwise the connection is lost.
    pub output_timeout: Duration,
    /// Data of writes that the target asks for at a time, in bytes; writes beyond it wait for their R2T, and sessions
    /// take turns.
    pub write_memory: u64,
    /// How long an initiator that was asked to log out may take, when the server stops.
    pub logout_grace: Duration,
}

impl Default for ServerLimits {
    /// 64 connections; 15 s for login, 1 s for a wrong secret, 30 s for a PDU; ping after 15 s, lost after 10 s more; 4 MiB of output, lost
    /// after 60 s; 256 MiB of data; 1 s to log out.
    fn default() -> Self {
        Self {
            connections: 64,
            login_timeout: Duration::from_secs(15),
            refusal_delay: Duration::from_secs(1),
            pdu_timeout: Duration::from_secs(30),
            ping_after: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
            output_bytes: 4 << 20,
            output_timeout: Duration::from_secs(60),
            write_memory: 256 << 20,
            logout_grace: Duration::from_secs(1),
        }
    }
}

/// Why a server did not start. Nothing is left behind; the LUNs have been dropped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens there.
    #[error(
        "listen on {address}: the address is in use; stop the other server, choose another port, or let \
         `--listen {}:0` take a free one",
        IpInUrl(address)
    )]
    AddressInUse {
        /// Where.
        address: SocketAddr,
    },
    /// Anybody could reach the LUNs.
    #[error(
        "listen on {address}: everybody who reaches this address could read and write the LUNs; give \
         `--chap-user` and `--chap-secret-file`, or listen on 127.0.0.1"
    )]
    NotLoopback {
        /// Where.
        address: SocketAddr,
    },
    /// Not allowed to listen there.
    #[error("listen on {address}: permission denied; choose a port from 1024 on")]
    Permission {
        /// Where.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error(
        "listen on {address}: this machine has no such address; choose 127.0.0.1 or one that `ip address` lists"
    )]
    NoSuchAddress {
        /// Where.
        address: SocketAddr,
    },
    /// Another reason.
    #[error("listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// No LUN, or more than can be numbered.
    #[error("luns: {count} were given; give 1 to 256")]
    Luns {
        /// How many.
        count: usize,
    },
    /// No event, descriptor or thread to be had.
    #[error("{what}: {error}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
}

/// An IP address as it stands in front of a port.
struct IpInUrl<'a>(&'a SocketAddr);

impl fmt::Display for IpInUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}", address.ip()),
            SocketAddr::V6(address) => write!(f, "[{}]", address.ip()),
        }
    }
}

impl StartError {
    pub(crate) fn listen(address: SocketAddr, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            std::io::ErrorKind::PermissionDenied => Self::Permission { address },
            std::io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            _ => Self::Listen { address, error },
        }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |errno| Self::System { what, error: errno.into() }
    }
}
