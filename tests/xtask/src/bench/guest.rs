//! `cargo xtask bench --guest`: our daemon, tcmu-runner and the kernel's fileio in turns on one kernel.

use super::records::Run;
use super::summary::{Summary, summarize};
use super::{circumstances, markdown, plot, subtitle};
use crate::guest::{self, Contents, Machine, Request};
use crate::lines;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools::Missing;
use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Which guests take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// User-Mode Linux: one processor, dear system calls
    Uml,
    /// qemu: two emulated processors, dear computing
    Smp,
    /// One after the other
    Both,
}

/// How much is measured.
#[derive(Debug)]
struct Plan {
    rounds: u32,
    /// Length of one measurement.
    millis: u32,
    /// Of each LUN.
    lun_mib: u32,
    /// I/Os under strace.
    traced: u32,
    /// Times that a worker is killed.
    restarts: u32,
    /// `STORE:READWRITE:BLOCK:DEPTH:FLAGS`, see tests/guest/bench.sh.
    cases: &'static [&'static str],
}

const FULL: Plan = Plan {
    rounds: 5,
    millis: 1500,
    lun_mib: 128,
    traced: 400,
    restarts: 20,
    cases: &[
        "tmpfs:randread:4k:32:cst",
        "tmpfs:randwrite:4k:32:cst",
        "tmpfs:randread:4k:1:cst",
        "tmpfs:randwrite:4k:1:cst",
        "tmpfs:randread:64k:8:",
        "tmpfs:randwrite:64k:8:",
        "ext4:randread:4k:32:",
        "ext4:randwrite:4k:32:ct",
    ],
};

const QUICK: Plan = Plan {
    rounds: 3,
    millis: 700,
    lun_mib: 64,
    traced: 200,
    restarts: 5,
    cases: &[
        "tmpfs:randread:4k:32:cst",
        "tmpfs:randwrite:4k:32:cst",
        "tmpfs:randread:4k:1:",
        "tmpfs:randwrite:4k:1:",
    ],
};

/// LUNs on two file systems, one of them with its disk in memory as well, and what runs.
const MEMORY_MIB: u64 = 3072;
/// Boot, filling LUNs, starting daemons, traces: many times what they take.
const OVERHEAD: Duration = Duration::from_secs(400);
/// A measurement may take so much longer than it lasts: start of its process, a loaded machine.
const SLACK: Duration = Duration::from_secs(6);

impl Plan {
    /// Measurements in one guest.
    fn measurements(&self) -> u32 {
        let of_case =
            |case: &&str| 3 + u32::from(flags(case).contains('c')) + u32::from(flags(case).contains('s'));
        self.rounds * self.cases.iter().map(of_case).sum::<u32>()
    }

    fn limit(&self) -> Duration {
        OVERHEAD
            + (SLACK + Duration::from_millis(self.millis.into())) * self.measurements()
            + SLACK * self.restarts
    }

    fn environment(&self) -> Vec<(String, String)> {
        [
            ("ROUNDS", self.rounds.to_string()),
            ("MILLIS", self.millis.to_string()),
            ("LUN_MIB", self.lun_mib.to_string()),
            ("TRACED", self.traced.to_string()),
            ("RESTARTS", self.restarts.to_string()),
            ("CASES", self.cases.join(" ")),
        ]
        .map(|(name, value)| (format!("LUNBOX_BENCH_{name}"), value))
        .into()
    }
}

fn flags<'a>(case: &&'a str) -> &'a str {
    case.rsplit(':').next().unwrap_or_default()
}

