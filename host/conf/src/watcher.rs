//! Word of changes of one file, from inotify(7) on the directory that it is in.
//!
//! The directory is watched and not the file: a file that is replaced by another (which is how careful programs write) has a
//! new inode, of which the old watch knows nothing. What happens to other files of the directory is not told.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// How long the end waits for `changed`: it may have met a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens to a file by which its contents may be other ones, and whoever writes is done.
const SETTLED: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE);

/// The same, and more will come: a file that was just emptied or made is about to be written.
const UNDER_WAY: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_CREATE);

/// What ends the watch of a directory.
const MOVED_AWAY: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_IGNORED)
    .union(AddWatchFlags::IN_UNMOUNT);

/// How long to wait for more before a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After the last event, when whoever wrote has closed the file.
    pub settled: Duration,
    /// After the first event, when the writer has not closed it, or goes on and on.
    pub under_way: Duration,
}

impl Default for Pace {
    /// A tenth of a second, and five.
    fn default() -> Self {
        Self { settled: Duration::from_millis(100), under_way: Duration::from_secs(5) }
    }
}

/// How often it is tried to watch anything at all, while nothing can be: then no event says when it can.
const RETRY: Duration = Duration::from_mins(1);

/// The system does not watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No inotify instance, no thread, or no absolute path.
    #[error("{} can not be watched for changes: {source}; see fs.inotify.max_user_instances", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Tells of changes until it is dropped, from a thread of its own.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<EventFd>,
    /// The thread, and what closes when it ends.
    thread: Option<(JoinHandle<()>, Receiver<()>)>,
}

impl Watcher {
    /// Begins to watch. `changed` is called once for all events that belong together; it has to look for itself what is
    /// there now, also whether anything has changed at all. Changes after this returns are told. The directory need
    /// not exist: the nearest one that does is watched for its coming.
    ///
    /// # Errors
    /// See [`WatchError`]. A directory that can not be watched for long is no error: a warning is logged, and it is
    /// tried again each minute.
    pub fn start(
        path: &Path,
        pace: Pace,
        changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, WatchError> {
        let system = |source| WatchError::System { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(system)?;
        let (Some(directory), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(system(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let inotify = inotify.map_err(|errno| system(errno.into()))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let stop = Arc::new(stop.map_err(|errno| system(errno.into()))?);
        let mut watch = Watch {
            inotify,
            directory: directory.to_owned(),
            name: name.to_owned(),
            at: None,
            due: Due::default(),
            pace,
            retry: RETRY,
            complained: false,
        };
        watch.attach();
        let (over, ended) = channel();
        let thread = thread::Builder::new().name("conf-watch".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                let _over = over;
                watch.run(&stop, changed);
            }
        });
        Ok(Self { stop, thread: Some((thread.map_err(system)?, ended)) })
    }
}

impl Drop for Watcher {
    /// Waits for `changed` to return if it is being called, for a second at the most. Then its thread is left behind, and
    /// ends when it returns.
    fn drop(&mut self) {
        // A full counter wakes as well.
        let _ = self.stop.write(1);
        let Some((thread, ended)) = self.thread.take() else { return };
        if thread.thread().id() == thread::current().id() {
            return;
        }
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "what a change of the configuration has begun does not end (a log_dir on a disk that hangs?); it is left behind"
            );
        } else {
            // A panic of `changed` was already told by its thread.
            let _ = thread.join();
        }
    }
}

/// When a change is told.
#[derive(Debug, Default, Clone, Copy)]
struct Due {
    /// The first event that was not told.
    first: Option<Instant>,
    /// When the writer was last seen to be done, if it did not begin again.
    settled: Option<Instant>,
}

impl Due {
    fn note(&mut self, settled: bool, now: Instant) {
        self.first.get_or_insert(now);
        self.settled = settled.then_some(now);
    }

    /// When to tell, if there is anything.
    fn at(self, pace: Pace) -> Option<Instant> {
        let latest = self.first? + pace.under_way;
        Some(self.settled.map_or(latest, |settled| latest.min(settled + pace.settled)))
    }
}

/// The thread's state.
struct Watch {
    inotify: Inotify,
    directory: PathBuf,
    name: OsString,
    /// What is watched now: `directory`, or the nearest above it.
    at: Option<(WatchDescriptor, PathBuf)>,
    due: Due,
    pace: Pace,
    /// [`RETRY`]
    retry: Duration,
    complained: bool,
}

impl Watch {
    fn run(mut self, stop: &EventFd, mut changed: impl FnMut()) {
        loop {
            let (events, stopped) = match self.wait(stop) {
                Ok(ready) => ready,
                Err(errno) => {
                    tracing::warn!(
                        "live reload is off: waiting for changes of {}: {errno}; restart to have it back",
                        self.directory.display()
                    );
                    return;
                }
            };
            if stopped {
                return;
            }
            if events {
                self.take();
            }
            if self.at.is_none() {
                self.try_again();
            }
            if self.due.at(self.pace).is_some_and(|due| due <= Instant::now()) {
                self.due = Due::default();
                changed();
            }
        }
    }

