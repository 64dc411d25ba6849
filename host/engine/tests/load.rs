//! What is loaded, what is refused, and what the refusal says.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::borrow::Cow;
use std::os::unix::fs::PermissionsExt as _;

use lunbox_engine::{Catalogue, Engine, Fault, HandlerFactory as _, Limits, LoadError};
use support::captured_log::capture;
use support::forge::Forged;
use support::scratch::Scratch;
use support::{engine, guests, load, read, serving};

fn refused(engine: &Engine, wasm: &[u8]) -> LoadError {
    let error = load(engine, wasm).unwrap_err();
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error
}

/// A real component with one name in it replaced by another of the same length.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut wasm = std::fs::read(guests::file()).unwrap();
    let mut found = 0;
    for at in 0..wasm.len() - from.len() {
        if wasm[at..].starts_with(from.as_bytes()) {
            wasm[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} occurs");
    wasm
}

#[test]
fn all_guests_load_without_system_imports() {
    let engine = engine();
    for (path, subtype) in
        [(guests::file(), "file"), (guests::null(), "null"), (guests::hostile(), "hostile")]
    {
        let component = engine.load(&path).unwrap();
        assert_eq!(component.description().subtype, subtype);
        assert!(component.abilities().block);
    }
}

#[test]
fn a_forged_handler_serves_like_a_real_one() {
    let component = load(&engine(), &Forged::default().component()).unwrap();
    assert_eq!(component.description().subtype, "forged");
    serving(&component, &Limits::default()).submit_block(&read(1, 0)).unwrap();
}

#[test]
fn files_that_are_no_component_are_refused() {
    let (engine, scratch) = (engine(), Scratch::new());
    assert!(matches!(engine.load(&scratch.path().join("absent")), Err(LoadError::Read(_))));
    assert!(matches!(engine.load(scratch.path()), Err(LoadError::NotWasm { .. })));
    let fifo = scratch.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(engine.load(&fifo), Err(LoadError::NotWasm { .. })), "it does not wait for a writer");
    assert!(matches!(refused(&engine, b""), LoadError::NotWasm { .. }));
    assert!(matches!(refused(&engine, b"(component)"), LoadError::NotWasm { .. }));
    assert!(matches!(refused(&engine, b"\0asm\x01\0\0\0"), LoadError::CoreModule));
}

