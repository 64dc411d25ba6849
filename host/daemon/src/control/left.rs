//! Events that are left to other daemons, and what becomes of them when those have gone.
//!
//! The kernel tells an event once and waits for its answer without limit. If a daemon ends before it has answered,
//! nobody else knows that somebody waits: so the newest event of every node that was left alone is kept, and answered
//! here as soon as its subtype is nobody's, or ours.
//!
//! Nobody tells whether the other daemon had answered. An answer for which nobody waits does no harm, but one that meets
//! another event of the same device makes the kernel lose that: so only the newest is answered, when all that has
//! come was read, and an announcement only if configfs shows that it waits.

use std::collections::BTreeMap;

use lunbox_tcmu::{DeviceEvent, DeviceName, EventKind, Minor, NetlinkError};

use super::start::TEAR_DOWN;
use super::{Control, Kernel, Phase};
use crate::job::{Job, Reason};
use crate::service::Starter;

/// So many are kept before it is looked which nodes have gone.
const TIDY: usize = 64;

/// The newest event of each node of which it was left to another daemon.
#[derive(Debug, Default)]
pub(super) struct Left {
    events: BTreeMap<Minor, (DeviceName, DeviceEvent)>,
    /// The number of events at which it is looked which nodes have gone.
    full: usize,
}

impl Left {
    /// Another event of the node has come, or who waited was answered.
    pub fn forget(&mut self, minor: Minor) {
        self.events.remove(&minor);
    }

    /// Nobody waits any more, at no node.
    pub fn forget_all(&mut self) {
        self.events.clear();
    }

    fn keep(&mut self, minor: Minor, name: DeviceName, event: DeviceEvent, is_there: impl Fn(Minor) -> bool) {
        self.events.insert(minor, (name, event));
        if self.events.len() > self.full.max(TIDY) {
            self.events.retain(|minor, _| is_there(*minor));
            self.full = self.events.len().saturating_mul(2);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.events.len()
    }
}

impl<K: Kernel, S: Starter> Control<K, S> {
    /// Leaves an event alone if it is about a device that another daemon serves, or may serve. What is served here is
    /// ours. Returns the event if it is not left alone.
    pub(super) fn leave_alone(&mut self, minor: Minor, event: DeviceEvent) -> Option<DeviceEvent> {
        self.left.forget(minor);
        if self.registry.served(minor).is_some() {
            return Some(event);
        }
        let Some(Ok(name)) = event.name.as_deref().map(DeviceName::parse) else { return Some(event) };
        if !self.is_foreign(&name) {
            return Some(event);
        }
        tracing::debug!(?event, "left to another daemon");
        self.keep_left(minor, name, event);
        None
    }

    /// The announcement of a node that was looked at in vain: perhaps since it was left alone, which only its name told.
    pub(super) fn announcement_skipped(&mut self, minor: Minor, event: DeviceEvent) {
        if let Ok(node) = self.around.uio.node(minor)
            && self.is_foreign(&node.name)
        {
            self.keep_left(minor, node.name, event);
        }
    }

    fn is_foreign(&self, name: &DeviceName) -> bool {
        self.around.foreign.is_left_alone(&name.subtype, self.starter.serves(&name.subtype))
    }

    fn keep_left(&mut self, minor: Minor, name: DeviceName, event: DeviceEvent) {
        let uio = &self.around.uio;
        if event.wants_reply {
            self.left.keep(minor, name, event, |minor| uio.node(minor).is_ok());
        }
    }

    /// Answers what was left to daemons that have gone since.
    ///
    /// # Errors
    /// Netlink failed for good.
    pub(super) fn answer_abandoned(&mut self) -> Result<(), NetlinkError> {
        while std::mem::take(&mut self.abandoned) {
            let nodes: Vec<_> = self.left.events.keys().copied().collect();
            for minor in nodes {
                if self.is_abandoned(minor) {
                    // A newer event of the node takes the place of what is kept.
                    self.receive()?;
                    self.take_abandoned(minor);
                }
            }
        }
        Ok(())
    }

    /// Whether something was left at a node that is left alone no more, and no job is at the node.
    pub(super) fn is_abandoned(&mut self, minor: Minor) -> bool {
        let Some((name, _)) = self.left.events.get(&minor) else { return false };
        self.phase != Phase::Stopping
            && !self.is_foreign(name)
            && self.registry.get(minor).is_none_or(|entry| entry.job.is_none() && entry.waiting.is_empty())
    }

    /// Acts on what was left at a node, if it is not to be left any more.
    fn take_abandoned(&mut self, minor: Minor) {
        if !self.is_abandoned(minor) {
            return;
        }
        let Some((name, event)) = self.left.events.remove(&minor) else { return };
        // Who removes a device waits before its node goes.
        if !self.around.uio.node(minor).is_ok_and(|node| node.name == name) {
            return;
        }
        tracing::info!(device = %name, kind = ?event.kind, "was left to another daemon, which has gone; who waits for it is answered");
        if event.kind == EventKind::Added {
            let job = Job::admit(minor, Reason::Abandoned(event.device_id), TEAR_DOWN);
            self.begin(minor, Some(event), job);
        } else {
            self.act(minor, event);
        }
    }
}
