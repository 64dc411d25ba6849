//! What the control socket answers. Each request has a thread of its own; the control thread is asked by message, the
//! workers by their links, and nobody waits for a request but whoever made it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use lunbox_control::{
    Answer, Code, CountersReport, DeviceHealth, DeviceReport, GrantReport, Greeting, HandlerReport,
    LimitsReport, PROTOCOL, Refusal, Request, Service, StatusReport, TargetPortGroupReport, TargetPortReport,
    Teller, Tracing, find_device,
};
use lunbox_tcmu::{DeviceName, Minor};
use lunbox_wire::{DeviceStatus, Health};

use crate::bus::Observer;
use crate::control::{Ask, DeviceState, Message, Overview, Phase};
use crate::device::Device;
use crate::handlers::Handlers;
use crate::journal::milliseconds;
use crate::mailbox::Mailbox;
use crate::metrics::Serving;
use crate::records::{Record, Records};
use crate::statistics;
use crate::workers::{self, Pool, Worker, ask_for_status};

/// How long the control thread may take. It never waits for anything, but it may have much to do.
const CONTROL_PATIENCE: Duration = Duration::from_secs(10);

/// How long workers may take to tell their counters, all of them together.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// How long a reset is waited for. It goes on when nobody waits any more.
const RESET_PATIENCE: Duration = Duration::from_secs(60);

/// Answers for the daemon.
pub struct Door {
    /// The way to the control thread.
    pub mailbox: Mailbox<Message<Device>>,
    /// The devices.
    pub records: Arc<Records>,
    /// The workers.
    pub pool: Arc<Pool>,
    /// The handlers. They come and go.
    pub handlers: Handlers,
    /// Version and build of this program.
    pub program: String,
    /// When it was started.
    pub started: SystemTime,
    /// The policy file, if there is one.
    pub policy: Option<PathBuf>,
    /// Device loops run in this process.
    pub single_process: bool,
    /// The log, for what it lost; none in tests.
    pub log: Option<lunbox_log::Handle>,
    /// Where metrics are served.
    pub metrics: Serving,
    /// The service on the bus.
    pub bus: Observer,
}

/// The handlers as they are told.
fn told(handlers: &Handlers) -> Vec<HandlerReport> {
    let told = handlers.iter().map(|handler| {
        let description = &handler.manifest.description;
        HandlerReport {
            subtype: description.subtype.clone(),
            name: description.name.clone(),
            version: description.version.clone(),
            digest: handler.digest.to_string(),
        }
    });
    told.collect()
}

fn busy(message: &str) -> Refusal {
    Refusal::new(Code::Busy, message)
}

impl Door {
    fn overview(&self) -> Result<Overview, Refusal> {
        let (answer, answered) = channel();
        self.mailbox.send(Message::Ask(Ask::Overview(answer)));
        answered
            .recv_timeout(CONTROL_PATIENCE)
            .map_err(|_| busy("lunboxd is starting, or about to end; try again"))
    }

    fn devices(&self) -> Result<(Overview, Vec<DeviceReport>), Refusal> {
        let overview = self.overview()?;
        let records = self.records.all();
        let mut counters: BTreeMap<Minor, DeviceStatus> = BTreeMap::new();
        for (worker, answer) in ask_for_status(&self.pool.alive(), STATUS_PATIENCE) {
            match answer {
                Ok(workers::Answer::Status(devices)) => {
                    counters.extend(of_its_own(&worker, devices, &records))
                }
                answer => {
                    tracing::debug!(worker = worker.hello().tenant, "no counters: {answer:?}");
                }
            }
        }
        let states: BTreeMap<Minor, &DeviceState> =
            overview.devices.iter().map(|state| (state.minor, state)).collect();
        let reports = records.iter().map(|record| {
            let minor = record.minor();
            describe(record, states.get(&minor).copied(), counters.get(&minor))
        });
        let reports = reports.collect();
        Ok((overview, reports))
    }

    fn device(&self, asked: &str) -> Result<DeviceReport, Refusal> {
        let (_, devices) = self.devices()?;
        let found = find_device(asked, devices.iter().map(|device| (device.name.as_str(), device)))?;
        Ok(found.clone())
    }

