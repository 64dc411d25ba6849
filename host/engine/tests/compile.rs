//! Compiling in one process and running in another: what goes between them, and what does not get through.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::process::{Command, ExitCode, Stdio};

use lunbox_contract::{BlockCommand, BlockKind, DeviceConfig, OpKind, Outcome, StoreId, StoreInfo, Tag};
use lunbox_engine::{
    AnswerError, Artifact, Digest, Expected, HandlerFactory as _, HandlerFile, Limits, LoadError, Shelf,
    compile_child, engine_digest, read_container,
};
use support::forge::Forged;
use support::scratch::Scratch;
use support::{SIZE, engine, fresh_buffers, guests, load, read, serving};

fn expected(component: &[u8]) -> Expected {
    Expected { component: Digest::of(component), engine: engine_digest().unwrap() }
}

/// What a compiling process answers to these bytes.
fn compiled(component: &[u8]) -> Result<Artifact, AnswerError> {
    let mut answer = Vec::new();
    let exit = compile_child::main(component, &mut answer);
    assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::SUCCESS), "there is an answer");
    Artifact::read_from(answer.as_slice(), &expected(component))
}

#[test]
fn what_was_compiled_elsewhere_serves_by_its_descriptor_alone() {
    let wasm = std::fs::read(guests::mirror()).unwrap();
    let artifact = compiled(&wasm).unwrap();
    let scratch = Scratch::new();
    let shelf = Shelf::open(&scratch.path().join("shelf"), engine_digest().unwrap()).unwrap();
    shelf.put(&artifact).unwrap();
    let shelved = shelf.get(artifact.component()).unwrap();
    assert_eq!(&shelved.manifest, artifact.manifest());
    for file in [shelved.file, artifact.to_file().unwrap()] {
        let container = read_container(&file).unwrap();
        let component = engine().load_container(&container, artifact.component()).unwrap();
        assert_eq!(component.digest(), Digest::of(&wasm));
        assert_eq!(component.description(), &artifact.manifest().description);
        assert_eq!(component.abilities(), artifact.manifest().abilities);
        assert_eq!(component.schema(), artifact.manifest().schema.as_ref());

        // Its two stores are found by the fields of its schema.
        let fields = &component.schema().unwrap().fields;
        let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["path", "copy", "read"]);
        let mut handler = component.instantiate("disk1", fresh_buffers(), &Limits::default()).unwrap();
        let store =
            |option: &str| StoreInfo { option: option.to_owned(), ..support::config().stores[0].clone() };
        let stores = vec![store("copy"), store("path")];
        let options = vec![("read".to_owned(), "second".to_owned())];
        handler.configure(&DeviceConfig { stores, options, ..support::config() }).unwrap().unwrap();
        let write =
            BlockCommand { tag: Tag(1), kind: BlockKind::Write, fua: true, offset: SIZE / 2, length: 512 };
        let Ok(Outcome::More(ops)) = handler.submit_block(&write) else { panic!("two writes") };
        let places: Vec<_> =
            ops.iter().map(|op| (op.kind, op.store, op.store_offset, op.flags.durable)).collect();
        let place = |store| (OpKind::Write, StoreId(store), SIZE / 2, true);
        assert_eq!(places, [place(0), place(1)]);
        let Ok(Outcome::More(ops)) = handler.submit_block(&read(2, 0)) else { panic!("a read") };
        assert_eq!(ops[0].store, StoreId(0), "the copy");
    }
}

#[test]
fn a_component_that_is_no_handler_is_refused_with_its_reason() {
    let headless =
        Forged { interfaces: ("acme:other/thing@0.1.0", "lunbox:handler/block@0.1.0"), ..Forged::default() };
    let spinning = Forged { describe_loops: true, ..Forged::default() };
    let cases: [(Vec<u8>, &str); 4] = [
        (headless.component(), "lunbox:handler/handler"),
        (spinning.component(), "describe"),
        (b"\0asm\x01\0\0\0".to_vec(), "core Wasm module"),
        (Vec::new(), "empty"),
    ];
    for (component, reason) in cases {
        let answer = compiled(&component);
        assert!(
            matches!(&answer, Err(AnswerError::Refused(message)) if message.contains(reason)),
            "{answer:?}"
        );
    }
}

