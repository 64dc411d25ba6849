use std::fs::{self, File};
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::*;

/// Fast, but slow enough to tell "at once" from "when it is overdue".
const PACE: Pace = Pace { settled: Duration::from_millis(30), under_way: Duration::from_secs(30) };

/// Nothing here takes as long.
const LONG: Duration = Duration::from_secs(10);

struct Case {
    root: tempfile::TempDir,
    path: PathBuf,
    changes: Receiver<String>,
    _watcher: Watcher,
}

/// What the file holds.
fn contents(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| "missing".to_owned())
}

impl Case {
    fn new(directory: &str, pace: Pace, before: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(directory).join("tcmu.conf");
        before(&path);
        let (sender, changes) = channel();
        let watched = path.clone();
        let watcher = Watcher::start(&path, pace, move || sender.send(contents(&watched)).unwrap()).unwrap();
        Self { root, path, changes, _watcher: watcher }
    }

    fn with_file() -> Self {
        Self::new("", PACE, |path| fs::write(path, "old").unwrap())
    }

    /// The next change finds `expected`. Writing takes time: what was told before may be told once more.
    fn told(&self, expected: &str) {
        let found = self.changes.recv_timeout(LONG).unwrap();
        assert_eq!(found, expected);
    }

    /// Nothing was told before the change that the caller now makes to the file.
    fn silent_until(&self, write: impl FnOnce(&Path), expected: &str) {
        write(&self.path);
        self.told(expected);
        assert_eq!(self.changes.recv_timeout(PACE.settled * 3), Err(RecvTimeoutError::Timeout));
    }
}

#[test]
fn cfg_11_a_write_in_place_and_a_rename_are_told() {
    let case = Case::with_file();
    fs::write(&case.path, "one").unwrap();
    case.told("one");
    let other = case.root.path().join("tcmu.conf.new");
    fs::write(&other, "two").unwrap();
    fs::rename(&other, &case.path).unwrap();
    case.told("two");
    // As editors do that keep the old one.
    fs::rename(&case.path, &other).unwrap();
    fs::write(&case.path, "three").unwrap();
    case.told("three");
    fs::remove_file(&case.path).unwrap();
    case.told("missing");
    fs::write(&case.path, "four").unwrap();
    case.told("four");
}

#[test]
fn cfg_11_other_files_of_the_directory_are_nothing() {
    let case = Case::with_file();
    for name in ["other.conf", "tcmu.conf.swp", ".tcmu.conf", "tcmu.con"] {
        let other = case.root.path().join(name);
        fs::write(&other, "x").unwrap();
        fs::remove_file(&other).unwrap();
    }
    case.silent_until(|path| fs::write(path, "mine").unwrap(), "mine");
}

#[test]
fn cfg_11_a_file_that_is_emptied_and_then_written_is_told_once_and_whole() {
    let case = Case::with_file();
    // Emptied and kept open, as by an editor that is slow to write: longer than a closed file is waited for.
    let mut file = File::create(&case.path).unwrap();
    assert_eq!(case.changes.recv_timeout(PACE.settled * 5), Err(RecvTimeoutError::Timeout));
    file.write_all(b"log_level = 1\n").unwrap();
    assert_eq!(case.changes.recv_timeout(PACE.settled * 5), Err(RecvTimeoutError::Timeout));
    file.write_all(b"log_dir = /a\n").unwrap();
    drop(file);
    case.told("log_level = 1\nlog_dir = /a\n");
    // And what belongs together is told together.
    case.silent_until(
        |path| {
            for number in 0..10 {
                fs::write(path, format!("{number}")).unwrap();
            }
        },
        "9",
    );
}

#[test]
fn cfg_11_a_writer_that_never_closes_is_not_waited_for_without_limit() {
    let pace = Pace { settled: Duration::from_millis(10), under_way: Duration::from_millis(50) };
    let case = Case::new("", pace, |path| fs::write(path, "old").unwrap());
    let mut file = File::options().append(true).open(&case.path).unwrap();
    file.write_all(b" and new").unwrap();
    case.told("old and new");
    drop(file);
}

