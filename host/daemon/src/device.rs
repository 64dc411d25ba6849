//! A device of the supervisor: what it stands on, kept open here, and the worker that serves it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lunbox_control::EventKind;
use lunbox_grant::{Description, FenceError, Fenced, Master, Patience, Wait};
use lunbox_tcmu::Minor;
use lunbox_wire::{Device as Served, Ending, Refusal as Kind, Request};
use nix::errno::Errno;

use crate::journal::Journal;
use crate::records::{Record, Records};
use crate::service::{Cancel, Condition, Refusal, Running, Setback};
use crate::workers::{AskError, Confines, Pool, Worker};

/// How long commands in progress may take before a change of size is given up.
const RESIZE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker may take to start a loop: it loads a handler and reads from the storage.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What a worker gets beyond the patience that it is to have itself.
const SLACK: Duration = Duration::from_secs(5);

/// How long the storage may be somebody else's before the device is refused. Not so long for operations of this
/// device's own earlier loop, which end when the storage answers.
const OTHERS: Duration = Duration::from_secs(2);

/// What a device stands on.
pub struct Foundation {
    /// UIO node, or what else its ring is reached by ([`lunbox_wire::RingKind`]).
    pub ring: Vec<OwnedFd>,
    /// Its compiled handler.
    pub container: Arc<File>,
    /// Its stores, in the order of the handler's store ids.
    pub stores: Vec<Master>,
    /// Name of the worker that is to serve it.
    pub worker: String,
    /// How that is confined.
    pub confines: Confines,
}

/// A device.
pub struct Device {
    foundation: Foundation,
    record: Arc<Record>,
    records: Arc<Records>,
    pool: Arc<Pool>,
    journal: Journal,
    /// Who serves it.
    worker: Option<Arc<Worker>>,
    /// Who could not end it: operations of its loop are left there.
    clinging: Option<Arc<Worker>>,
    /// New descriptions of its stores behind the fence, for the next launch.
    fresh: Option<Vec<OwnedFd>>,
    /// Told already that a store has no locks.
    warned: bool,
}

impl Device {
    /// A device that no worker serves yet.
    pub fn new(
        served: Served,
        foundation: Foundation,
        records: &Arc<Records>,
        pool: &Arc<Pool>,
        journal: &Journal,
    ) -> Self {
        let sizes = foundation.stores.iter().map(Master::size).collect();
        let record = records.add(served, &foundation.worker, sizes);
        Self {
            foundation,
            record,
            records: Arc::clone(records),
            pool: Arc::clone(pool),
            journal: journal.clone(),
            worker: None,
            clinging: None,
            fresh: None,
            warned: false,
        }
    }

    /// Notes that a worker serves it already.
    #[must_use]
    pub fn served_by(mut self, worker: Arc<Worker>) -> Self {
        self.record.set_worker(Some(&worker));
        self.worker = Some(worker);
        self
    }

    fn minor(&self) -> Minor {
        self.record.minor()
    }

    fn name(&self) -> String {
        self.record.name()
    }

    fn refused(&self, reason: impl std::fmt::Display) -> Setback {
        Setback::Refused(format!("{}: {reason}", self.name()))
    }