/// Measures with what is built; the result is whether all promises were held or could not be decided.
///
/// # Errors
/// When a guest cannot be started, a measurement fails, or the results cannot be written.
pub fn measure(choice: Choice, quick: bool) -> anyhow::Result<bool> {
    ensure!(
        paths::daemon().is_file()
            && paths::handlers().join("handler_file.wasm").is_file()
            && paths::test_handlers().join("handler_raw.wasm").is_file(),
        "the daemon or its handlers `file` and `raw` are not built: `cargo xtask build`"
    );
    let plan = if quick { &QUICK } else { &FULL };
    let machines: &[Machine] = match choice {
        Choice::Uml => &[Machine::Uml],
        Choice::Smp => &[Machine::Smp],
        Choice::Both => &[Machine::Uml, Machine::Smp],
    };
    let mut circumstances = circumstances(&[])?;
    warn_of_load();
    let mut summaries = Vec::new();
    for &machine in machines {
        circumstances.push_str(&format!("{}: {}\n", machine.name(), machine.pinned()?));
        summaries.push(measure_on(machine, plan)?);
    }
    circumstances.push_str(&format!("load after {}\n", load().trim()));
    let (folder, name) = place(choice, quick)?;
    keep(&folder, &name, &circumstances, &summaries)?;
    Ok(summaries
        .iter()
        .flat_map(|summary| &summary.verdicts)
        .all(|verdict| verdict.held || verdict.undecided))
}

/// proc_loadavg(5).
fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default()
}

/// Most that runs beside a measurement without showing in it: under emulation, time that the machine spends elsewhere
/// counts as the guest's CPU time.
const QUIET: f64 = 0.5;

fn warn_of_load() {
    if let Some(busy) =
        load().split(' ').next().and_then(|word| word.parse::<f64>().ok()).filter(|&busy| busy > QUIET)
    {
        eprintln!(
            "warning: this machine's load is {busy}: other work shows in the figures, in qemu's most of all"
        );
    }
}

fn measure_on(machine: Machine, plan: &Plan) -> anyhow::Result<Summary> {
    let title = format!("{}: {} measurements", machine.name(), plan.measurements());
    let mut listener = Listener::new(Progress::start(title), plan.measurements());
    let request = Request {
        machine,
        memory_mib: MEMORY_MIB,
        timeout: Some(plan.limit()),
        terminal: false,
        keep: false,
        contents: Contents {
            command: "sh /host/tests/bench.sh".to_owned(),
            environment: plan.environment(),
            extra: Vec::new(),
        },
        missing: Missing::Report,
    };
    let outcome = guest::run(&request, &mut listener)?;
    let (run, progress) = listener.end()?;
    match outcome.status {
        0 => {}
        guest::TIMED_OUT => bail!("{}: not done within {} s", machine.name(), plan.limit().as_secs()),
        guest::DIED => bail!("{}: the guest died", machine.name()),
        status => bail!("{}: tests/guest/bench.sh ended with status {status}", machine.name()),
    }
    let summary = summarize(machine.name(), &run)?;
    progress.done();
    let mut text = String::new();
    markdown::verdicts(&mut text, &summary.verdicts);
    println!("{text}");
    Ok(summary)
}

/// Takes the guest's output apart: results are kept, the rest is shown.
struct Listener {
    run: Run,
    line: Vec<u8>,
    progress: Progress,
    expected: u32,
    /// Of the first bad line; the guest's output goes on and is still shown.
    error: Option<anyhow::Error>,
}

impl Listener {
    fn new(progress: Progress, expected: u32) -> Self {
        Self { run: Run::default(), line: Vec::new(), progress, expected, error: None }
    }

    fn take_line(&mut self, line: &str) {
        if !line.starts_with('{') {
            println!("   {line}");
            return;
        }
        if let Err(error) = self.run.take(line) {
            self.error.get_or_insert(error);
        }
        self.progress.detail(&format!("{} of {}", self.run.measured(), self.expected));
    }

