//! A model of everything around the control plane: a kernel that keeps a list of answers, trees like sysfs and
//! configfs, and devices that write down what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lunbox_tcmu::{
    Change, Configfs, DeviceEvent, DeviceId, DeviceName, Event, EventKind, Minor, NetlinkError, Uio,
    UioError, UioNode,
};
use lunbox_wire::{AccessStateAnswer, Ending, Identity, Modes};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::control::{Control, Kernel, Message};
use crate::foreign::Foreign;
use crate::job::Surroundings;
use crate::journal::Journal;
use crate::mailbox::{Mailbox, mailbox};
use crate::service::{Adopted, Cancel, Condition, Notice, Refusal, Running, Setback, Starter};

/// Kind, device and status of an answer.
pub type Reply = (EventKind, DeviceId, Result<(), Errno>);

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

fn event(kind: EventKind, minor: u32, id: u32) -> Event {
    Event::Device(DeviceEvent {
        kind,
        device_id: Some(DeviceId(id)),
        minor: Some(Minor(minor)),
        name: None,
        wants_reply: true,
    })
}

pub fn added(minor: u32, id: u32) -> Event {
    event(EventKind::Added, minor, id)
}

pub fn removed(minor: u32, id: u32) -> Event {
    event(EventKind::Removed, minor, id)
}

pub fn reconfigured(minor: u32, id: u32, kind: EventKind) -> Event {
    event(kind, minor, id)
}

/// What all parts of the model share.
pub struct State {
    root: PathBuf,
    events: Mutex<VecDeque<Event>>,
    wake: EventFd,
    replies: Mutex<Vec<Reply>>,
    log: Mutex<Vec<String>>,
    claimed: Mutex<BTreeSet<u32>>,
    /// So many attempts to open a UIO node find it in use.
    busy_claims: AtomicUsize,
    held: Mutex<Option<String>>,
    released: Condvar,
    /// Everything that is done to devices, fences included.
    steps: Mutex<Vec<String>>,
    /// Devices on whose storage operations of an old loop are left.
    stalled: Mutex<BTreeSet<String>>,
    /// How devices are that do not serve.
    conditions: Mutex<BTreeMap<String, Condition>>,
    /// Ways in which the next launches of a device fail.
    setbacks: Mutex<BTreeMap<String, VecDeque<Setback>>>,
    /// Served by a predecessor's workers: node, id, name, and whether the worker is outdated.
    left: Mutex<Vec<(u32, u32, String, bool)>>,
    /// Devices for which no worker can be had.
    homeless: Mutex<BTreeSet<String>>,
    /// Kinds and devices of what was told.
    pub told: Mutex<Vec<String>>,
}

impl State {
    fn write_down(&self, line: String) {
        self.step(line.clone());
        self.log.lock().unwrap().push(line);
    }

    fn step(&self, line: String) {
        self.steps.lock().unwrap().push(line);
    }

    /// What keeps commands from a device, in words.
    fn kept_away(&self, device: &str) -> String {
        let directory = format!("core/user_0/{device}/action");
        let mut words = String::new();
        for (file, value, word) in [
            (format!("{directory}/block_dev"), "1", " blocked"),
            (format!("{directory}/reset_ring"), "1", " reset"),
            ("parameters/block_netlink".to_owned(), "1", " netlink-blocked"),
        ] {
            if self.read(&file) == value {
                words += word;
            }
        }
        words
    }

    /// The fence: waits as long as operations are left.
    fn fence(&self, device: &str, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Setback> {
        self.step(format!("fence {device}{}", self.kept_away(device)));
        let start = Instant::now();
        while self.stalled.lock().unwrap().contains(device) {
            if cancel.wait(Duration::from_millis(1)) {
                return Err(Setback::Cancelled);
            }
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return Err(Setback::Refused("its old loop has not ended".to_owned()));
            }
        }
        Ok(())
    }

    /// Waits here as long as the test holds this device.
    fn pass(&self, device: &str) {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| held.as_deref() == Some(device)).unwrap());
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }
}

