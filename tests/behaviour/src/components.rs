//! Finds compiled handlers, building them first if need be.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, from the workspace's root if it is relative, else `target`.
fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The component of a handler crate, built from the sources as they are now.
///
/// # Panics
/// If cargo can not build it; the message is cargo's.
#[must_use]
pub fn component(package: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let root = workspace();
    let mut built = BUILT.lock().expect("no test panics while it builds");
    let built = built.get_or_insert_with(HashSet::new);
    if built.insert(package.to_owned()) {
        // Named where this toolchain lacks the Wasm target and `cargo xtask` has found another compiler.
        let cargo = std::env::var_os("LUNBOX_WASM_CARGO").or_else(|| std::env::var_os("CARGO"));
        let output = Command::new(cargo.unwrap_or_else(|| "cargo".into()))
            .current_dir(&root)
            .args([
                "build",
                "--quiet",
                "--profile",
                "guest",
                "--target",
                "wasm32-unknown-unknown",
                "-p",
                package,
            ])
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .arg("--target-dir")
            .arg(target())
            .output()
            .expect("cargo can be run");
        assert!(output.status.success(), "building {package}: {}", String::from_utf8_lossy(&output.stderr));
    }
    target().join("wasm32-unknown-unknown/guest").join(format!("{}.wasm", package.replace('-', "_")))
}
