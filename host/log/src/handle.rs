//! Starting the log, and changing it while it runs.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

use crate::journal::{self, Journal, stderr_is_journal};
use crate::layer::Lines;
use crate::output::{Output, Stderr, SystemLog};
use crate::queue::Queue;
use crate::syslog::{self, Syslog};
use crate::{Level, LogError, file};

/// How long a change of the file waits for the lines before it, and for a line that is being written to the old file
/// meanwhile.
const CHANGE: Duration = Duration::from_millis(250);

/// The log of the system beside the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum System {
    /// None.
    #[default]
    None,
    /// systemd's journal.
    Journal,
    /// `/dev/log`.
    Syslog,
    /// The journal if standard error is one of its streams, else syslog if there is one, else none.
    Detect,
}

/// What is logged, and where.
#[derive(Debug)]
pub struct Options {
    /// How much.
    pub level: Level,
    /// Where [`crate::FILE_NAME`] is; missing directories are made. None: no file.
    pub directory: Option<PathBuf>,
    /// A file that is open for appending already; it takes the place of `directory`'s.
    pub file: Option<OwnedFd>,
    /// Standard error, too. If it is a stream to the journal, its lines are in the journal's form (`<N>text`), and
    /// there are none if the journal is the system's log here anyway.
    pub stderr: bool,
    /// The system's log.
    pub system: System,
    /// How the journal and syslog name the program.
    pub name: String,
    /// Start the thread that writes at once. Otherwise whoever logs writes, until [`Handle::start_thread`].
    pub thread: bool,
}

impl Options {
    /// To standard error at this level, with a thread, as `lunboxd`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            directory: None,
            file: None,
            stderr: true,
            system: System::None,
            name: "lunboxd".to_owned(),
            thread: true,
        }
    }
}

/// The log that runs. Any thread may use it; clones are the same log. It goes on when all of them are dropped: before
/// the program ends, call [`Handle::flush`].
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

type Listener = Box<dyn Fn() + Send + Sync>;

struct Shared {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
    level: AtomicU8,
    /// Held while the file is changed.
    directory: Mutex<Option<PathBuf>>,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the log of this process. The time zone is read here, once.
///
/// # Errors
/// [`LogError`]; nothing is logged then.
pub fn start(options: Options) -> Result<Handle, LogError> {
    let thread = options.thread;
    let (subscriber, handle) = build(options)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Taken)?;
    if thread {
        handle.start_thread()?;
    }
    Ok(handle)
}

/// A log that is not yet this process's.
pub(crate) fn build(options: Options) -> Result<(impl Subscriber + Send + Sync, Handle), LogError> {
    let output = output(&options);
    with(options, output)
}

/// A log with this output.
pub(crate) fn with(
    options: Options,
    output: Output,
) -> Result<(impl Subscriber + Send + Sync, Handle), LogError> {
    let (file, directory) = match (options.file, options.directory) {
        (Some(file), _) => (Some(File::from(file)), None),
        (None, Some(directory)) => (Some(file::open(&directory)?), Some(directory)),
        (None, None) => (None, None),
    };
    output.set_file(file);
    let queue = Queue::new(output);
    let (filter, handle) = reload::Layer::new(options.level.targets());
    let subscriber = tracing_subscriber::registry().with(filter).with(Lines { queue: Arc::clone(&queue) });
    let shared = Shared {
        filter: handle,
        queue,
        level: AtomicU8::new(options.level.number()),
        directory: Mutex::new(directory),
        listeners: Mutex::default(),
    };
    Ok((subscriber, Handle { shared: Arc::new(shared) }))
}

fn output(options: &Options) -> Output {
    let streams = stderr_is_journal();
    let system = match options.system {
        System::Detect if streams => System::Journal,
        System::Detect if syslog::is_there(Path::new(syslog::SOCKET)) => System::Syslog,
        System::Detect => System::None,
        other => other,
    };
    // Without a socket there is nothing but standard error, and nobody to tell.
    let system = match system {
        System::Journal => Journal::new(Path::new(journal::SOCKET), &options.name)
            .map_or(SystemLog::None, SystemLog::Journal),
        System::Syslog => {
            Syslog::new(Path::new(syslog::SOCKET), &options.name).map_or(SystemLog::None, SystemLog::Syslog)
        }
        System::None | System::Detect => SystemLog::None,
    };
    let stderr = match (options.stderr, streams) {
        (false, _) => Stderr::No,
        (true, true) if matches!(system, SystemLog::Journal(_)) => Stderr::No,
        (true, true) => Stderr::Priorities,
        (true, false) => Stderr::Lines,
    };
    Output::new(TimeZone::system(), stderr, system)
}

