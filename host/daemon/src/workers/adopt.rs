//! Finding the workers that a predecessor left: each listens on a socket of its own.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lunbox_tcmu::Minor;
use lunbox_wire::listener::connect;
use lunbox_wire::peer::Peer;
use lunbox_wire::{Device as Served, Hello, Link, LinkError, Request};

use super::Inherited;
use super::client::{Answer, Origin, Worker, greet};
use super::spawn::{Place, Spawner, remove};

/// How long a worker may take to greet. It has nothing else to do.
const GREETING: Duration = Duration::from_secs(2);

/// How long it may take to hand out descriptors.
const HANDLES: Duration = Duration::from_secs(5);

/// A worker that was found.
#[derive(Debug)]
pub struct Found {
    /// The way to it.
    pub link: Link,
    /// What it said of itself.
    pub hello: Hello,
    /// What else is known of it.
    pub origin: Origin,
    /// Its devices.
    pub devices: Vec<Served>,
}

impl Spawner {
    /// Knocks at every socket that there is. A socket without a worker is removed, a worker that does not greet is
    /// ended: its devices are then taken over like those of any process that has died.
    pub fn find(&self) -> Vec<Found> {
        let entries = match fs::read_dir(&self.sockets) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(
                    "{}: {error}; workers of a predecessor are not found",
                    self.sockets.display()
                );
                return Vec::new();
            }
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
        paths.sort_unstable();
        paths.iter().filter_map(|path| self.knock(path)).collect()
    }

    fn knock(&self, path: &Path) -> Option<Found> {
        let link = match connect(path) {
            Ok(link) => link,
            Err(LinkError::Gone) => {
                tracing::info!("{}: nobody is there; removing it", path.display());
                remove(path);
                return None;
            }
            Err(error) => {
                tracing::error!(
                    "{}: {error}; its worker is left alone, and its devices stay as they are: `fuser -k {}` ends it",
                    path.display(),
                    path.display()
                );
                return None;
            }
        };
        let peer = match Peer::of(link.as_fd()) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!("{}: {error}; removing it", path.display());
                remove(path);
                return None;
            }
        };
        // Only our user can make sockets there, so whoever listens was started by a supervisor, even if it has become
        // another user since. Its number is the kernel's word.
        tracing::debug!(pid = peer.credentials.pid, "{}: somebody is there", path.display());
        let (hello, devices) = match greet(&link, GREETING) {
            Ok(greeting) => greeting,
            Err(error) => {
                tracing::error!(
                    pid = peer.credentials.pid,
                    "{}: {error}; ending it and taking its devices over",
                    path.display()
                );
                if let Err(error) = peer.process.kill() {
                    tracing::error!(pid = peer.credentials.pid, "can not be killed: {error}");
                }
                // Its UIO nodes are free when it has ended; whoever takes them over waits for that, too.
                let _ = peer.process.ends_within(GREETING);
                remove(path);
                return None;
            }
        };
        // Whoever runs all in one process takes devices out of other processes.
        let outdated = hello.build != self.build || matches!(self.place, Place::Thread(_));
        let origin = Origin {
            user: format!("{}:{}", peer.credentials.uid, peer.credentials.gid),
            pid: peer.credentials.pid,
            process: Some(peer.process),
            child: None,
            socket: Some(path.to_owned()),
            adopted: true,
            outdated,
        };
        Some(Found { link, hello, origin, devices })
    }
}

/// Fetches the descriptors of devices. A device whose descriptors are not to be had is ended in its worker and so left
/// to be taken over.
pub(super) fn devices(worker: &Arc<Worker>, devices: Vec<Served>) -> Vec<Inherited> {
    let mut inherited = Vec::new();
    for device in devices {
        let minor = device.minor;
        match worker.ask(&[], HANDLES, |call| Request::Handles { call, minor }) {
            Ok(Answer::Handles(descriptors)) => {
                inherited.push(Inherited { worker: Arc::clone(worker), device, descriptors });
            }
            other => {
                tracing::error!(device = device.name, "its worker does not give its descriptors: {other:?}");
                evict(worker, Minor(minor));
            }
        }
    }
    inherited
}

/// Ends a device in its worker, so that its UIO node is free. Its commands wait in the ring.
pub fn evict(worker: &Worker, minor: Minor) {
    let patience_ms = u64::try_from(HANDLES.as_millis()).unwrap_or(u64::MAX);
    let stopped = worker.ask_for(&[], HANDLES.saturating_mul(3), |call| Request::Stop {
        call,
        minor: minor.0,
        how: lunbox_wire::Ending::HandOver,
        patience_ms,
    });
    worker.delist(minor);
    if let Err(error) = stopped {
        tracing::error!(%minor, worker = worker.hello().tenant, "not ended: {error}");
    }
}
