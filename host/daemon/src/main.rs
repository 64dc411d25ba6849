//! lunboxd: serves TCM-User devices with sandboxed handlers.

use std::process::ExitCode;

use lunbox_daemon::cli::{CompilerCli, Role, WorkerCli, role};
use lunbox_daemon::supervisor;
use lunbox_jail::{Confinement, ProcessLimits, Profile};
use nix::sys::resource::{Resource, getrlimit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Descriptors of a worker: a device has a dozen, and there may be a thousand.
const WORKER_FILES: u64 = 1 << 14;

/// Who compiles: nobody, where there is a choice.
const NOBODY: (u32, u32) = (65534, 65534);

/// Bytes of a file that a compiler makes. Its files are memory: what a handler's memories begin with, and that comes from
/// its component (at most 64 MiB).
const COMPILER_FILE: u64 = 512 << 20;

/// How much sooner than the supervisor a worker is ended for lack of memory: it is started again, and its devices
/// with it.
const WORKER_GOES_SOONER: u16 = 100;

/// The same for a compiler, which nobody misses.
const COMPILER_GOES_SOONER: u16 = 1000;

fn main() -> ExitCode {
    // Whatever the starter left open must not reach a jail by way of us.
    lunbox_jail::close_inherited();
    match role(std::env::args_os()) {
        Ok(Role::Supervisor(cli)) => {
            log_to_stderr(cli.level());
            match supervisor::run(&cli) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Ok(Role::Worker(cli)) => work(cli),
        Ok(Role::Compiler(cli)) => compile(&cli),
        Err(message) => {
            // If nobody reads the message, the status still tells.
            let _ = message.print();
            if message.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Our own crates at the level asked for, all others only with warnings.
fn log_to_stderr(level: LevelFilter) {
    let others = level.min(LevelFilter::WARN);
    let filter = EnvFilter::new(format!("{others},lunbox={level}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

fn work(cli: WorkerCli) -> ExitCode {
    lunbox_jail::offer_to_oom_killer(WORKER_GOES_SOONER);
    lunbox_worker::process::main(&lunbox_worker::process::Arguments {
        tenant: cli.tenant,
        build: cli.build,
        user: cli.user,
        open_files: open_files(),
        required: cli.required,
        level: cli.level.to_string().to_lowercase(),
    })
}

/// As many as a worker may need, as far as the service's limit (LimitNOFILE) allows.
fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(WORKER_FILES, |(_, most)| most.min(WORKER_FILES))
}

/// What a compiler may use. Its time is also limited by the supervisor.
fn compiler_limits() -> ProcessLimits {
    // The log may be a file, too, and a large one.
    let log = std::fs::metadata("/proc/self/fd/2").map_or(0, |log| log.len());
    ProcessLimits {
        open_files: 64,
        address_space: Some(32 << 30),
        cpu_seconds: Some(240),
        file_size: Some(COMPILER_FILE.saturating_add(log)),
    }
}

fn compile(cli: &CompilerCli) -> ExitCode {
    log_to_stderr(cli.level);
    lunbox_jail::offer_to_oom_killer(COMPILER_GOES_SOONER);
    let user = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let confinement =
        Confinement { profile: Profile::Compiler, user, limits: compiler_limits(), required: cli.required };
    match lunbox_jail::enter(&confinement) {
        Ok(parts) => {
            let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
            tracing::debug!("compiler confined: {}", parts.join(" "));
        }
        Err(error) => {
            tracing::error!("the compiler can not be confined: {error}");
            return ExitCode::FAILURE;
        }
    }
    lunbox_engine::compile_child::main(std::io::stdin().lock(), std::io::stdout().lock())
}