    fn end(mut self) -> anyhow::Result<(Run, Progress)> {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.take_line(&String::from_utf8_lossy(&rest));
        }
        match self.error {
            Some(error) => Err(error),
            None => Ok((self.run, self.progress)),
        }
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for line in lines::cut(&mut self.line, bytes) {
            self.take_line(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Only a full run on both guests is a result for the record.
fn place(choice: Choice, quick: bool) -> anyhow::Result<(PathBuf, String)> {
    let machine = match choice {
        Choice::Uml => "-uml",
        Choice::Smp => "-smp",
        Choice::Both => "",
    };
    if quick || choice != Choice::Both {
        let name = if quick { "quick-guest" } else { "guest" };
        return Ok((paths::target().join("bench"), format!("{name}{machine}")));
    }
    let date = process::output(Command::new("date").args(["-u", "+%F"]))?;
    Ok((paths::root().join("tests/bench/results"), format!("{date}-guest")))
}

fn keep(folder: &Path, name: &str, circumstances: &str, summaries: &[Summary]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let subtitle = subtitle(circumstances);
    let json = serde_json::json!({ "circumstances": circumstances, "guests": summaries });
    let files = [
        ("md", markdown::report(circumstances, summaries)),
        ("json", serde_json::to_string_pretty(&json)? + "\n"),
        ("svg", plot::svg(&subtitle, summaries)?),
    ];
    for (extension, text) in files {
        let file = folder.join(format!("{name}.{extension}"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("kept in {}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_measure_what_the_promises_are_about() {
        for plan in [&FULL, &QUICK] {
            for case in ["tmpfs:randread:4k:32:", "tmpfs:randwrite:4k:32:", "tmpfs:randread:4k:1:"] {
                assert!(plan.cases.iter().any(|have| have.starts_with(case)), "{case}");
            }
            // The spread of equal things is there wherever IOPS are promised.
            let deep = plan.cases.iter().filter(|case| case.starts_with("tmpfs") && case.contains(":4k:32:"));
            assert!(deep.clone().count() == 2 && deep.clone().all(|case| flags(case).contains('c')));
            // So is what the workers cost.
            assert!(deep.clone().all(|case| flags(case).contains('s')));
            assert!(plan.limit() > Duration::from_secs(60));
        }
        assert_eq!(QUICK.measurements(), 3 * (5 + 5 + 3 + 3));
    }

    #[test]
    fn results_are_kept_and_cut_lines_are_joined() {
        let mut listener = Listener::new(Progress::start("listening"), 16);
        let sample = include_bytes!("sample.jsonl");
        for piece in sample.chunks(100) {
            listener.write_all(piece).unwrap();
        }
        let (run, progress) = listener.end().unwrap();
        progress.done();
        assert_eq!(run.measured(), 16);
    }

    #[test]
    fn a_bad_result_is_told_at_the_end() {
        let mut listener = Listener::new(Progress::start("listening to nonsense"), 1);
        listener.write_all(b"-- for people\n{\"kind\":\"stranger\"}\nmore").unwrap();
        let error = format!("{:#}", listener.end().map(|_| ()).unwrap_err());
        assert!(error.contains("stranger"), "{error}");
    }

    #[test]
    fn reports_have_all_cases_and_are_written_where_promised() {
        let mut listener = Listener::new(Progress::start("reporting"), 16);
        listener.write_all(include_bytes!("sample.jsonl")).unwrap();
        let (run, progress) = listener.end().unwrap();
        progress.done();
        let summaries = [summarize("User-Mode Linux", &run).unwrap()];
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), "x", "processor  Some CPU\nkernel  Linux 7\nload 1", &summaries).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let markdown = read("x.md");
        for expected in [
            "Some CPU",
            "4 KiB read, QD32, tmpfs",
            "4 KiB write, QD32, ext4",
            "User-Mode Linux",
            "lunboxd with workers over lunboxd in one process",
            "| worker | 16 | 12.7 | 8.3 |",
            "serves again: at most 200 ms: 145.55 [132.40..200.40] ms",
        ] {
            assert!(markdown.contains(expected), "{expected}");
        }
        let json: serde_json::Value = serde_json::from_str(&read("x.json")).unwrap();
        assert_eq!(json["guests"][0]["rows"].as_array().unwrap().len(), 2);
        let svg = read("x.svg");
        // Each bar carries its load and its figure.
        assert!(svg.starts_with("<svg") && svg.contains("4 KiB read") && svg.contains("QD32"));
        assert!(svg.contains("measured on Some CPU, Linux 7"));
        let ratio = format!("{:.2}", summaries[0].rows[0].ours.iops.median);
        assert!(svg.contains(&ratio), "{ratio}");
    }

    #[test]
    fn only_a_full_run_on_both_guests_goes_on_record() {
        let name = |choice, quick| place(choice, quick).unwrap();
        assert!(name(Choice::Both, false).0.ends_with("tests/bench/results"));
        assert!(name(Choice::Both, false).1.ends_with("-guest"));
        assert!(name(Choice::Both, true).0.ends_with("bench"));
        assert_eq!(name(Choice::Uml, false).1, "guest-uml");
        assert_eq!(name(Choice::Smp, true).1, "quick-guest-smp");
    }
}
