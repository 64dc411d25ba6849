//! Where things lie: the checkout and its target directory.

use std::path::{Path, PathBuf};

/// The checkout's top folder. Cargo tells it at run time; the path at compile time serves a binary that was
/// started directly.
pub fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.ancestors().nth(2).map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Cargo's target directory: `CARGO_TARGET_DIR` or `target/` in the checkout.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Folder of the scripts that run inside the guest.
pub fn guest_scripts() -> PathBuf {
    root().join("tests/guest")
}

/// Folder of images and runs of the guest.
pub fn guest_cache() -> PathBuf {
    target().join("guest")
}

/// Folder of tools that were built for the checkout alone.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Folder of the compiler that builds handlers where the checkout's own cannot, and of what it built.
pub fn toolchain() -> PathBuf {
    target().join("toolchain")
}

/// Built handlers, as the daemon's `--handler-path` wants them.
pub fn handlers() -> PathBuf {
    target().join("handlers")
}

/// Handlers that misbehave for tests: never in the folder that a user would point the daemon at.
pub fn test_handlers() -> PathBuf {
    target().join("handlers-test")
}

/// The daemon as `cargo xtask build` leaves it.
pub fn daemon() -> PathBuf {
    target().join("debug/lunboxd")
}

/// The benchmark on the emulated ring as `cargo xtask build` leaves it.
pub fn bench() -> PathBuf {
    target().join("debug/lunbox-bench")
}

/// The benchmark against tgt as `cargo xtask build` leaves it.
pub fn bench_iscsi() -> PathBuf {
    target().join("debug/lunbox-bench-iscsi")
}

/// The operators' and authors' command as `cargo xtask build` leaves it.
pub fn lunbox() -> PathBuf {
    target().join("debug/lunbox")
}

/// The runner of libiscsi's suite as `cargo xtask build` leaves it.
pub fn suite() -> PathBuf {
    target().join("debug/libiscsi-suite")
}
