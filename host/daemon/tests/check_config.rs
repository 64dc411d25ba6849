//! `CheckConfig` as the daemon answers it: the program itself is the jailed child that asks the handler.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lunbox_behaviour::components::component;
use lunbox_daemon::check::Checker;
use lunbox_daemon::compiler::{Compiler, TIME_LIMIT};
use lunbox_daemon::handlers::{Handlers, Loader};
use lunbox_engine::check_child::{Question, Verdict};
use lunbox_engine::{engine_digest, read_container};

fn compiler() -> Compiler {
    Compiler::new(PathBuf::from(env!("CARGO_BIN_EXE_lunboxd")), "warn".to_owned(), TIME_LIMIT)
}

/// These handlers, installed.
fn installed(place: &Path, handlers: &[(&str, PathBuf)]) -> Handlers {
    for (name, component) in handlers {
        std::fs::copy(component, place.join(format!("handler_{name}.wasm"))).unwrap();
    }
    let loader =
        Loader { compiler: compiler(), engine: engine_digest().unwrap(), shelf: None, overlong: None };
    Handlers::load(place, &loader).unwrap()
}

/// DB-5, DB-6, INT-1.
#[test]
fn options_are_checked_by_host_and_handler_and_no_file_is_touched() {
    let place = tempfile::tempdir().unwrap();
    let handlers = installed(
        place.path(),
        &[("file", component("lunbox-handler-file")), ("mirror", component("lunbox-example-mirror"))],
    );
    let checker = Checker::new(handlers, compiler());
    let path = place.path().join("not made");
    let (path, copy) = (path.display(), place.path().join("nor this").display().to_string());
    assert_eq!(checker.check("file", &format!("file/{path}")), Ok(()));
    assert_eq!(checker.check("file", &format!("file/{path};tcmur_cmd_time_out=5")), Ok(()));
    assert_eq!(checker.check("file", "file//no/such/directory/x"), Ok(()));
    assert_eq!(checker.check("mirror", &format!("mirror/{path};copy={copy};read=second")), Ok(()));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2, "only the handlers are there");
    for (subtype, config, expected) in [
        ("file", "file/".to_owned(), "file"),
        ("file", "file".to_owned(), "write file/"),
        ("mirror", format!("mirror/{path}"), "copy"),
        ("mirror", format!("mirror/{path};copy={copy};read=third"), "first, second"),
    ] {
        let problem = checker.check(subtype, &config).unwrap_err();
        assert!(problem.contains(expected) && !problem.contains('\n'), "{config}: {problem}");
    }
}

/// The child is killed when it takes too long, and answers for itself in its jail otherwise.
#[test]
fn the_child_answers_from_within_its_jail() {
    let place = tempfile::tempdir().unwrap();
    let handlers = installed(place.path(), &[("null", component("lunbox-example-null"))]);
    let handler = handlers.iter().next().unwrap();
    let question = Question { component: handler.digest, stores: Vec::new(), options: Vec::new() };
    let asked = place.path().join("question");
    let container = read_container(&handler.container).unwrap();
    question.write_to(&container, std::fs::File::create(&asked).unwrap()).unwrap();
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_lunboxd"))
        .args(["check", "--level", "debug"])
        .stdin(std::fs::File::open(&asked).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{log}");
    assert_eq!(Verdict::read_from(child.stdout.as_slice()).unwrap(), Some(Verdict::Accepted));
    assert!(log.contains("confined"), "{log}");
    assert!(begin.elapsed() < Duration::from_secs(5), "callers wait no longer: {:?}", begin.elapsed());
}
