use super::*;

/// Recorded in User-Mode Linux: two cases, two rounds, two traces; fio's reports cut down to what is read.
const RECORDED: &str = include_str!("../sample.jsonl");

fn recorded() -> Run {
    let mut run = Run::default();
    for line in RECORDED.lines() {
        run.take(line).unwrap();
    }
    run
}

fn key(job: &str) -> (Case, Side) {
    parse_job(job).unwrap()
}

#[test]
fn a_recorded_run_is_read_whole() {
    let run = recorded();
    let machine = run.machine.as_ref().unwrap();
    assert_eq!((machine.processors, machine.ticks_per_second), (1, 100.0));
    assert_eq!(machine.runner, "tcmu-runner 1.5.4");
    assert_eq!(run.samples.len(), 5 + 3);
    assert!(run.samples.values().all(|rounds| rounds.len() == 2));
    assert_eq!(run.measured(), 16);
    assert_eq!(run.traced.len(), 4);
    assert_eq!((run.memory.len(), run.restarts.len()), (6, 10));
}

#[test]
fn figures_are_per_io() {
    let run = recorded();
    // Round 1 of tcmu-runner: ticks 58 to 145, write calls 7809 to 19968, events 2258 to 13810.
    let sample = run.samples[&key("tmpfs:randread:4k:32:runner")][0];
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs();
    assert!(near(sample.daemon_cpu_ms, (145.0 - 58.0) * 10.0 * 1000.0 / sample.ios));
    assert!(near(sample.guest_cpu_ms, (2102.0 - 1949.0) * 10.0 * 1000.0 / sample.ios));
    assert!(near(sample.write_calls, (19968.0 - 7809.0) / sample.ios));
    assert!(near(sample.wakes, (13810.0 - 2258.0) / sample.ios));
    // tcmu-runner rings once per I/O; the reads of its handler are no writes.
    assert!((0.99..1.01).contains(&sample.write_calls), "{}", sample.write_calls);
    assert!(near(sample.mean_us, 3_944.690_191) && near(sample.p99_us, 15_269.888));
}

