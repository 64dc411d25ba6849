//! Builds what a guest needs: the daemon for this machine, the handlers as Wasm components.

use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// The handlers' target.
const WASM: &str = "wasm32-unknown-unknown";

/// A handler: its package, the file that cargo makes of it, where it goes.
struct Handler {
    package: &'static str,
    built: &'static str,
    file: &'static str,
    for_tests: bool,
}

const HANDLERS: [Handler; 3] = [
    Handler {
        package: "lunbox-handler-file",
        built: "lunbox_handler_file.wasm",
        file: "handler_file.wasm",
        for_tests: false,
    },
    Handler {
        package: "lunbox-example-null",
        built: "lunbox_example_null.wasm",
        file: "handler_null.wasm",
        for_tests: false,
    },
    Handler {
        package: "lunbox-test-hostile",
        built: "lunbox_test_hostile.wasm",
        file: "handler_hostile.wasm",
        for_tests: true,
    },
];

/// Builds everything: the Wasm target if need be, handlers, host programs.
///
/// # Errors
/// When a build fails or the Wasm target cannot be had.
pub fn all() -> anyhow::Result<()> {
    wasm_target()?;
    handlers()?;
    host()
}

/// A `cargo` that builds in the checkout. We are started by cargo, whose own variables would make the inner build
/// differ from the user's.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::root());
    command.env("CARGO_TARGET_DIR", paths::target());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Makes sure that the handlers' target is installed.
///
/// # Errors
/// When it is not and rustup cannot install it.
pub fn wasm_target() -> anyhow::Result<()> {
    let sysroot =
        process::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
    if Path::new(&sysroot).join("lib/rustlib").join(WASM).join("lib").is_dir() {
        return Ok(());
    }
    let progress = Progress::start(format!("adding Rust's {WASM} target"));
    if tools::find("rustup").is_none() {
        bail!(
            "this toolchain ({sysroot}) lacks the {WASM} target, which handlers are built for, and there is no \
             rustup to add it: use a toolchain from rustup, or install your distribution's package of that target"
        );
    }
    let mut command = Command::new("rustup");
    process::run_quietly(command.args(["target", "add", WASM]).current_dir(paths::root()), &progress)
        .with_context(|| format!("cannot add the {WASM} target; try `rustup target add {WASM}` by hand"))?;
    progress.done();
    Ok(())
}

fn handlers() -> anyhow::Result<()> {
    let mut command = cargo(&["build", "--target", WASM, "--profile", "guest"]);
    for handler in &HANDLERS {
        command.args(["-p", handler.package]);
    }
    process::run(&mut command)?;
    let built = paths::target().join(WASM).join("guest");
    for handler in &HANDLERS {
        let folder = if handler.for_tests { paths::test_handlers() } else { paths::handlers() };
        std::fs::create_dir_all(&folder)?;
        let (from, to) = (built.join(handler.built), folder.join(handler.file));
        ensure_component(&from)?;
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// A component begins with `\0asm`, version 13, layer 1; a core module would have 1, 0 there (WebAssembly component
/// model, Binary.md, preamble).
fn ensure_component(file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.starts_with(b"\0asm\x0d\0\x01\0") {
        return Ok(());
    }
    bail!(
        "{} is no Wasm component. Was it linked by wasm-component-ld, as .cargo/config.toml asks for?",
        file.display()
    )
}

fn host() -> anyhow::Result<()> {
    process::run(&mut cargo(&["build", "--workspace", "--bins"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_module_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        std::fs::write(&file, b"\0asm\x01\0\0\0").unwrap();
        let error = ensure_component(&file).unwrap_err().to_string();
        assert!(error.contains("wasm-component-ld"), "{error}");
        std::fs::write(&file, b"\0asm\x0d\0\x01\0rest").unwrap();
        assert!(ensure_component(&file).is_ok());
    }
}
