//! lunboxd: serves TCM-User devices with sandboxed handlers.

use std::process::ExitCode;

use lunbox_daemon::cli::{ChildCli, Role, WorkerCli, program, role};
use lunbox_daemon::supervisor;
use lunbox_jail::{Confinement, ProcessLimits, Profile};
use lunbox_log::Options;
use nix::sys::resource::{Resource, getrlimit};

/// Descriptors of a worker: a device has a dozen, and there may be a thousand.
const WORKER_FILES: u64 = 1 << 14;

/// Who compiles: nobody, where there is a choice.
const NOBODY: (u32, u32) = (65534, 65534);

/// Bytes of a file that a compiler makes. Its files are memory: what a handler's memories begin with, and that comes from
/// its component (at most 64 MiB).
const COMPILER_FILE: u64 = 512 << 20;

/// Seconds of processor time of a compiler. Its time is also limited by the supervisor.
const COMPILER_TIME: u64 = 240;

/// The same of a child that looks at a cfgstring.
const CHECKER_TIME: u64 = 2;

/// How much sooner than the supervisor a worker is ended for lack of memory: it is started again, and its devices
/// with it.
const WORKER_GOES_SOONER: u16 = 100;

/// The same for a child, which nobody misses.
const CHILD_GOES_SOONER: u16 = 1000;

fn main() -> ExitCode {
    // Whatever the starter left open must not reach a jail by way of us.
    lunbox_jail::close_inherited();
    let (input, output) = (std::io::stdin, std::io::stdout);
    match role(std::env::args_os()) {
        Ok(Role::Supervisor(cli)) => supervisor::main(&cli, program(std::env::args_os().next().as_ref())),
        Ok(Role::Worker(cli)) => work(cli),
        Ok(Role::Compiler(cli)) => confined(&cli, COMPILER_TIME, || {
            lunbox_engine::compile_child::main(input().lock(), output().lock())
        }),
        Ok(Role::Checker(cli)) => {
            confined(&cli, CHECKER_TIME, || lunbox_engine::check_child::main(input().lock(), output().lock()))
        }
        Err(message) => {
            // If nobody reads the message, the status still tells.
            let _ = message.print();
            if message.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

fn work(cli: WorkerCli) -> ExitCode {
    lunbox_jail::offer_to_oom_killer(WORKER_GOES_SOONER);
    lunbox_worker::process::main(&lunbox_worker::process::Arguments {
        tenant: cli.tenant,
        build: cli.build,
        user: cli.user,
        open_files: open_files(),
        required: cli.required,
        level: cli.level.to_string(),
    })
}

/// As many as a worker may need, as far as the service's limit (LimitNOFILE) allows.
fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(WORKER_FILES, |(_, most)| most.min(WORKER_FILES))
}

/// What a child may use.
fn child_limits(cpu_seconds: u64) -> ProcessLimits {
    // The log may be a file, too, and a large one.
    let log = std::fs::metadata("/proc/self/fd/2").map_or(0, |log| log.len());
    ProcessLimits {
        open_files: 64,
        address_space: Some(32 << 30),
        cpu_seconds: Some(cpu_seconds),
        file_size: Some(COMPILER_FILE.saturating_add(log)),
    }
}

/// A child that reads a task, answers, and ends.
fn confined(cli: &ChildCli, cpu_seconds: u64, task: impl FnOnce() -> ExitCode) -> ExitCode {
    // Whoever is confined may have one thread only.
    let log = lunbox_log::start(Options { thread: false, ..Options::new(cli.level) });
    if let Err(error) = log {
        eprintln!("lunboxd: {error}");
        return ExitCode::FAILURE;
    }
    lunbox_jail::offer_to_oom_killer(CHILD_GOES_SOONER);
    let user = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let limits = child_limits(cpu_seconds);
    let confinement = Confinement { profile: Profile::Compiler, user, limits, required: cli.required };
    match lunbox_jail::enter(&confinement) {
        Ok(parts) => {
            let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
            tracing::debug!("child confined: {}", parts.join(" "));
        }
        Err(error) => {
            tracing::error!("the child can not be confined: {error}");
            return ExitCode::FAILURE;
        }
    }
    task()
}
