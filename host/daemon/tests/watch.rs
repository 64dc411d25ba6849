//! Handlers that come, change and go while the daemon runs (HND-1). The program itself compiles them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lunbox_behaviour::components::component;
use lunbox_daemon::compiler::Compiler;
use lunbox_daemon::foreign::Foreign;
use lunbox_daemon::handlers::{Changes, Handlers, Loader};
use lunbox_daemon::journal::Journal;
use lunbox_daemon::watch::{Watch, Watched};
use lunbox_engine::engine_digest;

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(60);

fn loader() -> Loader {
    let compiler = Compiler::new(env!("CARGO_BIN_EXE_lunboxd").into(), "info".to_owned(), SOON);
    Loader { compiler, engine: engine_digest().unwrap(), shelf: None, overlong: None }
}

struct Place {
    root: tempfile::TempDir,
    handlers: Handlers,
    told: Receiver<Changes>,
    kinds: Receiver<String>,
    foreign: Foreign,
    _watch: Watch,
}

impl Place {
    fn new(directory: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        // What the first look finds, so that it is known when it is over.
        fs::write(root.path().join("handler_none.wasm"), "nothing").unwrap();
        let handlers = Handlers::default();
        let (sender, told) = channel();
        let (journal, kinds) = channel();
        let foreign = Foreign::default();
        let watched = Watched {
            directory: root.path().join(directory),
            loader: loader(),
            handlers: handlers.clone(),
            journal: Journal::new(move |event| drop(journal.send(format!("{} {}", event.kind, event.text)))),
            foreign: foreign.clone(),
        };
        let watch = Watch::start(watched, move |_, changes| drop(sender.send(changes.clone()))).unwrap();
        let place = Self { root, handlers, told, kinds, foreign, _watch: watch };
        if directory.is_empty() {
            assert_eq!(place.next().refused.len(), 1);
            assert!(place.kinds.recv_timeout(SOON).unwrap().contains("handler_none.wasm"));
        }
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn next(&self) -> Changes {
        self.told.recv_timeout(SOON).expect("the change is seen")
    }
}

fn whole() -> Vec<u8> {
    fs::read(component("lunbox-handler-file")).unwrap()
}

/// The same handler in another file: with a custom section behind it, which means nothing.
fn other() -> Vec<u8> {
    [whole(), vec![0, 2, 1, b'x']].concat()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_handler_comes_is_half_written_changes_and_goes() {
    let place = Place::new("");
    let path = place.file("handler_file.wasm");
    fs::write(place.file("README"), "nothing").unwrap();
    fs::write(&path, whole()).unwrap();
    assert_eq!(place.next(), Changes { appeared: words(&["file"]), ..Changes::default() });
    let first = place.handlers.get("file").unwrap();
    assert_eq!((first.path.as_path(), place.handlers.refused().len()), (path.as_path(), 1));
    let descriptions = place.handlers.descriptions();
    assert_eq!((descriptions.len(), descriptions[0].0.as_str()), (1, "file"));
    assert_eq!(descriptions[0].1, first.manifest.description.config_help);

    // Somebody closes it in the middle of writing: what there was stays.
    fs::write(&path, &other()[..1000]).unwrap();
    let half = place.next();
    assert_eq!((half.refused.len(), half.vanished.len(), half.changed.len()), (1, 0, 0), "{half:?}");
    assert_eq!(half.refused[0].0, path);
    assert_eq!(place.handlers.get("file").unwrap().digest, first.digest);

    // And goes on. Each write counts when the file is closed.
    fs::write(&path, other()).unwrap();
    assert_eq!(place.next(), Changes { changed: words(&["file"]), ..Changes::default() });
    let second = place.handlers.get("file").unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(place.handlers.refused().len(), 1, "the half one is forgotten");

    fs::remove_file(&path).unwrap();
    assert_eq!(place.next(), Changes { vanished: words(&["file"]), ..Changes::default() });
    assert!(place.handlers.get("file").is_none() && place.handlers.iter().next().is_none());
    assert_eq!(second.path, path, "whoever took it before has it still");
    let told: Vec<_> = place.kinds.try_iter().collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().any(|line| line.contains("handler_file.wasm")), "{told:?}");
}

#[test]
fn of_two_handlers_of_one_subtype_the_first_by_name_counts_whichever_came_first() {
    let place = Place::new("");
    fs::write(place.file("handler_z.wasm"), whole()).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
    // A rename is seen as well as a write.
    fs::write(place.file("new"), other()).unwrap();
    fs::rename(place.file("new"), place.file("handler_a.wasm")).unwrap();
    let changes = place.next();
    assert_eq!(
        (changes.changed.as_slice(), changes.refused.len()),
        (&["file".to_owned()][..], 1),
        "{changes:?}"
    );
    assert!(changes.refused[0].0.ends_with("handler_z.wasm"));
    assert!(place.handlers.get("file").unwrap().path.ends_with("handler_a.wasm"));
    fs::remove_file(place.file("handler_a.wasm")).unwrap();
    assert_eq!(place.next().changed, ["file"]);
    assert!(place.handlers.get("file").unwrap().path.ends_with("handler_z.wasm"));
}

#[test]
fn a_file_that_is_written_slowly_is_loaded_when_it_is_closed() {
    let place = Place::new("");
    let mut slow =
        OpenOptions::new().create(true).append(true).open(place.file("handler_file.wasm")).unwrap();
    let bytes = whole();
    let (head, rest) = bytes.split_at(bytes.len() / 2);
    slow.write_all(head).unwrap();
    slow.flush().unwrap();
    // Another file has the directory looked at, and the handlers stay as they are as long as this one is open.
    fs::write(place.file("handler_void.wasm"), "void").unwrap();
    let looked = place.next();
    assert!(looked.refused.iter().any(|(path, _)| path.ends_with("handler_void.wasm")), "{looked:?}");
    assert!(looked.appeared.is_empty() && place.handlers.iter().next().is_none());
    slow.write_all(rest).unwrap();
    drop(slow);
    let changes = place.next();
    assert_eq!(changes, Changes { appeared: words(&["file"]), ..Changes::default() });
}

#[test]
fn a_directory_that_is_not_there_yet_is_seen_when_it_comes() {
    let place = Place::new("later");
    fs::create_dir(place.file("later")).unwrap();
    fs::write(place.file("later/handler_file.wasm"), whole()).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
    // It goes, and what is loaded stays; another one comes in its place.
    fs::rename(place.file("later"), place.file("former")).unwrap();
    fs::create_dir(place.file("later")).unwrap();
    assert_eq!(place.next().vanished, ["file"]);
    fs::write(Path::new(&place.file("later")).join("handler_b.wasm"), other()).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
}

#[test]
fn a_handler_that_is_linked_into_the_directory_is_loaded_at_once() {
    let place = Place::new("");
    fs::write(place.file("file.wasm"), whole()).unwrap();
    // As alternatives are, and as `ln` does it: nobody writes to such a file, nor closes it.
    symlink("file.wasm", place.file("handler_soft.wasm")).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
    fs::remove_file(place.file("handler_soft.wasm")).unwrap();
    assert_eq!(place.next().vanished, ["file"]);
    fs::hard_link(place.file("file.wasm"), place.file("handler_hard.wasm")).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
}

#[test]
fn a_compilation_that_does_not_end_holds_up_the_end_for_a_short_while_only() {
    let root = tempfile::tempdir().unwrap();
    let (compiler, begun) = (root.path().join("compiler"), root.path().join("begun"));
    fs::write(&compiler, "#!/bin/sh\necho > \"${0%/*}/begun\"\nexec /bin/sleep 20\n").unwrap();
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
    let write = || fs::write(root.path().join("handler_slow.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    write();
    let loader = Loader { compiler: Compiler::new(compiler, "info".to_owned(), SOON), ..loader() };
    let (sender, told) = channel();
    let (directory, handlers) = (root.path().to_owned(), Handlers::default());
    let watched =
        Watched { directory, loader, handlers, journal: Journal::default(), foreign: Foreign::default() };
    let watch = Watch::start(watched, move |_, changes| drop(sender.send(changes.clone()))).unwrap();
    let start = Instant::now();
    while !begun.exists() {
        assert!(start.elapsed() < SOON, "nothing is compiled");
        // Another test's child may have had the script open to write, so that it could not be started.
        if told.recv_timeout(Duration::from_millis(10)).is_ok() {
            write();
        }
    }
    let start = Instant::now();
    drop(watch);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn of_a_handler_whose_subtype_another_program_has_it_is_said_that_it_serves_nothing_yet() {
    let place = Place::new("");
    place.foreign.add("file");
    fs::write(place.file("handler_file.wasm"), whole()).unwrap();
    assert_eq!(place.next().appeared, ["file"]);
    let said = place.kinds.recv_timeout(SOON).unwrap();
    assert!(said.contains("another program has registered it"), "{said}");
}
