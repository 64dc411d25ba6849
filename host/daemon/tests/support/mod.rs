//! A machine made up of directories and emulated rings, and a daemon on it whose workers are real processes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use lunbox_behaviour::components::component;
use lunbox_daemon::compiler::{CompileError, Compiler};
use lunbox_daemon::control::{Control, Kernel, Message, Outcome};
use lunbox_daemon::control_socket::Door;
use lunbox_daemon::device::Device;
use lunbox_daemon::handlers::{Handlers, Installed, Loader};
use lunbox_daemon::job::Surroundings;
use lunbox_daemon::journal::Journal;
use lunbox_daemon::mailbox::mailbox;
use lunbox_daemon::open::Opener;
use lunbox_daemon::service::{Adopted, Cancel, Setback, Starter};
use lunbox_daemon::workers::spawn::{Place, directory};
use lunbox_daemon::workers::{Confines, Pool, Spawner, Worker};
use lunbox_emulator::initiator::{Settings, cdb};
use lunbox_emulator::{Data, Initiator, Kernel as Ring, Options, ResetMode};
use lunbox_engine::{Artifact, Digest, Expected, engine_digest};
use lunbox_grant::{Access, Locator, Master, Patience, Wanted};
use lunbox_policy::Policy;
use lunbox_tcmu::{Configfs, DeviceId, Event, EventKind, Minor, NetlinkError, Uio, UioError, UioNode};
use lunbox_wire::peer::Process;
use lunbox_wire::{Device as Served, Handler, Limits, Link, Report, Request, RingKind, Store, StoreKind};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(60);

const SIZE: u64 = 16 << 20;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lunboxd");

#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

type Rings = Arc<Mutex<BTreeMap<Minor, Initiator>>>;

pub struct Machine {
    root: tempfile::TempDir,
    rings: Rings,
    /// UIO nodes that somebody has open.
    busy: Arc<Mutex<BTreeSet<Minor>>>,
    handler: Arc<Installed>,
    touched: Arc<Mutex<BTreeSet<String>>>,
    over: Arc<AtomicBool>,
    watchers: Mutex<Vec<JoinHandle<()>>>,
    /// Workers that were started by hand.
    strays: Mutex<Vec<Process>>,
}

pub struct Disk {
    pub initiator: Initiator,
    map_bytes: u64,
}

impl Disk {
    /// The kernel found nothing to complain about.
    pub fn check(&self) {
        if let Err(report) = self.initiator.check() {
            panic!("{report}");
        }
    }
}

fn loader() -> Loader {
    let compiler = Compiler::new(PROGRAM.into(), "info".to_owned(), SOON);
    Loader { compiler, engine: engine_digest().unwrap(), shelf: None, overlong: None }
}

