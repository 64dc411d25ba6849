//! Handlers that come, go and change while the daemon runs: the handler directory is watched, and loaded anew on a thread
//! of its own, so that neither devices nor the kernel wait for a compilation.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lunbox_control::EventKind;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::control::is_readable;
use crate::foreign::Foreign;
use crate::handlers::{Changes, Handlers, Loader};
use crate::journal::Journal;

/// How long the directory must be quiet: a package manager brings several files in quick succession.
const QUIET: Duration = Duration::from_millis(300);

/// How often it is looked whether a directory that went is there again.
const ABSENT: Duration = Duration::from_secs(5);

/// How long the end waits for the thread: a compilation may be under way, and nobody needs what comes of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What counts: files that are complete, and files that go. Whoever copies slowly is waited for; of what is made only
/// links count at once (`concerns_a_handler`).
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// What a thread watches with.
pub struct Watched {
    /// Where handlers are.
    pub directory: PathBuf,
    /// Loads them.
    pub loader: Loader,
    /// Those that are loaded; changed in place.
    pub handlers: Handlers,
    /// Told what happens.
    pub journal: Journal,
    /// What other daemons serve: a handler of such a subtype has nothing to do as yet.
    pub foreign: Foreign,
}

/// A thread that watches. Dropping it ends the thread. A compilation that is under way is waited for for a second at the
/// most; then the thread is left behind, and ends with it.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<EventFd>,
    /// The thread, and what closes when it ends.
    thread: Option<(JoinHandle<()>, Receiver<()>)>,
}

impl Watch {
    /// Watches the directory, and looks at it once, since something may have happened after it was loaded. `changed` is
    /// called on the watching thread after each change, when the handlers are in their places.
    ///
    /// # Errors
    /// There is no inotify, or no thread; handlers stay as they were loaded.
    pub fn start(
        watched: Watched,
        changed: impl Fn(&Handlers, &Changes) + Send + 'static,
    ) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let told = Arc::clone(&stop);
        let (over, ended) = channel();
        let thread = std::thread::Builder::new().name("handlers-watch".to_owned()).spawn(move || {
            let _over = over;
            let mut state = State { inotify, place: None, watched };
            if let Err(errno) = state.run(&told, &changed) {
                tracing::error!(
                    path = %state.watched.directory.display(),
                    "handlers are not watched any more: {errno}; restart lunboxd after changes"
                );
            }
        })?;
        Ok(Self { stop, thread: Some((thread, ended)) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It can only fail when the counter is full, and then the thread has been told.
        let _ = self.stop.write(1);
        let Some((thread, ended)) = self.thread.take() else { return };
        if thread.thread().id() == std::thread::current().id() {
            return;
        }
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::info!("a handler is still being compiled; that is left behind");
        } else {
            let _ = thread.join();
        }
    }
}

struct State {
    inotify: Inotify,
    /// None as long as there is no such directory.
    place: Option<WatchDescriptor>,
    watched: Watched,
}

impl State {
    fn run(&mut self, stop: &EventFd, changed: &dyn Fn(&Handlers, &Changes)) -> Result<(), Errno> {
        self.look_for_directory()?;
        self.reload(stop, changed);
        loop {
            if !self.wait_for_change(stop)? {
                return Ok(());
            }
            self.reload(stop, changed);
        }
    }

    /// True when there is something new and the directory has been quiet for a while; false if it is to end.
    fn wait_for_change(&mut self, stop: &EventFd) -> Result<bool, Errno> {
        let mut new = false;
        loop {
            let timeout = match (new, &self.place) {
                (true, _) => Some(QUIET),
                (false, None) => Some(ABSENT),
                (false, Some(_)) => None,
            };
            let quiet = !wait(self.inotify.as_fd(), stop.as_fd(), timeout)?;
            if is_readable(Some(stop.as_fd())) {
                return Ok(false);
            }
            if quiet && new {
                return Ok(true);
            }
            new |= self.take_events()?;
            if self.place.is_none() {
                new |= self.look_for_directory()?;
            }
        }
    }

    /// Begins to watch the directory; true if it is there.
    fn look_for_directory(&mut self) -> Result<bool, Errno> {
        match self.inotify.add_watch(&self.watched.directory, EVENTS) {
            Ok(place) => {
                self.place = Some(place);
                Ok(true)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Takes what has happened; true if something of it is about a handler.
    fn take_events(&mut self) -> Result<bool, Errno> {
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        let mut new = false;
        for event in events {
            let gone =
                AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
            if event.mask.intersects(gone) && self.place == Some(event.wd) {
                tracing::warn!(
                    path = %self.watched.directory.display(),
                    "the handler directory has gone; what is loaded stays until it is there again"
                );
                // A directory that was moved away is still watched.
                let _ = self.inotify.rm_watch(event.wd);
                self.place = None;
            }
            new |= concerns_a_handler(&event, &self.watched.directory);
        }
        Ok(new)
    }

    fn reload(&self, stop: &EventFd, changed: &dyn Fn(&Handlers, &Changes)) {
        if self.place.is_none() {
            return;
        }
        let Watched { directory, loader, handlers, journal, foreign } = &self.watched;
        let stopped = || is_readable(Some(stop.as_fd()));
        match handlers.reload(directory, loader, &stopped) {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => {
                tell(&changes, directory, journal, foreign);
                changed(handlers, &changes);
            }
            Err(error) => tracing::error!("handlers stay as they are: {error}"),
        }
    }
}

/// Waits for either; false if neither came.
fn wait(inotify: BorrowedFd<'_>, stop: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool, Errno> {
    let timeout = timeout
        .map_or(PollTimeout::NONE, |timeout| PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
    let mut watched = [inotify, stop].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut watched, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Lost events may have been about one.
fn concerns_a_handler(event: &InotifyEvent, directory: &Path) -> bool {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        return true;
    }
    let named = event.name.as_deref().and_then(|name| Path::new(name).to_str());
    let Some(name) = named.filter(|name| name.starts_with("handler_")) else { return false };
    !event.mask.contains(AddWatchFlags::IN_CREATE) || is_complete(&directory.join(name))
}

/// Whether a file that was just made is there as a whole: it is a link, of either kind. Any other is about to be written,
/// and counts when it is closed.
fn is_complete(path: &Path) -> bool {
    let made = std::fs::symlink_metadata(path);
    made.is_ok_and(|made| made.is_symlink() || (made.is_file() && made.nlink() > 1))
}

/// What is said of a subtype that was not there before.
const APPEARED: &str = "there is a handler for it now";

/// The same, if another daemon has registered it.
const CLAIMED: &str = "there is a handler for it now, but another program has registered it: its devices stay with that until it ends";

fn tell(changes: &Changes, directory: &Path, journal: &Journal, foreign: &Foreign) {
    let Changes { appeared, vanished, changed, refused } = changes;
    let at = directory.display();
    for (subtypes, what) in [
        (appeared, APPEARED),
        (vanished, "its handler has gone; devices in service go on, new ones are refused"),
        (changed, "its handler has changed; devices get the new one when they are started anew"),
    ] {
        for subtype in subtypes {
            let claimed = what == APPEARED && foreign.contains(subtype);
            let what = if claimed { CLAIMED } else { what };
            tracing::info!(subtype, path = %at, "subtype {subtype:?}: {what}");
            journal.supervisor(EventKind::Warning, format!("subtype {subtype:?}: {what}"));
        }
    }
    for (path, reason) in refused {
        journal.supervisor(EventKind::HandlerRefused, format!("{}: {reason}", path.display()));
    }
}
