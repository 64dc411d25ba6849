//! LOG-2, LOG-10, CFG-9: the file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::{logged, options, read};
use crate::output::SystemLog;
use crate::{FILE_NAME, Level, LogError, Options};

fn at(folder: &std::path::Path) -> Options {
    Options { directory: Some(folder.to_owned()), ..options(Level::INFO) }
}

fn contains(folder: &std::path::Path, words: &[&str]) {
    let lines = read(folder);
    assert_eq!(lines.len(), words.len(), "{lines:?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(line.ends_with(&format!(": {word}")), "{line}");
    }
}

#[test]
fn cfg_9_log_2_missing_directories_are_made_and_the_file_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    for word in ["one", "two"] {
        logged(at(&deep), SystemLog::None, |_| tracing::info!("{word}"));
    }
    contains(&deep, &["one", "two"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&deep.join(FILE_NAME)), 0o600);
    assert_eq!(mode(&deep), 0o755);
    assert_eq!(mode(&folder.path().join("a")), 0o755);
    // One that was there is not ours to open.
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o700)).unwrap();
    logged(at(&deep), SystemLog::None, |_| {});
    assert_eq!(mode(&deep), 0o700);
}

#[test]
fn log_10_after_a_rotation_the_old_file_gets_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    logged(at(folder.path()), SystemLog::None, |handle| {
        let counted = std::sync::Arc::clone(&calls);
        handle.on_reopen(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        tracing::info!("before");
        assert!(handle.flush(super::SOON));
        for round in 0..3 {
            let old = folder.path().join(format!("{FILE_NAME}.{round}"));
            fs::rename(&path, &old).unwrap();
            tracing::info!("between {round}");
            handle.reopen().unwrap();
            let size = fs::metadata(&old).unwrap().size();
            let copy = handle.file().unwrap();
            let inode = fs::File::from(copy).metadata().unwrap().ino();
            assert_eq!(inode, fs::metadata(&path).unwrap().ino(), "workers get the new one");
            tracing::info!("after {round}");
            assert!(handle.flush(super::SOON));
            assert_eq!(fs::metadata(&old).unwrap().size(), size);
        }
    });
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 3);
    contains(folder.path(), &["after 2"]);
    let first = fs::read_to_string(folder.path().join(format!("{FILE_NAME}.0"))).unwrap();
    assert!(first.contains(": before\n") && first.contains(": between 0\n"), "{first}");
}

#[test]
fn who_gets_the_file_can_not_change_how_it_is_written() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let folder = tempfile::tempdir().unwrap();
    logged(at(folder.path()), SystemLog::None, |handle| {
        tracing::info!("one");
        assert!(handle.flush(super::SOON));
        let worker = handle.file().unwrap();
        // A worker that was taken over: it writes anywhere, and only by its own descriptor.
        fcntl(&worker, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        nix::unistd::write(&worker, b"X").unwrap();
        tracing::info!("two");
    });
    let text = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert!(text.starts_with('X'), "the attack was one: {text}");
    contains(folder.path(), &["one", "two"]);
}

#[test]
fn the_directory_changes_while_it_runs_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    logged(at(&one), SystemLog::None, |handle| {
        tracing::info!("to one");
        assert!(handle.flush(super::SOON));
        let error = handle.set_directory(Some(&file)).unwrap_err();
        assert!(matches!(error, LogError::Directory { .. }), "{error}");
        assert!(error.to_string().contains("log_dir"), "{error}");
        assert_eq!(handle.directory().as_deref(), Some(one.as_path()));
        tracing::info!("still to one");
        handle.set_directory(Some(&two)).unwrap();
        tracing::info!("to two");
        assert!(handle.flush(super::SOON));
        handle.set_directory(None).unwrap();
        assert!(handle.file().is_none());
        handle.reopen().unwrap();
        tracing::info!("to none");
    });
    contains(&one, &["to one", "still to one"]);
    contains(&two, &["to two"]);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || crate::file::open(folder.path());
    let path = folder.path().join(FILE_NAME);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(open(), Err(LogError::NotAFile { .. })), "a pipe that nobody reads");
    let reader = fs::File::options().read(true).write(true).open(&path).unwrap();
    assert!(matches!(open(), Err(LogError::NotAFile { .. })), "a pipe");
    drop(reader);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(), Err(LogError::File { .. })), "a directory");
    fs::remove_dir(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    assert!(matches!(open(), Err(LogError::NotAFile { .. })), "a link to a device");
}

#[test]
fn a_link_is_followed_only_where_nobody_else_can_have_put_it() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || crate::file::open(folder.path());
    let target = other.path().join("target");
    symlink(&target, folder.path().join(FILE_NAME)).unwrap();
    let mode = |mode: u32| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    for others in [0o757, 0o1777, 0o775] {
        mode(others);
        assert!(matches!(open(), Err(LogError::NotAFile { .. })), "{others:o}");
        assert!(!target.exists(), "{others:o}: nothing was made where it leads");
    }
    // A bigger disk, say; where it leads need not exist.
    mode(0o755);
    logged(at(folder.path()), SystemLog::None, |handle| {
        tracing::info!("over there");
        assert!(handle.flush(super::SOON));
        fs::rename(&target, other.path().join("old")).unwrap();
        handle.reopen().unwrap();
        tracing::info!("and again");
    });
    let text = |name: &str| fs::read_to_string(other.path().join(name)).unwrap();
    assert!(text("old").ends_with(": over there\n") && text("target").ends_with(": and again\n"));
    mode(0o777);
    assert!(matches!(open(), Err(LogError::NotAFile { .. })), "a link to a file");
}
