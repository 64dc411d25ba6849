//! The stream, honest and hostile.

use std::io::{Seek as _, SeekFrom};

use lunbox_contract::Description;
use proptest::prelude::*;

use super::*;
use crate::Abilities;

fn expected() -> Expected {
    Expected { component: Digest::of(b"component"), engine: Digest::of(b"engine") }
}

fn artifact() -> Artifact {
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
    let Expected { component, engine } = expected();
    let container = container::wrap(&engine, &component, &manifest, b"machine code").unwrap();
    Artifact { component, manifest, container }
}

fn stream() -> Vec<u8> {
    let mut stream = Vec::new();
    artifact().write_to(&mut stream).unwrap();
    stream
}

fn malformed(stream: &[u8]) -> String {
    match Artifact::read_from(stream, &expected()) {
        Err(AnswerError::Malformed(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_comes_out() {
    assert_eq!(Artifact::read_from(stream().as_slice(), &expected()).unwrap(), artifact());
}

#[test]
fn refusals_are_passed_on_as_one_line() {
    let mut stream = Vec::new();
    write_refusal(&mut stream, "imports x\n\x1b[2J").unwrap();
    let answer = Artifact::read_from(stream.as_slice(), &expected());
    assert!(matches!(answer, Err(AnswerError::Refused(message)) if message == r"imports x\n\u{1b}[2J"));
    let mut stream = Vec::new();
    write_failure(&mut stream, "no memory").unwrap();
    let answer = Artifact::read_from(stream.as_slice(), &expected());
    assert!(matches!(answer, Err(AnswerError::Failed(message)) if message == "no memory"));
}

#[test]
fn a_compiler_that_died_is_told_from_one_that_lies() {
    assert!(matches!(Artifact::read_from(&b""[..], &expected()), Err(AnswerError::Nothing)));
    let whole = stream();
    for length in 1..whole.len() {
        malformed(&whole[..length]);
    }
    malformed(&[whole.as_slice(), b"x"].concat());
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b'7');
            Ok(into.len())
        }
    }
    // Neither a line without end nor a container without end is read to its end.
    assert!(matches!(Artifact::read_from(Endless, &expected()), Err(AnswerError::Malformed(_))));
    let head = |length: usize| format!("{{\"container\":{length}}}\n").into_bytes();
    let too_long = io::Cursor::new(head(MAX_BYTES + 1)).chain(Endless);
    assert!(matches!(Artifact::read_from(too_long, &expected()), Err(AnswerError::Malformed(_))));
    let longer_than_announced = io::Cursor::new(head(10)).chain(Endless);
    assert!(matches!(
        Artifact::read_from(longer_than_announced, &expected()),
        Err(AnswerError::Malformed(_))
    ));
    assert!(malformed(&head(usize::MAX)).contains("at most"));
}

#[test]
fn another_components_code_is_refused() {
    for (expected, problem) in [
        (Expected { component: Digest::of(b"other"), ..expected() }, "another component"),
        (Expected { engine: Digest::of(b"other"), ..expected() }, "another version"),
    ] {
        let answer = Artifact::read_from(stream().as_slice(), &expected).unwrap_err();
        assert!(answer.to_string().contains(problem), "{answer}");
        let error = Artifact::from_container(artifact().container, &expected).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn a_file_in_memory_can_not_be_changed() {
    let mut file = artifact().to_file().unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, artifact().container);
    file.seek(SeekFrom::Start(0)).unwrap();
    assert!(file.write(b"x").is_err());
    assert!(file.set_len(0).is_err());
}

proptest! {
    #[test]
    fn no_stream_makes_the_reader_fail_otherwise_than_by_an_error(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = stream();
        let start = place.index(bytes.len());
        let end = (start + noise.len()).min(bytes.len());
        bytes.splice(start..end, noise.iter().copied());
        let bytes = if whole { bytes } else { noise };
        if let Ok(read) = Artifact::read_from(bytes.as_slice(), &expected()) {
            prop_assert_eq!(read.container, artifact().container, "only what was not changed is taken");
        }
    }
}
