//! `cargo xtask bench`: runs lunbox-bench and keeps what it printed.

use crate::compile;
use crate::paths;
use crate::process;
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A full run is kept as tests/bench/results/DATE.txt, a quick one as target/bench/quick.txt.

Examples:
  cargo xtask bench                    all sizes and stores
  cargo xtask bench --quick            a first impression in less than a minute
  cargo xtask bench -- --help          what lunbox-bench itself understands")]
pub struct Options {
    /// Fewer and shorter measurements
    #[arg(long)]
    quick: bool,
    /// Arguments for lunbox-bench
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Builds handlers and benchmark, runs it, keeps the output.
///
/// # Errors
/// When a build or the benchmark fails, or its output cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    compile::all()?;
    measure(options.quick, &options.arguments)
}

/// Runs the benchmark with what is built.
///
/// # Errors
/// When the benchmark fails or its output cannot be written.
pub fn measure(quick: bool, arguments: &[String]) -> anyhow::Result<()> {
    let mut command = compile::cargo(&["run", "--quiet", "-p", "lunbox-bench", "--"]);
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
    let file = result_file(quick)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut out = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    write!(out, "{}\n{text}", circumstances(arguments)?)?;
    println!("kept in {}", file.display());
    Ok(())
}

fn result_file(quick: bool) -> anyhow::Result<PathBuf> {
    if quick {
        return Ok(paths::target().join("bench/quick.txt"));
    }
    let date = process::output(Command::new("date").args(["-u", "+%F"]))?;
    Ok(paths::root().join("tests/bench/results").join(format!("{date}.txt")))
}

/// What a reader must know to judge the figures.
fn circumstances(arguments: &[String]) -> anyhow::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = process::output(Command::new("uname").arg("-sr"))?;
    let rustc = process::output(Command::new("rustc").arg("--version").current_dir(paths::root()))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = std::thread::available_parallelism()?;
    Ok(format!(
        "processor  {model}, {cpus} usable\nkernel     {kernel}\ncompiler   {rustc}\nload       {}\narguments  {}\n",
        load.trim(),
        arguments.join(" ")
    ))
}
