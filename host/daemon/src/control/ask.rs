//! What the control socket wants to know or to have done. Questions come as messages with a channel for the answer,
//! so that nobody who asks can hold up the control thread.

use std::sync::mpsc::Sender;
use std::time::Duration;

use lunbox_control::EventKind;
use lunbox_tcmu::{DeviceId, DeviceName, Minor};

use super::later::Chore;
use super::{Control, Kernel, Phase};
use crate::job::{Job, Reason};
use crate::service::{Condition, Running, Starter};

/// A question or a wish.
#[derive(Debug)]
pub enum Ask {
    /// How things are.
    Overview(Sender<Overview>),
    /// Give a device a new start: what runs is cancelled, what is in the ring is sent back. The answer comes when it
    /// serves again.
    Reset {
        /// Which one.
        minor: Minor,
        /// One line for the operator if it does not serve.
        answer: Sender<Result<(), String>>,
    },
    /// Leave all devices to a successor as they are.
    HandOver,
    /// There are handlers that there were not: look at devices that nobody serves, and serve those that are ours now.
    LookAgain,
    /// A subtype, or several, are not left to other daemons any more: answer who waits for those.
    NobodysNow {
        /// Which one, if it is one.
        subtype: Option<String>,
    },
}

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// What the control plane is about.
    pub phase: Phase,
    /// All devices, in the order of their nodes.
    pub devices: Vec<DeviceState>,
}

/// A device as the control plane sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Its node.
    pub minor: Minor,
    /// The kernel's number for it.
    pub id: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// One word: `serving`, `working` (a job is at it), `ended`, `lost`.
    pub state: &'static str,
    /// What a job at it does, or why nothing more is tried; may be empty.
    pub detail: String,
    /// How often it was brought back.
    pub revivals: u64,
}

impl<K: Kernel, S: Starter> Control<K, S> {
    pub(super) fn hear_ask(&mut self, ask: Ask) {
        match ask {
            // Who does not wait any more needs no answer.
            Ask::Overview(answer) => drop(answer.send(self.overview())),
            Ask::Reset { minor, answer } => self.reset(minor, answer),
            Ask::HandOver => {
                tracing::info!("leaving all devices to a successor");
                self.leaving = true;
            }
            Ask::LookAgain => self.look_again = true,
            Ask::NobodysNow { subtype } => {
                self.abandoned = true;
                // What the other daemon served is ours, if it has let go of it.
                self.look_again |= subtype.is_some_and(|subtype| self.starter.serves(&subtype));
            }
        }
    }

    fn overview(&self) -> Overview {
        let state = |(minor, entry): (Minor, &crate::registry::Entry<S::Device>)| {
            let served = entry.served.as_ref()?;
            let (mut state, mut detail) = match served.device.as_ref().map(Running::condition) {
                None => ("working", String::new()),
                Some(Condition::Serving) => ("serving", String::new()),
                Some(Condition::Ended(reason)) => ("ended", reason),
                Some(Condition::Lost) => ("lost", String::new()),
            };
            if let Some(reason) = &served.recovery.given_up {
                detail.clone_from(reason);
            }
            if let Some(job) = entry.job {
                state = "working";
                detail = self.jobs.progress(job).unwrap_or_default();
            }
            Some(DeviceState {
                minor,
                id: served.id,
                name: served.name.clone(),
                state,
                detail,
                revivals: served.recovery.revivals,
            })
        };
        Overview { phase: self.phase, devices: self.registry.entries().filter_map(state).collect() }
    }

    fn reset(&mut self, minor: Minor, answer: Sender<Result<(), String>>) {
        let refuse = |reason: &str| drop(answer.send(Err(reason.to_owned())));
        if self.phase != Phase::Serving {
            return refuse("lunboxd is starting or stopping; try again later");
        }
        let entry = self.registry.entry(minor);
        let Some(served) = entry.served.as_mut() else {
            if entry.job.is_some() {
                return refuse("it is just being started; try again later");
            }
            // One that could not be taken over. What is wanting is told anew.
            self.later.forget(Chore::TakeOver, minor);
            self.begin(minor, None, Job::admit(minor, Reason::TakeOver, Duration::ZERO));
            drop(answer.send(Ok(())));
            return;
        };
        if self.unblocking.contains(&minor) {
            return refuse("commands are just being let in to it again; try again later");
        }
        if let Some(job) = entry.job {
            let doing =
                self.jobs.progress(job).unwrap_or_else(|| "it is being changed or stopped".to_owned());
            return refuse(&format!("{doing}; try again later"));
        }
        self.later.forget(Chore::Mend, minor);
        served.recovery.given_up = None;
        served.recovery.tries = 0;
        served.recovery.askers.push(answer);
        tracing::warn!(device = %served.name, "reset, as somebody asked for");
        self.around.journal.device(EventKind::DeviceReset, &served.name, "asked for at the control socket");
        self.revive(minor, Duration::ZERO);
    }

    /// Answers those who asked for a reset.
    pub(super) fn tell_askers(&mut self, minor: Minor, result: &Result<(), String>) {
        let Some(served) = self.registry.served(minor) else { return };
        for asker in served.recovery.askers.drain(..) {
            drop(asker.send(result.clone()));
        }
    }
}
