//! A device as the control thread sees it: the descriptors that it came with, the loop that runs on copies of them,
//! and what it has to say.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lunbox_device::{DeviceHandle, Event};
use lunbox_wire::{
    Device, DeviceStatus, Health, Minor, Modes, Notice, Report, Request, VERSION_OF_MODES, VERSION_OF_RESIZED,
};

use crate::connection::{Connection, Sent};

/// Notices that are kept for a supervisor that does not read; the oldest go first. The last one of each kind says
/// how things stand.
const NOTICES: usize = 16;

/// Kept until it is stopped, even when its loop has ended: a successor of the loop needs the descriptors.
pub(crate) struct Entry {
    pub(crate) device: Device,
    /// As they came. The loop has copies.
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) generation: u64,
    /// None until it has started.
    pub(crate) handle: Option<Arc<DeviceHandle>>,
    /// A job works on it.
    pub(crate) busy: bool,
    /// Requests that wait for the job.
    pub(crate) waiting: VecDeque<Request>,
    /// The loop's thread has ended, or is about to.
    pub(crate) is_over: bool,
    /// The connection that wanted the loop to end, if it has, or will when its last operations have ended.
    pub(crate) stopped_by: Option<u64>,
    /// A size that the loop has and nobody was told of, while it is taken back.
    pub(crate) unheard_size: Option<u64>,
    /// Why the loop serves no more.
    pub(crate) ended: Option<String>,
    /// A command waits for the serial number and the groups; whether the supervisor knows.
    identity: Option<Told>,
    /// Commands that wait for a group to be put into another state, by their numbers.
    wishes: BTreeMap<u64, Wish>,
    trouble: Option<String>,
    notices: VecDeque<Notice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// A target port group is wanted in another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    group: u16,
    state: u8,
    told: Told,
}

impl Entry {
    pub(crate) fn new(device: Device, descriptors: Vec<OwnedFd>, generation: u64) -> Self {
        Self {
            device,
            descriptors,
            generation,
            handle: None,
            busy: false,
            waiting: VecDeque::new(),
            is_over: false,
            stopped_by: None,
            unheard_size: None,
            ended: None,
            identity: None,
            wishes: BTreeMap::new(),
            trouble: None,
            notices: VecDeque::new(),
        }
    }

    /// The loop has ended as it was wanted to: nobody needs the descriptors for going on.
    pub(crate) fn is_done_with(&self) -> bool {
        self.is_over && self.stopped_by.is_some() && !self.busy
    }

    /// As a supervisor that comes is told of it: with the size that the loop has at the moment. Who knows of another one
    /// has it changed, also where taking it back fails.
    pub(crate) fn listed(&self) -> Device {
        Device { size: self.unheard_size.unwrap_or(self.device.size), ..self.device.clone() }
    }

    /// The loop runs.
    pub(crate) fn serves(&self) -> bool {
        self.handle.is_some() && self.ended.is_none()
    }

    /// Notes what the loop has said.
    pub(crate) fn heard(&mut self, event: Event) {
        let notice = match event {
            Event::Ended(reason) => return self.has_ended(reason),
            // Cancelled: it serves no more, and how its handler is matters to nobody.
            _ if self.ended.is_some() => return,
            Event::IdentityWanted => {
                self.identity = Some(Told::No);
                return;
            }
            Event::AccessStateWanted { call, group, state } => {
                self.wishes.insert(call, Wish { group, state, told: Told::No });
                return;
            }
            Event::ModesChanged { write_cache, modes } => {
                let modes = Modes {
                    software_write_protect: modes.software_write_protect,
                    descriptor_sense: modes.descriptor_sense,
                };
                (self.device.write_cache, self.device.modes) = (Some(write_cache), modes);
                Notice::ModesChanged { write_cache, modes }
            }
            Event::HandlerFailed(reason) => return self.is_in_trouble(reason),
            Event::HandlerServes => {
                self.trouble = None;
                Notice::Recovered
            }
            Event::Resized(size) => {
                self.device.size = size.0;
                self.device.size_chosen = true;
                Notice::Resized { bytes: size.0 }
            }
        };
        self.note(notice);
    }