    fn status(&self) -> Result<StatusReport, Refusal> {
        let (overview, devices) = self.devices()?;
        let mut jails = self.pool.alive().into_iter().map(|worker| worker.hello().jail.clone());
        let first = jails.next().unwrap_or_default();
        let jail =
            jails.fold(first, |all, jail| all.into_iter().filter(|part| jail.contains(part)).collect());
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let serving = devices.iter().filter(|device| device.health == DeviceHealth::Serving).count();
        Ok(StatusReport {
            program: self.program.clone(),
            pid: pid(),
            started: milliseconds(self.started),
            uptime_ms: self
                .started
                .elapsed()
                .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            phase: phase(overview.phase).to_owned(),
            single_process: self.single_process,
            policy: self.policy.as_ref().map(|path| path.display().to_string()),
            jail,
            handlers: told(&self.handlers),
            workers: count(self.pool.alive().len()),
            worker_restarts: self.pool.restarts().values().sum(),
            devices: count(devices.len()),
            devices_serving: count(serving),
            memory_bytes: workers::memory(pid()),
            log_lines_lost: self.log.as_ref().map_or(0, lunbox_log::Handle::lost),
            metrics: self.metrics.address(),
            bus: self.bus.report(),
            ..StatusReport::default()
        })
    }

    fn reset(&self, asked: &str) -> Result<(), Refusal> {
        let overview = self.overview()?;
        let names: Vec<(String, Minor)> =
            overview.devices.iter().map(|device| (device.name.to_string(), device.minor)).collect();
        let minor = match find_device(asked, names.iter().map(|(name, minor)| (name.as_str(), *minor))) {
            Ok(minor) => minor,
            // One that could not be taken over is enabled and not served.
            Err(refusal) => self.unserved(asked).ok_or(refusal)?,
        };
        let (answer, answered) = channel();
        self.mailbox.send(Message::Ask(Ask::Reset { minor, answer }));
        match answered.recv_timeout(RESET_PATIENCE) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Refusal::new(Code::Failed, reason)),
            Err(RecvTimeoutError::Timeout) => Err(busy(
                "its storage still has operations of the old loop, which must end first; the reset goes on by itself \
                 (lunbox device show tells when it is done)",
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Refusal::new(Code::Failed, "the device was removed meanwhile"))
            }
        }
    }

    /// A device that nobody serves.
    fn unserved(&self, asked: &str) -> Option<Minor> {
        let nodes = lunbox_tcmu::Uio::default().scan().ok()?;
        let nodes: Vec<(String, Minor)> =
            nodes.into_iter().flatten().map(|node| (node.name.to_string(), node.minor)).collect();
        find_device(asked, nodes.iter().map(|(name, minor)| (name.as_str(), *minor))).ok()
    }
}

impl Service for Door {
    fn answer(&self, request: Request) -> Result<Answer, Refusal> {
        Ok(match request {
            Request::Hello => Answer::Hello(Greeting {
                program: self.program.clone(),
                protocol: PROTOCOL,
                pid: pid(),
                started: milliseconds(self.started),
            }),
            Request::Status => Answer::Status(Box::new(self.status()?)),
            Request::WorkerList => Answer::Workers(self.pool.report()),
            Request::DeviceList => Answer::Devices(self.devices()?.1),
            Request::DeviceShow { device } => Answer::Device(Box::new(self.device(&device)?)),
            Request::DeviceReset { device } => {
                self.reset(&device)?;
                Answer::Done
            }
            // Done when the answer is on its way.
            Request::Handover if self.single_process => {
                return Err(Refusal::new(
                    Code::Failed,
                    "everything runs in this one process (--single-process), which nothing outlives; stop it with SIGTERM",
                ));
            }
            Request::Handover => Answer::Done,
            Request::Statistics => {
                Answer::Statistics(Box::new(statistics::collect(&self.pool, &self.records)))
            }
            // The server answers these itself.
            Request::Events | Request::Trace { .. } => Answer::Following,
        })
    }

    fn trace(&self, device: &str, teller: Teller) -> Result<Tracing, Refusal> {
        let records = self.records.all();
        let names: Vec<(String, &Arc<Record>)> =
            records.iter().map(|record| (record.name(), record)).collect();
        let record = find_device(device, names.iter().map(|(name, record)| (name.as_str(), *record)))?;
        let Some(worker) = record.worker() else {
            return Err(busy(
                "nobody serves it at the moment (lunbox device show says why); try again when it is served",
            ));
        };
        let tracing = worker.trace(record.minor(), teller);
        let tracing = tracing.map_err(|error| Refusal::new(Code::Failed, error.to_string()))?;
        Ok(Box::new(tracing))
    }

