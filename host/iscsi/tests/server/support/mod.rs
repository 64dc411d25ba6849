//! What the tests share: a server with scripted LUNs, and an initiator that can lie.

pub mod initiator;
pub mod pdu;
pub mod scripted;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lunbox_iscsi::chap::Credentials;
use lunbox_iscsi::{LunConfig, Server, ServerHandle, ServerLimits, ServerOptions, ServerStatus};

pub use initiator::{Initiator, Login, TARGET};
pub use scripted::{Script, scripted};

/// A running server; stopped when dropped.
pub struct Bench {
    pub server: ServerHandle,
    pub script: Script,
    /// Of LUN 1.
    pub second: Script,
}

pub fn options(limits: ServerLimits, credentials: Option<Credentials>) -> (ServerOptions, Script, Script) {
    let (first, script) = scripted();
    let (other, second) = scripted();
    let luns = vec![
        LunConfig { lun: Box::new(first), name: "first".to_owned() },
        LunConfig { lun: Box::new(other), name: "second".to_owned() },
    ];
    let options = ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        target_name: TARGET.to_owned(),
        alias: Some("tests".to_owned()),
        credentials,
        luns,
        limits,
    };
    (options, script, second)
}

impl Bench {
    pub fn new() -> Self {
        Self::with(ServerLimits::default())
    }

    pub fn with(limits: ServerLimits) -> Self {
        let (options, script, second) = options(limits, None);
        Self { server: Server::start(options).unwrap(), script, second }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn connect(&self) -> Initiator {
        Initiator::connect(self.address())
    }

    pub fn login(&self) -> Initiator {
        Initiator::login(self.address(), &Login::default())
    }

    /// Logs in under a name that nobody else uses.
    pub fn bystander(&self) -> Initiator {
        self.login_as(&Login::default().key("InitiatorName", "iqn.1994-05.org.example:bystander"))
    }

    pub fn login_as(&self, login: &Login) -> Initiator {
        Initiator::login(self.address(), login)
    }

    /// Waits until the server's counters satisfy a condition.
    pub fn wait(&self, what: &str, condition: impl Fn(&ServerStatus) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(&self.server.status()) {
            assert!(Instant::now() < deadline, "not in time: {what}; {:?}", self.server.status());
            std::thread::yield_now();
        }
    }
}

/// Bytes that tell where they belong.
pub fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at % 251).to_le_bytes()[0] ^ seed).collect()
}
