//! The results for people.

use super::band::Band;
use super::case::Side;
use super::records::How;
use super::summary::{Figures, Ratios, Row, Summary, Verdict};
use std::fmt::Write as _;

/// What a reader must know before the figures.
const PREFACE: &str = "\
Servers of a raw file, each with LUNs of its own on the same kernel, measured in turns with fio (libaio, direct, random):
lunboxd with the Wasm handler `file`, its device loops in a worker process; lunboxd in one process, where it takes part;
Debian's tcmu-runner with its `qcow` handler on a raw image (the only handler for a plain file in the package); and the
kernel's own fileio backstore (buffered, as the others are).

Ratios are taken round by round; they stand as median [lowest..highest]. The ratio A/A is that of two equal LUNs of
lunboxd: a difference within its spread is none. Latency is fio's from submission to completion. tmpfs is a file system in memory, ext4 lies on a disk in memory.

User-Mode Linux is pinned to one processor; a system call costs some thirty times as much there as on a plain machine.
qemu emulates two processors; computing and copying are dear there; above stands whether it was pinned, too. Compare within a table, never across, and never
with a plain machine; where both agree on a direction, it can be believed.
";

const NOTES: &str = "\
Daemon CPU is that of all threads, io_uring's kernel workers included. The kernel's threads that end SCSI commands belong
to no daemon: they show in the guest's CPU, as fio does.

System calls are counted apart from the measured rounds. In qemu the kernel counts them under the full load. In User-Mode
Linux, which has no tracing, strace does: it slows a daemon, so that more I/Os share a call; compare that column there, but
do not read it as the number of the measured rounds. What an idle daemon calls, too, has been taken off. Doorbells are writes to
the UIO device. In User-Mode Linux they are the write calls of the measured rounds less the daemon's writes of data as strace
saw them, which for lunboxd's writes is an upper bound: it writes alone what comes alone, and leaves the rest to io_uring.
Wake-ups are the kernel's events on the UIO device, counted in the measured rounds.
";

/// The whole report. `circumstances` are lines about the machine and the build.
pub fn report(circumstances: &str, summaries: &[Summary]) -> String {
    let mut text = String::from("# A raw file as a LUN: lunboxd, tcmu-runner, fileio\n\n");
    // Writing to a string does not fail.
    let _ = write!(text, "```\n{}\n```\n\n{PREFACE}", circumstances.trim_end());
    for summary in summaries {
        let machine = &summary.machine;
        let _ = write!(
            text,
            "\n## {}\n\n{}, {} processor(s), {}, {}; {} rounds; LUNs of {} MiB.\n",
            summary.name,
            machine.kernel,
            machine.processors,
            machine.runner,
            machine.fio,
            summary.rounds,
            machine.lun_mib
        );
        verdicts(&mut text, &summary.verdicts);
        tables(&mut text, summary);
    }
    let _ = write!(text, "\n## Notes\n\n{NOTES}");
    text
}

/// The promises, one line each.
pub fn verdicts(text: &mut String, verdicts: &[Verdict]) {
    text.push('\n');
    for verdict in verdicts {
        let word = match (verdict.held, verdict.undecided) {
            (true, _) => "held",
            (false, true) => "undecided",
            (false, false) => "NOT HELD",
        };
        let figure = ratio(&verdict.figure);
        let space = if verdict.unit.is_empty() { "" } else { " " };
        let _ = writeln!(text, "* {word}: {}: {figure}{space}{}", verdict.promise, verdict.unit);
    }
}