    /// Waits for events, for the end, or until something is due.
    fn wait(&self, stop: &EventFd) -> Result<(bool, bool), Errno> {
        let mut ready = [
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        let due = self.due.at(self.pace).map(|due| {
            // Rounded up: a wait that ends early would be followed by one of no length, again and again.
            due.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        });
        let wait = due.into_iter().chain(self.at.is_none().then_some(self.retry)).min();
        let timeout =
            wait.map_or(PollTimeout::NONE, |wait| PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX));
        match poll(&mut ready, timeout) {
            Ok(_) | Err(Errno::EINTR) => {
                let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
                Ok((is_ready(&ready[0]), is_ready(&ready[1])))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes what inotify has.
    fn take(&mut self) {
        match self.inotify.read_events() {
            Ok(events) => {
                for event in events {
                    self.note(&event);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => tracing::warn!("reading changes of {}: {errno}", self.directory.display()),
        }
    }

    fn note(&mut self, event: &InotifyEvent) {
        let now = Instant::now();
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Something was missed, and it may have been ours.
            self.due.note(true, now);
            return;
        }
        let Some((current, place)) = &self.at else { return };
        if event.wd != *current {
            // Late word of a directory that is not watched any more.
            return;
        }
        if *place != self.directory || event.mask.intersects(MOVED_AWAY) {
            // Something came above the directory, or the directory went.
            self.attach();
        } else if event.name.as_deref() == Some(self.name.as_os_str()) {
            if event.mask.intersects(SETTLED) {
                self.due.note(true, now);
            } else {
                self.due.note(false, now);
            }
        }
    }

    /// Watches the directory, or the nearest one above it that is there. If the file may have come or gone by this, it
    /// counts as a change.
    fn attach(&mut self) {
        let had = self.at.take();
        let was_there = had.as_ref().is_some_and(|(_, place)| *place == self.directory);
        // What comes while this goes up the path is found by going down again: until the place is stable.
        let mut last = None;
        while let Some((watch, place)) = self.nearest() {
            if place == self.directory || last.as_deref() == Some(place.as_os_str()) {
                self.at = Some((watch, place));
                break;
            }
            last = Some(OsString::from(place));
        }
        if let Some((old, _)) = had
            && self.at.as_ref().is_none_or(|(new, _)| *new != old)
        {
            // It is gone by itself if its directory is.
            let _ = self.inotify.rm_watch(old);
        }
        let is_there = self.at.as_ref().is_some_and(|(_, place)| *place == self.directory);
        if is_there {
            self.complained = false;
        }
        if had_any(had.is_some(), was_there, is_there) {
            self.due.note(true, Instant::now());
        }
        if self.at.is_none() && !self.complained {
            self.complained = true;
            tracing::warn!(
                "live reload is off: neither {} nor a directory above it can be watched; raise \
                 fs.inotify.max_user_watches, it is tried each minute",
                self.directory.display()
            );
        }
    }

    /// Watches, if that can be done by now. What happened meanwhile was missed.
    fn try_again(&mut self) {
        self.attach();
        if self.at.is_some() {
            tracing::info!("live reload: changes of {} are seen again", self.directory.display());
            self.due.note(true, Instant::now());
        }
    }

    fn nearest(&self) -> Option<(WatchDescriptor, PathBuf)> {
        self.directory.ancestors().find_map(|place| {
            let flags = if place == self.directory {
                SETTLED | UNDER_WAY | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF
            } else {
                AddWatchFlags::IN_CREATE
                    | AddWatchFlags::IN_MOVED_TO
                    | AddWatchFlags::IN_DELETE_SELF
                    | AddWatchFlags::IN_MOVE_SELF
            };
            let watch = self.inotify.add_watch(place, flags | AddWatchFlags::IN_ONLYDIR).ok()?;
            Some((watch, place.to_owned()))
        })
    }
}

/// Whether a change of what is watched may be a change of the file: never at the start, and not while both are above it.
const fn had_any(had: bool, was_there: bool, is_there: bool) -> bool {
    had && (was_there || is_there)
}

#[cfg(test)]
mod tests;
