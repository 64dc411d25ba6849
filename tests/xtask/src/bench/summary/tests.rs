use super::*;
use crate::bench::case::parse_job;

fn run_of(rounds: &[(&str, &[f64])]) -> Run {
    let machine = Machine {
        kernel: "Linux".into(),
        processors: 1,
        ticks_per_second: 100.0,
        lun_mib: 1,
        runner: "r".into(),
        fio: "f".into(),
    };
    let mut run = Run::default();
    run.machine = Some(machine);
    for (job, iops) in rounds {
        let samples = iops.iter().map(|&iops| Sample {
            ios: 1000.0,
            iops,
            mean_us: 1e6 / iops,
            p99_us: 2e6 / iops,
            daemon_cpu_ms: 1e6 / iops,
            guest_cpu_ms: 2e6 / iops,
            write_calls: 1.5,
            wakes: 0.5,
        });
        run.samples.insert(parse_job(job).unwrap(), samples.collect());
    }
    run
}

fn verdict_of(ours: &[f64], theirs: &[f64], depth: u32) -> Vec<Verdict> {
    let job = |side: &str| format!("tmpfs:randread:4k:{depth}:{side}");
    let run = run_of(&[(&job("lunbox"), ours), (&job("runner"), theirs), (&job("fileio"), theirs)]);
    summarize("x", &run).unwrap().verdicts
}

#[test]
fn twice_as_fast_holds_what_is_promised() {
    let verdicts = verdict_of(&[200.0, 220.0, 180.0], &[100.0, 100.0, 100.0], 32);
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|verdict| verdict.held && !verdict.undecided));
    assert_eq!(verdicts[0].figure, Band { median: 2.0, low: 1.8, high: 2.2 });
    assert_eq!(verdicts[1].figure.median, 0.5);
}

#[test]
fn slower_in_every_round_is_not_held() {
    for depth in [1, 32] {
        let verdicts = verdict_of(&[90.0, 80.0, 70.0], &[100.0, 100.0, 100.0], depth);
        assert!(!verdicts.is_empty());
        assert!(verdicts.iter().all(|verdict| !verdict.held && !verdict.undecided), "{verdicts:?}");
    }
}

#[test]
fn slower_with_rounds_on_both_sides_is_undecided() {
    let verdicts = verdict_of(&[90.0, 110.0, 80.0], &[100.0, 100.0, 100.0], 1);
    assert_eq!(verdicts.len(), 1);
    assert!(verdicts[0].undecided && !verdicts[0].held);
}

fn doorbells(how: How) -> [Option<f64>; 2] {
    let job = |side: &str| format!("ext4:randwrite:64k:8:{side}");
    let mut run = run_of(&[(&job("lunbox"), &[1.0]), (&job("runner"), &[1.0]), (&job("fileio"), &[1.0])]);
    let traced = Traced { how, calls: 3.0, doorbells: 0.25, other_writes: 1.0 };
    run.traced.insert(parse_job(&job("runner")).unwrap(), traced);
    let summary = summarize("x", &run).unwrap();
    [Side::Runner, Side::Lunbox].map(|side| summary.rows[0].sides[&side].doorbells)
}

#[test]
fn strace_leaves_doorbells_to_the_measured_rounds_and_the_kernel_counts_them_itself() {
    // 1.5 write calls per I/O were measured, one of them was data.
    assert_eq!(doorbells(How::Strace), [Some(0.5), None]);
    assert_eq!(doorbells(How::Tracefs), [Some(0.25), None]);
}

#[test]
fn a_side_that_is_missing_is_named_with_its_case() {
    let run = run_of(&[("tmpfs:randread:4k:1:lunbox", &[1.0]), ("tmpfs:randread:4k:1:fileio", &[1.0])]);
    let error = format!("{:#}", summarize("x", &run).unwrap_err());
    assert!(error.contains("tcmu-runner") && error.contains("4 KiB read, QD1, tmpfs"), "{error}");
}

fn split_of(lunbox: &[f64], control: &[f64], single: &[f64]) -> Verdict {
    let job = |side: &str| format!("tmpfs:randread:4k:32:{side}");
    let run = run_of(&[
        (&job("lunbox"), lunbox),
        (&job("control"), control),
        (&job("single"), single),
        (&job("runner"), lunbox),
        (&job("fileio"), lunbox),
    ]);
    let verdicts = summarize("x", &run).unwrap().verdicts;
    verdicts.into_iter().find(|verdict| verdict.promise.contains("workers cost")).unwrap()
}

#[test]
fn workers_cost_nothing_if_equal_luns_differ_as_much() {
    // The second LUN was 8 % slower once; workers are 5 % slower than one process.
    let verdict = split_of(&[95.0, 95.0, 95.0], &[95.0, 90.0, 87.4], &[100.0, 100.0, 100.0]);
    assert!(verdict.held, "{verdict:?}");
    let verdict = split_of(&[80.0, 80.0, 80.0], &[80.0, 79.0, 81.0], &[100.0, 100.0, 100.0]);
    assert!(!verdict.held && !verdict.undecided, "{verdict:?}");
    let verdict = split_of(&[80.0, 80.0, 101.0], &[80.0, 79.0, 101.0], &[100.0, 100.0, 100.0]);
    assert!(!verdict.held && verdict.undecided, "{verdict:?}");
}

#[test]
fn restarts_and_memory_are_judged_by_their_highest() {
    let mut run = run_of(&[("tmpfs:randread:64k:8:lunbox", &[1.0])]);
    run.samples.extend(
        run_of(&[("tmpfs:randread:64k:8:runner", &[1.0]), ("tmpfs:randread:64k:8:fileio", &[1.0])]).samples,
    );
    run.restarts = vec![50.0, 60.0, 250.0];
    for (process, devices, rss_kib) in [
        ("supervisor", 1, 9000.0),
        ("supervisor", 16, 9500.0),
        ("worker", 1, 20000.0),
        ("worker", 16, 99999.0),
    ] {
        run.memory.push(Memory {
            side: "lunbox".into(),
            process: process.into(),
            devices,
            rss_kib,
            pss_kib: 0.0,
        });
    }
    let summary = summarize("x", &run).unwrap();
    assert_eq!(summary.restart_ms.unwrap().median, 60.0);
    let [restart, supervisor, worker] = &summary.verdicts[..] else { panic!("{:?}", summary.verdicts) };
    // Most restarts are quick enough: one slow one on a busy machine tells nothing.
    assert!(!restart.held && restart.undecided && restart.unit == "ms");
    assert!(supervisor.held && supervisor.figure.high == 9500.0 / 1024.0);
    // What 16 devices take is shown, not promised.
    assert!(worker.held && worker.figure.high == 20000.0 / 1024.0, "{worker:?}");
}
