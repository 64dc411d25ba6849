//! `cargo xtask soak`: the guest tests that count in rounds, for very many of them.

mod log;
mod rounds;
mod script;

use crate::bench;
use crate::compile;
use crate::guest::{self, Contents, Machine, Outcome, Request};
use crate::lines;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools::Missing;
use anyhow::{Context, ensure};
use log::Log;
use rounds::{Round, Rounds};
use script::Script;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A guest with emulated processors takes this many times as long.
const SMP_FACTOR: u32 = 4;
/// Rounds of each row that go on record.
const ON_RECORD: u32 = 1000;

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A test that reads LUNBOX_ROUNDS counts in rounds; one that reads LUNBOX_ROWS has several rows. The rounds are split over
guests, so that one that hangs costs little. Stops at the first failure with status 1; the failing guest's output is in
the log then. A run of 1000 rounds or more of every row is kept as tests/results/DATE-soak.log, or with --test as
tests/results/DATE-soak-TEST.log; others in target/soak.

Examples:
  cargo xtask soak                                   1000 rounds of each row: hours
  cargo xtask soak --test crash                      the crash matrix alone
  cargo xtask soak --rounds 20 --row worker          a worker is killed 20 times
  cargo xtask soak --test fence --rounds 100
  cargo xtask soak --machine smp --rounds 100        on two emulated processors")]
pub struct Options {
    /// Rounds of each row
    #[arg(long, value_name = "N", default_value_t = ON_RECORD, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Rounds of each row in one guest, at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    per_guest: u32,
    /// Only this row of the tests that have it
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Only this test (tests/guest/NAME.test.sh)
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Which guest
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Which::Uml)]
    machine: Which,
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
}

/// Which guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// User-Mode Linux: one processor
    Uml,
    /// qemu: two emulated processors
    Smp,
}

impl Which {
    fn machine(self) -> Machine {
        match self {
            Self::Uml => Machine::Uml,
            Self::Smp => Machine::Smp,
        }
    }
}

/// Builds and runs; the result is the exit status.
///
/// # Errors
/// When there is nothing to run, a build fails, a guest cannot be started or the log cannot be written. A failing test is
/// no error.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    let scripts = script::find(options.test.as_deref(), options.row.as_deref())?;
    if !options.no_build {
        compile::all()?;
    }
    let machine = options.machine.machine();
    let mut log = Log::create(&place(options)?, &head(options, machine)?)?;
    let mut all = Rounds::default();
    for script in &scripts {
        let parts = parts(options.rounds, options.per_guest);
        for (index, &rounds) in parts.iter().enumerate() {
            let title = format!("{}, guest {} of {}", script.name, index + 1, parts.len());
            let run = one_guest(script, options, rounds, &title)?;
            // The guest's first line says what it is.
            let about = run.text.lines().next().unwrap_or_default().trim_start_matches("-- ");
            log.guest(&format!("{title}: {about}"), &run.seen, &run.outcome)?;
            all.add(&run.seen);
            if let Some(why) = run.failure(script, rounds) {
                log.failure(&format!("{title}: {why}"), &run.text)?;
                log.end(&all)?;
                println!("FAILED: {title}: {why}\nits output is in {}", log.path().display());
                return Ok(1);
            }
        }
    }
    log.end(&all)?;
    println!("{}kept in {}", all.table(), log.path().display());
    Ok(0)
}

/// `rounds` in parts of at most `most`, as equal as can be.
fn parts(rounds: u32, most: u32) -> Vec<u32> {
    let count = rounds.div_ceil(most);
    (0..count).map(|index| rounds / count + u32::from(index < rounds % count)).collect()
}

/// What one guest did.
struct GuestRun {
    seen: Rounds,
    text: String,
    outcome: Outcome,
}

impl GuestRun {
    /// Why this is no success; a test that ends well without having done its rounds is none either.
    fn failure(&self, script: &Script, rounds: u32) -> Option<String> {
        match self.outcome.status {
            0 => script.rows.iter().find_map(|row| {
                let done = self.seen.count(row);
                (done != u64::from(rounds))
                    .then(|| format!("it ended well after {done} of {rounds} rounds of `{row}`"))
            }),
            guest::TIMED_OUT => Some("it did not end in time".to_owned()),
            guest::DIED => Some("the guest died".to_owned()),
            status => Some(format!("it ended with status {status}")),
        }
    }
}

fn one_guest(script: &Script, options: &Options, rounds: u32, title: &str) -> anyhow::Result<GuestRun> {
    let machine = options.machine.machine();
    let factor = if machine == Machine::Smp { SMP_FACTOR } else { 1 };
    let mut environment = vec![("LUNBOX_ROUNDS".to_owned(), rounds.to_string())];
    if script.takes_rows {
        environment.push(("LUNBOX_ROWS".to_owned(), script.rows.join(" ")));
    }
    let request = Request {
        machine,
        memory_mib: 2048,
        timeout: Some(script.limit(rounds) * factor),
        terminal: false,
        keep: false,
        contents: Contents {
            command: format!(
                "echo \"-- $(uname -sr), $(nproc) processor(s), $(lunboxd --version)\"\nexec sh /host/tests/{}",
                script.file()
            ),
            environment,
            extra: Vec::new(),
        },
        missing: Missing::Install,
    };
    let total = u64::from(rounds) * u64::try_from(script.rows.len())?;
    let mut listener = Listener::new(Progress::of_rounds(title, total));
    let outcome = guest::run(&request, &mut listener)?;
    let Listener { progress, rest, seen, mut text } = listener;
    text.push_str(&String::from_utf8_lossy(&rest));
    if outcome.status == 0 {
        progress.done();
    }
    Ok(GuestRun { seen, text, outcome })
}