    /// Waits for the locks of one store.
    fn describe(&self, master: &Master, cancel: &Cancel) -> Result<Description, Setback> {
        let name = self.name();
        let waiting = |wait: &Wait<'_>| {
            tracing::warn!(device = name, "waiting: {wait}");
            self.journal.device(EventKind::DeviceBlocked, &name, wait);
        };
        let mut told = false;
        loop {
            let patience = Patience {
                limit: Some(OTHERS),
                cancel: Some(cancel.flag()),
                waiting: if told { None } else { Some(&waiting) },
            };
            told = true;
            match master.describe(&patience) {
                Ok(description) => {
                    if description.fenced == Fenced::No && !self.warned {
                        tracing::warn!(
                            device = name,
                            store = %master.locator(),
                            "its file system has no locks: nobody can tell whether operations of an earlier loop are left"
                        );
                    }
                    return Ok(description);
                }
                Err(FenceError::Cancelled { .. }) => return Err(Setback::Cancelled),
                Err(FenceError::Held { blocker: lunbox_grant::Blocker::Predecessor, .. }) => {
                    // A worker that could not end the loop lets go of the store only when it is asked again.
                    if let Some(worker) = &self.clinging {
                        self.ask_to_end(worker, Ending::Cancel, Duration::from_secs(1)).unwrap_or_default();
                    }
                }
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    fn ask_to_end(&self, worker: &Worker, how: Ending, patience: Duration) -> Result<(), AskError> {
        let minor = self.minor();
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        worker.ask_for(&[], patience.saturating_mul(2) + SLACK, |call| Request::Stop {
            call,
            minor: minor.0,
            how,
            patience_ms,
        })
    }

    /// Ends the loop; true in the error if operations are left on the stores.
    fn end_loop(&mut self, how: Ending, patience: Duration) -> Result<(), (bool, String)> {
        let Some(worker) = self.worker.take() else { return Ok(()) };
        self.record.set_worker(None);
        let ended = self.ask_to_end(&worker, how, patience);
        worker.delist(self.minor());
        match ended {
            // What has died has ended.
            Ok(()) | Err(AskError::Lost | AskError::Refused(Kind::Gone, _)) => {
                self.pool.vacated(&worker);
                Ok(())
            }
            Err(error) => {
                let busy = matches!(error, AskError::Refused(Kind::StoreBusy, _) | AskError::Silent(_));
                self.clinging = Some(worker);
                Err((busy, error.to_string()))
            }
        }
    }

    /// Sends everything to a worker.
    fn start(&self, worker: &Worker) -> Result<(), AskError> {
        let Foundation { ring, container, stores, .. } = &self.foundation;
        let mut descriptors: Vec<BorrowedFd<'_>> = ring.iter().map(AsFd::as_fd).collect();
        descriptors.push(container.as_fd());
        let fresh = self.fresh.as_deref().unwrap_or_default();
        descriptors.extend(fresh.iter().map(AsFd::as_fd));
        debug_assert!(fresh.len() <= stores.len(), "a description for each file");
        let device = Box::new(self.record.device());
        worker.ask_for(&descriptors, START_PATIENCE, |call| Request::Start { call, device })
    }
}

impl Running for Device {
    fn condition(&self) -> Condition {
        self.worker.as_ref().map_or(Condition::Lost, |worker| worker.condition(self.minor()))
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        if self.fresh.is_none() {
            self.fence(cancel)?;
        }
        let minor = self.minor();
        let Foundation { worker: key, confines, .. } = &self.foundation;
        let worker = self.pool.worker(key, confines, cancel)?;
        worker.enlist(minor).map_err(|_| Setback::Lost)?;
        let started = self.start(&worker);
        // Our own copies would keep the locks when the worker has died.
        self.fresh = None;
        match started {
            Ok(()) => {
                self.record.set_worker(Some(&worker));
                self.worker = Some(worker);
                Ok(())
            }
            Err(AskError::Lost) => {
                worker.delist(minor);
                Err(Setback::Lost)
            }
            Err(error) => {
                if let AskError::Silent(_) = error {
                    // It must not start later. What is left of it there is asked for again behind the fence.
                    self.ask_to_end(&worker, Ending::Cancel, SLACK).unwrap_or_default();
                    self.clinging = Some(Arc::clone(&worker));
                }
                worker.delist(minor);
                self.pool.vacated(&worker);
                Err(self.refused(error))
            }
        }
    }

    fn fence(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        self.fresh = None;
        let (mut fresh, mut unlocked) = (Vec::new(), Vec::new());
        for (index, master) in self.foundation.stores.iter().enumerate() {
            let description = self.describe(master, cancel)?;
            if description.fenced == Fenced::No {
                unlocked.push(index);
            }
            fresh.extend(description.fd);
        }
        self.record.set_unlocked(unlocked);
        self.clinging = None;
        self.warned = true;
        self.fresh = Some(fresh);
        Ok(())
    }

    fn end(&mut self, how: Ending, patience: Duration) -> Result<(), String> {
        self.end_loop(how, patience).map_err(|(_, reason)| reason)
    }

    fn set_serial(&self, serial: String) {
        if let Some(worker) = &self.worker {
            worker.tell(&Request::Serial { minor: self.minor().0, serial });
        }
    }

    fn resize(&mut self, bytes: u64) -> Result<(), Refusal> {
        let refusal = |errno, reason: String| Refusal { errno, reason };
        let Some(worker) = &self.worker else {
            return Err(refusal(Errno::ENODEV, "nothing serves it; see the log".to_owned()));
        };
        let minor = self.minor().0;
        let patience_ms = u64::try_from(RESIZE_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let asked = worker.ask_for(&[], RESIZE_PATIENCE.saturating_mul(2) + SLACK, |call| Request::Resize {
            call,
            minor,
            bytes,
            patience_ms,
        });
        let Err(error) = asked else {
            self.record.set_size(bytes);
            return Ok(());
        };
        let errno = match &error {
            AskError::Refused(Kind::Invalid, _) => Errno::EINVAL,
            AskError::Refused(Kind::Unsupported, _) => Errno::EOPNOTSUPP,
            AskError::Refused(Kind::Gone, _) => Errno::ENODEV,
            AskError::Refused(Kind::Failed, _) | AskError::Link(_) => Errno::EIO,
            AskError::Refused(Kind::TimedOut | Kind::StoreBusy, _) | AskError::Lost | AskError::Silent(_) => {
                Errno::EAGAIN
            }
        };
        Err(refusal(errno, error.to_string()))
    }

    fn stop(mut self, patience: Duration) -> Result<(), String> {
        self.end_loop(Ending::Drain, patience).map_err(|(busy, reason)| {
            if busy {
                // It may still write: nobody else gets the files.
                for master in std::mem::take(&mut self.foundation.stores) {
                    master.keep_for_good();
                }
            }
            reason
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.records.remove(&self.record);
    }
}
