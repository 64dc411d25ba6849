//! A model of everything around the control plane: a kernel that keeps a list of answers, trees like sysfs and
//! configfs, and devices that write down what happens to them.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lunbox_tcmu::{
    Configfs, DeviceEvent, DeviceId, Event, EventKind, Minor, NetlinkError, Uio, UioError, UioNode,
};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::control::{Control, Kernel, Message};
use crate::job::Surroundings;
use crate::mailbox::{Mailbox, mailbox};
use crate::service::{Notice, Refusal, Running, Starter};

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
}

impl State {
    fn write_down(&self, line: String) {
        self.log.lock().unwrap().push(line);
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

    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        let taken = self.0.busy_claims.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if taken || !self.0.claimed.lock().unwrap().insert(minor.0) {
            return Err(UioError::Busy { minor, path: PathBuf::from("/dev/uio") });
        }
        Ok(fs::File::open("/dev/null").unwrap().into())
    }

    fn start(&self, node: &UioNode, _uio: OwnedFd) -> Result<ModelDevice, String> {
        let name = node.name.device.clone();
        let device = ModelDevice { state: Arc::clone(&self.0), minor: node.minor.0, name };
        let directory = format!("core/user_0/{}/action", device.name);
        let mut line = format!("start {}", device.name);
        for (file, value, word) in [
            (format!("{directory}/block_dev"), "1", " blocked"),
            (format!("{directory}/reset_ring"), "1", " reset"),
            ("parameters/block_netlink".to_owned(), "1", " netlink-blocked"),
        ] {
            if self.0.read(&file) == value {
                line += word;
            }
        }
        self.0.write_down(line);
        self.0.pass(&device.name);
        match device.name.as_str() {
            "bad" => Err("bad is not served here".to_owned()),
            "panic" => panic!("a defect, made on purpose"),
            _ => Ok(device),
        }
    }
}

impl Running for ModelDevice {
    fn set_serial(&self, serial: String) {
        self.state.write_down(format!("serial {} {serial}", self.name));
    }

    fn resize(&self, bytes: u64) -> Result<(), Refusal> {
        self.state.write_down(format!("resize {} {bytes}", self.name));
        self.state.pass(&self.name);
        if bytes == 13 {
            return Err(Refusal { errno: Errno::EINVAL, reason: "13 is not a size".to_owned() });
        }
        Ok(())
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

type ModelControl = Control<ModelKernel, ModelStarter>;

/// The model and its temporary directory.
pub struct World {
    state: Arc<State>,
    mailbox: Mutex<Option<Mailbox<Message<ModelDevice>>>>,
    later: Mutex<Vec<(String, String, String)>>,
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
        };
        let state = Arc::new(state);
        Self { state, mailbox: Mutex::default(), later: Mutex::default(), _directory: directory }
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
