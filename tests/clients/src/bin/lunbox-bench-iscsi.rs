//! Measures `lunbox serve` against tgt over iSCSI on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use lunbox_clients::bench::load::{Direction, Load};
use lunbox_clients::bench::report::{self, Place};
use lunbox_clients::bench::round::{self, Plan, Side};
use lunbox_clients::built::workspace;
use lunbox_clients::programs::TGTD;
use lunbox_clients::serve::{Options, Server};
use lunbox_clients::tgt::Tgtd;
use lunbox_clients::{image, process};

/// The loads in the order in which they are run. The first two are the promise.
const LOADS: &[Load] = &[
    Load { direction: Direction::RandomRead, bytes: 4096, depth: 32 },
    Load { direction: Direction::Write, bytes: 4096, depth: 32 },
    Load { direction: Direction::RandomRead, bytes: 65536, depth: 8 },
    Load { direction: Direction::Write, bytes: 65536, depth: 8 },
    Load { direction: Direction::RandomRead, bytes: 4096, depth: 1 },
    Load { direction: Direction::Write, bytes: 4096, depth: 1 },
];

/// `lunbox serve` against tgt: the same file (on tmpfs where there is room), the same client, alternating. Needs root,
/// for tgt
#[derive(Debug, Parser)]
#[command(name = "lunbox-bench-iscsi", max_term_width = 100)]
struct Cli {
    /// Rounds of each load
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of a side in a round
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Size of the served file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=65536))]
    size: u64,
    /// Only the first N loads
    #[arg(long, value_name = "N", default_value_t = LOADS.len())]
    loads: usize,
    /// Folder for DATE-iscsi.md and DATE-iscsi.json; nothing is written without it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into tests/bench/results
    #[arg(long, conflicts_with = "out")]
    record: bool,
}

fn main() -> ExitCode {
    match bench(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(cli: &Cli) -> Result<()> {
    let folder = image::scratch()?;
    // All of it is written: a hole is read faster than data.
    let size = cli.size << 20;
    let file = folder.path().join("lun");
    fill(&file, size)?;
    let port = TcpListener::bind("127.0.0.1:0").context("find a free port")?.local_addr()?.port();
    let control = u16::try_from(std::process::id() % 30_000)?;
    let tgt = Tgtd::serve(&file, port, control)?;
    let mut lunbox =
        Server::start(&Options::bare().arg("--json").arg("--listen").arg("127.0.0.1:0").file(&file))?;
    let url = lunbox.url(0).to_owned();
    let sides = (Side { url: tgt.url(), pid: tgt.id() }, Side { url: &url, pid: lunbox.id() });
    let place = place(cli, &file)?;
    let plan = Plan { rounds: cli.rounds, seconds: cli.seconds };
    let mut rows = Vec::new();
    for load in LOADS.iter().take(cli.loads) {
        eprintln!("{load:?}: {} rounds of {} s a side", cli.rounds, cli.seconds);
        rows.extend(report::row(&round::run(*load, sides.0, sides.1, plan)?));
    }
    lunbox.end_cleanly()?;
    let markdown = report::markdown(&place, &rows);
    println!("{markdown}");
    let out = if cli.record { Some(workspace().join("tests/bench/results")) } else { cli.out.clone() };
    if let Some(out) = out {
        for (ending, text) in [("md", markdown), ("json", report::json(&place, &rows)?)] {
            let file = out.join(format!("{}-iscsi.{ending}", place.date));
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            eprintln!("{}", file.display());
        }
    }
    Ok(())
}

fn fill(file: &Path, size: u64) -> Result<()> {
    use std::io::Write;
    let mut noise = image::Noise::new(1);
    let mut bytes = vec![0; 1 << 20];
    let mut out = std::fs::File::create(file).with_context(|| format!("make {}", file.display()))?;
    for _ in 0..size >> 20 {
        noise.fill(&mut bytes);
        out.write_all(&bytes).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn place(cli: &Cli, file: &Path) -> Result<Place> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Ok(Place {
        date: said(Command::new("date"), &["-u", "+%F"])?,
        processor: model.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        kernel: said(Command::new("uname"), &["-r"])?,
        load: std::fs::read_to_string("/proc/loadavg")
            .context("read /proc/loadavg")?
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" "),
        tgt: said(TGTD.command()?, &["-V"])?,
        file_system: said(Command::new("stat"), &["-f", "-c", "%T", &file.to_string_lossy()])?,
        rounds: cli.rounds,
        seconds: cli.seconds,
    })
}

fn said(mut command: Command, arguments: &[&str]) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.args(arguments);
    Ok(process::run(command, Duration::from_secs(10))?.success(&name)?.trim().to_owned())
}