pub struct ModelKernel(Arc<State>);

impl AsFd for ModelKernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

impl Kernel for ModelKernel {
    fn receive(&mut self) -> Result<Option<Event>, NetlinkError> {
        let _ = self.0.wake.read();
        Ok(self.0.events.lock().unwrap().pop_front())
    }

    fn reply(
        &mut self,
        kind: &EventKind,
        id: DeviceId,
        status: Result<(), Errno>,
    ) -> Result<(), NetlinkError> {
        self.0.replies.lock().unwrap().push((kind.clone(), id, status));
        Ok(())
    }
}

pub struct ModelStarter(Arc<State>);

pub struct ModelDevice {
    state: Arc<State>,
    minor: u32,
    name: String,
}

impl Drop for ModelDevice {
    fn drop(&mut self) {
        self.state.claimed.lock().unwrap().remove(&self.minor);
    }
}

impl Starter for ModelStarter {
    type Device = ModelDevice;

    fn serves(&self, subtype: &str) -> bool {
        subtype == "model"
    }

    fn subtypes(&self) -> String {
        "model".to_owned()
    }

    /// Of `blue-3` it is blue.
    fn tenant(&self, name: &DeviceName) -> String {
        name.device.split_once('-').map(|(tenant, _)| tenant.to_owned()).unwrap_or_default()
    }

    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        let taken = self.0.busy_claims.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if taken || !self.0.claimed.lock().unwrap().insert(minor.0) {
            return Err(UioError::Busy { minor, path: PathBuf::from("/dev/uio") });
        }
        Ok(fs::File::open("/dev/null").unwrap().into())
    }

    fn adopt(&self) -> Vec<Adopted<ModelDevice>> {
        let left = std::mem::take(&mut *self.0.left.lock().unwrap());
        let adopted = left.into_iter().map(|(minor, id, name, outdated)| {
            self.0.claimed.lock().unwrap().insert(minor);
            Adopted {
                minor: Minor(minor),
                id: DeviceId(id),
                name: DeviceName::parse(&format!("tcm-user/0/{name}/model//x")).unwrap(),
                device: ModelDevice { state: Arc::clone(&self.0), minor, name },
                outdated,
            }
        });
        adopted.collect()
    }

    fn prepare(
        &self,
        node: &UioNode,
        _id: DeviceId,
        _uio: OwnedFd,
        _cancel: &Cancel,
    ) -> Result<ModelDevice, Setback> {
        let name = node.name.device.clone();
        Ok(ModelDevice { state: Arc::clone(&self.0), minor: node.minor.0, name })
    }
}

impl Running for ModelDevice {
    fn condition(&self) -> Condition {
        self.state.conditions.lock().unwrap().get(&self.name).cloned().unwrap_or(Condition::Serving)
    }

    fn make_ready(&self, _cancel: &Cancel) -> Result<(), Setback> {
        if self.state.homeless.lock().unwrap().contains(&self.name) {
            return Err(Setback::Refused("its worker could not be started".to_owned()));
        }
        self.state.pass(&format!("{} in its old worker", self.name));
        Ok(())
    }

    fn launch(&mut self, _cancel: &Cancel) -> Result<(), Setback> {
        let name = &self.name;
        self.state.write_down(format!("start {name}{}", self.state.kept_away(name)));
        self.state.pass(name);
        if let Some(setback) = self.state.setbacks.lock().unwrap().get_mut(name).and_then(VecDeque::pop_front)
        {
            return Err(setback);
        }
        match name.as_str() {
            "bad" => return Err(Setback::Refused("bad is not served here".to_owned())),
            "panic" => panic!("a defect, made on purpose"),
            _ => {}
        }
        self.state.conditions.lock().unwrap().remove(name);
        Ok(())
    }

    fn fence_new(&mut self, cancel: &Cancel) -> Result<(), Setback> {
        self.state.step(format!("new {}", self.name));
        self.state.fence(&self.name, None, cancel)
    }