#[test]
fn latency_is_counted_from_the_submission() {
    let report = RECORDED.lines().find(|line| line.contains(r#""kind":"fio""#)).unwrap();
    // fio has two more kinds: the time of the submission, and what comes after it.
    let renamed = report.replace("lat_ns", "clat_ns");
    let mut run = Run::default();
    let error = format!("{:#}", run.take(&renamed).unwrap_err());
    assert!(error.contains("lat_ns"), "{error}");
}

#[test]
fn memory_and_restarts_are_kept() {
    let mut run = Run::default();
    run.take(
        r#"{"kind":"memory","side":"lunbox","process":"worker","devices":16,"rss_kib":18888,"pss_kib":0}"#,
    )
    .unwrap();
    run.take(r#"{"kind":"restart","milliseconds":[91.5,30.25]}"#).unwrap();
    let memory = Memory {
        side: "lunbox".into(),
        process: "worker".into(),
        devices: 16,
        rss_kib: 18888.0,
        pss_kib: 0.0,
    };
    assert_eq!((run.memory, run.restarts), (vec![memory], vec![91.5, 30.25]));
}

#[test]
fn fileio_uses_no_daemon() {
    let run = recorded();
    for sample in &run.samples[&key("ext4:randwrite:4k:32:fileio")] {
        assert_eq!((sample.daemon_cpu_ms, sample.write_calls, sample.wakes), (0.0, 0.0, 0.0));
        assert!(sample.guest_cpu_ms > 0.0);
    }
}

#[test]
fn what_an_idle_daemon_calls_is_taken_off_a_trace() {
    let mut run = Run::default();
    run.take(r#"{"kind":"idle","side":"lunbox","hundredths":200,"calls":{"futex":100,"read":100}}"#).unwrap();
    assert_eq!(run.idle[&Side::Lunbox], 100.0);
    run.take(
        r#"{"kind":"trace","how":"strace","job":"tmpfs:randwrite:4k:32:lunbox","ios":50,"hundredths":300,"seconds":0.5,"doorbells":10,
            "calls":{"write":12,"pwritev":50,"futex":48,"ppoll":40}}"#,
    )
    .unwrap();
    let traced = &run.traced[&key("tmpfs:randwrite:4k:32:lunbox")];
    assert_eq!(*traced, Traced { how: How::Strace, calls: 2.0, doorbells: 0.2, other_writes: 52.0 / 50.0 });
}

#[test]
fn a_report_without_counters_is_refused() {
    let mut run = Run::default();
    let mut lines = RECORDED.lines();
    run.take(lines.next().unwrap()).unwrap();
    let report = lines.find(|line| line.contains(r#""kind":"fio""#)).unwrap();
    let error = run.take(report).unwrap_err().to_string();
    assert!(error.contains("no counters"), "{error}");
}

#[test]
fn an_error_of_fio_is_passed_on() {
    let mut run = Run::default();
    for line in RECORDED.lines() {
        let failed = line.replacen(r#""error":0"#, r#""error":5"#, 1);
        if failed != line {
            let error = run.take(&failed).unwrap_err().to_string();
            assert!(error.contains("error 5"), "{error}");
            return;
        }
        run.take(line).unwrap();
    }
    panic!("the recorded run has no report");
}

#[test]
fn system_calls_are_counted_between_the_first_and_the_last_on_the_device() {
    let script = crate::paths::guest_scripts().join("bench-strace.awk");
    let strace = "\
11 100.000001 restart_syscall(<... resuming interrupted futex ...> <unfinished ...>
12 100.000100 futex(0x1, FUTEX_WAIT, 1, NULL) = 0
12 100.100000 read(8</dev/uio1>, \"\\1\\0\\0\\0\", 4) = 4
12 100.100100 io_uring_enter(15<anon_inode:[io_uring]>, 1, 1, 1, NULL, 128 <unfinished ...>
11 100.100200 futex(0x1, FUTEX_WAIT, 1, NULL) = 0
12 100.100300 <... io_uring_enter resumed>) = 1
12 100.300000 write(8</dev/uio1>, \"\\1\\0\\0\\0\", 4) = 4
12 100.300100 read(8</dev/uio10>, \"\\1\\0\\0\\0\", 4) = 4
11 100.400000 futex(0x1, FUTEX_WAIT, 1, NULL) = 0
";
    let run = |mode: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("strace");
        std::fs::write(&file, strace).unwrap();
        let mut awk = std::process::Command::new("awk");
        awk.arg("-v").arg(format!("mode={mode}")).args([
            "-v",
            "uio=</dev/uio1>",
            "-v",
            "head=\"kind\":\"x\"",
        ]);
        let text = crate::process::output(awk.arg("-f").arg(&script).arg(file)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let window = run("window");
    assert_eq!(window["calls"], serde_json::json!({"read": 1, "io_uring_enter": 1, "futex": 1, "write": 1}));
    assert_eq!((&window["doorbells"], &window["seconds"]), (&1.into(), &0.2.into()));
    let idle = run("idle");
    assert_eq!(idle["calls"], serde_json::json!({"read": 2, "io_uring_enter": 1, "futex": 3, "write": 1}));
    assert_eq!(idle["kind"], "x");
}

#[test]
fn histograms_are_summed_over_the_threads_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let threads = file("threads", "255\n294\n");
    let head = "# event histogram\n#\n# trigger info: hist:keys=common_pid [active]\n#\n\n";
    let bells = file(
        "bells",
        &format!("{head}{{ common_pid:        294 }} hitcount:         77\n\nTotals:\n    Hits: 77\n"),
    );
    let calls = file(
        "calls",
        &format!(
            "{head}\
{{ common_pid:       1025, id: sys_write                     [  1] }} hitcount:          9
{{ common_pid:        294, id: sys_write                     [  1] }} hitcount:         77
{{ common_pid:        255, id: sys_futex                     [202] }} hitcount:        300
{{ common_pid:        294, id: sys_futex                     [202] }} hitcount:          1
"
        ),
    );
    let script = crate::paths::guest_scripts().join("bench-hist.awk");
    let mut awk = std::process::Command::new("awk");
    awk.args(["-v", "head=\"kind\":\"x\"", "-f"]).arg(script).arg(threads).arg(bells).arg(calls);
    let text = crate::process::output(&mut awk).unwrap();
    let counted: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        counted,
        serde_json::json!({"kind": "x", "doorbells": 77, "calls": {"write": 77, "futex": 301}})
    );
}