fn tables(text: &mut String, summary: &Summary) {
    table(
        text,
        "I/Os per second",
        &["lunboxd", "tcmu-runner", "fileio", "lunboxd / tcmu-runner", "A/A", "lunboxd / fileio"],
        summary,
        |row| {
            let iops = |side| cell(row, side, |figures| Some(format!("{:.0}", figures.iops.median)));
            vec![
                iops(Side::Lunbox),
                iops(Side::Runner),
                iops(Side::Fileio),
                ratio(&row.ours.iops),
                control(row.control.as_ref().map(|control| control.iops)),
                ratio(&row.iops_over_fileio),
            ]
        },
    );
    table(
        text,
        "CPU, milliseconds for 1000 I/Os",
        &[
            "lunboxd",
            "tcmu-runner",
            "lunboxd / tcmu-runner",
            "A/A",
            "guest: lunboxd",
            "guest: tcmu-runner",
            "guest: fileio",
        ],
        summary,
        |row| {
            let daemon =
                |side| cell(row, side, |figures| Some(format!("{:.1}", figures.daemon_cpu_ms.median)));
            let guest = |side| cell(row, side, |figures| Some(format!("{:.1}", figures.guest_cpu_ms.median)));
            vec![
                daemon(Side::Lunbox),
                daemon(Side::Runner),
                ratio(&row.ours.cpu),
                control(row.control.as_ref().map(|control| control.cpu)),
                guest(Side::Lunbox),
                guest(Side::Runner),
                guest(Side::Fileio),
            ]
        },
    );
    table(
        text,
        "Latency in microseconds, mean and 99th percentile",
        &["lunboxd", "tcmu-runner", "fileio", "mean: lunboxd / tcmu-runner", "A/A"],
        summary,
        |row| {
            let latency = |side| {
                cell(row, side, |figures| {
                    Some(format!("{:.0}, {:.0}", figures.mean_us.median, figures.p99_us.median))
                })
            };
            vec![
                latency(Side::Lunbox),
                latency(Side::Runner),
                latency(Side::Fileio),
                ratio(&row.ours.latency),
                control(row.control.as_ref().map(|control| control.latency)),
            ]
        },
    );
    split(text, summary);
    table(
        text,
        "Calls per I/O, lunboxd and tcmu-runner",
        &["system calls", "doorbells", "wake-ups", "counted by"],
        summary,
        |row| {
            let both = |figure: fn(&Figures) -> Option<f64>| {
                let number =
                    |side| cell(row, side, |figures| figure(figures).map(|number| format!("{number:.2}")));
                format!("{}, {}", number(Side::Lunbox), number(Side::Runner))
            };
            vec![
                both(|figures| figures.calls),
                both(|figures| figures.doorbells),
                both(|figures| Some(figures.wakes.median)),
                cell(row, Side::Lunbox, |figures| {
                    figures.how.map(|how| match how {
                        How::Strace => "strace".to_owned(),
                        How::Tracefs => "the kernel".to_owned(),
                    })
                }),
            ]
        },
    );
    let idle = |side| {
        summary.idle_calls_per_second.get(&side).map_or("–".to_owned(), |calls| format!("{calls:.0}"))
    };
    let _ = writeln!(
        text,
        "\nSystem calls per second of the idle daemon: lunboxd {}, tcmu-runner {}.",
        idle(Side::Lunbox),
        idle(Side::Runner)
    );
    processes(text, summary);
}

/// What the device loops' being in a process of their own costs.
fn split(text: &mut String, summary: &Summary) {
    if summary.rows.iter().all(|row| row.split.is_none()) {
        return;
    }
    table(
        text,
        "lunboxd with workers over lunboxd in one process",
        &["I/Os per second", "A/A", "latency", "A/A", "CPU", "A/A"],
        summary,
        |row| {
            let both = |of: fn(&Ratios) -> Band| {
                [control(row.split.as_ref().map(of)), control(row.control.as_ref().map(of))]
            };
            [both(|ratios| ratios.iops), both(|ratios| ratios.latency), both(|ratios| ratios.cpu)].concat()
        },
    );
}

/// Memory and restarts of our processes.
fn processes(text: &mut String, summary: &Summary) {
    if !summary.memory.is_empty() {
        text.push_str(
            "\n### Memory of idle processes, MiB\n\n| process | devices | resident | proportional |\n|---|---:|---:|---:|\n",
        );
    }
    for memory in &summary.memory {
        let name = if memory.side == "single" { "lunboxd in one process" } else { &memory.process };
        let pss =
            if memory.pss_kib > 0.0 { format!("{:.1}", memory.pss_kib / 1024.0) } else { "–".to_owned() };
        let _ = writeln!(text, "| {name} | {} | {:.1} | {pss} |", memory.devices, memory.rss_kib / 1024.0);
    }
    if let Some(band) = &summary.restart_ms {
        let _ = writeln!(
            text,
            "\nFrom the death of a worker to the next I/O of its LUN: {} ms, at most {} ms.",
            band.median, band.high
        );
    }
}

fn table(
    text: &mut String,
    title: &str,
    heads: &[&str],
    summary: &Summary,
    cells: impl Fn(&Row) -> Vec<String>,
) {
    let _ =
        write!(text, "\n### {title}\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len()));
    for row in &summary.rows {
        let _ = writeln!(text, "| {} | {} |", row.case, cells(row).join(" | "));
    }
}

fn cell(row: &Row, side: Side, figure: impl Fn(&Figures) -> Option<String>) -> String {
    row.sides.get(&side).and_then(figure).unwrap_or_else(|| "–".to_owned())
}

/// `median [low..high]`.
pub fn ratio(band: &Band) -> String {
    format!("{:.2} [{:.2}..{:.2}]", band.median, band.low, band.high)
}

fn control(band: Option<Band>) -> String {
    band.as_ref().map_or_else(|| "–".to_owned(), ratio)
}
