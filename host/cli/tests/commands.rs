//! The commands that print something.

mod support;

use std::fs;

use serde_json::Value;

use support::{handler, lunbox, lunbox_with};

/// A directory with the `file` handler and one that can not be loaded.
fn directory() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("the test can use a directory for temporary files");
    fs::copy(handler(), place.path().join("handler_file.wasm"))
        .expect("the test can use a directory for temporary files");
    fs::write(place.path().join("handler_broken.wasm"), "no component")
        .expect("the test can use a directory for temporary files");
    place
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn handlers_are_listed() {
    let place = directory();
    let path = place.path().to_str().unwrap();
    let said = lunbox(&["handlers", "--handler-path", path]);
    assert_eq!(said.status, Some(0));
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    assert!(lines[0].starts_with("SUBTYPE") && lines[1].starts_with("file "), "{said:?}");
    assert!(said.stderr.contains("handler_broken.wasm"), "{said:?}");
    assert!(!said.stdout.contains('\x1b'), "no colours on a pipe");

    let said = lunbox(&["--json", "--log-level", "off", "handlers", "--handler-path", path]);
    let list = json(&said.stdout);
    assert_eq!(list["handlers"][0]["subtype"], "file");
    assert_eq!(list["handlers"][0]["size"], fs::metadata(handler()).unwrap().len());
    assert!(list["refused"][0]["path"].as_str().unwrap().ends_with("handler_broken.wasm"));
    assert_eq!(said.stderr, "");

    // The same by the variable.
    let said = lunbox_with(&["handlers"], &[("LUNBOX_HANDLER_PATH", path)]);
    assert!(said.stdout.contains(path), "{said:?}");
}

#[test]
fn a_handler_is_inspected_by_file_and_by_subtype() {
    let place = directory();
    let path = place.path().to_str().unwrap();
    for arguments in
        [&["inspect", &format!("{path}/handler_file.wasm")][..], &["inspect", "file", "--handler-path", path]]
    {
        let said = lunbox(arguments);
        assert_eq!(said.status, Some(0), "{said:?}");
        for part in
            ["handler_file.wasm", "sha256", "subtype     file", "lunbox:handler/block@", "served      yes"]
        {
            assert!(said.stdout.contains(part), "{part}: {said:?}");
        }
    }
    let said = lunbox(&["inspect", "--json", "file", "--handler-path", path]);
    let report = json(&said.stdout);
    assert_eq!((&report["served"], &report["handler"]["subtype"]), (&true.into(), &"file".into()));
}

#[test]
fn a_file_that_is_no_handler_is_told_with_status_1() {
    let place = directory();
    let said = lunbox(&["inspect", place.path().join("handler_broken.wasm").to_str().unwrap()]);
    assert_eq!(said.status, Some(1));
    assert!(said.stdout.contains("served      no: not a WebAssembly component"), "{said:?}");
    let said = lunbox(&["inspect", "zbc", "--handler-path", place.path().to_str().unwrap()]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("\"zbc\"") && said.stderr.contains("there is: file"), "{said:?}");
}

#[test]
fn completions_and_manuals_are_printed_and_written() {
    for shell in ["bash", "zsh", "fish"] {
        let said = lunbox(&["completions", shell]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
        assert!(said.stdout.contains("serve") && said.stdout.contains("inspect"), "{shell}");
        let said = lunbox(&["completions", shell, "--json"]);
        assert_eq!(json(&said.stdout)["shell"], shell);
    }
    let said = lunbox(&["man"]);
    assert!(said.status == Some(0) && said.stdout.contains(".TH lunbox 1"), "{said:?}");
    assert_eq!(json(&lunbox(&["man", "--json"]).stdout)[1]["name"], "lunbox-serve.1");
    let place = tempfile::tempdir().unwrap();
    let said = lunbox(&["man", "--dir", place.path().to_str().unwrap()]);
    assert_eq!(said.status, Some(0));
    assert_eq!(said.stdout.lines().count(), fs::read_dir(place.path()).unwrap().count());
    assert!(place.path().join("lunbox-serve.1").is_file());
    let said = lunbox(&["man", "--dir", "/no/such/place"]);
    assert!(said.status == Some(1) && said.stderr.contains("--dir"), "{said:?}");
}

#[test]
fn help_is_a_result_and_not_an_error() {
    for arguments in [&["--help"][..], &["help", "serve"], &["serve", "--help"], &["--version"]] {
        let said = lunbox(arguments);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(said.stdout.contains("lunbox"), "{arguments:?}");
    }
}