    /// Somebody changed the size to so many bytes, and the loop has `actual` ones by now. Whoever was told of a size
    /// that the handler found may hear of that only when this change is over: he is told once more.
    pub(crate) fn was_resized(&mut self, bytes: u64, actual: u64) {
        self.unheard_size = None;
        self.device.size = actual;
        if std::mem::replace(&mut self.device.size_chosen, actual != bytes) || actual != bytes {
            self.note(Notice::Resized { bytes: actual });
        }
    }

    /// The loop serves, and not as it should.
    pub(crate) fn is_in_trouble(&mut self, reason: String) {
        self.trouble = Some(reason.clone());
        self.note(Notice::Trouble(reason));
    }

    /// The loop serves no more, or never began.
    pub(crate) fn has_ended(&mut self, reason: String) {
        self.identity = None;
        self.wishes.clear();
        self.ended = Some(reason.clone());
        self.note(Notice::Ended(reason));
    }

    /// The loop takes nothing more, and its thread waits for operations that can not be cancelled. The supervisor of
    /// this connection was told so in the answer, if it `heard` it; every other one is told that it has ended.
    pub(crate) fn was_cancelled(&mut self, connection: u64, heard: bool) {
        self.stopped_by = Some(connection);
        if self.ended.is_none() {
            self.has_ended("it was told to end, and waits for operations on its storage".to_owned());
        }
        if heard {
            self.notices.clear();
        }
    }

    fn note(&mut self, notice: Notice) {
        // What the size or a mode is, is not said again by any other notice.
        let lasts = |notice: &Notice| matches!(notice, Notice::Resized { .. } | Notice::ModesChanged { .. });
        if lasts(&notice) {
            let kind = std::mem::discriminant(&notice);
            self.notices.retain(|earlier| std::mem::discriminant(earlier) != kind);
        }
        if self.notices.len() >= NOTICES
            && let Some(oldest) = self.notices.iter().position(|earlier| !lasts(earlier))
        {
            self.notices.remove(oldest);
        }
        self.notices.push_back(notice);
    }

    /// The serial number has come.
    pub(crate) fn identified(&mut self) {
        self.identity = None;
    }

    /// A group was put into another state, or not; false if nobody waits for that.
    pub(crate) fn wish_ended(&mut self, wish: u64) -> bool {
        self.wishes.remove(&wish).is_some()
    }

    /// A supervisor that knows nothing has come: it is told how things stand, not how they came about. Modes stand in
    /// what it was told of the device.
    pub(crate) fn repeat(&mut self) {
        self.identity = self.identity.map(|_| Told::No);
        self.wishes.values_mut().for_each(|wish| wish.told = Told::No);
        self.notices.clear();
        if self.device.size_chosen {
            // The one before may have died before the kernel knew.
            self.note(Notice::Resized { bytes: self.device.size });
        }
        if let Some(reason) = self.ended.clone() {
            self.note(Notice::Ended(reason));
        } else if let Some(reason) = self.trouble.clone() {
            self.note(Notice::Trouble(reason));
        }
    }

    /// Tells the supervisor what it does not know yet.
    pub(crate) fn tell(&mut self, minor: Minor, connection: &Connection) -> Sent {
        while let Some(notice) = self.notices.front() {
            let known_since = match notice {
                Notice::Resized { .. } => VERSION_OF_RESIZED,
                Notice::ModesChanged { .. } => VERSION_OF_MODES,
                _ => 0,
            };
            if connection.version < known_since {
                self.notices.pop_front();
                continue;
            }
            match connection.try_send(&Report::Notice { minor, notice: notice.clone() }) {
                Sent::Yes => self.notices.pop_front(),
                other => return other,
            };
        }
        // Not before it has started: the answer would find no loop to give it to.
        if self.identity == Some(Told::No) && self.handle.is_some() {
            match connection.try_send(&Report::Notice { minor, notice: Notice::IdentityWanted }) {
                Sent::Yes => self.identity = Some(Told::Yes),
                other => return other,
            }
        }
        // Whoever does not know the word leaves them waiting for a successor.
        if connection.version >= VERSION_OF_MODES {
            for (&wish, Wish { group, state, told }) in &mut self.wishes {
                if *told == Told::Yes {
                    continue;
                }
                let notice = Notice::AccessStateWanted { wish, group: *group, state: *state };
                match connection.try_send(&Report::Notice { minor, notice }) {
                    Sent::Yes => *told = Told::Yes,
                    other => return other,
                }
            }
        }
        Sent::Yes
    }

