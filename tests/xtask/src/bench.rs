//! `cargo xtask bench`: runs lunbox-bench and keeps what it printed; with `--guest`, compares servers in a guest; with
//! `--iscsi`, compares with tgt.

mod band;
mod case;
mod guest;
mod markdown;
mod neighbours;
mod plot;
mod records;
mod summary;
mod tgt;

use crate::compile;
use crate::paths;
use crate::process;
use crate::tools::{self, Missing};
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
By default: the sandbox on an emulated ring. A full run is kept as tests/bench/results/DATE.txt, a quick one as
target/bench/quick.txt.
With --neighbours: a LUN's latency beside LUNs whose handlers misbehave, and how soon those serve again. A full run takes
some three minutes and is kept as tests/bench/results/DATE-neighbours.{txt,json,svg}, a quick one in target/bench.
With --guest: lunboxd with workers and in one process, Debian's tcmu-runner and the kernel's fileio in turns on a real
kernel, in User-Mode Linux and in qemu. A full run on both takes a quarter of an hour and is kept as tests/bench/results/DATE-guest.{md,json,svg}, others in
target/bench.
With --iscsi: `lunbox serve` and Debian's tgt in turns, the same file, the same clients. A full run takes five minutes and
is kept as tests/bench/results/DATE-iscsi.{md,json}, a quick one nowhere. Needs root, for tgt.
Leave the machine alone meanwhile.

Examples:
  cargo xtask bench                    all sizes and stores
  cargo xtask bench --quick            a first impression in less than a minute
  cargo xtask bench --neighbours       beside handlers that misbehave
  cargo xtask bench --guest --quick    against tcmu-runner, in four minutes
  cargo xtask bench --guest --machine uml
  cargo xtask bench --iscsi            against tgt
  cargo xtask bench -- --help          what lunbox-bench itself understands")]
pub struct Options {
    /// Fewer and shorter measurements
    #[arg(long)]
    quick: bool,
    /// Measure what handlers that misbehave cost their neighbours
    #[arg(long, conflicts_with_all = ["guest", "iscsi"])]
    neighbours: bool,
    /// Compare with tcmu-runner and the kernel's fileio in a guest
    #[arg(long)]
    guest: bool,
    /// Compare `lunbox serve` with tgt
    #[arg(long, conflicts_with = "guest")]
    iscsi: bool,
    /// With --guest: which guests
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = guest::Choice::Both, requires = "guest")]
    machine: guest::Choice,
    /// With --guest: fail if a promised figure is not held and the spread does not leave it open
    #[arg(long, requires = "guest")]
    strict: bool,
    /// With --guest: use what is built already
    #[arg(long, requires = "guest")]
    no_build: bool,
    /// Arguments for lunbox-bench
    #[arg(last = true, value_name = "ARGS", conflicts_with_all = ["guest", "iscsi"])]
    arguments: Vec<String>,
}

/// Builds handlers and benchmark, runs it, keeps the output.
///
/// # Errors
/// When a build or the benchmark fails, its output cannot be written, or a figure is not held that has to be.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if !options.no_build {
        compile::all()?;
    }
    if options.guest {
        if !guest::measure(options.machine, options.quick)? && options.strict {
            bail!("a promised figure was not held");
        }
        return Ok(());
    }
    if options.iscsi {
        return against_tgt(options.quick);
    }
    measure(
        if options.neighbours { Part::Neighbours } else { Part::Sandbox },
        options.quick,
        &options.arguments,
    )
}

/// A part of lunbox-bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Wasm against native.
    Sandbox,
    /// Beside handlers that misbehave.
    Neighbours,
}

impl Part {
    /// How the names of its results end, behind the date.
    fn suffix(self) -> &'static str {
        match self {
            Self::Sandbox => "",
            Self::Neighbours => "-neighbours",
        }
    }
}