#[test]
fn a_component_without_end_is_refused_when_it_is_too_long() {
    let mut answer = Vec::new();
    compile_child::main(std::io::repeat(0), &mut answer);
    let answer = Artifact::read_from(answer.as_slice(), &expected(b"")).unwrap_err();
    assert!(matches!(&answer, AnswerError::Refused(message) if message.contains("at most")), "{answer}");
}

#[test]
fn nobody_reads_the_answer() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let exit = compile_child::main(&b"no component"[..], Closed);
    assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn a_container_is_taken_for_its_own_component_only_and_only_intact() {
    let engine = engine();
    let artifact = engine.compile(&std::fs::read(guests::file()).unwrap()).unwrap();
    let refused = |container: &[u8], component: &Digest| match engine.load_container(container, component) {
        Err(LoadError::Precompiled { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    assert!(refused(artifact.container(), &Digest::of(b"other")).contains("another component"));
    for place in [0, 8, 40, 72, 104, 112, 120, 500, artifact.container().len() - 1] {
        let mut damaged = artifact.container().to_vec();
        damaged[place] ^= 1;
        refused(&damaged, artifact.component());
    }
    let cut = &artifact.container()[..artifact.container().len() - 1];
    refused(cut, artifact.component());
    let component = engine.load_container(artifact.container(), artifact.component()).unwrap();
    serving(&component, &Limits::default()).submit_block(&read(1, 0)).unwrap();
}

#[test]
fn a_precompiled_file_says_who_it_is_without_being_run() {
    let engine = engine();
    let scratch = Scratch::new();
    let path = scratch.write("handler_mirror.cwasm", &engine.precompile(&guests::mirror()).unwrap());
    let HandlerFile::Precompiled(container) = HandlerFile::read(&path).unwrap() else {
        panic!("a container")
    };
    let artifact = Artifact::of_precompiled(container, &engine_digest().unwrap()).unwrap();
    assert_eq!(artifact.component(), &Digest::of(&std::fs::read(guests::mirror()).unwrap()));
    assert_eq!(artifact.manifest().description.subtype, "mirror");
    assert!(artifact.manifest().schema.is_some() && !artifact.manifest().wasi);
    assert!(Artifact::of_precompiled(artifact.container().to_vec(), &Digest::of(b"")).is_err());
    let component = engine.load(&path).unwrap();
    assert_eq!(component.schema(), artifact.manifest().schema.as_ref());
}

#[test]
fn options_that_are_exported_must_be_of_the_contracts_type() {
    // A handler whose `block` is exported once more as `options` has no `declare`.
    let odd = Forged {
        interfaces: ("lunbox:handler/handler@0.1.0", "lunbox:handler/options@0.1.0"),
        ..Forged::default()
    };
    assert!(load(&engine(), &odd.component()).is_err());
}

/// Set in the process that [`another_process_compiles`] starts.
const CHILD: &str = "LUNBOX_TEST_COMPILE_CHILD";

#[test]
fn another_process_compiles() {
    if std::env::var_os(CHILD).is_some() {
        // stdout belongs to the test's runner, so the answer goes to stderr.
        compile_child::main(std::io::stdin(), std::io::stderr());
        return;
    }
    let component = guests::file();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_compiles", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::from(std::fs::File::open(&component).unwrap()))
        .output()
        .unwrap();
    let wasm = std::fs::read(component).unwrap();
    let artifact = Artifact::read_from(output.stderr.as_slice(), &expected(&wasm)).unwrap();
    let component = engine().load_container(artifact.container(), artifact.component()).unwrap();
    serving(&component, &Limits::default()).submit_block(&read(1, 0)).unwrap();
}