    pub(crate) fn status(&self) -> DeviceStatus {
        let Some(handle) = &self.handle else { return DeviceStatus::default() };
        let status = handle.status();
        DeviceStatus {
            health: match status.health {
                // It may have been cancelled and not have ended.
                _ if self.ended.is_some() => Health::Stopped,
                lunbox_device::Health::Serving => Health::Serving,
                lunbox_device::Health::Recovering => Health::Recovering,
                lunbox_device::Health::Stopped => Health::Stopped,
            },
            commands: status.commands,
            failures: status.failures,
            busy: status.busy,
            bytes_read: status.bytes_read,
            bytes_written: status.bytes_written,
            faults: status.faults,
            instances: status.instances,
            resets: status.resets,
            aborts: status.aborts,
            cpu_ns: status.cpu_ns,
            timeouts: status.timeouts,
            lun_resets: status.lun_resets,
            aborting: status.aborting,
            in_flight: status.in_flight,
            write_cache: status.write_cache,
        }
    }
}

#[cfg(test)]
mod tests {
    use lunbox_scsi::Bytes;
    use lunbox_wire::{Handler, Limits, Link, RingKind};

    use super::*;

    fn entry(size: u64) -> Entry {
        let device = Device {
            minor: 1,
            id: 1,
            name: "tcm-user/0/disk/file//disk".to_owned(),
            ring: RingKind::Emulated,
            map_bytes: 4096,
            size,
            block_size: 512,
            max_transfer: 2048,
            read_only: false,
            handler: Handler {
                subtype: "file".to_owned(),
                name: "File".to_owned(),
                version: "0".to_owned(),
                digest: String::new(),
            },
            stores: Vec::new(),
            options: Vec::new(),
            limits: Limits {
                memory_bytes: 1,
                table_elements: 1,
                cpu_per_call_us: 1,
                wall_per_call_ms: 1,
                hostcall_bytes: 1,
                log_lines_per_second: 1,
            },
            command_timeout_s: 0,
            write_cache: None,
            size_chosen: false,
            modes: lunbox_wire::Modes::default(),
        };
        Entry::new(device, Vec::new(), 1)
    }

    #[test]
    fn a_supervisor_that_comes_while_a_size_is_taken_back_is_told_what_the_loop_has() {
        let mut entry = entry(1 << 20);
        assert_eq!(entry.listed().size, 1 << 20);
        entry.unheard_size = Some(1 << 21);
        assert_eq!(entry.listed().size, 1 << 21);
    }

    #[test]
    fn a_size_that_the_handler_found_is_told_to_each_supervisor_and_not_pushed_out() {
        let mut entry = entry(1 << 20);
        entry.heard(Event::Resized(Bytes(1 << 21)));
        entry.heard(Event::Resized(Bytes(1 << 22)));
        for _ in 0..NOTICES {
            entry.heard(Event::HandlerServes);
        }
        let resized = |entry: &Entry| {
            let sizes = entry.notices.iter().filter_map(|notice| match notice {
                Notice::Resized { bytes } => Some(*bytes),
                _ => None,
            });
            sizes.collect::<Vec<_>>()
        };
        assert_eq!((resized(&entry), entry.notices.len()), (vec![1 << 22], NOTICES));
        assert_eq!((entry.listed().size, entry.listed().size_chosen), (1 << 22, true));
        entry.repeat();
        assert_eq!(entry.notices, [Notice::Resized { bytes: 1 << 22 }]);

        // Somebody changes it: the last word is his, and whoever heard another one hears it.
        entry.notices.clear();
        entry.was_resized(1 << 23, 1 << 23);
        assert_eq!(resized(&entry), [1 << 23]);
        assert_eq!((entry.listed().size, entry.listed().size_chosen), (1 << 23, false));
        entry.repeat();
        entry.was_resized(1 << 24, 1 << 24);
        assert!(entry.notices.is_empty());
        // The handler found another one again before the change was known here.
        entry.was_resized(1 << 24, 1 << 20);
        assert_eq!((resized(&entry), entry.device.size_chosen), (vec![1 << 20], true));
    }

