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

/// What a compiler may use. Its time is also limited by the supervisor.
const COMPILER: ProcessLimits =
    ProcessLimits { open_files: 64, address_space: Some(32 << 30), cpu_seconds: Some(240), file_size: None };

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

fn compile(cli: &CompilerCli) -> ExitCode {
    log_to_stderr(cli.level);
    let user = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let confinement = Confinement { profile: Profile::Compiler, user, limits: COMPILER, required: false };
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
