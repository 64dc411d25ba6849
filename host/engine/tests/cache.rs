//! Compiled code on disk: used when it is ours and intact, made again in every other case.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::borrow::Cow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lunbox_engine::HandlerFactory as _;
use support::caching_engine;
use support::captured_log::capture;
use support::forge::Forged;
use support::scratch::Scratch;

/// Handlers that differ in their subtype.
fn handler(subtype: &'static str) -> Vec<u8> {
    let [_, name, version, help] = Forged::default().description;
    let description = [Cow::Borrowed(subtype.as_bytes()), name, version, help];
    Forged { description, ..Forged::default() }.component()
}

/// A directory with a handler, and one for the cache.
struct Setting {
    scratch: Scratch,
    wasm: PathBuf,
    cache: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let scratch = Scratch::new();
        let (wasm, cache) = (scratch.write("one.wasm", &handler("one")), scratch.path().join("cache"));
        Self { scratch, wasm, cache }
    }

    /// Loads the handler; returns its subtype and the warnings.
    fn load(&self, wasm: &Path) -> (String, Vec<String>) {
        let mut subtype = String::new();
        let log = capture(|| {
            let engine = caching_engine(&self.cache);
            subtype.clone_from(&engine.load(wasm).unwrap().description().subtype);
        });
        (subtype, log.into_iter().map(|(_, text)| text).collect())
    }

    fn load_one(&self) -> Vec<String> {
        let (subtype, warnings) = self.load(&self.wasm);
        assert_eq!(subtype, "one", "whatever the cache holds");
        warnings
    }

    fn entries(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.cache).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn only_entry(&self) -> PathBuf {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.into_iter().next().unwrap()
    }
}

/// Writes another file in the place of a read-only one.
fn replace(path: &Path, contents: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, contents).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_load_stores_and_the_second_uses() {
    let setting = Setting::new();
    assert_eq!(setting.load_one(), [""; 0]);
    let entry = setting.only_entry();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(&setting.cache), mode(&entry)), (0o700, 0o400));

    // Another handler's container under the first one's name, with a header that is right: only a load that uses the
    // cache answers with the other's subtype.
    let other = setting.scratch.write("two.wasm", &handler("two"));
    setting.load(&other);
    let two = setting.entries().into_iter().find(|path| *path != entry).unwrap();
    let mut swapped = std::fs::read(two).unwrap();
    swapped[40..72].copy_from_slice(&std::fs::read(&entry).unwrap()[40..72]);
    replace(&entry, &swapped);
    assert_eq!(setting.load(&setting.wasm).0, "two");
}

#[test]
fn a_changed_component_is_another_entry() {
    let setting = Setting::new();
    setting.load_one();
    std::fs::write(&setting.wasm, handler("three")).unwrap();
    assert_eq!(setting.load(&setting.wasm).0, "three");
    assert_eq!(setting.entries().len(), 2);
}

#[test]
fn damaged_entries_are_told_and_made_again() {
    let setting = Setting::new();
    setting.load_one();
    let entry = setting.only_entry();
    let intact = std::fs::read(&entry).unwrap();
    let mut flipped = intact.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 0x80;
    let cases = [flipped, intact[..intact.len() / 2].to_vec(), vec![], b"something else".to_vec()];
    for damaged in cases {
        replace(&entry, &damaged);
        let warnings = setting.load_one();
        assert!(warnings.len() == 1 && warnings[0].contains("compiled again"), "{warnings:?}");
        assert_eq!(setting.load_one(), [""; 0], "it was repaired");
        assert_eq!(setting.only_entry(), entry);
    }
}

#[test]
fn entries_that_others_can_write_are_not_used() {
    let setting = Setting::new();
    setting.load_one();
    let entry = setting.only_entry();
    set_mode(&entry, 0o620);
    let warnings = setting.load_one();
    assert!(warnings.len() == 1 && warnings[0].contains("chmod go-w"), "{warnings:?}");
    assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o400, "replaced by a file of our own");
}

#[test]
fn links_are_not_followed() {
    let setting = Setting::new();
    setting.load_one();
    let entry = setting.only_entry();
    let elsewhere = setting.scratch.path().join("elsewhere");
    std::fs::rename(&entry, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &entry).unwrap();
    assert_eq!(setting.load_one().len(), 1);
    assert!(entry.symlink_metadata().unwrap().is_file(), "replaced by a file");
}

#[test]
fn a_directory_that_others_can_write_is_no_cache() {
    let setting = Setting::new();
    std::fs::create_dir(&setting.cache).unwrap();
    for mode in [0o770, 0o707, 0o1777] {
        set_mode(&setting.cache, mode);
        let warnings = setting.load_one();
        assert!(warnings.len() == 1 && warnings[0].contains("chmod go-w"), "{warnings:?}");
        assert!(setting.entries().is_empty());
    }
}

#[test]
fn a_directory_of_somebody_else_is_no_cache() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can make one.
        return;
    }
    let setting = Setting::new();
    std::fs::create_dir(&setting.cache).unwrap();
    std::os::unix::fs::chown(&setting.cache, Some(65_534), None).unwrap();
    let warnings = setting.load_one();
    assert!(warnings.len() == 1 && warnings[0].contains("chown"), "{warnings:?}");
    assert!(setting.entries().is_empty());
}

#[test]
fn a_cache_that_can_not_be_made_is_no_error() {
    let setting = Setting::new();
    std::fs::write(&setting.cache, b"a file").unwrap();
    assert_eq!(setting.load_one().len(), 1);
}