    #[test]
    fn a_supervisor_that_does_not_know_the_word_is_not_told_of_a_size() {
        for (version, told) in [(VERSION_OF_RESIZED - 1, false), (VERSION_OF_RESIZED, true)] {
            let (link, supervisor) = Link::pair().unwrap();
            let mut connection = Connection::new(link, 0);
            connection.version = version;
            let mut entry = entry(1 << 20);
            entry.heard(Event::Resized(Bytes(1 << 21)));
            entry.heard(Event::HandlerServes);
            assert_eq!(entry.tell(1, &connection), Sent::Yes);
            let mut heard = Vec::new();
            while let Ok(Some((Report::Notice { notice, .. }, _))) = supervisor.try_receive::<Report>() {
                heard.push(notice);
            }
            assert_eq!(heard.contains(&Notice::Resized { bytes: 1 << 21 }), told);
            assert_eq!(heard.last(), Some(&Notice::Recovered));
        }
    }

    /// All notices that `entry` has for a supervisor of this version.
    fn told(entry: &mut Entry, version: u32) -> Vec<Notice> {
        let (link, supervisor) = Link::pair().unwrap();
        let mut connection = Connection::new(link, 0);
        connection.version = version;
        assert_eq!(entry.tell(1, &connection), Sent::Yes);
        let mut heard = Vec::new();
        while let Ok(Some((Report::Notice { notice, .. }, _))) = supervisor.try_receive::<Report>() {
            heard.push(notice);
        }
        heard
    }

    #[test]
    fn an_access_state_that_is_wanted_is_told_to_each_supervisor_until_it_is_answered() {
        let mut entry = entry(1 << 20);
        for call in [4, 5] {
            entry.heard(Event::AccessStateWanted { call, group: 16, state: 2 });
        }
        let wanted = |wish| Notice::AccessStateWanted { wish, group: 16, state: 2 };
        assert_eq!(told(&mut entry, VERSION_OF_MODES - 1), [], "it does not know the word");
        assert_eq!(told(&mut entry, VERSION_OF_MODES), [wanted(4), wanted(5)]);
        assert_eq!(told(&mut entry, VERSION_OF_MODES), []);
        assert!(entry.wish_ended(4) && !entry.wish_ended(4));
        entry.repeat();
        assert_eq!(told(&mut entry, VERSION_OF_MODES), [wanted(5)]);
        entry.has_ended("it ended".to_owned());
        assert!(!entry.wish_ended(5), "its loop has gone");
    }

    #[test]
    fn modes_that_initiators_set_are_part_of_the_device_and_are_told_once() {
        let set = |software_write_protect| Event::ModesChanged {
            write_cache: false,
            modes: lunbox_device::Modes { software_write_protect, descriptor_sense: true },
        };
        let mut entry = entry(1 << 20);
        entry.heard(set(false));
        entry.heard(Event::Resized(Bytes(1 << 21)));
        entry.heard(set(true));
        for _ in 0..NOTICES {
            entry.heard(Event::HandlerServes);
        }
        let modes = Modes { software_write_protect: true, descriptor_sense: true };
        assert_eq!((entry.listed().write_cache, entry.listed().modes), (Some(false), modes));
        let heard = told(&mut entry, VERSION_OF_MODES);
        let changes = heard.iter().filter(|notice| matches!(notice, Notice::ModesChanged { .. }));
        assert_eq!(changes.collect::<Vec<_>>(), [&Notice::ModesChanged { write_cache: false, modes }]);
        assert!(heard.contains(&Notice::Resized { bytes: 1 << 21 }));
        entry.heard(set(true));
        assert_eq!(told(&mut entry, VERSION_OF_MODES - 1), []);
    }

    #[test]
    fn who_comes_later_is_told_of_a_loop_that_is_not_as_it_should_be() {
        let mut entry = entry(1 << 20);
        entry.is_in_trouble("another size".to_owned());
        entry.repeat();
        assert_eq!(entry.notices, [Notice::Trouble("another size".to_owned())]);
        entry.heard(Event::HandlerServes);
        entry.repeat();
        assert!(entry.notices.is_empty());
    }
}
