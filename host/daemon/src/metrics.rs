//! What Prometheus is told of the daemon, and the endpoint that tells it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lunbox_control::server::Publisher;
use lunbox_control::{
    ClassReport, ControlReport, DeviceHealth, HistogramReport, StatisticsReport, WorkerReport,
};
use lunbox_metrics::{Address, Endpoint, Family, Histogram, Labels, Source, Unit, Value};

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
    endpoint: Option<Endpoint>,
}

impl Metrics {
    /// Serves nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts, endpoint: None }
    }

    /// Serves at `address` from now on, and nowhere else; nowhere without one. What can not be is logged. Blocks until the
    /// endpoint that was there has ended, about a second at the most.
    pub fn serve(&mut self, address: Option<&str>) {
        if self.endpoint.take().is_some() {
            tracing::info!(
                "metrics are not served at {} any more",
                self.parts.serving.address().unwrap_or_default()
            );
        }
        self.parts.serving.set(None);
        let Some(address) = address else { return };
        let source = Arc::new(self.parts.clone());
        let started = address
            .parse::<Address>()
            .map_err(|error| error.to_string())
            .and_then(|address| Endpoint::start(&address, source).map_err(|error| error.to_string()));
        match started {
            Ok(endpoint) => {
                let address = endpoint.address().to_string();
                tracing::info!("metrics are served at {address}");
                self.parts.serving.set(Some(address));
                self.endpoint = Some(endpoint);
            }
            Err(error) => tracing::error!("{error}; no metrics are served"),
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
        families.extend(of_workers(&self.pool.report(), &statistics.unanswered));
        families.extend(of_devices(&statistics));
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

fn of_workers(workers: &[WorkerReport], unanswered: &[String]) -> Vec<Family> {
    let mut restarts =
        Family::new("lunbox_worker_restarts", "Times that a tenant's worker died and was started again.");
    let mut devices = Family::new("lunbox_worker_devices", "Devices of a worker.");
    let mut memory = Family::of("lunbox_worker_memory", Unit::Bytes, "Memory of a worker that is in use.");
    let mut silent = Family::new(
        "lunbox_worker_unanswered",
        "1 if the worker did not tell its numbers: its devices are missing here.",
    );
    let tenants: BTreeSet<&str> = workers.iter().map(|worker| worker.tenant.as_str()).collect();
    for tenant in tenants {
        // A tenant may have several workers: those of single devices, and those of an earlier build.
        let own = || workers.iter().filter(|worker| worker.tenant == tenant);
        let labels = || vec![("tenant", tenant.to_owned())];
        let sum = |of: fn(&WorkerReport) -> u64| own().map(of).fold(0, u64::saturating_add);
        restarts.push(labels(), Value::Counter(sum(|worker| worker.restarts)));
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
mod tests {
    use lunbox_control::{CountersReport, DeviceStatistics};

    use super::*;

    #[test]
    fn every_device_is_told_once_with_all_that_is_known() {
        let device = DeviceStatistics {
            name: "user_0/a\"\n".to_owned(),
            tenant: "acme".to_owned(),
            subtype: "file".to_owned(),
            health: DeviceHealth::Serving,
            counters: CountersReport {
                timeouts: 3,
                faults: 2,
                bytes_read: 8192,
                ..CountersReport::default()
            },
            read: ClassReport {
                commands: 7,
                errors: 1,
                bytes: 8192,
                queue: HistogramReport { sum_ns: 5000, buckets: vec![1, 2, 3] },
                service: HistogramReport::default(),
            },
            ..DeviceStatistics::default()
        };
        let twin = DeviceStatistics { tenant: "other".to_owned(), ..device.clone() };
        let gone = DeviceStatistics { name: "user_1/b".to_owned(), ..DeviceStatistics::default() };
        let report = StatisticsReport { devices: vec![device, twin, gone], ..StatisticsReport::default() };
        let text = lunbox_metrics::text(of_devices(&report));
        for line in [
            "lunbox_devices 2",
            r#"lunbox_device_up{device="user_0/a\"\n",tenant="acme",subtype="file"} 1"#,
            r#"lunbox_device_up{device="user_1/b",tenant="",subtype=""} 0"#,
            r#"lunbox_commands_total{device="user_0/a\"\n",class="read"} 7"#,
            r#"lunbox_errors_total{device="user_0/a\"\n",class="read"} 1"#,
            r#"lunbox_data_bytes_total{device="user_0/a\"\n",direction="read"} 8192"#,
            r#"lunbox_timeouts_total{device="user_0/a\"\n"} 3"#,
            r#"lunbox_handler_faults_total{device="user_0/a\"\n"} 2"#,
            r#"lunbox_queue_seconds_count{device="user_0/a\"\n",class="read"} 6"#,
            r#"lunbox_queue_seconds_bucket{le="0.000004",device="user_0/a\"\n",class="read"} 6"#,
            r#"lunbox_queue_seconds_bucket{le="+Inf",device="user_0/a\"\n",class="read"} 6"#,
        ] {
            assert_eq!(text.lines().filter(|there| *there == line).count(), 1, "{line}\n{text}");
        }
        assert!(!text.contains("lunbox_service_seconds_bucket"), "nothing was measured: {text}");
        assert!(!text.contains("other\",subtype"), "one of a name: {text}");
    }

    #[test]
    fn no_sample_is_lost_between_bounds() {
        let buckets: Vec<u64> = (1..=28).collect();
        let coarse = coarse(&HistogramReport { sum_ns: 9, buckets });
        assert_eq!(coarse.buckets.len(), 14);
        assert_eq!(coarse.buckets[0], (Duration::from_micros(1), 1));
        assert_eq!(coarse.buckets[1], (Duration::from_micros(4), 2 + 3));
        assert_eq!(coarse.longer, 28);
        let all: u64 = coarse.buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(all + coarse.longer, (1..=28).sum::<u64>());
    }

    #[test]
    fn tenants_with_several_workers_are_one() {
        let worker = |tenant: &str, restarts| WorkerReport {
            tenant: tenant.to_owned(),
            restarts,
            devices: 1,
            ..WorkerReport::default()
        };
        let families =
            of_workers(&[worker("acme", 1), worker("acme", 2), worker("zeta", 0)], &["zeta".to_owned()]);
        let text = lunbox_metrics::text(families);
        for line in [
            r#"lunbox_worker_restarts_total{tenant="acme"} 3"#,
            r#"lunbox_worker_devices{tenant="acme"} 2"#,
            r#"lunbox_worker_unanswered{tenant="acme"} 0"#,
            r#"lunbox_worker_unanswered{tenant="zeta"} 1"#,
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
    }
}