impl Handle {
    /// Changes how much is logged, from the next event on.
    pub fn set_level(&self, level: Level) {
        // Fails only if the log is not this process's any more.
        if self.shared.filter.reload(level.targets()).is_ok() {
            self.shared.level.store(level.number(), Ordering::Relaxed);
        }
    }

    /// How much is logged.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::new(self.shared.level.load(Ordering::Relaxed)).unwrap_or(Level::INFO)
    }

    /// Logs to the file in another directory, or to no file. Blocks as long as opening a file takes, and at most half a
    /// second more, until the last line of the old one is written. If it is the file of now, it is opened again.
    ///
    /// # Errors
    /// [`LogError`]: the old file is logged to still.
    pub fn set_directory(&self, directory: Option<&Path>) -> Result<(), LogError> {
        // Without the lock: a file system that hangs must not keep others from changing away from it.
        let file = directory.map(file::open).transpose()?;
        {
            let mut current = lock(&self.shared.directory);
            self.shared.queue.flush(CHANGE, false);
            self.shared.queue.output.set_file(file);
            *current = directory.map(Path::to_owned);
        }
        self.changed();
        Ok(())
    }

    /// Opens the file by its name again: what had it before was renamed or removed (logrotate). Without a directory
    /// nothing happens. Blocks as [`Handle::set_directory`] does.
    ///
    /// # Errors
    /// [`LogError`]: the old file is logged to still.
    pub fn reopen(&self) -> Result<(), LogError> {
        let Some(directory) = self.directory() else { return Ok(()) };
        let file = file::open(&directory)?;
        {
            let current = lock(&self.shared.directory);
            if current.as_deref() != Some(directory.as_path()) {
                // Changed meanwhile, to a file that was opened then.
                return Ok(());
            }
            self.shared.queue.flush(CHANGE, false);
            self.shared.queue.output.set_file(Some(file));
        }
        self.changed();
        Ok(())
    }

    /// Logs to a file that is open for appending already, or to none; a directory is forgotten. Never blocks: a line
    /// that is being written goes to the old file.
    pub fn set_file(&self, file: Option<OwnedFd>) {
        {
            let mut current = lock(&self.shared.directory);
            self.shared.queue.output.set_file(file.map(File::from));
            *current = None;
        }
        self.tell();
    }

    fn changed(&self) {
        self.shared.queue.flush(CHANGE, false);
        self.tell();
    }

    fn tell(&self) {
        let listeners = lock(&self.shared.listeners).clone();
        for listener in listeners {
            listener();
        }
    }

    /// Where the file is, if it was opened by name.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        lock(&self.shared.directory).clone()
    }

    /// Another descriptor of the file (closed on exec), for other processes to append to. It is an open file of its own:
    /// who gets it can not change how this process writes. None without a file, or if the process may open no more.
    #[must_use]
    pub fn file(&self) -> Option<OwnedFd> {
        let file = self.shared.queue.output.file()?;
        let again = File::options().append(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Without /proc it is the same open file.
        again.or_else(|_| file.try_clone()).ok().map(OwnedFd::from)
    }

    /// Calls `listener` after each change of the file ([`Handle::reopen`], [`Handle::set_directory`],
    /// [`Handle::set_file`]), on the thread that made it.
    pub fn on_reopen(&self, listener: impl Fn() + Send + Sync + 'static) {
        lock(&self.shared.listeners).push(Arc::new(Box::new(listener)));
    }

    /// Starts the thread that writes, if [`Options::thread`] has not; call it once.
    ///
    /// # Errors
    /// [`LogError::Thread`]: whoever logs goes on writing.
    pub fn start_thread(&self) -> Result<(), LogError> {
        self.shared.queue.start_thread()
    }

    /// Lines that did not reach one of the places they belonged to, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.queue.lost()
    }

    /// Waits until what was logged before is written, also how often suppressed lines were repeated; at most for
    /// `patience`. False if it is not in time: the disk hangs.
    #[must_use = "false means that lines are missing"]
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.queue.flush(patience, true)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("level", &self.level()).finish_non_exhaustive()
    }
}