    fn fence_within(&mut self, limit: Option<Duration>, cancel: &Cancel) -> Result<(), Setback> {
        self.state.fence(&self.name, limit, cancel)
    }

    fn end(&mut self, how: Ending, _patience: Duration) -> Result<(), String> {
        let name = &self.name;
        self.state.step(format!("end {name} {how:?}{}", self.state.kept_away(name)));
        if name == "stays" && how == Ending::HandOver {
            return Err("its data would be lost".to_owned());
        }
        self.state.conditions.lock().unwrap().insert(name.clone(), Condition::Lost);
        if name == "clings" { Err("it clings".to_owned()) } else { Ok(()) }
    }

    fn set_identity(&self, identity: Identity) {
        let groups: Vec<_> = identity.groups.iter().map(|group| group.id.to_string()).collect();
        let groups = if groups.is_empty() { String::new() } else { format!(" groups {}", groups.join(" ")) };
        self.state.write_down(format!("serial {} {}{groups}", self.name, identity.serial));
    }

    fn answer_access_state(&self, wish: u64, answer: AccessStateAnswer) {
        self.state.write_down(format!("wish {} {wish} {answer:?}", self.name));
    }

    fn accept_modes(&mut self, write_cache: bool, modes: Modes) {
        let protect = modes.software_write_protect;
        self.state.write_down(format!("modes {} {write_cache} {protect}", self.name));
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let Change::Size(bytes) = *change else {
            self.state.write_down(format!("change {} {change:?}", self.name));
            return match change {
                Change::WriteCache(true) => Ok(()),
                _ => Err(Refusal { errno: Errno::EOPNOTSUPP, reason: "not here".to_owned() }),
            };
        };
        self.state.write_down(format!("resize {} {bytes}", self.name));
        self.state.pass(&self.name);
        if self.condition() == Condition::Lost {
            return Err(Refusal { errno: Errno::EAGAIN, reason: "its worker died".to_owned() });
        }
        if bytes == 13 {
            return Err(Refusal { errno: Errno::EINVAL, reason: "13 is not a size".to_owned() });
        }
        Ok(())
    }

    fn accept_size(&mut self, bytes: u64) -> Result<bool, String> {
        if !bytes.is_multiple_of(512) {
            return Err(format!("{bytes} is no size"));
        }
        let replies = self.state.replies.lock().unwrap().len();
        self.state.write_down(format!("found {} {bytes} after {replies} replies", self.name));
        Ok(true)
    }

    fn stop(self, _patience: Duration) -> Result<(), String> {
        let replies = self.state.replies.lock().unwrap().len();
        let blocked = self.state.read(&format!("core/user_0/{}/action/block_dev", self.name)) == "1";
        let blocked = if blocked { " blocked" } else { "" };
        self.state.write_down(format!("stop {} after {replies} replies{blocked}", self.name));
        self.state.pass(&self.name);
        Ok(())
    }
}

pub type ModelControl = Control<ModelKernel, ModelStarter>;

/// The model and its temporary directory.
pub struct World {
    state: Arc<State>,
    mailbox: Mutex<Option<Mailbox<Message<ModelDevice>>>>,
    later: Mutex<Vec<(String, String, String)>>,
    /// What other daemons serve.
    pub foreign: Foreign,
    _directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        for name in ["class", "dev", "core", "parameters"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for name in ["block_netlink", "reset_netlink"] {
            fs::write(root.join("parameters").join(name), "").unwrap();
        }
        let state = State {
            root,
            events: Mutex::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap(),
            replies: Mutex::default(),
            log: Mutex::default(),
            claimed: Mutex::default(),
            busy_claims: AtomicUsize::new(0),
            held: Mutex::default(),
            released: Condvar::new(),
            steps: Mutex::default(),
            stalled: Mutex::default(),
            conditions: Mutex::default(),
            setbacks: Mutex::default(),
            left: Mutex::default(),
            homeless: Mutex::default(),
            told: Mutex::default(),
        };
        let state = Arc::new(state);
        Self {
            state,
            mailbox: Mutex::default(),
            later: Mutex::default(),
            foreign: Foreign::default(),
            _directory: directory,
        }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.state.root.join(file)
    }

