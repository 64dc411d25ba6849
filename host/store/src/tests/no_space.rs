//! Full file systems and files that may not grow, in a process of their own: they need a mount or a limit that
//! would be in the way of other tests.

use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::*;

/// Names the directory of a small tmpfs to the test in the child process.
const DIRECTORY: &str = "LUNBOX_TEST_SMALL_FILE_SYSTEM";

/// The command that runs one test of this module, among the ignored ones, after `prepare` in a shell.
fn child(prepare: &str, test: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("{prepare} exec \"$0\" --exact --ignored --nocapture \"$1\"");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
    command.arg(std::env::current_exe().unwrap()).arg(format!("tests::no_space::{test}"));
    command
}

fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether this machine lets users have namespaces of their own, in which anyone can mount.
fn namespaces() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-root-user", "--mount", "true"]);
    let works = probe.output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: this machine has no user namespaces to mount a small file system in");
    }
    works
}

#[test]
fn a_full_file_system_is_no_space() {
    if namespaces() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = child(
            &format!("mount -t tmpfs -o size=256k none \"${DIRECTORY}\";"),
            "inside_of_a_small_file_system",
        );
        passes({
            command.env(DIRECTORY, directory.path());
            command
        });
    }
}

#[test]
#[ignore = "run by a_full_file_system_is_no_space, with a small file system"]
fn inside_of_a_small_file_system() {
    let directory = std::env::var_os(DIRECTORY).expect("the directory of the small file system");
    for backend in [Backend::Uring, Backend::Threads] {
        let file = tempfile::tempfile_in(Path::new(&directory)).unwrap();
        let mut rig = Rig::new(backend);
        let store = rig.file(&file);
        assert_eq!(rig.scattered(store, WRITE, 0, &[extent(0, 1 << 20)]), Err(StoreError::NoSpace));
        let zeroes = Kind::WriteZeroes { durable: false, may_unmap: false };
        assert_eq!(rig.bare(store, zeroes, 0, 1 << 20), Err(StoreError::NoSpace));
        // What is there can still be read, and space that is given back can be used.
        assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 0, 1 << 20), Ok(1 << 20));
        assert_eq!(rig.write(store, 0, b"fits"), Ok(4));
        assert_eq!(rig.read(store, READ, 0, 4), Ok(b"fits".to_vec()));
    }
}

#[test]
fn a_file_that_may_not_grow_is_no_space() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "tests::no_space::under_a_limit_of_file_size";
    command.args(["--exact", "--ignored", "--nocapture", test]);
    passes(command);
}

#[test]
#[ignore = "run by a_file_that_may_not_grow_is_no_space, in a process of its own"]
fn under_a_limit_of_file_size() {
    // Blocked, the signal leaves the error number to be seen. Threads inherit the mask.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 8192, 8192).unwrap();
    for backend in [Backend::Uring, Backend::Threads] {
        let file = scratch(b"");
        let mut rig = Rig::new(backend);
        let store = rig.file(&file);
        assert_eq!(rig.write(store, 8192, b"more"), Err(StoreError::NoSpace));
        assert_eq!(rig.write(store, 8000, &[1; 192]), Ok(192));
        assert_eq!(rig.write(store, 8000, &[2; 500]), Err(StoreError::NoSpace));
        assert_eq!(content(&file).len(), 8192);
    }
}
