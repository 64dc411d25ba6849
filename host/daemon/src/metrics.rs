//! What Prometheus is told of the daemon, and the endpoint that tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lunbox_control::server::Publisher;
use lunbox_control::{
    ClassReport, ControlReport, DeviceHealth, HistogramReport, StatisticsReport, WorkerReport,
};
use lunbox_metrics::{
    Address, AddressError, Endpoint, EndpointError, Family, Histogram, Labels, Source, Unit, Value,
};

use crate::records::Records;
use crate::statistics;
use crate::workers::Pool;

/// Where metrics are served at the moment, as the operator wrote it; none if they are not. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<Mutex<Option<String>>>);

impl Serving {
    /// The address.
    pub fn address(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, address: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// What is told comes from these.
#[derive(Clone)]
pub struct Parts {
    /// The workers.
    pub pool: Arc<Pool>,
    /// The devices.
    pub records: Arc<Records>,
    /// Version and build of this program.
    pub program: String,
    /// The log, for what it lost; none in tests.
    pub log: Option<lunbox_log::Handle>,
    /// The control socket; none in tests.
    pub control: Option<Publisher>,
    /// For the control socket.
    pub serving: Serving,
}

/// The endpoint, if there is one.
pub struct Metrics {
    parts: Parts,
    /// With the address that it was started for.
    endpoint: Option<(Address, Endpoint)>,
}

/// Why metrics are served where they were before, or nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is no address.
    #[error("metrics = {text}: {source}")]
    Address {
        /// What was said.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// It can not be served there.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Metrics {
    /// Serves nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts, endpoint: None }
    }

    /// Serves at `address` from now on, and nowhere else. Blocks until the endpoint that was there has ended, about a
    /// second at the most.
    ///
    /// # Errors
    /// [`ServeError`]: what was served before is served still.
    pub fn serve(&mut self, text: &str) -> Result<(), ServeError> {
        let address: Address =
            text.parse().map_err(|source| ServeError::Address { text: text.to_owned(), source })?;
        if self.endpoint.as_ref().is_some_and(|(there, _)| *there == address) {
            return Ok(());
        }
        let endpoint = Endpoint::start(&address, Arc::new(self.parts.clone()))?;
        self.end();
        tracing::info!("metrics are served at {}", endpoint.address());
        self.parts.serving.set(Some(endpoint.address().to_string()));
        self.endpoint = Some((address, endpoint));
        Ok(())
    }

    /// Serves nowhere from now on. Blocks until the endpoint has ended, about a second at the most.
    pub fn end(&mut self) {
        if let Some((_, endpoint)) = self.endpoint.take() {
            tracing::info!("metrics are not served at {} any more", endpoint.address());
            self.parts.serving.set(None);
        }
    }
}

impl Source for Parts {
    fn collect(&self) -> Vec<Family> {
        let statistics = statistics::collect(&self.pool, &self.records);
        let mut families = vec![
            Family::new("lunbox_build", "The program that runs.")
                .with(vec![("version", self.program.clone())], Value::Info),
        ];
        families.extend(of_workers(&self.pool.report(), &self.pool.restarts(), &statistics.unanswered));
        families.extend(of_devices(&statistics));
        families.extend(of_records(&self.records));
        if let Some(log) = &self.log {
            families.push(
                Family::new("lunbox_log_lines_lost", "Log lines that could not be written.")
                    .with(Labels::new(), Value::Counter(log.lost())),
            );
        }
        if let Some(control) = &self.control {
            families.extend(of_control(control.counters()));
        }
        families
    }
}

fn of_workers(
    workers: &[WorkerReport],
    restarted: &BTreeMap<String, u64>,
    unanswered: &[String],
) -> Vec<Family> {
    let mut restarts =
        Family::new("lunbox_worker_restarts", "Times that a tenant's worker died and was started again.");
    let mut devices = Family::new("lunbox_worker_devices", "Devices of a worker.");
    let mut memory = Family::of("lunbox_worker_memory", Unit::Bytes, "Memory of a worker that is in use.");
    let mut silent = Family::new(
        "lunbox_worker_unanswered",
        "1 if the worker did not tell its numbers: its devices are missing here.",
    );
    let mut tenants: BTreeSet<&str> = workers.iter().map(|worker| worker.tenant.as_str()).collect();
    // Also of those that have none at the moment: a counter that goes and comes back is a burst.
    tenants.extend(restarted.keys().map(String::as_str));
    for tenant in tenants {
        // A tenant may have several workers: those of single devices, and those of an earlier build.
        let own = || workers.iter().filter(|worker| worker.tenant == tenant);
        let labels = || vec![("tenant", tenant.to_owned())];
        let sum = |of: fn(&WorkerReport) -> u64| own().map(of).fold(0, u64::saturating_add);
        restarts.push(labels(), Value::Counter(restarted.get(tenant).copied().unwrap_or(0)));
        devices.push(labels(), Value::Gauge(sum(|worker| worker.devices)));
        memory.push(labels(), Value::Gauge(sum(|worker| worker.memory_bytes)));
        let is_silent = unanswered.iter().any(|key| crate::workers::spawn::tenant(key) == tenant);
        silent.push(labels(), Value::Gauge(u64::from(is_silent)));
    }
    vec![restarts, devices, memory, silent]
}

fn of_devices(statistics: &StatisticsReport) -> Vec<Family> {
    let mut up = Family::new("lunbox_device_up", "1 if the device's commands are served.");
    let mut commands = Family::new("lunbox_commands", "Commands completed.");
    let mut errors = Family::new("lunbox_errors", "Commands that ended with something other than GOOD.");
    let mut moved = Family::of("lunbox_data", Unit::Bytes, "Bytes that commands moved.");
    let mut queue = Family::of(
        "lunbox_queue",
        Unit::Seconds,
        "From the ring to the first call of the handler; a sample of the commands.",
    );
    let mut service = Family::of(
        "lunbox_service",
        Unit::Seconds,
        "From the first call of the handler to the end; a sample of the commands.",
    );
    let mut in_flight = Family::new("lunbox_in_flight", "Commands that were taken and are not completed.");
    let mut aborting =
        Family::new("lunbox_aborting", "Aborted commands whose store operations have not ended.");
    let mut cpu = Family::of("lunbox_cpu", Unit::Seconds, "CPU time of the device's thread.");
    type Counter = fn(&lunbox_control::CountersReport) -> u64;
    let counters: [(&'static str, &'static str, Counter); 7] = [
        ("lunbox_timeouts", "Commands that took longer than their time-out.", |of| of.timeouts),
        ("lunbox_aborts", "Commands that initiators aborted.", |of| of.aborts),
        ("lunbox_lun_resets", "Logical unit resets that initiators asked for.", |of| of.lun_resets),
        ("lunbox_busy", "Commands answered BUSY because the handler was down.", |of| of.busy),
        ("lunbox_handler_faults", "Times that the handler failed: traps and limits.", |of| of.faults),
        ("lunbox_handler_instances", "Instances of the handler that were made.", |of| of.instances),
        ("lunbox_ring_resets", "Resets of the ring under the device loop.", |of| of.resets),
    ];
    let mut counted: Vec<Family> = counters.iter().map(|(name, help, _)| Family::new(name, help)).collect();
    let mut named = BTreeSet::new();
    for device in &statistics.devices {
        // While a device is made anew at another node there may be two of a name for a moment; a sample must be the only one.
        if !named.insert(device.name.as_str()) {
            continue;
        }
        let own = || vec![("device", device.name.clone())];
        let with = |label: &'static str, value: &str| {
            vec![("device", device.name.clone()), (label, value.to_owned())]
        };
        let mut labels = own();
        labels.extend([("tenant", device.tenant.clone()), ("subtype", device.subtype.clone())]);
        up.push(labels, Value::Gauge(u64::from(device.health == DeviceHealth::Serving)));
        let classes: [(&str, &ClassReport); 4] = [
            ("read", &device.read),
            ("write", &device.write),
            ("flush", &device.flush),
            ("other", &device.other),
        ];
        for (class, told) in classes {
            commands.push(with("class", class), Value::Counter(told.commands));
            errors.push(with("class", class), Value::Counter(told.errors));
            for (family, histogram) in [(&mut queue, &told.queue), (&mut service, &told.service)] {
                // A thousand devices have many buckets; those of classes that were never asked for say nothing.
                if histogram.samples() > 0 {
                    family.push(with("class", class), Value::Histogram(coarse(histogram)));
                }
            }
        }
        moved.push(with("direction", "read"), Value::Counter(device.counters.bytes_read));
        moved.push(with("direction", "write"), Value::Counter(device.counters.bytes_written));
        in_flight.push(own(), Value::Gauge(device.counters.in_flight));
        aborting.push(own(), Value::Gauge(device.counters.aborting));
        cpu.push(own(), Value::Time(Duration::from_nanos(device.counters.cpu_ns)));
        for (family, (_, _, value)) in counted.iter_mut().zip(&counters) {
            family.push(own(), Value::Counter(value(&device.counters)));
        }
    }
    let devices = Family::new("lunbox_devices", "Devices, those of workers that did not answer not counted.")
        .with(Labels::new(), Value::Gauge(u64::try_from(named.len()).unwrap_or(u64::MAX)));
    let mut families = vec![devices, up, commands, errors, moved, queue, service, in_flight, aborting, cpu];
    families.append(&mut counted);
    families
}

