//! Whatever is wrong is named, with what to do about it, before anything is served.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use support::{Running, file, handler, lunbox, lunbox_with};

/// `lunbox serve` that does not start: its message. Nothing is printed on stdout.
fn refused(arguments: &[&str]) -> String {
    let handler = handler();
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--handler", handler.to_str().expect("a plain path")];
    let said = lunbox(&[&fixed, arguments].concat());
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.lines().any(|line| line.starts_with("error: ")), "{said:?}");
    said.stderr
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn what_a_lun_can_not_stand_on() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let built = handler();
    contains(
        &refused(&["fiel//x"]),
        &["\"fiel\"", built.to_str().unwrap(), "there is: file;", "--handler-path", "cargo xtask build"],
    );
    contains(&refused(&[&file(&path)]), &["does not exist", "--size 1G", path.to_str().unwrap()]);
    contains(&refused(&[&file(&path), "--read-only"]), &["does not exist"]);
    assert!(!path.exists(), "nothing may be made by a start that fails so early");
    contains(&refused(&[&file(place.path()), "--size", "1M"]), &["is a directory"]);
    contains(&refused(&["file/relative", "--size", "1M"]), &["\"relative\"", "file//directory/file"]);
    contains(&refused(&["file/", "--size", "1M"]), &["LUN 0 (file/)", "no file was granted"]);
    contains(&refused(&["file//dev/null", "--size", "1M"]), &["character device"]);
    contains(&refused(&["file//dev/no-such-disk", "--size", "1M"]), &["/dev/no-such-disk does not exist"]);
    fs::write(&path, "").unwrap();
    contains(&refused(&[&file(&path)]), &["is empty", "--size"]);
}

#[test]
fn numbers_that_make_no_lun() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    fs::write(&path, [0; 1000]).unwrap();
    contains(&refused(&[&file(&path)]), &["1000 bytes", "--block-size 512", "--size 1024"]);
    contains(&refused(&[&file(&path), "--size", "1000"]), &["1000 bytes", "use --size 1024"]);
    contains(&refused(&[&file(&path), "--size", "1M", "--block-size", "1000"]), &["--block-size 1000"]);
    contains(&refused(&[&file(&path), "--size", "1M", "--read-only"]), &["has 1000", "not written to"]);
    let new = place.path().join("new");
    contains(&refused(&[&file(&new), "--size", "1000"]), &["1000 bytes", "use --size 1024"]);
    contains(&refused(&[&file(&new), "--size", "1M", "--block-size", "1000"]), &["--block-size 1000"]);
    assert!(!new.exists(), "numbers are judged before a file is made");
    contains(&refused(&[&file(&path), "--size", "1M,2M"]), &["--size was given 2 times for 1 LUNs"]);
}

#[test]
fn a_file_that_was_made_is_named_when_a_later_step_fails() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let text = refused(&[&file(&path), "file//no/such/place/disk", "--size", "1M"]);
    contains(&text, &["LUN 1", "mkdir -p", "still there:", path.to_str().unwrap()]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
    let endless = place.path().join("endless");
    let text = refused(&[&file(&endless), "--size", "8388607T"]);
    contains(&text, &["LUN 0", "can not be made", "smaller size", endless.to_str().unwrap()]);
}

#[test]
fn one_file_is_served_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let spec = file(&path);
    contains(&refused(&[&spec, &spec, "--size", "1M"]), &["LUN 1", "in use by LUN 0;", "read-only"]);
    let mut server = Running::serve(&[&spec, "--size", "1M"]);
    server.line();
    contains(&refused(&[&spec]), &["another process", path.to_str().unwrap()]);
    contains(&refused(&[&spec, "--size", "512", "--read-only"]), &["another process"]);
    assert_eq!(server.terminate(), Some(0));
    let mut next = Running::serve(&[&spec, "--size", "1M"]);
    next.line();
    assert_eq!(next.terminate(), Some(0));
}