fn against_tgt(quick: bool) -> anyhow::Result<()> {
    tools::require(tools::CLIENTS, Missing::Install)?;
    let mut command = compile::built(&paths::bench_iscsi());
    if let Some(folder) = tgt::ensure()? {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path)))?);
    }
    command.args(if quick { &["--rounds", "3", "--seconds", "1"][..] } else { &["--record"] });
    process::run(&mut command)
}

/// Runs the benchmark with what is built.
///
/// # Errors
/// When the benchmark fails or its output cannot be written.
pub fn measure(part: Part, quick: bool, arguments: &[String]) -> anyhow::Result<()> {
    let file = result_file(part, quick)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = compile::built(&paths::bench());
    if part == Part::Neighbours {
        command.arg("neighbours").arg("--json").arg(file.with_extension("json"));
    }
    if quick {
        command.arg("--quick");
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let (mut child, _group) = process::spawn(&mut command)?;
    let stdout = child.stdout.take().context("the benchmark's output is not there")?;
    let mut text = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("the benchmark's output is not UTF-8")?;
        println!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    ensure!(status.success(), "lunbox-bench ended with {status}");
    let circumstances = circumstances(arguments)?;
    let mut files = vec![(file.clone(), format!("{circumstances}\n{text}"))];
    if part == Part::Neighbours {
        let json = file.with_extension("json");
        let found =
            std::fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
        files.push((file.with_extension("svg"), neighbours::svg(&subtitle(&circumstances), &found)?));
    }
    for (file, text) in files {
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("kept in {}", file.display());
    }
    Ok(())
}

fn result_file(part: Part, quick: bool) -> anyhow::Result<PathBuf> {
    let suffix = part.suffix();
    if quick {
        return Ok(paths::target().join(format!("bench/quick{suffix}.txt")));
    }
    let date = process::output(Command::new("date").args(["-u", "+%F"]))?;
    Ok(paths::root().join("tests/bench/results").join(format!("{date}{suffix}.txt")))
}

/// Of the circumstances, the machine and its kernel: what a picture has room for.
fn subtitle(circumstances: &str) -> String {
    let about = circumstances
        .lines()
        .take(2)
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
    format!("measured on {}", about.collect::<Vec<_>>().join(", "))
}

/// What a reader must know to judge the figures.
///
/// # Errors
/// When it cannot be looked up.
pub fn circumstances(arguments: &[String]) -> anyhow::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = process::output(Command::new("uname").arg("-sr"))?;
    let rustc = process::output(Command::new("rustc").arg("--version").current_dir(paths::root()))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = std::thread::available_parallelism()?;
    let mut text = format!(
        "processor  {model}, {cpus} usable\nkernel     {kernel}\ncompiler   {rustc}\nload       {}\n",
        load.trim()
    );
    if !arguments.is_empty() {
        text.push_str(&format!("arguments  {}\n", arguments.join(" ")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_belongs_to_the_guest_needs_it() {
        let parse = |line: &str| Command::try_parse_from(line.split(' ')).map(|command| command.options);
        assert!(!parse("bench --quick").unwrap().guest);
        let options = parse("bench --guest --machine smp --strict").unwrap();
        assert!(options.guest && options.strict && options.machine == guest::Choice::Smp);
        for wrong in [
            "bench --machine uml",
            "bench --strict",
            "bench --no-build",
            "bench --guest -- --rounds",
            "bench --guest --neighbours",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_part_has_a_file_of_its_own() {
        let name = |part, quick| result_file(part, quick).unwrap().file_name().unwrap().to_owned();
        assert_eq!(name(Part::Sandbox, true), "quick.txt");
        assert_eq!(name(Part::Neighbours, true), "quick-neighbours.txt");
        assert_ne!(name(Part::Neighbours, false), name(Part::Sandbox, false));
        assert!(result_file(Part::Neighbours, false).unwrap().parent().unwrap().ends_with("results"));
    }
}