/// What is known without asking anybody.
fn of_records(records: &Records) -> [Family; 2] {
    let mut restarts = Family::new(
        "lunbox_device_restarts",
        "Times that a device's loop was started again after its worker died, it ended by itself, or an operator asked.",
    );
    let mut waits = Family::new(
        "lunbox_lock_waits",
        "Times that a device had to wait for a lock on its storage, or for what is left of its earlier loop.",
    );
    let mut named = BTreeSet::new();
    for record in records.all() {
        let device = record.name();
        if named.insert(device.clone()) {
            restarts.push(vec![("device", device.clone())], Value::Counter(record.restarts()));
            waits.push(vec![("device", device)], Value::Counter(record.waits()));
        }
    }
    [restarts, waits]
}

/// Every other bound: two of them are a factor of four.
fn coarse(told: &HistogramReport) -> Histogram {
    let count = |bucket: usize| told.buckets.get(bucket).copied().unwrap_or(0);
    let mut histogram = Histogram { sum: Duration::from_nanos(told.sum_ns), ..Histogram::default() };
    let mut kept = 0_u64;
    for bucket in 0..HistogramReport::BOUNDS {
        kept = kept.saturating_add(count(bucket));
        if bucket % 2 == 0
            && let Some(bound) = HistogramReport::bound_ns(bucket)
        {
            histogram.buckets.push((Duration::from_nanos(bound), std::mem::take(&mut kept)));
        }
    }
    histogram.longer = kept.saturating_add(count(HistogramReport::BOUNDS));
    histogram
}

fn of_control(control: ControlReport) -> [Family; 4] {
    let counter = |name, help, value| Family::new(name, help).with(Labels::new(), Value::Counter(value));
    [
        Family::new("lunbox_control_connections", "Connections to the control socket that are open.")
            .with(Labels::new(), Value::Gauge(control.connections)),
        counter(
            "lunbox_control_refused",
            "Connections to the control socket that were turned away.",
            control.refused,
        ),
        counter(
            "lunbox_control_slow_readers",
            "Connections closed because their peer did not read.",
            control.slow_readers,
        ),
        counter(
            "lunbox_control_lost_events",
            "Events that a follower did not get because it was slow.",
            control.lost_events,
        ),
    ]
}

#[cfg(test)]
mod tests;
