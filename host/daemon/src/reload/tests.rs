use std::ffi::OsString;
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::cli::{Role, role};

#[derive(Debug, PartialEq, Eq)]
enum Did {
    Level(u8),
    Directory(PathBuf),
    Unclaimed(Unclaimed),
    Metrics(Option<String>),
}

struct Noted(Sender<Did>);

impl Effects for Noted {
    fn level(&mut self, level: Level) {
        self.0.send(Did::Level(level.number())).unwrap();
    }

    fn log_directory(&mut self, directory: &Path) -> Result<(), LogError> {
        if directory == Path::new("/refused") {
            let source = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(LogError::Directory { path: directory.to_owned(), source });
        }
        self.0.send(Did::Directory(directory.to_owned())).unwrap();
        Ok(())
    }

    fn unclaimed(&mut self, unclaimed: Unclaimed) {
        self.0.send(Did::Unclaimed(unclaimed)).unwrap();
    }

    fn metrics(&mut self, address: Option<&str>) -> Result<(), ServeError> {
        self.0.send(Did::Metrics(address.map(str::to_owned))).unwrap();
        match address {
            Some(text) if text.starts_with("busy") => {
                let source = text.parse::<lunbox_metrics::Address>().unwrap_err();
                Err(ServeError::Address { text: text.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

struct Case {
    root: tempfile::TempDir,
    path: PathBuf,
    did: Receiver<Did>,
}

fn case(conf: &str) -> (Case, Reloader<Noted>) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("tcmu.conf");
    fs::write(&path, conf).unwrap();
    let Ok(Role::Supervisor(cli)) = role("lunboxd -l /cli --log-level 1".split(' ').map(OsString::from))
    else {
        panic!("no supervisor");
    };
    let base = Base::new(&cli, None);
    let current = base.under(&load(&path).unwrap().conf);
    let (sender, did) = channel();
    let reloader = Reloader::new(path.clone(), base, current, Noted(sender));
    (Case { root, path, did }, reloader)
}

impl Case {
    fn did(&self) -> Vec<Did> {
        self.did.try_iter().collect()
    }
}

#[test]
fn cfg_12_what_changes_takes_effect_and_what_disappears_goes_back() {
    let (case, mut reloader) = case("log_level = 4\n");
    assert_eq!(case.did(), [Did::Unclaimed(Unclaimed::Answer)]);
    reloader.reload();
    assert_eq!(case.did(), []);
    fs::write(&case.path, "log_level = 5\nlog_dir = /file\nforeign_subtypes = leave\nmetrics = unix:/m\n")
        .unwrap();
    reloader.reload();
    let all = [
        Did::Directory("/file".into()),
        Did::Level(5),
        Did::Unclaimed(Unclaimed::Leave),
        Did::Metrics(Some("unix:/m".to_owned())),
    ];
    assert_eq!(case.did(), all);
    fs::write(&case.path, "# log_level = 5\n#log_dir = /file\n").unwrap();
    reloader.reload();
    let back =
        [Did::Directory("/cli".into()), Did::Level(1), Did::Unclaimed(Unclaimed::Answer), Did::Metrics(None)];
    assert_eq!(case.did(), back);
}

#[test]
fn cfg_12_a_file_that_goes_is_an_empty_one_and_one_that_can_not_be_read_changes_nothing() {
    let (case, mut reloader) = case("log_level = 4\n");
    assert_eq!(case.did(), [Did::Unclaimed(Unclaimed::Answer)]);
    fs::remove_file(&case.path).unwrap();
    fs::create_dir(&case.path).unwrap();
    reloader.reload();
    assert_eq!(case.did(), []);
    fs::remove_dir(&case.path).unwrap();
    reloader.reload();
    assert_eq!(case.did(), [Did::Level(1)]);
}

#[test]
fn a_directory_that_can_not_be_used_is_tried_again_and_holds_nothing_else_up() {
    let (case, mut reloader) = case("");
    assert_eq!(case.did(), [Did::Unclaimed(Unclaimed::Answer)]);
    fs::write(&case.path, "log_dir = /refused\nlog_level = 2\n").unwrap();
    reloader.reload();
    assert_eq!(case.did(), [Did::Level(2)]);
    fs::write(&case.path, "log_dir = /good\nlog_level = 2\n").unwrap();
    reloader.reload();
    assert_eq!(case.did(), [Did::Directory("/good".into())]);
}

#[test]
fn cfg_11_changes_are_seen_by_themselves_by_edit_by_rename_and_a_broken_file_breaks_nothing() {
    let (case, reloader) = case("");
    let next = || case.did.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(next(), Did::Unclaimed(Unclaimed::Answer));
    let _watcher = reloader.watch().unwrap();
    fs::write(&case.path, "log_level = 4\n").unwrap();
    assert_eq!(next(), Did::Level(4));
    let other = case.root.path().join("new");
    fs::write(&other, "log_level = 2\n").unwrap();
    fs::rename(&other, &case.path).unwrap();
    assert_eq!(next(), Did::Level(2));
    fs::write(&case.path, b"%%%\n\xff\xfe\0\nlog_level 9\nlog_level = 3\n=\n").unwrap();
    assert_eq!(next(), Did::Level(3));
}

#[test]
fn metrics_that_the_file_has_at_the_start_begin_at_the_start() {
    let (case, _reloader) = case("metrics = 127.0.0.1:9842\n");
    let expected = [Did::Unclaimed(Unclaimed::Answer), Did::Metrics(Some("127.0.0.1:9842".to_owned()))];
    assert_eq!(case.did(), expected);
}

#[test]
fn metrics_that_can_not_be_served_are_tried_again_when_the_file_is_saved_and_the_old_address_stays() {
    let (case, mut reloader) = case("metrics = busy\n");
    let metrics = |address: &str| Did::Metrics(Some(address.to_owned()));
    assert_eq!(case.did(), [Did::Unclaimed(Unclaimed::Answer), metrics("busy")]);
    // Saved again, as it is.
    reloader.reload();
    assert_eq!(case.did(), [metrics("busy")]);
    fs::write(&case.path, "metrics = unix:/m\n").unwrap();
    reloader.reload();
    fs::write(&case.path, "metrics = busy too\n").unwrap();
    reloader.reload();
    assert_eq!(case.did(), [metrics("unix:/m"), metrics("busy too")]);
    // Back to what is served still.
    fs::write(&case.path, "metrics = unix:/m\n").unwrap();
    reloader.reload();
    assert_eq!(case.did(), []);
}
