use std::fs;

use lunbox_behaviour::components::component;

use super::*;

fn engine() -> Engine {
    Engine::new(EngineOptions::default()).unwrap()
}

#[test]
fn a_handler_is_described_in_full() {
    let path = component("lunbox-handler-file");
    let report = report(&path, &engine()).unwrap();
    assert!(report.served && report.problem.is_none(), "{report:?}");
    assert_eq!(report.form, Form::Component);
    assert_eq!(report.contract, [CONTRACT_VERSION]);
    assert_eq!(report.size, fs::metadata(&path).unwrap().len());
    assert_eq!(report.handler.as_ref().unwrap().subtype, "file");
    let names = |list: &Option<Vec<Interface>>| -> Vec<String> {
        list.iter().flatten().map(|interface| interface.name.clone()).collect()
    };
    let exports = names(&report.exports);
    for name in ["handler", "block", "block-batch", "resize"] {
        let name = format!("lunbox:handler/{name}@{CONTRACT_VERSION}");
        assert!(exports.contains(&name), "{name} in {exports:?}");
    }
    assert!(names(&report.imports).iter().all(|name| name.starts_with("lunbox:handler/")));
    assert!(report.memory_minimum.unwrap() >= 65536);
    let text = text(&report, false);
    for part in ["sha256", "yes", "file", "contract", "can change their size", "absolute path"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_precompiled_handler_tells_what_it_can_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handler_file.cwasm");
    let engine = engine();
    fs::write(&path, engine.precompile(&component("lunbox-handler-file")).unwrap()).unwrap();
    let report = report(&path, &engine).unwrap();
    assert!(report.served, "{report:?}");
    assert_eq!((report.form, report.imports.as_ref()), (Form::Precompiled, None));
    assert!(report.exports.as_ref().unwrap().iter().any(|interface| interface.name.contains("/resize@")));
    assert!(text(&report, false).contains("not recorded in a precompiled file"));
}

#[test]
fn what_can_not_be_loaded_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handler_x.wasm");
    for (bytes, problem, form) in [
        (&b"\0asm\x01\0\0\0"[..], "wasm-component-ld", Form::Module),
        (b"\x7fELF", "ELF", Form::Unknown),
        (b"\0asm\x0d\0\x01\0", "does not export lunbox:handler/handler", Form::Component),
    ] {
        fs::write(&path, bytes).unwrap();
        let report = report(&path, &engine()).unwrap();
        assert!(!report.served && report.form == form && report.handler.is_none(), "{report:?}");
        assert!(report.problem.as_ref().unwrap().contains(problem), "{report:?}");
        assert!(text(&report, false).contains("served      no: "), "{}", text(&report, false));
    }
}

#[test]
fn files_that_can_not_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = report(directory.path(), &engine()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    let error = report(Path::new("/no/such/file.wasm"), &engine()).unwrap_err();
    assert!(error.to_string().contains("/no/such/file.wasm"), "{error}");
}

#[test]
fn subtypes_are_told_from_files() {
    for text in ["file", "zbc_2", "qcow"] {
        assert!(is_subtype(text), "{text}");
    }
    for text in ["", "./file", "handler_file.wasm", "File", "a-b", "a/b"] {
        assert!(!is_subtype(text), "{text}");
    }
}

#[test]
fn the_shape_of_json() {
    let report = report(&component("lunbox-handler-file"), &engine()).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["form"], "component");
    assert_eq!(json["served"], true);
    assert!(json["problem"].is_null());
    assert_eq!(json["handler"]["subtype"], "file");
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    assert!(json["exports"][0]["name"].is_string() && json["exports"][0]["meaning"].is_string());
}
