//! Starting a worker: this very program again, with a link as its standard input and a socket, at which the next
//! supervisor can knock, as its standard output.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lunbox_policy::User;
use lunbox_wire::listener::Listener;
use lunbox_wire::peer::{PeerError, Process};
use lunbox_wire::{Hello, Link, LinkError};
use nix::unistd::geteuid;

use super::client::{Origin, one_line};
use super::greeting::{GreetError, greet};
use crate::tenants::numbers;

/// How long a new worker may take to greet: it starts the sandbox and confines itself first.
const GREETING: Duration = Duration::from_secs(20);

/// Stands between tenant and device in the name of a worker that runs one device only. No tenant has it in its name.
pub const OWN_WORKER: char = '.';

/// Numbers of sockets that are tried before a name is given up.
const NAMES: u32 = 1000;

/// The tenant that a worker of this name belongs to.
pub fn tenant(key: &str) -> &str {
    key.split(OWN_WORKER).next().unwrap_or(key)
}

/// How a worker is confined, beyond what all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confines {
    /// User and group to become. Looked up when a worker is started, not before: those that run do not need it.
    pub user: Option<User>,
    /// It does not serve if the kernel can not confine it in every way.
    pub required: bool,
}

/// A worker's life in a thread of this process, until its link ends.
pub type ThreadBody = Arc<dyn Fn(Link, String) + Send + Sync>;

/// Where workers run.
#[derive(Clone)]
pub enum Place {
    /// In a process each.
    Process {
        /// The program: this one.
        executable: PathBuf,
    },
    /// In a thread of this process each: for debugging.
    Thread(ThreadBody),
}

/// Starts workers.
#[derive(Clone)]
pub struct Spawner {
    /// Where they run.
    pub place: Place,
    /// Where their sockets are: only our own user can write to it ([`directory`]).
    pub sockets: PathBuf,
    /// Version of this program, and what tells two builds of one version apart.
    pub build: String,
    /// What they log: a word of `lunbox_log::Level`.
    pub level: String,
}

/// Why a worker was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its socket.
    #[error("socket {}: {source}; see that its directory can be written to", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: LinkError,
    },
    /// Its link.
    #[error("no socket pair: {0}; raise the limit of open files (LimitNOFILE)")]
    Link(#[from] LinkError),
    /// The system.
    #[error("{0}; raise the limit of tasks (TasksMax)")]
    System(#[from] io::Error),
    /// The process has gone at once.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It did not greet.
    #[error(transparent)]
    Greeting(#[from] GreetError),
    /// Nobody to become.
    #[error("{0}")]
    User(String),
}

impl Spawner {
    /// Starts a worker and waits until it greets.
    ///
    /// # Errors
    /// See [`SpawnError`]. Nothing is left behind.
    pub fn spawn(&self, key: &str, confines: &Confines) -> Result<(Link, Hello, Origin), SpawnError> {
        let (link, theirs) = Link::pair()?;
        let origin = match &self.place {
            Place::Thread(body) => {
                let (body, key) = (Arc::clone(body), key.to_owned());
                std::thread::Builder::new().name("worker".to_owned()).spawn(move || body(theirs, key))?;
                Origin::default()
            }
            Place::Process { executable } => self.spawn_process(executable, key, confines, theirs)?,
        };
        match greet(&link, GREETING) {
            Ok((hello, _)) if hello.tenant == key => Ok((link, hello, origin)),
            Ok((hello, _)) => Err(abandon(origin, GreetError::Impostor(one_line(&hello.tenant)))),
            Err(error) => Err(abandon(origin, error)),
        }
    }

    fn spawn_process(
        &self,
        executable: &Path,
        key: &str,
        confines: &Confines,
        theirs: Link,
    ) -> Result<Origin, SpawnError> {
        let user = confines.user.as_ref().map(|user| numbers(user).map_err(|problem| nobody(user, &problem)));
        let user = user.transpose()?;
        let (listener, socket) = self.bind(key)?;
        let mut command = Command::new(executable);
        lunbox_jail::scrub(&mut command);
        // Times in its lines are ours, and so is its standard error.
        for name in ["TZ", "JOURNAL_STREAM"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.arg0("lunboxd-worker");
        command.args(["worker", "--tenant", key, "--build", &self.build, "--level", &self.level]);
        if let Some((user, group)) = user {
            command.arg("--user").arg(format!("{user}:{group}"));
        }
        if confines.required {
            command.arg("--required");
        }
        // A process group of its own: what a terminal sends to ours does not end it.
        command.process_group(0);
        command.stdin(theirs.into_fd()).stdout(listener.into_fd()).stderr(Stdio::inherit());
        let spawned = command.spawn();
        // It holds our ends of both sockets: the worker's death must be seen.
        drop(command);
        let child = spawned.inspect_err(|_| remove(&socket))?;
        let user = user.unwrap_or((geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        let pid = i32::try_from(child.id()).unwrap_or(0);
        let process = Process::open(pid);
        let mut origin = Origin {
            pid,
            process: None,
            child: Some(child),
            socket: Some(socket),
            user: format!("{}:{}", user.0, user.1),
            adopted: false,
            outdated: false,
        };
        match process {
            Ok(process) => origin.process = Some(process),
            Err(error) => {
                abandon(origin, GreetError::Gone);
                return Err(error.into());
            }
        }
        Ok(origin)
    }

    /// A socket by the worker's name, or by that name and a number if another of that name lives still.
    fn bind(&self, key: &str) -> Result<(Listener, PathBuf), SpawnError> {
        let mut number = 0;
        loop {
            let name = if number == 0 { format!("{key}.sock") } else { format!("{key}~{number}.sock") };
            let path = self.sockets.join(name);
            match Listener::bind(&path) {
                Ok(listener) => return Ok((listener, path)),
                Err(LinkError::Io(error)) if error.kind() == io::ErrorKind::AddrInUse && number < NAMES => {
                    number += 1;
                }
                Err(source) => return Err(SpawnError::Socket { path, source }),
            }
        }
    }
}

fn nobody(user: &User, problem: &str) -> SpawnError {
    SpawnError::User(format!("user {user}: {problem}; create the user, or correct the policy file"))
}

/// Ends a worker that is of no use.
fn abandon(origin: Origin, error: GreetError) -> SpawnError {
    let Origin { process, child, socket, .. } = origin;
    if let Some(process) = process {
        // One that has ended needs no signal.
        let _ = process.kill();
    }
    if let Some(mut child) = child {
        reap(&mut child);
    }
    if let Some(path) = socket {
        remove(&path);
    }
    error.into()
}

fn reap(child: &mut Child) {
    // It is ours and has not been waited for: the number is still its own.
    let _ = child.kill();
    if let Err(error) = child.wait() {
        tracing::warn!("a worker was not waited for: {error}");
    }
}

/// Removes a socket that nobody needs.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("{}: {error}; remove it", path.display());
    }
}

/// Makes the directory for workers' sockets, with the one above it, and sees that nobody else can write there: who
/// could, could offer a worker of his own to the next supervisor.
///
/// # Errors
/// One line for the operator.
pub fn directory(run: &Path) -> Result<PathBuf, String> {
    let workers = run.join("workers");
    for (path, mode) in [(run, 0o711), (workers.as_path(), 0o700)] {
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(format!(
                    "{}: {error}; create the directory above it, or name another with --run-dir",
                    path.display()
                ));
            }
        }
        let found = fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let own = geteuid().as_raw();
        if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
            return Err(format!(
                "{} must be a directory that only user {own} can write to; repair it: chown {own} {0} && chmod go-w {0}",
                path.display()
            ));
        }
    }
    Ok(workers)
}