    /// The kernel makes a device.
    pub fn create(&self, minor: u32, id: u32, name: &str, subtype: &str, enabled: bool) {
        let uio = self.path(&format!("class/uio{minor}"));
        fs::create_dir_all(uio.join("maps/map0")).unwrap();
        fs::write(uio.join("name"), format!("tcm-user/0/{name}/{subtype}//x\n")).unwrap();
        fs::write(uio.join("version"), "2\n").unwrap();
        fs::write(uio.join("maps/map0/size"), "0x1000\n").unwrap();
        self.write(name, "statistics/scsi_dev/indx", &format!("{id}\n"));
        self.write(name, "enable", if enabled { "1\n" } else { "0\n" });
        self.write(name, "action/block_dev", "");
        self.write(name, "action/reset_ring", "");
        for (device, field, value) in &*self.later.lock().unwrap() {
            if device == name {
                self.write(device, field, value);
            }
        }
    }

    pub fn write(&self, device: &str, field: &str, value: &str) {
        let path = self.path(&format!("core/user_0/{device}/{field}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    /// Writes a field when the device is made.
    pub fn write_later(&self, device: &str, field: &str, value: &str) {
        self.later.lock().unwrap().push((device.to_owned(), field.to_owned(), value.to_owned()));
    }

    pub fn read(&self, device: &str, field: &str) -> String {
        self.state.read(&format!("core/user_0/{device}/{field}"))
    }

    pub fn parameter(&self, name: &str) -> String {
        self.state.read(&format!("parameters/{name}"))
    }

    pub fn announce(&self, event: Event) {
        self.state.events.lock().unwrap().push_back(event);
        self.state.wake.write(1).unwrap();
    }

    /// A device says something.
    pub fn notify(&self, minor: u32, notice: Notice) {
        self.mailbox.lock().unwrap().as_ref().unwrap().send(Message::Notice(Minor(minor), notice));
    }

    /// The next attempts to open a UIO node find that a predecessor has it open still.
    pub fn keep_busy(&self, attempts: usize) {
        self.state.busy_claims.store(attempts, SeqCst);
    }

    /// A control plane that gives admissions up after this time.
    pub fn impatient(&self, admission: Duration) -> ModelControl {
        let mut control = self.control();
        control.around.admission = admission;
        control.start().unwrap();
        control
    }

    /// Jobs on this device do not get on until [`World::release`].
    pub fn hold(&self, device: &str) {
        *self.state.held.lock().unwrap() = Some(device.to_owned());
    }

    pub fn release(&self) {
        *self.state.held.lock().unwrap() = None;
        self.state.released.notify_all();
    }

    /// Everything that was done to devices since the last call, fences included.
    pub fn take_steps(&self) -> Vec<String> {
        std::mem::take(&mut self.state.steps.lock().unwrap())
    }

    pub fn steps(&self) -> Vec<String> {
        self.state.steps.lock().unwrap().clone()
    }

    /// What was told to those who watch.
    pub fn told(&self) -> Vec<String> {
        self.state.told.lock().unwrap().clone()
    }

    /// Operations of an old loop are left on the storage of a device.
    pub fn stall(&self, device: &str) {
        self.state.stalled.lock().unwrap().insert(device.to_owned());
    }

    pub fn unstall(&self, device: &str) {
        self.state.stalled.lock().unwrap().remove(device);
    }

    /// Something happens to a device, and it is told.
    pub fn strike(&self, minor: u32, device: &str, condition: Condition) {
        self.break_quietly(device, condition.clone());
        self.notify(
            minor,
            match condition {
                Condition::Ended(reason) => Notice::Ended(reason),
                Condition::Serving | Condition::Lost => Notice::Lost,
            },
        );
    }

    /// Something happens to a device, and it is not told yet.
    pub fn break_quietly(&self, device: &str, condition: Condition) {
        self.state.conditions.lock().unwrap().insert(device.to_owned(), condition);
    }

    /// The next launches of a device fail in these ways.
    pub fn set_back(&self, device: &str, setbacks: &[Setback]) {
        let mut all = self.state.setbacks.lock().unwrap();
        all.insert(device.to_owned(), setbacks.iter().cloned().collect());
    }

    /// No worker can be had for a device, or one can be had again.
    pub fn set_homeless(&self, device: &str, homeless: bool) {
        let mut all = self.state.homeless.lock().unwrap();
        if homeless {
            all.insert(device.to_owned());
        } else {
            all.remove(device);
        }
    }

    /// A predecessor's worker serves a device.
    pub fn leave(&self, minor: u32, id: u32, device: &str, outdated: bool) {
        self.state.left.lock().unwrap().push((minor, id, device.to_owned(), outdated));
    }

    /// Somebody asks the control thread.
    pub fn ask(&self, ask: super::super::Ask) {
        self.mailbox.lock().unwrap().as_ref().unwrap().send(Message::Ask(ask));
    }

    pub fn replies(&self) -> Vec<Reply> {
        self.state.replies.lock().unwrap().clone()
    }

    pub fn take_replies(&self) -> Vec<Reply> {
        std::mem::take(&mut self.state.replies.lock().unwrap())
    }

    pub fn log(&self) -> Vec<String> {
        self.state.log.lock().unwrap().clone()
    }

    pub fn claimed(&self) -> Vec<u32> {
        self.state.claimed.lock().unwrap().iter().copied().collect()
    }

    pub fn control(&self) -> ModelControl {
        let (sender, inbox) = mailbox().unwrap();
        *self.mailbox.lock().unwrap() = Some(sender.clone());
        let around = Surroundings {
            uio: Uio::new(self.path("class"), self.path("dev")),
            configfs: Configfs::new(self.path("core"), self.path("parameters")),
            patience: Duration::from_millis(100),
            admission: DEADLINE,
            retries: [0, 1, 2].map(Duration::from_millis),
            foreign: self.foreign.clone(),
            journal: Journal::new({
                let state = Arc::clone(&self.state);
                move |happening| {
                    let device = happening.device.unwrap_or_default();
                    state.told.lock().unwrap().push(format!("{} {device}", happening.kind));
                }
            }),
        };
        let starter = Arc::new(ModelStarter(Arc::clone(&self.state)));
        Control::new(ModelKernel(Arc::clone(&self.state)), starter, around, sender, inbox)
    }

    pub fn started(&self) -> ModelControl {
        let mut control = self.control();
        control.start().unwrap();
        control
    }

    /// Has everything looked at that has been sent so far.
    pub fn step(&self, control: &mut ModelControl) {
        control.step(None, Some(Duration::ZERO)).unwrap();
    }

    /// Lets everything happen that can.
    pub fn run(&self, control: &mut ModelControl) {
        loop {
            self.step(control);
            assert!(control.settle(DEADLINE).unwrap(), "jobs do not end");
            if self.state.events.lock().unwrap().is_empty() && control.jobs.is_empty() {
                break;
            }
        }
    }

    /// Lets things happen until `done`.
    pub fn run_until(&self, control: &mut ModelControl, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < deadline, "does not happen: {:?} {:?}", self.log(), self.replies());
            control.step(None, Some(Duration::from_millis(5))).unwrap();
        }
    }

    /// Serves as the daemon does, until `done`.
    pub fn serve_until(&self, control: &mut ModelControl, done: impl Fn(&Self) -> bool + Sync) {
        let stop = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + DEADLINE;
                while !done(self) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                stop.write(1).unwrap();
            });
            control.serve(stop.as_fd()).unwrap();
        });
        assert!(done(self), "did not happen in time");
    }
}
