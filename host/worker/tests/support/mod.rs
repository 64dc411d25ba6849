//! A supervisor's side for tests: an emulated device, a file, a compiled handler, and a client of a worker.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "support of several tests, each of which uses a part of it"
)]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use lunbox_behaviour::components::component;
use lunbox_emulator::initiator::{Pending, Response, Settings, cdb};
use lunbox_emulator::{Data, Initiator, Kernel, Options};
use lunbox_engine::{Artifact, Engine, EngineOptions};
use lunbox_wire::{
    Device, DeviceStatus, Ending, Handler, Hello, Limits, Link, Minor, Notice, Port, PortGroup, Refusal,
    Report, Request, RingKind, Store, StoreKind, VERSION,
};

pub const SOON: Duration = Duration::from_secs(20);
pub const SIZE: u64 = 16 << 20;

static FILE_HANDLER: LazyLock<Artifact> = LazyLock::new(|| compiled("lunbox-handler-file"));

static WASI_HANDLER: LazyLock<Artifact> = LazyLock::new(|| compiled("lunbox-test-wasi"));

fn compiled(package: &str) -> Artifact {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    engine.compile(&std::fs::read(component(package)).unwrap()).unwrap()
}

/// Bytes that no two places of a disk share.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

#[track_caller]
pub fn good(response: &Response) {
    assert!(response.is_good(), "status {:#04x} {:?}", response.status, response.sense);
}

#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

