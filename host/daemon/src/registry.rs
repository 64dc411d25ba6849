//! Which devices there are, by UIO node, and what is going on with each of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::time::Instant;

use lunbox_tcmu::{DeviceEvent, DeviceId, DeviceName, Minor};
use lunbox_wire::Modes;

use crate::control::{Questions, Ticket};
use crate::service::{Running, Wish};

/// What the control plane knows about one UIO node.
#[derive(Debug)]
pub struct Entry<D> {
    /// The device that is served there, if there is one.
    pub served: Option<Served<D>>,
    /// The job that is looking at the node, or has the device.
    pub job: Option<Ticket>,
    /// The event that the job works on, and that is answered when it is done.
    pub current: Option<DeviceEvent>,
    /// Events that came meanwhile.
    pub waiting: VecDeque<DeviceEvent>,
    /// The device asked who it is before the job that started it was done.
    pub wants_identity: bool,
    /// Access states that it wanted before that.
    pub early_wishes: Vec<Wish>,
    /// A size that the handler found and that the kernel has not been told of.
    pub found_size: Option<u64>,
    /// Whether initiators want a write cache, and other modes that they set and that a new loop is to begin with.
    pub found_modes: Option<(bool, Modes)>,
}

/// A device that is served.
#[derive(Debug)]
pub struct Served<D> {
    /// The kernel's number for it.
    pub id: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// How many were served before it; orders the shutdown.
    pub order: u64,
    /// The device, unless a job has it.
    pub device: Option<D>,
    /// What it asks for that stands in configfs.
    pub questions: Questions,
    /// A job tells the kernel of a size.
    pub telling_size: bool,
    /// Its UIO node has gone.
    pub gone: bool,
    /// A predecessor's worker serves it, and its `enable` may wait for an answer that the predecessor owed.
    pub adopted: bool,
    /// How it came back after its loop had ended or its worker had died.
    pub recovery: Recovery,
}

/// How a device does after its loop has ended.
#[derive(Debug, Default)]
pub struct Recovery {
    /// How often it was brought back.
    pub revivals: u64,
    /// When it was brought back for the last time.
    pub last: Option<Instant>,
    /// Tries since it last served for a while, those apart that failed because of its worker.
    pub tries: usize,
    /// The last try failed because of the device itself.
    pub refused: bool,
    /// Nothing more is tried, for this reason.
    pub given_up: Option<String>,
    /// Who asked for the device to be reset.
    pub askers: Vec<Sender<Result<(), String>>>,
}

impl<D: Running> Served<D> {
    /// Takes the device back from a job.
    pub fn give_back(&mut self, device: D) {
        self.questions.settle(&device);
        self.device = Some(device);
    }
}

impl<D> Default for Entry<D> {
    fn default() -> Self {
        Self {
            served: None,
            job: None,
            current: None,
            waiting: VecDeque::new(),
            wants_identity: false,
            early_wishes: Vec::new(),
            found_size: None,
            found_modes: None,
        }
    }
}

/// All nodes that are served or worked on.
#[derive(Debug)]
pub struct Registry<D> {
    entries: BTreeMap<Minor, Entry<D>>,
    admitted: u64,
}

impl<D> Default for Registry<D> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), admitted: 0 }
    }
}

impl<D> Registry<D> {
    /// The entry of a node, made if there is none.
    pub fn entry(&mut self, minor: Minor) -> &mut Entry<D> {
        self.entries.entry(minor).or_default()
    }

    /// The entry of a node, if there is one.
    pub fn get(&mut self, minor: Minor) -> Option<&mut Entry<D>> {
        self.entries.get_mut(&minor)
    }

    /// The device that is served at a node.
    pub fn served(&mut self, minor: Minor) -> Option<&mut Served<D>> {
        self.entries.get_mut(&minor)?.served.as_mut()
    }

    /// Where a device is, for events that do not tell.
    pub fn find(&self, id: DeviceId) -> Option<Minor> {
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.served.as_ref().is_some_and(|served| served.id == id))
            .map(|(&minor, _)| minor)
    }

    /// Puts a new device into its entry and returns the one that was there.
    pub fn serve(&mut self, minor: Minor, id: DeviceId, name: DeviceName, device: D) -> Option<Served<D>> {
        let order = self.admitted;
        self.admitted += 1;
        let served = Served {
            id,
            name,
            order,
            device: Some(device),
            questions: Questions::default(),
            telling_size: false,
            gone: false,
            adopted: false,
            recovery: Recovery::default(),
        };
        self.entry(minor).served.replace(served)
    }

    /// All nodes.
    pub fn entries(&self) -> impl Iterator<Item = (Minor, &Entry<D>)> {
        self.entries.iter().map(|(&minor, entry)| (minor, entry))
    }

    /// Forgets a node at which nothing is served and nothing goes on.
    pub fn tidy(&mut self, minor: Minor) {
        let idle =
            |entry: &Entry<D>| entry.served.is_none() && entry.job.is_none() && entry.waiting.is_empty();
        if self.entries.get(&minor).is_some_and(idle) {
            self.entries.remove(&minor);
        }
    }

    /// The nodes at which devices are served, the newest device first.
    pub fn newest_first(&self) -> Vec<Minor> {
        let mut served: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(&minor, entry)| Some((entry.served.as_ref()?.order, minor)))
            .collect();
        served.sort_unstable_by(|a, b| b.cmp(a));
        served.into_iter().map(|(_, minor)| minor).collect()
    }

    /// Number of devices served.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.served.is_some()).count()
    }

    /// Nothing is served.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
