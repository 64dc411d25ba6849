//! Starting, and catching up after lost events.
//!
//! ```text
//!  join the group ─▶ adopt workers ─▶ answer who waits ─▶ block netlink ─▶ receive and answer who waits ─▶ reset netlink
//!                                                                                                              │
//!                                           serve ◀─ unblock netlink ◀─ take over what a predecessor left ◀────┘
//! ```
//!
//! A device whose `enable` waits because no daemon was there is simply served: its UIO node and its id exist.
//! Once netlink is blocked no new event can begin, so that after one more look nothing of ours is left waiting;
//! the reset ends only what nobody can answer: events whose kind is not known any more.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use lunbox_control::EventKind;
use lunbox_tcmu::{ConfigfsError, DeviceId, DeviceName, Minor, NetlinkError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Control, Kernel, Phase};
use crate::job::{Job, Reason};
use crate::service::{Adopted, Starter};

/// How long a look for waiting devices may take. On kernels before 5.12 it may hang until netlink is reset.
const LOOK: Duration = Duration::from_secs(5);

/// How long taking over may take before netlink is unblocked regardless. What takes longer goes on behind the scenes.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// How long devices that have gone may take to be ended before their nodes are looked at.
const DISCARD: Duration = Duration::from_secs(15);

/// How long the UIO node of a device whose `enable` waits may stay busy: a predecessor's process ends only when the
/// kernel has torn it down.
pub(super) const TEAR_DOWN: Duration = Duration::from_secs(5);

