//! The two streams, honest and hostile.

use super::*;

fn question() -> Question {
    Question {
        component: Digest::of(b"component"),
        stores: vec![("path".to_owned(), false), ("copy".to_owned(), true)],
        options: vec![("read".to_owned(), "se\"co\nnd".to_owned())],
    }
}

#[test]
fn a_question_comes_back_with_its_container() {
    let container = b"\n{machine\0code}\n";
    let mut stream = Vec::new();
    question().write_to(container, &mut stream).unwrap();
    assert_eq!(Question::read_from(stream.as_slice()), Ok((question(), container.to_vec())));
    let config = question().config();
    assert_eq!(config.stores.len(), 2);
    assert!(config.stores[1].read_only && !config.stores[0].read_only);
    assert_eq!(config.size % u64::from(config.block_size), 0);
    assert!(config.stores.iter().all(|store| store.size >= config.size && store.can_grow));
}

#[test]
fn a_child_that_was_asked_nonsense_says_that_it_knows_nothing() {
    let mut not_a_container = Vec::new();
    question().write_to(b"machine code", &mut not_a_container).unwrap();
    let endless = vec![b'x'; 1 << 20];
    let unknown = b"{\"component\":\"\",\"stores\":[],\"options\":[],\"more\":1}\n".to_vec();
    let no_digest = b"{\"component\":\"12\",\"stores\":[],\"options\":[]}\n".to_vec();
    for stream in [Vec::new(), b"\n".to_vec(), b"{}\n".to_vec(), endless, unknown, no_digest, not_a_container]
    {
        let mut answer = Vec::new();
        main(stream.as_slice(), &mut answer);
        let verdict = Verdict::read_from(answer.as_slice()).unwrap();
        assert!(matches!(verdict, Some(Verdict::Failed(_))), "{verdict:?}");
    }
}

#[test]
fn what_a_child_answers_is_one_line_with_an_end_or_nothing() {
    let written = |verdict: &Verdict| serde_json::to_vec(verdict).unwrap();
    let read = |bytes: &[u8]| Verdict::read_from(bytes).unwrap();
    assert_eq!(read(&written(&Verdict::Accepted)), Some(Verdict::Accepted));
    let long = Verdict::Refused(format!("\n{}", "x".repeat(10_000)));
    let Some(Verdict::Refused(reason)) = read(&written(&long)) else { panic!() };
    assert!(reason.len() < MAX_REASON + 8 && !reason.contains('\n'));
    for other in [&b""[..], b"{", b"\"good\"", b"\"accepted\" and more", b"{\"refused\":1}", b"[]", b"\xff"] {
        assert_eq!(read(other), None, "{other:?}");
    }
    // More than an answer may have is not read: this one never ends.
    assert_eq!(Verdict::read_from(io::repeat(b'"')).unwrap(), None);
}
