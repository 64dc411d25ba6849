//! Real components: the project's own, built from source.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The `file` handler.
pub fn file() -> PathBuf {
    built("lunbox_handler_file.wasm")
}

/// The handler that misbehaves on demand.
pub fn hostile() -> PathBuf {
    built("lunbox_test_hostile.wasm")
}

/// The handler that imports WASI and misuses it on demand.
pub fn wasi() -> PathBuf {
    built("lunbox_test_wasi.wasm")
}

/// The smallest handler.
pub fn null() -> PathBuf {
    built("lunbox_example_null.wasm")
}

/// Two stores and options.
pub fn mirror() -> PathBuf {
    built("lunbox_example_mirror.wasm")
}

/// A handler with every ability, which answers with what it was asked.
pub fn abilities() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/abilities/Cargo.toml");
    BUILT.get_or_init(|| build(&["--manifest-path", manifest])).join("abilities.wasm")
}

fn built(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let packages = [
        "lunbox-handler-file",
        "lunbox-example-null",
        "lunbox-example-mirror",
        "lunbox-test-hostile",
        "lunbox-test-wasi",
    ];
    let packages: Vec<&str> = packages.iter().flat_map(|package| ["-p", package]).collect();
    BUILT.get_or_init(|| build(&packages)).join(name)
}

/// Builds guests; cargo knows whether there is anything to do. A target directory of their own keeps out of the way
/// of the cargo that runs the tests. Returns where the components are.
fn build(what: &[&str]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
    // Named where this toolchain lacks the Wasm target and `cargo xtask` has found another compiler.
    let cargo = std::env::var_os("LUNBOX_WASM_CARGO").or_else(|| std::env::var_os("CARGO"));
    let cargo = cargo.unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--profile",
            "guest",
            "--target",
            "wasm32-unknown-unknown",
            "--target-dir",
        ])
        .arg(&directory)
        .args(what)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "the guests do not build; is the target installed (rustup target add wasm32-unknown-unknown)? Where it cannot \
         be, `cargo xtask test` finds another compiler\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    directory.join("wasm32-unknown-unknown/guest")
}