impl Machine {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["class", "dev", "core", "parameters"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        for name in ["block_netlink", "reset_netlink"] {
            fs::write(root.path().join("parameters").join(name), "").unwrap();
        }
        Self {
            root,
            rings: Rings::default(),
            busy: Arc::default(),
            handler: Arc::new(loader().load(&component("lunbox-handler-file")).unwrap()),
            touched: Arc::default(),
            over: Arc::default(),
            watchers: Mutex::default(),
            strays: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn sockets(&self) -> PathBuf {
        directory(&self.path("run")).unwrap()
    }

    /// The handler as it was compiled.
    pub fn handler(&self, subtype: &str) -> Arc<Installed> {
        assert_eq!(self.handler.manifest.description.subtype, subtype);
        Arc::clone(&self.handler)
    }

    pub fn compile(&self, component: &[u8]) -> Result<Artifact, CompileError> {
        let Loader { compiler, engine, .. } = loader();
        compiler.compile(component, &Expected { component: Digest::of(component), engine })
    }

    fn config(&self, name: &str) -> String {
        format!("tcm-user/0/{name}/file/{}", self.path(name).display())
    }

    /// The kernel makes an enabled device.
    pub fn create(&self, minor: u32, name: &str) -> Disk {
        let (kernel, user) = Ring::new(Options::default()).unwrap();
        let map_bytes = u64::try_from(user.length).unwrap();
        let initiator = Initiator::on(kernel, Settings::default()).unwrap();
        File::create(self.path(name)).unwrap().set_len(SIZE).unwrap();
        let write = |file: String, text: String| {
            let path = self.path(&file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(format!("dev/uio{minor}"), String::new());
        write(format!("class/uio{minor}/name"), format!("{}\n", self.config(name)));
        write(format!("class/uio{minor}/version"), "2\n".to_owned());
        write(format!("class/uio{minor}/maps/map0/size"), format!("{map_bytes:#x}\n"));
        for (field, text) in [
            ("info", format!("Config: file/x Size: {SIZE} MaxDataAreaMB: 8\n")),
            ("attrib/hw_block_size", "512\n".to_owned()),
            ("attrib/hw_max_sectors", "2048\n".to_owned()),
            ("statistics/scsi_dev/indx", format!("{}\n", minor + 1)),
            ("enable", "1\n".to_owned()),
            ("wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n".to_owned()),
            ("action/block_dev", String::new()),
            ("action/reset_ring", String::new()),
        ] {
            write(format!("core/user_0/{name}/{field}"), text);
        }
        self.rings.lock().unwrap().insert(Minor(minor), initiator.clone());
        self.watch(name, &initiator);
        Disk { initiator, map_bytes }
    }

    /// Does what is written into the action files.
    fn watch(&self, name: &str, initiator: &Initiator) {
        let (block, reset) = (
            self.path(&format!("core/user_0/{name}/action/block_dev")),
            self.path(&format!("core/user_0/{name}/action/reset_ring")),
        );
        let (initiator, over) = (initiator.clone(), Arc::clone(&self.over));
        let (touched, name) = (Arc::clone(&self.touched), name.to_owned());
        let work = move || {
            let mut blocked = false;
            while !over.load(Ordering::Relaxed) {
                let wanted = fs::read_to_string(&block).unwrap_or_default() == "1";
                if wanted != blocked {
                    blocked = wanted;
                    touched.lock().unwrap().insert(name.clone());
                    initiator.with_kernel(|kernel| if wanted { kernel.block() } else { kernel.unblock() });
                }
                if fs::read_to_string(&reset).unwrap_or_default() == "1" {
                    touched.lock().unwrap().insert(name.clone());
                    initiator.with_kernel(|kernel| kernel.reset_ring(ResetMode::Busy));
                    fs::write(&reset, "").unwrap();
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        };
        self.watchers.lock().unwrap().push(std::thread::spawn(work));
    }

    /// The device was neither blocked nor reset.
    pub fn untouched(&self, name: &str) -> bool {
        !self.touched.lock().unwrap().contains(name)
    }

    /// What was blocked and reset so far does not count.
    pub fn forget_touches(&self) {
        self.touched.lock().unwrap().clear();
    }

    /// A UIO node is closed.
    pub fn free(&self, minor: Minor) {
        self.busy.lock().unwrap().remove(&minor);
    }

    fn spawner(&self, build: &str) -> Spawner {
        Spawner {
            place: Place::Process { executable: PROGRAM.into() },
            sockets: self.sockets(),
            build: build.to_owned(),
            level: "info".to_owned(),
        }
    }

    /// A worker of a supervisor that the test plays itself, serving the only disk. Returns the link and its pid.
    pub fn by_hand(&self, build: &str, disk: &Disk) -> (Link, i32) {
        let (link, _, origin) = self.spawner(build).spawn("default", &Confines::default()).unwrap();
        let pid = origin.pid;
        self.strays.lock().unwrap().push(Process::open(pid).unwrap());
        self.busy.lock().unwrap().insert(Minor(0));
        let locator = Locator::Path(self.path("disk").display().to_string());
        let wanted = Wanted {
            device: "user_0/disk",
            option: "",
            locator: &locator,
            access: Access::Existing,
            roots: &[],
            shared: false,
            memory_bytes: 0,
        };
        let master = Master::open(&wanted, &Arc::default()).unwrap();
        let store = master.describe(&Patience::limited(SOON)).unwrap().fd.unwrap();
        let served = Served {
            minor: 0,
            id: 1,
            name: self.config("disk"),
            ring: RingKind::Emulated,
            map_bytes: disk.map_bytes,
            size: SIZE,
            block_size: 512,
            max_transfer: 2048,
            read_only: false,
            handler: Handler {
                subtype: "file".to_owned(),
                name: "File".to_owned(),
                version: "0".to_owned(),
                digest: self.handler.digest.to_string(),
            },
            stores: vec![Store {
                option: String::new(),
                locator: locator.to_string(),
                read_only: false,
                shared: false,
                kind: StoreKind::File,
            }],
            options: Vec::new(),
            limits: Limits {
                memory_bytes: 64 << 20,
                table_elements: 1 << 16,
                cpu_per_call_us: 50_000,
                wall_per_call_ms: 1000,
                hostcall_bytes: 8 << 20,
                log_lines_per_second: 100,
            },
            command_timeout_s: 0,
            write_cache: None,
            size_chosen: false,
            modes: lunbox_wire::Modes::default(),
        };
        let ring = ring_of(&self.rings, Minor(0));
        let mut descriptors: Vec<BorrowedFd<'_>> = ring.iter().map(AsFd::as_fd).collect();
        descriptors.extend([self.handler.container.as_fd(), store.as_fd()]);
        link.send(&Request::Start { call: 1, device: Box::new(served) }, &descriptors).unwrap();
        loop {
            match link.receive::<Report>().unwrap().unwrap().0 {
                Report::Done { call: 1 } => return (link, pid),
                Report::Notice { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A supervisor, which is ready when this returns.
    pub fn start(&self, build: &str) -> Daemon {
        self.start_with(self.spawner(build), "version = 1\n")
    }

    /// The same with a policy.
    pub fn start_under(&self, policy: &str) -> Daemon {
        self.start_with(self.spawner("one"), policy)
    }

    /// A supervisor whose workers are threads of this process.
    pub fn start_in_threads(&self, build: &str) -> Daemon {
        let own = build.to_owned();
        let body = move |link, tenant| {
            lunbox_worker::serve(link, None, lunbox_worker::Options::new(tenant, own.clone())).unwrap();
        };
        let spawner = Spawner { place: Place::Thread(Arc::new(body)), ..self.spawner(build) };
        self.start_with(spawner, "version = 1\n")
    }

    fn start_with(&self, spawner: Spawner, policy: &str) -> Daemon {
        let (sender, inbox) = mailbox().unwrap();
        let notices = sender.clone();
        let listener = Arc::new(move |minor, notice| notices.send(Message::Notice(minor, notice)));
        let pool = Pool::new(spawner, listener, Journal::default());
        let around = Surroundings {
            uio: Uio::new(self.path("class"), self.path("dev")),
            configfs: Configfs::new(self.path("core"), self.path("parameters")),
            patience: Duration::from_secs(5),
            admission: SOON,
            retries: [Duration::ZERO; 3],
            foreign: lunbox_daemon::foreign::Foreign::default(),
            journal: Journal::default(),
        };
        let mut handlers = Handlers::default();
        let Installed { manifest, digest, container, path } = &*self.handler;
        handlers.add(Installed {
            manifest: manifest.clone(),
            digest: *digest,
            container: Arc::clone(container),
            path: path.clone(),
        });
        let rings = Arc::clone(&self.rings);
        let opener = Opener {
            rings: Arc::new(move |minor, _| (RingKind::Emulated, ring_of(&rings, minor))),
            ring: RingKind::Emulated,
            handlers,
            policy: Policy::parse(policy, Path::new("policy.toml")).unwrap(),
            uio: around.uio.clone(),
            configfs: around.configfs.clone(),
            claims: Arc::default(),
            pool: Arc::clone(&pool),
            records: Arc::default(),
            journal: Journal::default(),
        };
        let starter = Arc::new(Emulated { opener, busy: Arc::clone(&self.busy) });
        let door = Door {
            mailbox: sender.clone(),
            records: Arc::clone(&starter.opener.records),
            pool: Arc::clone(&pool),
            handlers: starter.opener.handlers.clone(),
            program: "test".to_owned(),
            started: SystemTime::now(),
            policy: None,
            single_process: false,
            log: None,
            metrics: Default::default(),
            bus: Default::default(),
        };
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let (told, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (stop, pool) = (Arc::clone(&stop), Arc::clone(&pool));
            move || {
                let mut control = Control::new(Silence::default(), starter, around, sender, inbox);
                control.start().unwrap();
                told.send(()).unwrap();
                let outcome = control.serve(stop.as_fd()).unwrap();
                if outcome == Outcome::Signal {
                    control.shut_down().unwrap();
                    pool.leave(SOON);
                }
                outcome
            }
        });
        ready.recv_timeout(SOON).unwrap();
        Daemon { pool, door, stop, thread: Some(thread) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for stray in self.strays.get_mut().unwrap() {
            stray.kill().unwrap();
        }
        for watcher in self.watchers.get_mut().unwrap().drain(..) {
            watcher.join().unwrap();
        }
    }
}

fn ring_of(rings: &Rings, minor: Minor) -> Vec<OwnedFd> {
    let rings = rings.lock().unwrap();
    let user = rings[&minor].with_kernel(|kernel| kernel.user_side()).unwrap();
    vec![user.memory, user.wait, user.ring]
}

/// A supervisor that serves.
pub struct Daemon {
    pub pool: Arc<Pool>,
    /// Answers as the control socket does.
    pub door: Door,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Daemon {
    /// The worker that serves.
    pub fn worker(&self) -> Arc<Worker> {
        let mut found = None;
        wait_until("a worker serves", || {
            found = self.pool.alive().into_iter().find(|worker| worker.devices() == 1);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until it has left its workers.
    pub fn has_left(&mut self) -> Outcome {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Stops it in good order.
    pub fn stop(mut self) -> Outcome {
        self.stop.write(1).unwrap();
        let outcome = self.thread.take().unwrap().join().unwrap();
        assert!(
            self.pool.alive().is_empty() || {
                wait_until("all workers have ended", || self.pool.alive().is_empty());
                true
            }
        );
        outcome
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test failed.
        for worker in self.pool.alive() {
            worker.kill();
        }
    }
}

/// The opener on nodes that can be opened once only.
struct Emulated {
    opener: Opener,
    busy: Arc<Mutex<BTreeSet<Minor>>>,
}

impl Starter for Emulated {
    type Device = Device;

    fn serves(&self, subtype: &str) -> bool {
        self.opener.serves(subtype)
    }

    fn subtypes(&self) -> String {
        self.opener.subtypes()
    }

    fn adopt(&self) -> Vec<Adopted<Device>> {
        self.opener.adopt()
    }

    fn claim(&self, minor: Minor) -> Result<OwnedFd, UioError> {
        if !self.busy.lock().unwrap().insert(minor) {
            return Err(UioError::Busy { minor, path: "/dev/uio".into() });
        }
        self.opener.claim(minor)
    }

    fn prepare(
        &self,
        node: &UioNode,
        id: DeviceId,
        uio: OwnedFd,
        cancel: &Cancel,
    ) -> Result<Device, Setback> {
        self.opener.prepare(node, id, uio, cancel)
    }
}

/// A kernel that announces nothing.
struct Silence {
    events: VecDeque<Event>,
    wake: EventFd,
}

impl Default for Silence {
    fn default() -> Self {
        Self { events: VecDeque::new(), wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap() }
    }
}

impl AsFd for Silence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Kernel for Silence {
    fn receive(&mut self) -> Result<Option<Event>, NetlinkError> {
        Ok(self.events.pop_front())
    }

    fn reply(
        &mut self,
        kind: &EventKind,
        id: DeviceId,
        status: Result<(), Errno>,
    ) -> Result<(), NetlinkError> {
        panic!("nothing was asked: {kind:?} {id:?} {status:?}");
    }
}

/// Verified writes and reads that retry when they are told BUSY.
pub struct Load {
    stop: Arc<AtomicBool>,
    commands: Arc<AtomicU64>,
    busy: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn begin(disk: &Disk) -> Self {
        let (stop, commands, busy) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let threads = (0..4_u64).map(|thread| {
            let initiator = disk.initiator.clone();
            let (stop, commands, busy) = (Arc::clone(&stop), Arc::clone(&commands), Arc::clone(&busy));
            std::thread::spawn(move || {
                let execute = |cdb: &[u8], data: Data<'_>| loop {
                    let response = initiator.execute(cdb, data).unwrap();
                    if response.is_good() {
                        return response;
                    }
                    assert_eq!(response.status, 8, "only BUSY is allowed: {:?}", response.sense);
                    busy.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                };
                let mut round = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let lba = thread * 8192 + round % 128 * 8;
                    let data: Vec<u8> = (0..512_u64)
                        .flat_map(|word| (thread << 48 | round << 16 | word).to_le_bytes())
                        .collect();
                    execute(&cdb::write_16(lba, 8), Data::Out(&data));
                    let read = execute(&cdb::read_16(lba, 8), Data::In(4096));
                    assert!(read.data == data, "lba {lba} round {round}: not what was written");
                    commands.fetch_add(2, Ordering::Relaxed);
                    round += 1;
                }
            })
        });
        let threads = threads.collect();
        Self { stop, commands, busy, threads }
    }

    /// Waits until so many commands more are done.
    #[track_caller]
    pub fn goes_on(&self, commands: u64) {
        let before = self.commands.load(Ordering::Relaxed);
        wait_until("I/O goes on", || {
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a thread of the load has failed");
            self.commands.load(Ordering::Relaxed) >= before + commands
        });
    }

    /// Ends it; how often a command was told BUSY.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.busy.load(Ordering::Relaxed)
    }
}