/// An emulated device and the file behind it.
pub struct Rig {
    pub initiator: Initiator,
    pub device: Device,
    handler: &'static Artifact,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub fn new(minor: Minor) -> Self {
        Self::with(minor, &FILE_HANDLER)
    }

    /// A handler that sleeps when [`Rig::oversleep`] asks it to: nothing but the end of this time wakes it, as nothing
    /// ends an operation on storage that does not answer.
    pub fn sleepy(minor: Minor, sleep: Duration) -> Self {
        let mut rig = Self::with(minor, &WASI_HANDLER);
        rig.device.limits.wall_per_call_ms = sleep.as_millis().try_into().unwrap();
        rig
    }

    /// Starts a command that the handler sleeps over.
    pub fn oversleep(&self) -> Pending {
        let place = lunbox_test_wasi::trigger_offset(SIZE, lunbox_test_wasi::TRIGGER_SLEEP).unwrap();
        self.initiator.start(&cdb::read_16(place / 512, 8), Data::In(4096)).unwrap()
    }

    fn with(minor: Minor, handler: &'static Artifact) -> Self {
        let (kernel, user) = Kernel::new(Options::default()).unwrap();
        let initiator = Initiator::on(kernel, Settings::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        let device = Device {
            minor,
            id: minor + 100,
            name: format!("tcm-user/0/disk{minor}/file//disk"),
            ring: RingKind::Emulated,
            map_bytes: user.length as u64,
            size: SIZE,
            block_size: 512,
            max_transfer: 2048,
            read_only: false,
            handler: Handler {
                subtype: "file".to_owned(),
                name: "File".to_owned(),
                version: "0".to_owned(),
                digest: handler.component().to_string(),
            },
            stores: vec![Store {
                option: String::new(),
                locator: "/disk".to_owned(),
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
        Self { initiator, device, handler, path, _folder: folder }
    }

    pub fn ring(&self) -> Vec<OwnedFd> {
        let user = self.initiator.with_kernel(|kernel| kernel.user_side()).unwrap();
        vec![user.memory, user.wait, user.ring]
    }

    /// A description of its own, as each worker gets.
    pub fn store(&self) -> OwnedFd {
        File::options().read(true).write(true).open(&self.path).unwrap().into()
    }

    /// What a start needs, with these descriptors of the ring.
    pub fn descriptors(&self, ring: Vec<OwnedFd>) -> Vec<OwnedFd> {
        let mut all = ring;
        all.push(self.handler.to_file().unwrap().into());
        all.push(self.store());
        all
    }

    pub fn start(&self, worker: &mut Client) -> Result<(), (Refusal, String)> {
        worker.start(&self.device, &self.descriptors(self.ring()))
    }
}

/// The bytes of the compiled `file` handler.
pub fn container_bytes() -> Vec<u8> {
    FILE_HANDLER.container().to_vec()
}

/// The supervisor's end of a link.
pub struct Client {
    pub link: Link,
    calls: u64,
    pub notices: Vec<(Minor, Notice)>,
    /// Told to whoever asks for names.
    pub identity: (Vec<Port>, Vec<PortGroup>),
}

impl Client {
    /// Says Hello and hears what the worker has.
    pub fn new(link: Link) -> (Self, Hello, Vec<Device>) {
        link.send(&Request::Hello { version: VERSION }, &[]).unwrap();
        let Some((Report::Hello(hello), _)) = link.receive_within(SOON).unwrap() else { panic!("no Hello") };
        let devices = (0..hello.devices)
            .map(|_| match link.receive_within(SOON).unwrap() {
                Some((Report::Device(device), _)) => *device,
                other => panic!("no device: {other:?}"),
            })
            .collect();
        (Self { link, calls: 0, notices: Vec::new(), identity: Default::default() }, hello, devices)
    }

    /// The next report that is no notice. Wishes for names are granted.
    pub fn next(&mut self) -> (Report, Vec<OwnedFd>) {
        loop {
            match self.link.receive_within(SOON).unwrap() {
                Some((Report::Notice { minor, notice }, _)) => self.notice(minor, notice),
                Some(other) => return other,
                None => panic!("the worker is gone"),
            }
        }
    }

    fn notice(&mut self, minor: Minor, notice: Notice) {
        if notice == Notice::IdentityWanted {
            let (ports, groups) = self.identity.clone();
            let request = Request::Serial { minor, serial: "4711".to_owned(), ports, groups };
            self.link.send(&request, &[]).unwrap();
        }
        self.notices.push((minor, notice));
    }

    /// Waits for a notice.
    pub fn next_notice(&mut self) -> (Minor, Notice) {
        match self.link.receive_within(SOON).unwrap() {
            Some((Report::Notice { minor, notice }, _)) => {
                self.notice(minor, notice.clone());
                (minor, notice)
            }
            other => panic!("no notice: {other:?}"),
        }
    }

    pub fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// The answer to a call, which must be the next one.
    #[track_caller]
    pub fn answer(&mut self, asked: u64) -> Result<(), (Refusal, String)> {
        match self.next().0 {
            Report::Done { call } if call == asked => Ok(()),
            Report::Refused { call, kind, reason } if call == asked => Err((kind, reason)),
            other => panic!("not the answer to {asked}: {other:?}"),
        }
    }

    pub fn start(&mut self, device: &Device, descriptors: &[OwnedFd]) -> Result<(), (Refusal, String)> {
        let call = self.call();
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        self.link.send(&Request::Start { call, device: Box::new(device.clone()) }, &borrowed).unwrap();
        self.answer(call)
    }

    pub fn stop(&mut self, minor: Minor, how: Ending) -> Result<(), (Refusal, String)> {
        self.stop_within(minor, how, 10_000)
    }

    pub fn stop_within(
        &mut self,
        minor: Minor,
        how: Ending,
        patience_ms: u64,
    ) -> Result<(), (Refusal, String)> {
        let call = self.call();
        self.link.send(&Request::Stop { call, minor, how, patience_ms }, &[]).unwrap();
        self.answer(call)
    }

    pub fn resize(&mut self, minor: Minor, bytes: u64) -> Result<(), (Refusal, String)> {
        let call = self.call();
        self.link.send(&Request::Resize { call, minor, bytes, patience_ms: 10_000 }, &[]).unwrap();
        self.answer(call)
    }

    pub fn status(&mut self) -> Vec<(Minor, DeviceStatus)> {
        let asked = self.call();
        self.link.send(&Request::Status { call: asked }, &[]).unwrap();
        let mut all = Vec::new();
        loop {
            match self.next().0 {
                Report::Status { call, devices, more } if call == asked => {
                    all.extend(devices);
                    if !more {
                        return all;
                    }
                }
                other => panic!("no status: {other:?}"),
            }
        }
    }

    pub fn handles(&mut self, minor: Minor) -> Vec<OwnedFd> {
        let asked = self.call();
        self.link.send(&Request::Handles { call: asked, minor }, &[]).unwrap();
        match self.next() {
            (Report::Handles { call }, descriptors) if call == asked => descriptors,
            (other, _) => panic!("no handles: {other:?}"),
        }
    }

    pub fn leave(&self) {
        self.link.send(&Request::Leave, &[]).unwrap();
    }
}

/// Writes and reads back, on several threads, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    commands: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// With `attempts` of 1 every command must be GOOD at once; with more, BUSY is retried.
    pub fn begin(initiator: &Initiator, attempts: u32) -> Self {
        let (stop, commands) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..4_u64)
            .map(|thread| {
                let (initiator, stop, commands) =
                    (initiator.clone(), Arc::clone(&stop), Arc::clone(&commands));
                std::thread::spawn(move || {
                    let mut round = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let lba = thread * 8192 + round % 128 * 8;
                        let data = pattern(thread << 48 | round, 4096);
                        let write = cdb::write_16(lba, 8);
                        good(&initiator.execute_retrying(&write, Data::Out(&data), attempts).unwrap());
                        let read = cdb::read_16(lba, 8);
                        let read = initiator.execute_retrying(&read, Data::In(4096), attempts).unwrap();
                        good(&read);
                        assert!(read.data == data, "lba {lba} round {round}: not what was written");
                        commands.fetch_add(2, Ordering::Relaxed);
                        round += 1;
                    }
                })
            })
            .collect();
        Self { stop, commands, threads }
    }

    /// Waits until so many commands more are done.
    #[track_caller]
    pub fn goes_on(&self, commands: u64) {
        let before = self.commands.load(Ordering::Relaxed);
        wait_until("I/O goes on", || {
            assert!(
                self.threads.iter().all(|thread| !thread.is_finished()),
                "a thread of the load has failed"
            );
            self.commands.load(Ordering::Relaxed) >= before + commands
        });
    }

    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.commands.load(Ordering::Relaxed)
    }
}
