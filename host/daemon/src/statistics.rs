//! What devices have done, asked of all workers at once. The control thread is not asked, and a worker that does not
//! answer holds up nobody else's numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lunbox_control::{
    ClassReport, CountersReport, DeviceHealth, DeviceStatistics, HistogramReport, StatisticsReport,
};
use lunbox_tcmu::{DeviceName, Minor};
use lunbox_wire::{self as wire, Call, DeviceStatus, Health, Request};

use crate::journal::milliseconds;
use crate::records::{Record, Records};
use crate::workers::{Answer, Pool, Worker, ask_all, spawn};

/// How long workers may take, all of them together.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one worker said.
#[derive(Default)]
struct Said {
    status: Option<BTreeMap<Minor, DeviceStatus>>,
    statistics: Option<BTreeMap<Minor, wire::DeviceStatistics>>,
}

impl Said {
    /// It answered what it was asked. Half of the numbers would look as if the others had begun anew.
    fn is_complete(&self, worker: &Worker) -> bool {
        self.status.is_some() && (self.statistics.is_some() || worker.outdated())
    }
}

/// Asks all workers. Blocks for a second at the most.
pub fn collect(pool: &Pool, records: &Records) -> StatisticsReport {
    let workers = pool.alive();
    let status: fn(Call) -> Request = |call| Request::Status { call };
    let statistics: fn(Call) -> Request = |call| Request::Statistics { call };
    let mut questions: Vec<_> = workers.iter().map(|worker| (Arc::clone(worker), status)).collect();
    // A worker of another build may not know the question, and gives its devices up soon.
    let own = workers.iter().filter(|worker| !worker.outdated());
    questions.extend(own.map(|worker| (Arc::clone(worker), statistics)));
    let mut said: Vec<(Arc<Worker>, Said)> =
        workers.iter().map(|worker| (Arc::clone(worker), Said::default())).collect();
    for (worker, answer) in ask_all(&questions, PATIENCE) {
        let Some((_, said)) = said.iter_mut().find(|(asked, _)| Arc::ptr_eq(asked, &worker)) else {
            continue;
        };
        match answer {
            Ok(Answer::Status(devices)) => said.status = Some(devices.into_iter().collect()),
            Ok(Answer::Statistics(devices)) => said.statistics = Some(devices.into_iter().collect()),
            answer => tracing::debug!(worker = worker.hello().tenant, "no numbers: {answer:?}"),
        }
    }
    let unanswered: Vec<String> = said
        .iter()
        .filter(|(worker, said)| !said.is_complete(worker) && !worker.is_lost())
        .map(|(worker, _)| worker.hello().tenant.clone())
        .collect();
    let devices = records.all().iter().filter_map(|record| device(record, &said)).collect();
    StatisticsReport {
        at: milliseconds(SystemTime::now()),
        pid: nix::unistd::getpid().as_raw(),
        devices,
        unanswered,
    }
}

/// None if its worker has not answered: what it does is not known.
fn device(record: &Record, said: &[(Arc<Worker>, Said)]) -> Option<DeviceStatistics> {
    let minor = record.minor();
    let device = record.device();
    let subtype =
        DeviceName::parse(&device.name).map_or_else(|_| device.handler.subtype.clone(), |name| name.subtype);
    let bare = DeviceStatistics {
        name: record.name(),
        minor: minor.0,
        tenant: spawn::tenant(record.key()).to_owned(),
        subtype,
        health: DeviceHealth::Stopped,
        ..DeviceStatistics::default()
    };
    let Some(worker) = record.worker() else { return Some(bare) };
    let said = said.iter().find(|(asked, _)| Arc::ptr_eq(asked, &worker)).map(|(_, said)| said)?;
    if !said.is_complete(&worker) {
        return None;
    }
    let Some(status) = said.status.as_ref()?.get(&minor) else { return Some(bare) };
    let of_class =
        said.statistics.as_ref().and_then(|devices| devices.get(&minor)).cloned().unwrap_or_default();
    Some(DeviceStatistics {
        health: match status.health {
            Health::Serving => DeviceHealth::Serving,
            Health::Recovering => DeviceHealth::Recovering,
            Health::Stopped => DeviceHealth::Stopped,
        },
        counters: counters(status),
        read: class(of_class.read),
        write: class(of_class.write),
        flush: class(of_class.flush),
        other: class(of_class.other),
        in_flight_max: of_class.in_flight_max,
        sampled_every: of_class.sampled_every,
        ..bare
    })
}

/// Counters as operators are told.
pub fn counters(status: &DeviceStatus) -> CountersReport {
    CountersReport {
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
    }
}

fn class(said: wire::ClassStatistics) -> ClassReport {
    let wire::ClassStatistics { commands, errors, bytes, queue, service } = said;
    ClassReport { commands, errors, bytes, queue: histogram(queue), service: histogram(service) }
}

/// A worker may say anything: no more buckets than there are.
fn histogram(said: wire::Histogram) -> HistogramReport {
    let wire::Histogram { sum_ns, mut buckets } = said;
    buckets.truncate(HistogramReport::BOUNDS + 1);
    HistogramReport { sum_ns, buckets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_mean_the_same_on_both_sides() {
        assert_eq!(HistogramReport::BOUNDS, wire::HISTOGRAM_BOUNDS);
        for bucket in 0..=HistogramReport::BOUNDS + 1 {
            assert_eq!(HistogramReport::bound_ns(bucket), wire::Histogram::bound_ns(bucket), "{bucket}");
        }
        let hostile = wire::Histogram { sum_ns: 1, buckets: vec![1; 1000] };
        assert_eq!(histogram(hostile).buckets.len(), HistogramReport::BOUNDS + 1);
    }
}
