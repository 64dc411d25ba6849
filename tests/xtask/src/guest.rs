//! A machine with a real kernel's SCSI target, booted for one command.

mod image;
mod initramfs;
mod kernels;
mod machine;
mod share;
mod supervise;

pub use machine::Machine;
pub use share::Contents;

use crate::cleanup;
use crate::paths;
use crate::tools::{self, Missing};
use anyhow::Context;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use supervise::{End, Limits};

/// Exit status when the command ran out of time.
pub const TIMED_OUT: i32 = 124;
/// Exit status when the guest ended without telling the command's status.
pub const DIED: i32 = 125;

/// Boots that are tried before giving up: one in some forty qemu boots hangs on a loaded machine.
const BOOT_ATTEMPTS: u32 = 2;
/// Lines of the guest's console that are shown when it died.
const CONSOLE_TAIL: usize = 25;

/// What to boot and what to run in it.
#[derive(Debug)]
pub struct Request {
    /// The machine.
    pub machine: Machine,
    /// Memory of the guest in MiB.
    pub memory_mib: u64,
    /// Time for boot and command together; `None` is without limit.
    pub timeout: Option<Duration>,
    /// Give the command a terminal (ours) instead of an output channel.
    pub terminal: bool,
    /// Leave the run's folder behind and say where.
    pub keep: bool,
    /// What the guest finds in /host.
    pub contents: Contents,
    /// Whether missing tools may be installed.
    pub missing: Missing,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The command's exit status, [`TIMED_OUT`] or [`DIED`].
    pub status: i32,
    /// From starting the machine to its init script being ready.
    pub boot: Duration,
    /// From starting the machine to its end.
    pub total: Duration,
}

/// Prepares the image if need be, boots a guest, runs the command with its output going to `output`, and cleans up.
/// Blocks until the guest is gone.
///
/// # Errors
/// When the guest cannot be prepared or started, or hangs at every attempt to boot. A failing command is no error.
pub fn run(request: &Request, output: &mut dyn Write) -> anyhow::Result<Outcome> {
    tools::require(request.machine.tools(), request.missing)?;
    let image = image::prepare(request.missing)?;
    for attempt in 1..=BOOT_ATTEMPTS {
        let folder = tempfile::Builder::new().prefix("run.").tempdir_in(paths::guest_cache())?;
        let _cleanup = cleanup::Folder::register(folder.path());
        let finished = run_once(request, &image, folder.path(), output)?;
        let console = folder.path().join("console.log");
        if finished.outcome.status >= TIMED_OUT || finished.hung {
            show_console(&console, &finished);
        }
        if request.keep {
            eprintln!("kept: {}", folder.keep().display());
        }
        if !finished.hung {
            return Ok(finished.outcome);
        }
        eprintln!("{} did not come up (attempt {attempt} of {BOOT_ATTEMPTS})", request.machine.name());
    }
    anyhow::bail!(
        "{} hung at boot {BOOT_ATTEMPTS} times; its console is above, `--keep` leaves all of it behind",
        request.machine.name()
    )
}

struct Finished {
    outcome: Outcome,
    hung: bool,
}

fn run_once(
    request: &Request,
    image: &image::Image,
    folder: &Path,
    output: &mut dyn Write,
) -> anyhow::Result<Finished> {
    let host = folder.join("host");
    std::fs::create_dir(&host)?;
    share::fill(&host, &request.contents)?;

    let setup = machine::Setup {
        image,
        run: folder,
        share: &host,
        memory_mib: request.memory_mib,
        terminal: request.terminal,
    };
    let mut command = request.machine.command(&setup)?;
    let console = std::fs::File::options().create(true).append(true).open(folder.join("console.log"))?;
    let (ours, theirs) = UnixStream::pair().context("cannot make the guest's output channel")?;
    command.stdin(OwnedFd::from(theirs)).stdout(console.try_clone()?).stderr(console);

    let raw = if request.terminal { Some(cleanup::RawTerminal::enter()?) } else { None };
    let started = Instant::now();
    let limits = Limits { boot: boot_limit(request.machine), total: request.timeout };
    let ended = supervise::run(command, ours, limits, request.terminal, output)?;
    let total = started.elapsed();
    drop(raw);

    let status = match (ended.end, read_status(&host)) {
        (End::TimedOut, _) => TIMED_OUT,
        (_, Some(status)) => status,
        (_, None) => DIED,
    };
    let boot = ended.ready.unwrap_or(total);
    Ok(Finished { outcome: Outcome { status, boot, total }, hung: ended.end == End::Hung })
}

/// Much longer than a boot takes on a busy machine, much shorter than a user's patience.
fn boot_limit(machine: Machine) -> Duration {
    match machine {
        Machine::Uml => Duration::from_secs(30),
        Machine::Smp => Duration::from_secs(60),
    }
}

fn read_status(host: &Path) -> Option<i32> {
    std::fs::read_to_string(host.join("status")).ok()?.trim().parse().ok()
}

fn show_console(console: &Path, finished: &Finished) {
    let why = match (finished.hung, finished.outcome.status) {
        (true, _) => "the guest hung at boot",
        (_, TIMED_OUT) => "the command ran out of time",
        (_, DIED) => "the guest ended without a status",
        _ => return,
    };
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    eprintln!("{why}; end of its console:\n{}", crate::process::tail(&text, CONSOLE_TAIL));
}

/// All files below `folder`, links not followed, folders left out.
fn files_under(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    Ok(files)
}

/// The first `count` bytes of a file, fewer if it is shorter.
fn first_bytes(file: &Path, count: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}
