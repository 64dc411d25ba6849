//! Whether a configuration would be accepted, asked of real handlers.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::path::Path;

use lunbox_engine::check_child::{self, Question, Verdict};
use lunbox_engine::{Artifact, Digest};
use support::forge::Forged;
use support::{engine, guests};

fn compiled(component: &[u8]) -> Artifact {
    engine().compile(component).unwrap()
}

fn of(handler: &Path) -> Artifact {
    compiled(&std::fs::read(handler).unwrap())
}

/// What a checking process answers.
fn verdict(artifact: &Artifact, stores: &[&str], options: &[(&str, &str)]) -> Verdict {
    let question = Question {
        component: *artifact.component(),
        stores: stores.iter().map(|&option| (option.to_owned(), false)).collect(),
        options: options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    question.write_to(artifact.container(), &mut asked).unwrap();
    check_child::main(asked.as_slice(), &mut answer);
    Verdict::read_from(answer.as_slice()).unwrap().unwrap()
}

/// DB-5: honest handlers take the made-up sizes.
#[test]
fn what_the_projects_handlers_accept_for_a_device_is_accepted() {
    assert_eq!(verdict(&of(&guests::file()), &[""], &[]), Verdict::Accepted);
    let mirror = of(&guests::mirror());
    assert_eq!(verdict(&mirror, &["path", "copy"], &[("read", "second")]), Verdict::Accepted);
    assert_eq!(verdict(&of(&guests::null()), &[], &[]), Verdict::Accepted);
}

#[test]
fn a_refusal_comes_with_the_handlers_own_words() {
    let Verdict::Refused(reason) = verdict(&of(&guests::file()), &[], &[]) else { panic!("no file") };
    assert!(reason.contains("write its path after `file/`"), "{reason}");
    let Verdict::Refused(reason) = verdict(&of(&guests::mirror()), &["path"], &[]) else { panic!("no copy") };
    assert!(reason.contains("copy"), "{reason}");
}

#[test]
fn a_handler_that_never_returns_is_ended_within_its_budget() {
    let looping = compiled(&Forged { configure_loops: true, ..Forged::default() }.component());
    let begin = std::time::Instant::now();
    let Verdict::Fault(reason) = verdict(&looping, &[], &[]) else { panic!("it loops") };
    assert!(reason.contains("CPU"), "{reason}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn another_component_than_the_one_asked_for_is_not_run() {
    let artifact = of(&guests::null());
    let question = Question { component: Digest::of(b"another"), stores: Vec::new(), options: Vec::new() };
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    question.write_to(artifact.container(), &mut asked).unwrap();
    check_child::main(asked.as_slice(), &mut answer);
    let verdict = Verdict::read_from(answer.as_slice()).unwrap().unwrap();
    assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
}