#[test]
fn addresses_that_can_not_be_listened_on() {
    let place = tempfile::tempdir().unwrap();
    let spec = file(&place.path().join("disk"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = |listen: &str| {
        let handler = handler();
        let said = lunbox(&[
            "serve",
            "--listen",
            listen,
            "--handler",
            handler.to_str().unwrap(),
            &spec,
            "--size",
            "1M",
        ]);
        assert_eq!(said.status, Some(1), "{said:?}");
        said.stderr
    };
    contains(&serve(&address), &[&address, "in use", "--listen 127.0.0.1:0", "still there"]);
    fs::remove_file(place.path().join("disk")).unwrap();
    contains(&serve("0.0.0.0:0"), &["0.0.0.0:0", "--chap-user", "--chap-secret-file"]);
    contains(&serve("[::]:0"), &["--chap-user"]);
    assert!(!place.path().join("disk").exists());
}

#[test]
fn secrets() {
    let place = tempfile::tempdir().unwrap();
    let spec = file(&place.path().join("disk"));
    let secret = place.path().join("secret");
    fs::write(&secret, "short\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let path = secret.to_str().unwrap();
    let text = refused(&[&spec, "--chap-user", "me", "--chap-secret-file", path]);
    contains(&text, &["warning: ", "chmod 600", "5 bytes", "12"]);
    contains(&refused(&[&spec, "--chap-user", "me"]), &["--chap-secret-file", "LUNBOX_CHAP_SECRET"]);
    contains(&refused(&[&spec, "--chap-user", "me", "--chap-secret-file", "/no/secret"]), &["/no/secret"]);
    let said = lunbox_with(&["serve", &spec, "--chap-user", "me"], &[("LUNBOX_CHAP_SECRET", "tooshort")]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("8 bytes") && !said.stderr.contains("tooshort"), "{said:?}");
}

#[test]
fn handlers_that_can_not_be_loaded() {
    let place = tempfile::tempdir().unwrap();
    let module = place.path().join("handler_x.wasm");
    fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let said = lunbox(&["serve", "--handler", module.to_str().unwrap(), "file//x", "--size", "1M"]);
    assert_eq!(said.status, Some(1));
    contains(&said.stderr, &["handler_x.wasm", "wasm-component-ld"]);
    let said = lunbox(&["serve", "--handler-path", "/no/such/place", "file//x"]);
    contains(&said.stderr, &["/no/such/place", "--handler-path"]);
    let empty = tempfile::tempdir().unwrap();
    let said = lunbox(&["serve", "--handler-path", empty.path().to_str().unwrap(), "file//x"]);
    contains(&said.stderr, &[&format!("in {}; there is: none; name", empty.path().display())]);
}

#[test]
fn command_lines_that_are_not_understood_end_with_2() {
    for arguments in
        [&["serve"][..], &["serve", "a/b", "--size", "1GB"], &["no-such-command"], &["serve", "/tmp/x"]]
    {
        let said = lunbox(arguments);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.starts_with("error: "), "{said:?}");
    }
    assert_eq!(lunbox(&[]).status, Some(2));
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let parse =
        |stderr: &str| -> Value { serde_json::from_str(stderr).unwrap_or_else(|_| panic!("{stderr}")) };
    let said = lunbox(&["serve", "--json", "--handler", handler().to_str().unwrap(), "file//no/file"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(parse(&said.stderr)["error"].as_str().unwrap().contains("--size"), "{said:?}");
    let said = lunbox(&["serve", "--json"]);
    assert_eq!(said.status, Some(2));
    assert!(parse(&said.stderr)["error"].as_str().unwrap().contains("SUBTYPE/CONFIG"), "{said:?}");
    let said = lunbox(&["inspect", "--json", "/no/file.wasm"]);
    assert!(parse(&said.stderr)["error"].as_str().unwrap().contains("/no/file.wasm"));
    assert!(!Path::new("/no").exists());
}
