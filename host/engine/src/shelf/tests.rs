//! What is kept, found and removed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use lunbox_contract::Description;

use super::*;
use crate::{Abilities, container, read_container};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn engine() -> Digest {
    Digest::of(b"engine")
}

fn artifact(component: &[u8]) -> Artifact {
    let manifest = Manifest {
        description: Description {
            subtype: "x".to_owned(),
            name: "X".to_owned(),
            version: "1".to_owned(),
            config_help: String::new(),
        },
        abilities: Abilities { block: true, ..Abilities::default() },
        schema: None,
        wasi: false,
    };
    let component = Digest::of(component);
    let container = container::wrap(&engine(), &component, &manifest, b"code").unwrap();
    Artifact { component, manifest, container }
}

/// A shelf in a directory that is removed with the first value.
fn shelf() -> (tempfile::TempDir, Shelf) {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(&directory.path().join("shelf"), engine()).unwrap();
    (directory, shelf)
}

fn names(shelf: &Shelf) -> Vec<String> {
    let mut names: Vec<_> = shelf.entries().unwrap().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_put_is_found_by_its_component_and_engine_alone() {
    let (directory, shelf) = shelf();
    let one = artifact(b"one");
    assert!(shelf.get(&one.component).is_none());
    let put = shelf.put(&one).unwrap();
    assert_eq!(put.manifest, one.manifest);
    assert_eq!(read_container(&put.file).unwrap(), one.container);
    let found = shelf.get(&one.component).unwrap();
    assert_eq!(found.manifest, one.manifest);
    assert_eq!(read_container(&found.file).unwrap(), one.container, "from its beginning");
    assert!((&found.file).write(b"x").is_err(), "for reading only");
    assert!(shelf.get(&Digest::of(b"two")).is_none());
    let other = Shelf::open(&directory.path().join("shelf"), Digest::of(b"other")).unwrap();
    assert!(other.get(&one.component).is_none());
    assert!(other.put(&one).unwrap_err().to_string().contains("another version"));
}

#[test]
fn damaged_and_foreign_entries_are_not_found_and_can_be_replaced() {
    let (directory, shelf) = shelf();
    let one = artifact(b"one");
    shelf.put(&one).unwrap();
    let path = directory.path().join("shelf").join(shelf.name(&one.component));
    let mut damaged = one.container.clone();
    damaged.pop();
    for (contents, mode) in [(&damaged, 0o600), (&artifact(b"two").container, 0o600), (&one.container, 0o620)]
    {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(shelf.get(&one.component).is_none());
        shelf.put(&one).unwrap();
        assert!(shelf.get(&one.component).is_some());
    }
}

#[test]
fn entries_that_nobody_asks_for_are_removed_and_others_are_not() {
    let (directory, shelf) = shelf();
    let now = SystemTime::now();
    let [old, asked, young] = [&b"old"[..], b"asked", b"young"].map(artifact);
    // First all, because each `put` removes what is old.
    let entries =
        [(&old, 91), (&asked, 91), (&young, 89)].map(|(artifact, age)| (shelf.put(artifact).unwrap(), age));
    for (entry, age) in entries {
        entry.file.set_modified(now - age * DAY).unwrap();
    }
    assert!(shelf.get(&asked.component).is_some());
    let strangers = ["README", "handler_x.cwasm", ".handler_x.cwasm.1.0", ".cwasm", "0.cwasm"]
        .map(|name| directory.path().join("shelf").join(name));
    for stranger in &strangers {
        File::create(stranger).unwrap().set_modified(now - 1000 * DAY).unwrap();
    }
    shelf.prune(now);
    assert!(shelf.get(&old.component).is_none());
    assert!(shelf.get(&asked.component).is_some() && shelf.get(&young.component).is_some());
    for stranger in &strangers {
        assert!(stranger.exists(), "{} is not ours", stranger.display());
    }
}

#[test]
fn of_too_many_entries_those_stay_that_were_asked_for_last() {
    let (directory, shelf) = shelf();
    let now = SystemTime::now();
    for index in 0..MAX_ENTRIES + 3 {
        let name = format!("{index:064}{SUFFIX}");
        let file = File::create(directory.path().join("shelf").join(name)).unwrap();
        file.set_modified(now - u32::try_from(index).unwrap() * Duration::from_secs(60)).unwrap();
    }
    shelf.prune(now);
    let names = names(&shelf);
    assert_eq!(names.len(), MAX_ENTRIES);
    assert_eq!(
        *names.last().unwrap(),
        format!("{:064}{SUFFIX}", MAX_ENTRIES - 1),
        "the youngest of all is 0"
    );
}

#[test]
fn files_that_were_never_finished_go_after_an_hour() {
    let (directory, shelf) = shelf();
    let now = SystemTime::now();
    let name = |first| format!(".{first}{:063}{SUFFIX}.1.0", 0);
    for (name, minutes) in [(name('a'), 61), (name('b'), 59)] {
        let file = File::create(directory.path().join("shelf").join(name)).unwrap();
        file.set_modified(now - minutes * Duration::from_secs(60)).unwrap();
    }
    shelf.prune(now);
    assert_eq!(names(&shelf), [name('b')]);
}

#[test]
fn a_directory_that_others_can_write_is_no_shelf() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
    let error = Shelf::open(directory.path(), engine()).unwrap_err();
    assert!(error.problem.contains("chmod go-w"), "{error}");
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    assert!(Shelf::open(&link, engine()).unwrap_err().problem.contains("not a link"));
}