/// The same for a device that is to be taken over, before it is put off.
const LET_GO: Duration = Duration::from_secs(1);

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Netlink failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A module parameter could not be written.
    #[error("{0}; the daemon needs to write to /sys (not mounted read-only?)")]
    Parameter(#[from] ConfigfsError),
    /// The UIO class could not be read.
    #[error("listing UIO nodes: {0}")]
    Uio(#[from] std::io::Error),
}

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Answers who waits and takes over what a predecessor served. When this returns the daemon is ready.
    ///
    /// # Errors
    /// See [`StartError`]. Netlink is not left blocked.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.start_unless(None)
    }

    /// The same, but as soon as `stop` is readable nothing more is begun or waited for. It is left as it is, so that
    /// [`Control::serve`] sees it at once.
    ///
    /// # Errors
    /// See [`StartError`]. Netlink is not left blocked.
    pub fn start_unless(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<(), StartError> {
        self.adopt()?;
        if !is_readable(stop) {
            self.look_for(Reason::Waiting, LOOK, stop)?;
        }
        if !is_readable(stop) {
            self.while_blocked(stop, |control| control.look_for(Reason::TakeOver, TAKE_OVER, stop))?;
        }
        self.phase = Phase::Serving;
        for minor in self.registry.newest_first() {
            if let Some(served) = self.registry.served(minor) {
                served.adopted = false;
            }
            self.tell_size(minor);
        }
        self.told_to_stop = is_readable(stop);
        self.hand_over_next();
        self.work_off();
        Ok(())
    }

    /// Goes on with what a predecessor's workers serve.
    fn adopt(&mut self) -> Result<(), NetlinkError> {
        let mut discarded = false;
        for adopted in self.starter.adopt() {
            let Adopted { minor, id, name, device, outdated } = adopted;
            // Another device may have got the node, or be at it now, perhaps one of the same name.
            let current =
                self.around.uio.node(minor).is_ok_and(|node| node.name == name) && self.is_still(&name, id);
            if !current || self.registry.served(minor).is_some() {
                tracing::info!(device = %name, "its UIO node has gone; its worker is told to end it");
                self.submit(minor, Job::Discard { minor, device, name });
                discarded = true;
                continue;
            }
            tracing::info!(device = %name, %minor, outdated, "adopted");
            self.around.journal.device(EventKind::DeviceAdded, &name, "adopted");
            self.registry.serve(minor, id, name.clone(), device);
            if let Some(served) = self.registry.served(minor) {
                served.adopted = true;
            }
            if outdated {
                self.outdated.insert(minor, self.starter.tenant(&name));
            }
            // The predecessor may have been about to stop it.
            self.submit(minor, Job::Unblock { minor, name });
            self.mend(minor);
        }
        // What is at those nodes now may want the same files.
        if discarded && !self.settle(DISCARD)? {
            tracing::warn!("devices that have gone are still being ended; going on without waiting for them");
        }
        Ok(())
    }

    /// No other device has come in the place of this one.
    fn is_still(&self, name: &DeviceName, id: DeviceId) -> bool {
        let directory = self.around.configfs.device(name);
        // A directory that is being removed is locked. Where there is no number, the name has to do.
        !directory.exists() || directory.device_id().map_or(true, |current| current == id)
    }

    /// Catches up after events were lost. Devices whose `enable` waits for nobody (`nl_reply_supported=-1`) are enabled
    /// although nobody serves them: they are taken over as after a start.
    pub(super) fn resynchronise(&mut self, stop: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        tracing::warn!("netlink events were lost; looking at all devices");
        let stop = Some(stop);
        let result = self
            .look_for(Reason::Waiting, LOOK, stop)
            .and_then(|()| self.while_blocked(stop, |_| Ok(())))
            .and_then(|()| self.look_for(Reason::TakeOver, LOOK, stop));
        no_more_than_told(result)
    }

    /// Serves what nobody serves and is ours, now that there are more handlers.
    pub(super) fn look_at_what_waits(&mut self, stop: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        tracing::debug!("handlers have come; looking at devices that nobody serves");
        let stop = Some(stop);
        let result = self
            .look_for(Reason::Waiting, LOOK, stop)
            .and_then(|()| self.look_for(Reason::TakeOver, LOOK, stop));
        no_more_than_told(result)
    }

    /// Ends every event that still waits, then does `work` while no new one can begin.
    fn while_blocked(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        work: impl FnOnce(&mut Self) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        match self.around.configfs.block_netlink(true) {
            Ok(()) => {}
            // A kernel without the parameter has no answers that anybody could wait for.
            Err(error) if error.is_absent() => return work(self),
            Err(error) => return Err(error.into()),
        }
        let result = self.reset_blocked(stop, work);
        let unblocked = self.around.configfs.block_netlink(false);
        result?;
        Ok(unblocked?)
    }

    fn reset_blocked(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        work: impl FnOnce(&mut Self) -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        self.receive()?;
        self.look_for(Reason::Waiting, LOOK, stop)?;
        // The reset would end what is still being answered; it is left to the successor.
        if is_readable(stop) {
            return Ok(());
        }
        match self.around.configfs.reset_netlink() {
            Err(error) if !error.is_absent() => return Err(error.into()),
            Err(_) => {}
            Ok(()) => self.left.forget_all(),
        }
        work(self)
    }

    /// Has every node looked at that is not being worked on, and the devices removed whose node has gone.
    /// Waits for that, but not longer than until `stop` is readable.
    fn look_for(
        &mut self,
        reason: Reason,
        patience: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<(), StartError> {
        let mut found: Vec<Minor> = Vec::new();
        for node in self.around.uio.scan()? {
            match node {
                Ok(node) => found.push(node.minor),
                Err(error) => tracing::error!("not served: {error}"),
            }
        }
        for minor in found {
            let entry = self.registry.entry(minor);
            // A served node is looked at as well: the device may have gone and another have come.
            if entry.job.is_none() {
                // Who is served here keeps the node busy for good.
                let patience = match reason {
                    _ if entry.served.is_some() => Duration::ZERO,
                    // What takes longer is tried again, without a thread meanwhile.
                    Reason::TakeOver => LET_GO,
                    Reason::Waiting | Reason::Announced(_) | Reason::Abandoned(_) => TEAR_DOWN,
                };
                self.begin(minor, None, Job::admit(minor, reason, patience));
            }
        }
        if !self.settle_unless(patience, stop)? {
            tracing::warn!("some devices take long to be looked at; going on without waiting for them");
        }
        Ok(())
    }

    /// Works until no job is left, `patience` is over or `stop` is readable; true if no job is left.
    fn settle_unless(
        &mut self,
        patience: Duration,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<bool, NetlinkError> {
        let deadline = Instant::now() + patience;
        while !self.jobs.is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() || self.step(stop, Some(rest))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Only netlink can not be done without.
fn no_more_than_told(result: Result<(), StartError>) -> Result<(), NetlinkError> {
    match result {
        Err(StartError::Netlink(error)) => Err(error),
        Err(error) => {
            tracing::error!("not every device could be looked at: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// There is such a descriptor, and something to read from it.
pub fn is_readable(stop: Option<BorrowedFd<'_>>) -> bool {
    let Some(stop) = stop else { return false };
    let mut asked = [PollFd::new(stop, PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