/// Follows the guest's output.
struct Listener {
    progress: Progress,
    rest: Vec<u8>,
    seen: Rounds,
    text: String,
}

impl Listener {
    fn new(progress: Progress) -> Self {
        Self { progress, rest: Vec::new(), seen: Rounds::default(), text: String::new() }
    }
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for line in lines::cut(&mut self.rest, bytes) {
            if let Some(round) = Round::parse(&line) {
                self.progress.detail(&format!("{} {}", round.row, round.number));
                self.seen.take(&round);
                self.progress.at(self.seen.total());
            }
            self.text.push_str(&line);
            self.text.push('\n');
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Only a long run of everything is a result for the record.
fn place(options: &Options) -> anyhow::Result<PathBuf> {
    let date = process::output(Command::new("date").args(["-u", "+%F"]))?;
    let machine = if options.machine == Which::Smp { "-smp" } else { "" };
    let test = options.test.as_ref().map(|test| format!("-{test}")).unwrap_or_default();
    let whole = options.rounds >= ON_RECORD && options.row.is_none();
    let folder = if whole { paths::root().join("tests/results") } else { paths::target().join("soak") };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("{date}-soak{test}{machine}.log")))
}

/// What a reader must know to judge the figures.
fn head(options: &Options, machine: Machine) -> anyhow::Result<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(paths::root());
    // A source archive has no history.
    let commit = process::output(&mut git).unwrap_or_else(|_| "unknown".to_owned());
    let lunboxd = process::output(Command::new(paths::daemon()).arg("--version"))?;
    ensure!(!lunboxd.is_empty(), "{} tells no version", paths::daemon().display());
    Ok(format!(
        "{}program    {lunboxd}, commit {commit}\nguest      {}, {}\nrounds     {} of each row, at most {} in one guest\n",
        bench::circumstances(&[])?,
        machine.name(),
        machine.pinned()?,
        options.rounds,
        options.per_guest
    ))
}

/// Time for a number of rounds, if a test's own limit is for `default` of them.
fn scaled(limit: Duration, rounds: u32, default: u32) -> Duration {
    limit * rounds.div_ceil(default.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_split_evenly() {
        assert_eq!(parts(1000, 100), vec![100; 10]);
        assert_eq!(parts(7, 3), [3, 2, 2]);
        assert_eq!(parts(5, 100), [5]);
        assert_eq!(parts(101, 100), [51, 50]);
    }

    #[test]
    fn limits_grow_with_the_rounds_and_never_shrink() {
        let limit = Duration::from_secs(500);
        assert_eq!(scaled(limit, 100, 20), Duration::from_secs(2500));
        assert_eq!(scaled(limit, 21, 20), Duration::from_secs(1000));
        assert_eq!(scaled(limit, 3, 20), limit);
    }

    fn options(rounds: u32, row: Option<&str>) -> Options {
        Options {
            rounds,
            per_guest: 100,
            row: row.map(str::to_owned),
            test: None,
            machine: Which::Smp,
            no_build: true,
        }
    }

    #[test]
    fn only_a_long_run_of_everything_goes_on_record() {
        let whole = place(&options(1000, None)).unwrap();
        assert!(whole.parent().unwrap().ends_with("tests/results"), "{}", whole.display());
        assert!(whole.to_string_lossy().ends_with("-soak-smp.log"));
        for part in [options(999, None), options(1000, Some("worker"))] {
            assert!(place(&part).unwrap().parent().unwrap().ends_with("soak"));
        }
    }

    fn guest_run(status: i32, lines: &str) -> GuestRun {
        let mut listener = Listener::new(Progress::of_rounds("listening", 4));
        listener.write_all(lines.as_bytes()).unwrap();
        let outcome = Outcome { status, boot: Duration::ZERO, total: Duration::ZERO };
        let Listener { progress, seen, text, .. } = listener;
        progress.done();
        GuestRun { seen, text, outcome }
    }

    #[test]
    fn a_test_that_leaves_rounds_out_has_failed() {
        let script = Script {
            name: "crash".into(),
            rows: vec!["a".into(), "b".into()],
            takes_rows: true,
            seconds: 10,
            default_rounds: 20,
        };
        let done = "-- a round 1 of 1: recovered in 5 ms\n-- b round 1 of 1: recovered in 7 ms (x)\n";
        assert_eq!(guest_run(0, done).failure(&script, 1), None);
        let less = guest_run(0, "-- a round 1 of 1: recovered in 5 ms\n").failure(&script, 1).unwrap();
        assert!(less.contains("0 of 1 rounds of `b`"), "{less}");
        assert!(guest_run(3, done).failure(&script, 1).unwrap().contains("status 3"));
        assert!(guest_run(guest::TIMED_OUT, done).failure(&script, 1).unwrap().contains("in time"));
        assert_eq!(guest_run(0, done).text, done);
    }
}
