//! What the host finds wrong by itself, and what becomes of a child that does not answer.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lunbox_contract::{Description, Field, FieldKind, Grammar, Schema};
use lunbox_engine::{Abilities, Digest, Manifest};

use super::*;

fn handler(wasi: bool) -> Installed {
    let field =
        |name: &str, kind, required| Field { name: name.to_owned(), kind, required, help: String::new() };
    let path = FieldKind::Path { read_only: false, create: true };
    let words = FieldKind::Choice(vec!["first".to_owned(), "second".to_owned()]);
    let fields = vec![field("path", path, true), field("read", words, false)];
    let manifest = Manifest {
        description: Description {
            subtype: "mirror".to_owned(),
            name: "Mirror".to_owned(),
            version: "1".to_owned(),
            config_help: "help".to_owned(),
        },
        abilities: Abilities { block: true, options: true, ..Abilities::default() },
        schema: Some(Schema { grammar: Grammar::Semicolon, fields }),
        wasi,
    };
    let container = Arc::new(File::open("/proc/self/exe").unwrap());
    Installed { manifest, digest: Digest::of(b"component"), container, path: PathBuf::from("mirror.wasm") }
}

/// DB-6: the same text that goes into `dev_config`.
#[test]
fn what_does_not_fit_the_schema_is_refused_in_one_line_that_says_what_to_write() {
    let long = format!("mirror//{}", "x".repeat(250));
    for (config, expected) in [
        ("mirror", "write mirror/"),
        ("", "write mirror/"),
        ("file//tmp/a", "it is for handler \"file\""),
        ("mirror/", "path"),
        ("mirror/relative", "absolute path"),
        ("mirror//tmp/a;read=third", "first, second"),
        ("mirror//tmp/a;reed=first", "there is no option \"reed\""),
        ("mirror//tmp/a;read=first;read=second", "twice"),
        (long.as_str(), "the kernel takes 255"),
    ] {
        let problem = options(&handler(false), "mirror", config).unwrap_err();
        assert!(problem.contains(expected) && !problem.contains('\n'), "{config}: {problem}");
    }
}

/// DEV-4: the daemon's own argument is no option of the handler's.
#[test]
fn the_daemons_own_arguments_are_taken_out_first() {
    for config in
        ["mirror//tmp/a;tcmur_cmd_time_out=5", "mirror/;tcmur_cmd_time_out=5;/tmp/a", "mirror//tmp/a"]
    {
        let parsed = options(&handler(false), "mirror", config).unwrap();
        assert_eq!(parsed.stores[0].locator.path().unwrap(), "/tmp/a", "{config}");
    }
    let parsed = options(&handler(false), "mirror", "mirror//a;tcmur_cmd_timeout=5;read=second").unwrap();
    assert_eq!(parsed.options, [("read".to_owned(), "second".to_owned())]);
}

/// A child that is another program.
fn ask(place: &Path, script: &str, limit: Duration) -> Result<Verdict, Unknown> {
    let program = place.join("child");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let compiler = Compiler::new(program, "info".to_owned(), Duration::from_secs(60));
    let checker = Checker { handlers: Handlers::default(), compiler, limit };
    loop {
        match checker.ask(&small(), Parsed::default()) {
            // Another test's child was forked while the script was written, and has it open until it executes.
            Err(Unknown::Failed(problem)) if problem.contains("busy") => {}
            verdict => return verdict,
        }
    }
}

/// A busy machine is no bad configuration.
#[test]
fn what_can_not_be_found_out_in_time_speaks_against_nothing() {
    let place = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(10);
    let slow = ask(place.path(), "exec sleep 600", limit);
    assert!(matches!(slow, Err(Unknown::TooLong)));
    assert_eq!(answer("mirror", slow, limit), Ok(()));
    assert_eq!(answer("mirror", Err(Unknown::Failed("no jail".to_owned())), limit), Ok(()));
    assert_eq!(answer("mirror", Ok(Verdict::Refused("because".to_owned())), limit).unwrap_err(), "because");
}

/// With a container that is quickly copied.
fn small() -> Installed {
    Installed { container: Arc::new(File::open("/proc/self/cmdline").unwrap()), ..handler(false) }
}

#[test]
fn a_child_that_does_not_answer_is_killed_and_one_that_answers_something_else_is_not_believed() {
    let place = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let slow = ask(place.path(), "exec sleep 600", Duration::from_millis(300));
    assert!(matches!(slow, Err(Unknown::TooLong)));
    assert!(begin.elapsed() < Duration::from_secs(60));
    let limit = Duration::from_secs(30);
    for script in ["exit 1", "echo good", "kill -9 $$", "yes"] {
        let verdict = ask(place.path(), script, limit);
        assert!(matches!(verdict, Err(Unknown::Failed(_))), "{script}");
    }
    let told = ask(place.path(), "echo '{\"refused\":\"because\"}'; echo $0 $* >&2", limit);
    assert!(matches!(told, Ok(Verdict::Refused(reason)) if reason == "because"));
    assert!(matches!(ask(place.path(), "echo '\"accepted\"'", limit), Ok(Verdict::Accepted)));
}

#[test]
fn a_handler_that_has_gone_is_said_to_be_so() {
    let compiler = Compiler::new(PathBuf::from("/no/such"), "info".to_owned(), LIMIT);
    let checker = Checker::new(Handlers::default(), compiler);
    assert_eq!(checker.check("file", "file//a").unwrap_err(), "there is no handler \"file\" any more");
}
