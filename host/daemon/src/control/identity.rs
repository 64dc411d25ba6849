//! Answers what a device loop asks for and what stands in configfs: who the LUN is, and another access state of a target
//! port group.

use std::collections::VecDeque;

use lunbox_tcmu::Minor;
use lunbox_wire::{AccessStateAnswer, Identity};

use super::{Control, Kernel};
use crate::identity::{Reading, merge};
use crate::job::Job;
use crate::service::{Running, Starter, Wish};

/// Wishes of one device that wait. A loop has no more commands than its ring holds, and initiators send few of these.
pub(super) const MOST_WISHES: usize = 16;

/// What a device wants to know, and what it is to be told when it comes back from a job.
#[derive(Debug, Default)]
pub struct Questions {
    /// What it was told last.
    pub known: Identity,
    /// A job reads it.
    reading: bool,
    /// It was asked for again meanwhile.
    again: bool,
    /// It waits for the answer, which is known, but a job has the device.
    owed: bool,
    /// What the operator was told last that he should put right.
    complaints: Vec<String>,
    /// Wishes that wait for the one that a job works on.
    wishes: VecDeque<Wish>,
    /// The one that a job works on.
    current: Option<u64>,
    /// Loops that the device has had. Each counts its wishes anew.
    epoch: u64,
    /// Answers that the device has not got, since a job has it.
    owed_answers: Vec<(u64, AccessStateAnswer)>,
}

impl Questions {
    /// The device is about to get another loop, which has none of these wishes. Whoever has them still tries again.
    pub fn renew(&mut self, device: &impl Running) {
        self.epoch += 1;
        let waiting = self.wishes.drain(..).map(|wish| wish.number);
        for wish in self.current.take().into_iter().chain(waiting) {
            device.answer_access_state(wish, AccessStateAnswer::Failed);
        }
        self.owed_answers.clear();
    }

    /// The device is back from a job.
    pub fn settle(&mut self, device: &impl Running) {
        if std::mem::take(&mut self.owed) {
            device.set_identity(self.known.clone());
        }
        for (wish, answer) in self.owed_answers.drain(..) {
            device.answer_access_state(wish, answer);
        }
    }
}

impl<K: Kernel, S: Starter> Control<K, S> {
    /// A device wants to know who it is. However often its worker asks, it has one job at a time.
    pub(super) fn look_up_identity(&mut self, minor: Minor) {
        let Some(served) = self.registry.served(minor) else { return };
        if served.questions.reading {
            served.questions.again = true;
            return;
        }
        served.questions.reading = true;
        let name = served.name.clone();
        self.submit(minor, Job::Identity { minor, name });
    }

    /// It was read.
    pub(super) fn give_identity(&mut self, minor: Minor, reading: Reading) {
        let Some(served) = self.registry.served(minor) else { return };
        let questions = &mut served.questions;
        // An INQUIRY must not hang.
        let (identity, complaints) = merge(&questions.known, reading);
        // Initiators ask often.
        for complaint in complaints.iter().filter(|complaint| !questions.complaints.contains(complaint)) {
            tracing::warn!(device = %served.name, "{complaint}");
        }
        questions.complaints = complaints;
        questions.known = identity;
        match &served.device {
            Some(device) => device.set_identity(questions.known.clone()),
            None => questions.owed = true,
        }
        questions.reading = false;
        if std::mem::take(&mut questions.again) {
            self.look_up_identity(minor);
        }
    }

    /// An initiator wants a group in another state. One after the other, in their order.
    pub(super) fn wish(&mut self, minor: Minor, wish: Wish) {
        let Some(served) = self.registry.served(minor) else { return };
        if served.questions.wishes.len() >= MOST_WISHES {
            return self.wish_ended(minor, wish.number, AccessStateAnswer::Failed);
        }
        served.questions.wishes.push_back(wish);
        self.next_wish(minor);
    }

    fn next_wish(&mut self, minor: Minor) {
        let Some(served) = self.registry.served(minor) else { return };
        if served.questions.current.is_some() {
            return;
        }
        let Some(wish) = served.questions.wishes.pop_front() else { return };
        served.questions.current = Some(wish.number);
        let (id, name, epoch) = (served.id, served.name.clone(), served.questions.epoch);
        self.submit(minor, Job::AccessState { minor, id, name, wish, epoch });
    }

    /// A job has done it, or not.
    pub(super) fn access_state_set(
        &mut self,
        minor: Minor,
        wish: u64,
        epoch: u64,
        answer: AccessStateAnswer,
    ) {
        let Some(served) = self.registry.served(minor) else { return };
        // Whoever wished it has ended otherwise.
        if served.questions.epoch != epoch {
            return;
        }
        served.questions.current = None;
        self.wish_ended(minor, wish, answer);
        self.next_wish(minor);
    }

    fn wish_ended(&mut self, minor: Minor, wish: u64, answer: AccessStateAnswer) {
        let Some(served) = self.registry.served(minor) else { return };
        match &served.device {
            Some(device) => device.answer_access_state(wish, answer),
            // What does not fit is a flood, of which nothing needs to be true.
            None if served.questions.owed_answers.len() < 2 * MOST_WISHES => {
                served.questions.owed_answers.push((wish, answer));
            }
            None => {}
        }
    }

    /// Has a new loop of a device go on with what initiators have set, as soon as no job has the device.
    pub(super) fn take_modes(&mut self, minor: Minor) {
        let Some(entry) = self.registry.get(minor) else { return };
        let Some(device) = entry.served.as_mut().and_then(|served| served.device.as_mut()) else { return };
        if let Some((write_cache, modes)) = entry.found_modes.take() {
            device.accept_modes(write_cache, modes);
        }
    }
}