#[test]
fn a_cut_component_is_refused_wherever_it_is_cut() {
    let engine = engine();
    let wasm = std::fs::read(guests::null()).unwrap();
    for length in [4, 8, 100, wasm.len() / 2, wasm.len() - 1] {
        let error = refused(&engine, &wasm[..length]);
        // Cut behind the first 8 bytes it is a component that exports nothing.
        assert!(
            matches!(error, LoadError::Invalid { .. } | LoadError::MissingExport { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn other_imports_are_refused_by_name() {
    let engine = engine();
    let wasi = Forged { import: Some("wasi:http/types@0.2.6"), ..Forged::default() };
    let LoadError::UngrantedImport { import, remedy } = refused(&engine, &wasi.component()) else {
        panic!("WASI has parts that the host does not")
    };
    assert_eq!(import, "wasi:http/types@0.2.6");
    assert!(remedy.contains("wasm32-unknown-unknown"));

    let real = renamed("lunbox:handler/log@0.1.0", "acme:clockwork/now@0.1.0");
    let LoadError::UngrantedImport { import, .. } = refused(&engine, &real) else { panic!("not granted") };
    assert_eq!(import, "acme:clockwork/now@0.1.0");
}

#[test]
fn other_contract_versions_are_told_with_both_numbers() {
    let LoadError::ContractVersion { built_for, supported, .. } =
        refused(&engine(), &renamed("@0.1.0", "@0.9.0"))
    else {
        panic!("another version")
    };
    assert_eq!((built_for.as_str(), supported), ("0.9.0", "0.1.0"));
}

#[test]
fn missing_and_different_exports_are_named() {
    let engine = engine();
    let unkind = Forged {
        interfaces: ("lunbox:handler/handler@0.1.0", "lunbox:handler/resize@0.1.0"),
        ..Forged::default()
    };
    assert!(matches!(refused(&engine, &unkind.component()), LoadError::MissingExport { .. }));
    let headless =
        Forged { interfaces: ("acme:other/thing@0.1.0", "lunbox:handler/block@0.1.0"), ..Forged::default() };
    let error = refused(&engine, &headless.component());
    assert!(error.to_string().contains("lunbox:handler/handler"), "{error}");
    let swapped = Forged {
        interfaces: ("lunbox:handler/block@0.1.0", "lunbox:handler/handler@0.1.0"),
        ..Forged::default()
    };
    assert!(matches!(refused(&engine, &swapped.component()), LoadError::WrongType { .. }));
    let wrong = Forged { wrong_type: true, ..Forged::default() };
    assert!(matches!(refused(&engine, &wrong.component()), LoadError::WrongType { .. }));
}

#[test]
fn describing_has_limits_too() {
    let engine = engine();
    let looping = Forged { describe_loops: true, ..Forged::default() };
    assert!(matches!(refused(&engine, &looping.component()), LoadError::Fault(Fault::Deadline { .. })));
    let starting = Forged { start_loops: true, ..Forged::default() };
    assert!(matches!(refused(&engine, &starting.component()), LoadError::Fault(Fault::Deadline { .. })));
    let large = Forged { pages: 1025, ..Forged::default() };
    assert!(matches!(refused(&engine, &large.component()), LoadError::Fault(Fault::Memory { .. })));
}

#[test]
fn a_subtype_must_be_a_name() {
    let [_, name, version, help] = Forged::default().description;
    let description = [Cow::Borrowed(&b"../etc"[..]), name, version, help];
    let error = refused(&engine(), &Forged { description, ..Forged::default() }.component());
    assert!(matches!(error, LoadError::Description { field: "subtype", .. }), "{error}");
}

#[test]
fn precompiled_handlers_serve_and_are_not_trusted_blindly() {
    let (engine, scratch) = (engine(), Scratch::new());
    let code = engine.precompile(&guests::file()).unwrap();
    let path = scratch.write("file.cwasm", &code);
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let component = support::engine().load(&path).unwrap();
    assert_eq!(component.description().subtype, "file");
    serving(&component, &Limits::default()).submit_block(&read(1, 0)).unwrap();
    assert!(matches!(engine.precompile(&path), Err(LoadError::Precompiled { .. })));

    mode(0o664);
    let error = engine.load(&path).unwrap_err();
    assert!(matches!(&error, LoadError::Precompiled { remedy, .. } if remedy.contains("chmod")), "{error}");
    mode(0o644);

    let mut damaged = code.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&engine, &damaged), LoadError::Precompiled { .. }));
    assert!(matches!(refused(&engine, &code[..code.len() - 1]), LoadError::Precompiled { .. }));
    let mut other_engine = code;
    other_engine[8] ^= 1;
    let error = refused(&engine, &other_engine);
    assert!(error.to_string().contains("another version"), "{error}");
}

#[test]
fn what_would_not_load_is_not_precompiled() {
    let scratch = Scratch::new();
    let wasi = Forged { import: Some("wasi:http/types@0.2.6"), ..Forged::default() };
    let path = scratch.write("handler.wasm", &wasi.component());
    assert!(matches!(engine().precompile(&path), Err(LoadError::UngrantedImport { .. })));
}

#[test]
fn a_directory_named_twice_is_no_mistake_but_two_handlers_of_one_subtype_in_it_are() {
    let scratch = Scratch::new();
    scratch.write("handler_a.wasm", &Forged::default().component());
    let engine = engine();
    let complaints = || {
        let log = capture(|| {
            let mut catalogue = Catalogue::default();
            for _ in 0..2 {
                catalogue.add_directory(scratch.path(), &engine).unwrap();
            }
            assert_eq!(catalogue.iter().count(), 1);
        });
        log.into_iter().filter(|(level, _)| *level < tracing::Level::INFO).map(|(_, text)| text).collect()
    };
    let none: Vec<String> = complaints();
    assert_eq!(none, [""; 0]);
    scratch.write("handler_b.wasm", &Forged::default().component());
    let both: Vec<String> = complaints();
    assert!(!both.is_empty() && both.iter().all(|text| text.contains("remove one of the two")), "{both:?}");
}
