//! Finding the workers that a predecessor left: each listens on a socket of its own.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunbox_tcmu::Minor;
use lunbox_wire::listener::connect;
use lunbox_wire::peer::{Peer, PeerError};
use lunbox_wire::{Device as Served, Hello, Link, LinkError, Refusal, Request};

use super::client::{Answer, AskError, Origin, Worker, one_line};
use super::greeting::{GreetError, greet};
use super::spawn::{Place, Spawner, remove};
use super::{Inherited, Unfit};

/// How long a worker may take to greet. It has nothing else to do, but many may be asked at the same time.
const GREETING: Duration = Duration::from_secs(4);

/// How long it may take to hand out the descriptors of one device.
const HANDLES: Duration = Duration::from_secs(5);

/// How long its answers may be waited for in all, and how much longer for each of its devices: an honest one needs no
/// millisecond for each. Nobody is served meanwhile whose worker died, and no `enable` is answered.
const ADOPTION: (Duration, Duration) = (Duration::from_secs(20), Duration::from_millis(50));

/// How long to wait before each try to go on with a device. What was in the way may pass: no descriptors left, for one.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// Most workers that are adopted at a time.
const AT_A_TIME: usize = 32;

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
    /// Knocks at every socket that there is, at several at a time. A socket without a worker is removed, a worker that
    /// does not greet, or greets as another one, is ended: its devices are then taken over like those of any process
    /// that has died.
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
        several(&paths, |path| self.knock(path)).into_iter().flatten().collect()
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
            Err(error @ PeerError::Unknown) => {
                tracing::warn!("{}: {error}; removing it", path.display());
                remove(path);
                return None;
            }
            Err(error @ PeerError::Io(_)) => {
                tracing::error!(
                    "{}: {error}; its worker is left alone, and its devices go on without supervision: `lunbox \
                     handover` and start lunboxd again",
                    path.display()
                );
                return None;
            }
        };
        // Only our user can make sockets there, so whoever listens was started by a supervisor, even if it has become
        // another user since. Its number is the kernel's word, and whose worker it is the socket's name says: it gets
        // the descriptors of that one's devices.
        tracing::debug!(pid = peer.credentials.pid, "{}: somebody is there", path.display());
        let greeting = greet(&link, GREETING).and_then(|(hello, devices)| match key(path) {
            Some(key) if hello.tenant == key => Ok((hello, devices)),
            _ => Err(GreetError::Impostor(one_line(&hello.tenant))),
        });
        let (hello, devices) = match greeting {
            Ok(greeting) => greeting,
            Err(error) => {
                tracing::error!(
                    pid = peer.credentials.pid,
                    "{}: {}; ending it and taking its devices over",
                    path.display(),
                    one_line(&error.to_string())
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

/// Whose worker listens at a socket: the supervisor gave it its name ([`Spawner::spawn`]).
fn key(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".sock")?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(name.rsplit_once('~').filter(|(_, rest)| number(rest)).map_or(name, |(key, _)| key))
}

/// Does something for each, on threads; the results are in the order of the items.
pub(super) fn several<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let turn = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            if let Some(place) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                *place = Some(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(AT_A_TIME) {
            // Without threads it takes longer.
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, turn) {
                tracing::warn!("no thread for a worker: {error}; raise the limit of tasks (TasksMax)");
                break;
            }
        }
        turn();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// Fetches the descriptors of devices, and has each of them judged before the next one comes. A device that can not be
/// gone on with is tried again, and then left as it is: its loop serves, and keeps everybody else from its node. A
/// worker that does not answer, or lies, is ended: all of its devices are taken over.
pub(super) fn devices<T>(
    worker: &Arc<Worker>,
    devices: &[Served],
    judge: impl Fn(Inherited) -> Result<T, Unfit>,
) -> Vec<T> {
    let count = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    devices_within(worker, devices, ADOPTION.0 + ADOPTION.1.saturating_mul(count), judge)
}

/// The same; `rest` is what the worker may still be waited for. Our own work does not count.
fn devices_within<T>(
    worker: &Arc<Worker>,
    devices: &[Served],
    mut rest: Duration,
    judge: impl Fn(Inherited) -> Result<T, Unfit>,
) -> Vec<T> {
    let mut fit = Vec::new();
    let mut left: Vec<(&Served, String)> = devices.iter().map(|device| (device, String::new())).collect();
    for pause in PAUSES {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(pause);
        for (device, _) in std::mem::take(&mut left) {
            let minor = Minor(device.minor);
            // Whoever is slow does not lie.
            if rest.is_zero() {
                left.push((device, "its worker takes too long for its answers".to_owned()));
                continue;
            }
            let asked = Instant::now();
            let answer = worker.ask(&[], HANDLES, |call| Request::Handles { call, minor: minor.0 });
            rest = rest.saturating_sub(asked.elapsed());
            let judged = match answer {
                Ok(Answer::Handles(descriptors)) => {
                    judge(Inherited { worker: Arc::clone(worker), device: device.clone(), descriptors })
                }
                Ok(other) => Err(Unfit::Lie(format!("{other:?} is no answer"))),
                // It had been told to end it.
                Err(AskError::Refused(Refusal::Gone, _)) => Err(Unfit::Gone),
                Err(AskError::Refused(_, reason)) => {
                    Err(Unfit::Here(format!("its worker does not give its descriptors: {reason}")))
                }
                Err(error) => Err(Unfit::Lie(error.to_string())),
            };
            match judged {
                Ok(device) => fit.push(device),
                Err(Unfit::Gone) => {
                    tracing::info!(%minor, worker = worker.hello().tenant, "its UIO node has gone");
                    worker.delist(minor);
                }
                Err(Unfit::Here(reason)) => left.push((device, one_line(&reason))),
                Err(Unfit::Lie(reason)) => {
                    tracing::error!(
                        %minor,
                        worker = worker.hello().tenant,
                        pid = worker.pid(),
                        "{}; ending the worker and taking its devices over",
                        one_line(&reason)
                    );
                    worker.kill();
                    // Its UIO nodes are free when it has ended; whoever takes them over waits for that, too.
                    worker.ends_within(GREETING);
                    return fit;
                }
            }
        }
    }
    for (device, reason) in left {
        let minor = Minor(device.minor);
        tracing::error!(
            %minor,
            worker = worker.hello().tenant,
            pid = worker.pid(),
            "not adopted: {reason}; it goes on there without supervision: put that right, then `lunbox handover` and start lunboxd \
             again"
        );
        worker.leave_alone(minor);
    }
    fit
}

#[cfg(test)]
mod tests;
