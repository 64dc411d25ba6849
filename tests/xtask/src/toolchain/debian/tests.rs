use super::*;
use std::process::Command;

fn package(name: &str, version: &str) -> Package {
    Package { name: name.into(), version: version.into(), size: 1 }
}

#[test]
fn the_key_follows_the_compilers_packages_and_not_the_machines_libraries() {
    let base = [package("rustc-web", "1"), package("libstd-rust-web-1.96", "1")];
    let newer = [package("rustc-web", "1"), package("libstd-rust-web-1.96", "2")];
    let with_library =
        [package("rustc-web", "1"), package("libstd-rust-web-1.96", "1"), package("libz3-4", "7")];
    assert_ne!(key(&base).unwrap(), key(&newer).unwrap());
    assert_eq!(key(&base).unwrap(), key(&with_library).unwrap());
}

#[test]
fn an_interrupted_download_is_not_taken_for_done_and_a_newer_compiler_replaces_the_old() {
    let cache = tempfile::tempdir().unwrap();
    let (old, new) = (cache.path().join("debian-old"), cache.path().join("debian-new"));
    std::fs::create_dir(cache.path().join("fetch.abc")).unwrap();
    assert_eq!(only_cached(cache.path()).unwrap(), None);
    std::fs::create_dir(&old).unwrap();
    assert_eq!(only_cached(cache.path()).unwrap(), Some(old));
    std::fs::create_dir(&new).unwrap();
    drop_others(cache.path(), &new).unwrap();
    assert_eq!(cached(cache.path()).unwrap(), [new]);
    drop_interrupted(cache.path()).unwrap();
    assert!(!cache.path().join("fetch.abc").exists());
    assert_eq!(cached(cache.path()).unwrap().len(), 1);
}

#[test]
fn the_wrapper_hands_on_arguments_and_says_which_compiler() {
    let folder = tempfile::Builder::new().prefix("with space ").tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    let text = wrapper_text(&cargo, Path::new("/x y/rustc"), &["/l 1".into(), "/l2".into()]);
    let script = "printf '%s\\n' \"$RUSTC\" \"$RUSTC_BOOTSTRAP\" \"${PATH%%:/usr*}\" \"$@\"";
    // A shell reads the scripts, so that no process has to start a file that was just written.
    let probe = text.replace(
        &format!("exec {}", quoted(&cargo.to_string_lossy())),
        &format!("sh -c {} sh", quoted(script)),
    );
    assert_ne!(probe, text);
    let output = Command::new("sh")
        .args(["-c", &probe, "wasm-cargo", "build", "-p", "two words"])
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        ["/x y/rustc", "1", "/l 1:/l2", "build", "-p", "two words", "-Zbuild-std=std,panic_abort"]
    );
}