#[test]
fn a_directory_that_is_not_there_is_awaited_and_missed_when_it_goes() {
    let case = Case::new("etc/deep/tcmu", PACE, |_| {});
    let directory = case.path.parent().unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::write(&case.path, "first").unwrap();
    let mut found = case.changes.recv_timeout(LONG).unwrap();
    // The directory's coming is a change, too.
    while found != "first" {
        assert_eq!(found, "missing");
        found = case.changes.recv_timeout(LONG).unwrap();
    }
    fs::remove_dir_all(case.root.path().join("etc")).unwrap();
    wait_for(&case, "missing");
    let made = case.root.path().join("made");
    fs::create_dir_all(made.join("deep/tcmu")).unwrap();
    fs::write(made.join("deep/tcmu/tcmu.conf"), "moved").unwrap();
    fs::rename(&made, case.root.path().join("etc")).unwrap();
    wait_for(&case, "moved");
    // And a directory that is moved away with the file.
    fs::rename(directory, case.root.path().join("away")).unwrap();
    wait_for(&case, "missing");
    fs::write(case.root.path().join("away/tcmu.conf"), "nobody's").unwrap();
    fs::create_dir(directory).unwrap();
    fs::write(&case.path, "back").unwrap();
    wait_for(&case, "back");
}

/// Changes of directories may be told more than once.
fn wait_for(case: &Case, expected: &str) {
    while case.changes.recv_timeout(LONG).unwrap() != expected {}
}

#[test]
fn what_could_not_be_watched_is_tried_again_and_what_was_missed_is_told() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("tcmu.conf");
    fs::write(&path, "missed").unwrap();
    let stop = Arc::new(EventFd::new().unwrap());
    let (sender, changes) = channel();
    // As after an attempt that found no watch left (max_user_watches).
    let watch = Watch {
        inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).unwrap(),
        directory: root.path().to_owned(),
        name: "tcmu.conf".into(),
        at: None,
        due: Due::default(),
        pace: PACE,
        retry: Duration::from_millis(20),
        complained: true,
    };
    let thread = thread::spawn({
        let (stop, path) = (Arc::clone(&stop), path.clone());
        move || watch.run(&stop, || sender.send(contents(&path)).unwrap())
    });
    assert_eq!(changes.recv_timeout(LONG).as_deref(), Ok("missed"));
    fs::write(&path, "seen").unwrap();
    assert_eq!(changes.recv_timeout(LONG).as_deref(), Ok("seen"));
    stop.write(1).unwrap();
    thread.join().unwrap();
}

#[test]
fn changes_are_told_by_the_pace() {
    let pace = Pace::default();
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut due = Due::default();
    assert_eq!(due.at(pace), None);
    due.note(false, start);
    assert_eq!(due.at(pace), Some(start + 5 * second));
    due.note(true, start + second);
    assert_eq!(due.at(pace), Some(start + second + pace.settled));
    due.note(false, start + 2 * second);
    assert_eq!(due.at(pace), Some(start + 5 * second));
    // Who writes without end does not put it off without end.
    due.note(true, start + 5 * second);
    assert_eq!(due.at(pace), Some(start + 5 * second));
}

#[test]
fn it_ends_when_it_is_dropped_and_refuses_what_is_no_file() {
    let case = Case::with_file();
    let Case { root, path, changes, _watcher: watcher } = case;
    drop(watcher);
    // Its end of the channel is gone with the thread.
    fs::write(&path, "late").unwrap();
    assert_eq!(changes.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    drop(root);
    let error = Watcher::start(Path::new("/"), PACE, || {}).unwrap_err();
    assert!(error.to_string().contains("can not be watched"), "{error}");
}

#[test]
fn a_change_that_does_not_end_holds_up_the_end_for_a_short_while_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("tcmu.conf");
    let (begun, begins) = channel();
    let (release, held) = channel::<()>();
    let watcher = Watcher::start(&path, PACE, move || {
        begun.send(()).unwrap();
        // As a log_dir on a disk that hangs.
        let _ = held.recv();
    })
    .unwrap();
    fs::write(&path, "log_dir = /hangs").unwrap();
    begins.recv_timeout(LONG).unwrap();
    let start = Instant::now();
    drop(watcher);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // And its thread ends when the disk is there again.
    drop(release);
    assert_eq!(begins.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
}
