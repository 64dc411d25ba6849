//! The two backends behind one face: start calls, cancel them, sleep for their ends and for watched files.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::operation::Call;
use crate::pool::{Finished, Pool};
use crate::store::FileStore;
use crate::transfer::Transfer;
use crate::uring::Uring;
use crate::waker::Waker;
use crate::watch::Watch;
use crate::{Backend, ExecutorError, Options};

/// Ready files that one `epoll_wait` reports at most; the rest come with the next.
const EPOLL_EVENTS: usize = 16;

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per executor, and it is not moved around")]
enum Kind {
    Uring {
        ring: Uring,
        /// For what io_uring can not do; started when the first one is asked for.
        helper: Option<Pool>,
    },
    Threads {
        epoll: Epoll,
        pool: Pool,
    },
}

/// What runs calls.
#[derive(Debug)]
pub(crate) struct Engine {
    kind: Kind,
    /// System calls, except those that the ring counts.
    syscalls: u64,
}

impl Engine {
    /// Chooses and starts a backend.
    ///
    /// # Errors
    /// [`ExecutorError`] of the backend that was asked for; of the threads for [`Backend::Auto`].
    pub(crate) fn new(options: Options, waker: &Arc<Waker>) -> Result<Self, ExecutorError> {
        let uring = match options.backend {
            Backend::Threads => None,
            Backend::Uring => Some(Uring::new(options.entries, options.io_workers)?),
            Backend::Auto => match Uring::new(options.entries, options.io_workers) {
                Ok(ring) => Some(ring),
                Err(error) => {
                    warn_once(&error);
                    None
                }
            },
        };
        let kind = match uring {
            Some(ring) => Kind::Uring { ring, helper: None },
            None => Kind::Threads {
                epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
                    .map_err(|errno| ExecutorError::Watch { call: "epoll_create1", source: errno.into() })?,
                pool: Pool::new(options.threads, Arc::clone(waker)).map_err(ExecutorError::Thread)?,
            },
        };
        Ok(Self { kind, syscalls: 1 })
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.kind {
            Kind::Uring { .. } => Backend::Uring,
            Kind::Threads { .. } => Backend::Threads,
        }
    }

    pub(crate) fn syscalls(&self) -> u64 {
        match &self.kind {
            Kind::Uring { ring, .. } => self.syscalls + ring.syscalls(),
            Kind::Threads { .. } => self.syscalls,
        }
    }

    /// Starts a call. Its end comes from [`Self::turn`] or [`Self::reap_pools`]. Does not block.
    ///
    /// # Errors
    /// The memory, if the call could not be started for want of a thread.
    pub(crate) fn start(
        &mut self,
        key: u32,
        file: &FileStore,
        call: Call,
        transfer: Transfer,
        may_wait: bool,
        waker: &Arc<Waker>,
    ) -> Result<(), Transfer> {
        match &mut self.kind {
            Kind::Threads { pool, .. } => pool.start(key, &file.fd, call, transfer),
            Kind::Uring { ring, helper } => {
                if let Err(transfer) = ring.start(key, &file.fd, call, transfer, may_wait) {
                    let helper = match helper {
                        Some(helper) => helper,
                        None => match Pool::new(1, Arc::clone(waker)) {
                            Ok(pool) => helper.insert(pool),
                            Err(error) => {
                                tracing::error!(%error, "a store thread could not be started");
                                return Err(transfer);
                            }
                        },
                    };
                    helper.start(key, &file.fd, call, transfer);
                }
            }
        }
        Ok(())
    }

    /// Asks for the end of a call. Gives the memory back if the call had not begun; else its end still comes.
    pub(crate) fn cancel(&mut self, key: u32) -> Option<Transfer> {
        match &mut self.kind {
            Kind::Threads { pool, .. } => pool.cancel(key),
            Kind::Uring { ring, helper } => {
                ring.cancel(key);
                helper.as_ref().and_then(|helper| helper.cancel(key))
            }
        }
    }

    /// Takes notice of a new watch.
    ///
    /// # Errors
    /// [`ExecutorError::Watch`].
    pub(crate) fn watch(&mut self, index: usize, watch: &Watch) -> Result<(), ExecutorError> {
        if let Kind::Threads { epoll, .. } = &self.kind {
            self.syscalls += 1;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            let added = epoll.add(&watch.fd, event);
            added.map_err(|errno| ExecutorError::Watch { call: "epoll_ctl", source: errno.into() })?;
        }
        Ok(())
    }

    /// Takes no notice of a watch any more. With io_uring the last poll of it may still fire.
    pub(crate) fn forget(&mut self, watch: &Watch) {
        if let Kind::Threads { epoll, .. } = &self.kind {
            self.syscalls += 1;
            if let Err(error) = epoll.delete(&watch.fd) {
                tracing::error!(%error, "a watched file descriptor can not be forgotten");
            }
        }
    }

    /// Submits what was started, sleeps until something ends or a watched file is readable, at most `limit`,
    /// and takes the ends. Indexes of ready watches go to `fired`. It may return early with nothing.
    ///
    /// # Errors
    /// [`ExecutorError::Enter`], [`ExecutorError::Watch`].
    pub(crate) fn turn(
        &mut self,
        limit: Option<Duration>,
        watches: &mut [Watch],
        finished: &mut Vec<Finished>,
        fired: &mut Vec<u32>,
    ) -> Result<(), ExecutorError> {
        match &mut self.kind {
            Kind::Uring { ring, .. } => {
                for (index, watch) in (0..).zip(watches) {
                    if !watch.armed && !watch.reported {
                        watch.armed = true;
                        ring.poll(index, watch.fd.as_fd());
                    }
                }
                ring.turn(limit, finished, fired)
            }
            Kind::Threads { epoll, .. } => {
                self.syscalls += 1;
                let mut events = [EpollEvent::empty(); EPOLL_EVENTS];
                match epoll.wait(&mut events, milliseconds(limit)) {
                    Ok(count) => {
                        let ready = events.iter().take(count);
                        fired.extend(ready.filter_map(|event| u32::try_from(event.data()).ok()));
                        Ok(())
                    }
                    Err(Errno::EINTR) => Ok(()),
                    Err(errno) => Err(ExecutorError::Watch { call: "epoll_wait", source: errno.into() }),
                }
            }
        }
    }

    /// Takes what threads have ended: called when the waker was heard.
    pub(crate) fn reap_pools(&mut self, finished: &mut Vec<Finished>) {
        let pool = match &self.kind {
            Kind::Threads { pool, .. } => Some(pool),
            Kind::Uring { helper, .. } => helper.as_ref(),
        };
        if let Some(pool) = pool {
            let before = finished.len();
            pool.reap(finished);
            // One call each, and the eventfd was written for the batch.
            self.syscalls += (finished.len() - before) as u64 + 1;
        }
    }
}

/// Rounded up: a limit is not overtaken by waking too early again and again.
fn milliseconds(limit: Option<Duration>) -> EpollTimeout {
    limit.map_or(EpollTimeout::NONE, |limit| {
        let milliseconds = limit.as_nanos().div_ceil(1_000_000);
        EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
    })
}

/// Says why io_uring is not used, once for all executors of the process.
fn warn_once(error: &ExecutorError) {
    static WARNED: std::sync::Once = std::sync::Once::new();
    WARNED.call_once(|| {
        let reason: &dyn std::error::Error = error;
        tracing::warn!(reason, "io_uring can not be used; files are served by threads, which is slower");
    });
}
