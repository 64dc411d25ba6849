use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lunbox_control::{CountersReport, DeviceStatistics};
use lunbox_tcmu::Minor;
use lunbox_wire::{self as wire, DeviceStatus, Health, Report, Request};

use super::*;
use crate::service::Cancel;
use crate::workers::Confines;
use crate::workers::scripted::{self, Said, device, say};

#[test]
fn every_device_is_told_once_with_all_that_is_known() {
    let device = DeviceStatistics {
        name: "user_0/a\"\n".to_owned(),
        tenant: "acme".to_owned(),
        subtype: "file".to_owned(),
        health: DeviceHealth::Serving,
        counters: CountersReport { timeouts: 3, faults: 2, bytes_read: 8192, ..CountersReport::default() },
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
    let worker =
        |tenant: &str| WorkerReport { tenant: tenant.to_owned(), devices: 1, ..WorkerReport::default() };
    // One of "gone" has died and is not back.
    let restarted = [("acme", 3), ("gone", 7)].map(|(tenant, times)| (tenant.to_owned(), times));
    let families = of_workers(
        &[worker("acme"), worker("acme"), worker("zeta")],
        &BTreeMap::from(restarted),
        &["zeta".to_owned()],
    );
    let text = lunbox_metrics::text(families);
    for line in [
        r#"lunbox_worker_restarts_total{tenant="acme"} 3"#,
        r#"lunbox_worker_restarts_total{tenant="gone"} 7"#,
        r#"lunbox_worker_restarts_total{tenant="zeta"} 0"#,
        r#"lunbox_worker_devices{tenant="acme"} 2"#,
        r#"lunbox_worker_unanswered{tenant="acme"} 0"#,
        r#"lunbox_worker_unanswered{tenant="zeta"} 1"#,
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
}

/// What a worker says of its only device.
fn numbers(minor: u32, request: Request) -> Said {
    match request {
        Request::Status { call } => {
            let status = DeviceStatus {
                health: Health::Serving,
                bytes_written: 4096,
                in_flight: 2,
                ..DeviceStatus::default()
            };
            say(Report::Status { call, devices: vec![(minor, status)], more: false })
        }
        Request::Statistics { call } => {
            let service = wire::Histogram { sum_ns: 3_000_000, buckets: vec![0, 0, 1, 2] };
            let write = wire::ClassStatistics { commands: 3, errors: 1, service, ..Default::default() };
            let statistics = wire::DeviceStatistics { write, ..Default::default() };
            say(Report::Statistics { call, devices: vec![(minor, statistics)], more: false })
        }
        _ => Vec::new(),
    }
}

#[test]
fn numbers_come_from_workers_and_one_that_never_answers_is_told_of_and_holds_up_nobody() {
    let (speaks, half) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let pool = scripted::pool({
        let (speaks, half) = (Arc::clone(&speaks), Arc::clone(&half));
        move |tenant, request| match tenant {
            "acme" => numbers(1, request),
            // One that tells of its counters only has not answered either.
            "mute" if half.load(Ordering::SeqCst) && matches!(request, Request::Status { .. }) => {
                numbers(2, request)
            }
            "mute" if speaks.load(Ordering::SeqCst) => numbers(2, request),
            _ => Vec::new(),
        }
    });
    let records = Arc::new(Records::default());
    for (minor, tenant) in [(1, "acme"), (2, "mute")] {
        let worker = pool.worker(tenant, &Confines::default(), &Cancel::default()).unwrap();
        worker.enlist(Minor(minor)).unwrap();
        let name = format!("tcm-user/0/{tenant}/file//srv/x");
        records.add(device(minor, &name, Vec::new()), tenant, Vec::new()).set_worker(Some(&worker));
    }
    let parts = Parts {
        pool,
        records,
        program: "test".to_owned(),
        log: None,
        control: None,
        serving: Serving::default(),
    };
    let scrape = || {
        let asked = Instant::now();
        let text = lunbox_metrics::text(parts.collect());
        // A second is what workers get; the rest is for a machine that has much to do.
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        text
    };
    let has = |text: &str, line: &str| text.lines().any(|there| there == line);
    for answers in ["nothing", "half", "all"] {
        half.store(answers == "half", Ordering::SeqCst);
        speaks.store(answers == "all", Ordering::SeqCst);
        let text = scrape();
        for line in [
            r#"lunbox_worker_unanswered{tenant="acme"} 0"#,
            r#"lunbox_device_up{device="user_0/acme",tenant="acme",subtype="file"} 1"#,
            r#"lunbox_commands_total{device="user_0/acme",class="write"} 3"#,
            r#"lunbox_errors_total{device="user_0/acme",class="write"} 1"#,
            r#"lunbox_data_bytes_total{device="user_0/acme",direction="write"} 4096"#,
            r#"lunbox_in_flight{device="user_0/acme"} 2"#,
            r#"lunbox_service_seconds_count{device="user_0/acme",class="write"} 3"#,
            r#"lunbox_service_seconds_sum{device="user_0/acme",class="write"} 0.003"#,
        ] {
            assert!(has(&text, line), "{answers}: {line}\n{text}");
        }
        let (silent, devices) = if answers == "all" { (0, 2) } else { (1, 1) };
        assert!(
            has(&text, &format!(r#"lunbox_worker_unanswered{{tenant="mute"}} {silent}"#)),
            "{answers}: {text}"
        );
        assert!(has(&text, &format!("lunbox_devices {devices}")), "{answers}: {text}");
        assert_eq!(text.contains(r#"lunbox_device_up{device="user_0/mute""#), answers == "all", "{text}");
    }
}

fn parts() -> Parts {
    Parts {
        pool: scripted::pool(|_, _| Vec::new()),
        records: Arc::new(Records::default()),
        program: "test".to_owned(),
        log: None,
        control: None,
        serving: Serving::default(),
    }
}

#[test]
fn restarts_and_waits_of_a_device_are_told_though_nobody_answers() {
    let parts = parts();
    let record = parts.records.add(device(3, "tcm-user/0/a/file//srv/x", Vec::new()), "acme", Vec::new());
    record.count_restart();
    record.count_wait();
    record.count_wait();
    let text = lunbox_metrics::text(parts.collect());
    for line in [
        r#"lunbox_device_restarts_total{device="user_0/a"} 1"#,
        r#"lunbox_lock_waits_total{device="user_0/a"} 2"#,
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }
}

#[test]
fn an_address_that_can_not_be_used_leaves_the_one_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("unix:{}", directory.path().join(name).display());
    std::fs::write(directory.path().join("file"), "precious").unwrap();
    let parts = parts();
    let mut metrics = Metrics::new(parts.clone());
    metrics.serve(&at("one")).unwrap();
    let connects = |name: &str| std::os::unix::net::UnixStream::connect(directory.path().join(name)).is_ok();
    assert!(connects("one"));
    assert!(matches!(metrics.serve("no address"), Err(ServeError::Address { .. })));
    assert!(matches!(metrics.serve(&at("file")), Err(ServeError::Endpoint(_))));
    metrics.serve(&at("one")).unwrap();
    assert!(connects("one"));
    assert_eq!(parts.serving.address(), Some(at("one")));
    metrics.serve(&at("two")).unwrap();
    assert!(connects("two") && !connects("one"));
    metrics.end();
    assert!(!connects("two"));
    assert_eq!(parts.serving.address(), None);
}