    fn answered(&self, request: &Request) {
        if *request == Request::Handover {
            self.mailbox.send(Message::Ask(Ask::HandOver));
        }
    }
}

fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    }
}

/// What a worker says of the devices that it serves. It may say something of others, too.
fn of_its_own(
    worker: &Arc<Worker>,
    said: Vec<(Minor, DeviceStatus)>,
    records: &[Arc<Record>],
) -> impl Iterator<Item = (Minor, DeviceStatus)> {
    let serves =
        |record: &Arc<Record>| record.worker().is_some_and(|served_by| Arc::ptr_eq(&served_by, worker));
    let own: BTreeSet<Minor> =
        records.iter().filter(|record| serves(record)).map(|record| record.minor()).collect();
    said.into_iter().filter(move |(minor, _)| own.contains(minor))
}

fn port(port: lunbox_wire::Port) -> TargetPortReport {
    TargetPortReport { relative_id: port.relative_id, name: port.name, group: port.group }
}

fn port_group(group: lunbox_wire::PortGroup) -> TargetPortGroupReport {
    let state = match group.state {
        0 => "active/optimized",
        1 => "active/non-optimized",
        2 => "standby",
        3 => "unavailable",
        14 => "offline",
        15 => "transitioning",
        _ => "unknown",
    };
    TargetPortGroupReport {
        id: group.id,
        state: state.to_owned(),
        preferred: group.preferred,
        ports: group.ports,
    }
}

fn describe(record: &Record, state: Option<&DeviceState>, counters: Option<&DeviceStatus>) -> DeviceReport {
    let device = record.device();
    let worker = record.worker();
    let config = DeviceName::parse(&device.name)
        .map_or_else(|_| device.name.clone(), |name| format!("{}/{}", name.subtype, name.config));
    let health = match (state.map(|state| state.state), counters.map(|counters| counters.health)) {
        (Some("serving"), Some(Health::Recovering)) => DeviceHealth::Recovering,
        (Some("serving"), Some(Health::Stopped)) => DeviceHealth::Stopped,
        (Some("serving"), _) => DeviceHealth::Serving,
        // A change of size, or a look that finds it served.
        (Some("working"), Some(Health::Serving)) => DeviceHealth::Serving,
        (Some("working"), _) => DeviceHealth::Reviving,
        (Some(_), _) => DeviceHealth::Stopped,
        (None, _) => DeviceHealth::Starting,
    };
    let sizes = record.sizes();
    let grants = device.stores.iter().enumerate().map(|(index, store)| GrantReport {
        option: store.option.clone(),
        locator: store.locator.clone(),
        read_only: store.read_only,
        shared: store.shared,
        locked: worker.is_some() && !store.shared && record.is_fenced(index),
        size: sizes.get(index).copied().flatten().unwrap_or(0),
    });
    let grants = grants.collect();
    let limits = device.limits;
    let identity = record.identity();
    // It may go on with one that has been replaced since.
    let handler = record.handler();
    DeviceReport {
        name: record.name(),
        minor: device.minor,
        id: device.id,
        config,
        tenant: workers::spawn::tenant(record.key()).to_owned(),
        worker: worker.map(|worker| worker.pid()),
        health,
        trouble: state.map(|state| state.detail.clone()).filter(|detail| !detail.is_empty()),
        handler: Some(HandlerReport {
            subtype: handler.subtype,
            name: handler.name,
            version: handler.version,
            digest: handler.digest,
        }),
        size: device.size,
        block_size: device.block_size,
        read_only: device.read_only,
        grants,
        options: device.options.into_iter().collect(),
        limits: LimitsReport {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            cpu_per_call_us: limits.cpu_per_call_us,
            wall_per_call_ms: limits.wall_per_call_ms,
            hostcall_bytes: limits.hostcall_bytes.into(),
            log_lines_per_second: limits.log_lines_per_second.into(),
        },
        command_timeout_s: device.command_timeout_s,
        write_cache: counters.map(|counters| counters.write_cache).or(device.write_cache),
        software_write_protect: device.modes.software_write_protect,
        target_ports: identity.ports.into_iter().map(port).collect(),
        target_port_groups: identity.groups.into_iter().map(port_group).collect(),
        counters: counters.map_or_else(CountersReport::default, statistics::counters),
        restarts: state.map_or(0, |state| state.revivals),
    }
}
