//! Changes of the configuration file while the daemon runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use lunbox_conf::{Pace, Watcher, load};
use lunbox_log::{Handle, Level, LogError, crit};

use crate::foreign::Unclaimed;
use crate::metrics::ServeError;
use crate::settings::{Base, Settings};

/// What a setting is put into effect with.
pub trait Effects: Send {
    /// Logs this much from now on, here and in workers.
    fn level(&mut self, level: Level);

    /// Logs to the file in this directory from now on, here and in workers.
    ///
    /// # Errors
    /// It can not be opened; the old one is logged to still.
    fn log_directory(&mut self, directory: &Path) -> Result<(), LogError>;

    /// Treats subtypes that nobody is known to serve like this from now on.
    fn unclaimed(&mut self, unclaimed: Unclaimed);

    /// Has metrics fetched here from now on, or nowhere.
    ///
    /// # Errors
    /// They can not be served there; what was served before is served still.
    fn metrics(&mut self, address: Option<&str>) -> Result<(), ServeError>;
}

/// The settings that are in effect, and what changes them.
pub struct Reloader<E> {
    path: PathBuf,
    base: Base,
    current: Settings,
    effects: E,
}

impl<E: Effects> Reloader<E> {
    /// `current` is in effect, except for metrics: they begin here.
    pub fn new(path: PathBuf, base: Base, mut current: Settings, mut effects: E) -> Self {
        effects.unclaimed(current.unclaimed);
        let metrics = current.metrics.take();
        let mut reloader = Self { path, base, current, effects };
        reloader.serve_metrics(metrics);
        reloader
    }

    fn serve_metrics(&mut self, wanted: Option<String>) {
        if wanted == self.current.metrics {
            return;
        }
        match self.effects.metrics(wanted.as_deref()) {
            Ok(()) => self.current.metrics = wanted,
            Err(error) => {
                let now = self.current.metrics.as_deref().unwrap_or("nowhere");
                let path = self.path.display();
                tracing::error!("{error}; metrics are served at {now} still; save {path} to try again");
            }
        }
    }

    /// Reads the file again and puts into effect what is another than before. A file that can not be read changes
    /// nothing; one that has gone is an empty one.
    pub fn reload(&mut self) {
        let loaded = match load(&self.path) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!("{error}; the settings stay as they are");
                return;
            }
        };
        for warning in &loaded.warnings {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        self.apply(self.base.under(&loaded.conf));
    }

    fn apply(&mut self, wanted: Settings) {
        if wanted.log_directory != self.current.log_directory {
            match self.effects.log_directory(&wanted.log_directory) {
                Ok(()) => {
                    crit!("log file now is {}", wanted.log_file().display());
                    self.current.log_directory.clone_from(&wanted.log_directory);
                }
                Err(error) => {
                    tracing::error!("{error}; the log stays in {}", self.current.log_directory.display());
                }
            }
        }
        if wanted.level != self.current.level {
            self.effects.level(wanted.level);
            crit!("log level now is {}", wanted.level.token());
            self.current.level = wanted.level;
        }
        if wanted.unclaimed != self.current.unclaimed {
            self.effects.unclaimed(wanted.unclaimed);
            tracing::info!("foreign_subtypes now is {:?}", wanted.unclaimed);
            self.current.unclaimed = wanted.unclaimed;
        }
        self.serve_metrics(wanted.metrics);
    }
}

impl<E: Effects + 'static> Reloader<E> {
    /// Watches the file. Without word of its changes the daemon runs all the same, and none is returned.
    pub fn watch(mut self) -> Option<Watcher> {
        let path = self.path.clone();
        let watcher = Watcher::start(&path, Pace::default(), move || self.reload());
        watcher.inspect_err(|error| tracing::warn!("live reload is off: {error}")).ok()
    }
}

/// Opens the log file again when it is told to, on a thread of its own: a disk that hangs must not hold up whoever was
/// signalled.
#[derive(Debug)]
pub struct Reopener(Sender<()>);

impl Reopener {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(log: Handle) -> io::Result<Self> {
        let (sender, requests) = channel();
        thread::Builder::new().name("log-reopen".to_owned()).spawn(move || {
            while let Ok(()) = requests.recv() {
                // However many came meanwhile, they are one.
                while requests.try_recv().is_ok() {}
                match log.reopen() {
                    Ok(()) => tracing::info!("log file opened again"),
                    Err(error) => tracing::error!("{error}; the log goes to the old file still"),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Has the file opened again. Does not wait.
    pub fn reopen(&self) {
        // Without its thread nothing can be done, and a log line would not tell where it is missed.
        let _ = self.0.send(());
    }
}

#[cfg(test)]
mod tests;
