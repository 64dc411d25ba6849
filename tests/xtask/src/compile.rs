//! Builds the checkout: the programs for this machine, the handlers as Wasm components.

use crate::paths;
use crate::process;
use crate::toolchain;
use anyhow::{Context, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// A handler: its package, and the file that the daemon finds it in.
struct Handler {
    package: &'static str,
    file: &'static str,
    for_tests: bool,
}

const HANDLERS: &[Handler] = &[
    Handler { package: "lunbox-handler-file", file: "handler_file.wasm", for_tests: false },
    Handler { package: "lunbox-example-null", file: "handler_null.wasm", for_tests: false },
    Handler { package: "lunbox-example-mirror", file: "handler_mirror.wasm", for_tests: false },
    Handler { package: "lunbox-test-hostile", file: "handler_hostile.wasm", for_tests: true },
    Handler { package: "lunbox-test-wasi", file: "handler_wasi.wasm", for_tests: true },
    Handler { package: "lunbox-test-raw", file: "handler_raw.wasm", for_tests: true },
    Handler { package: "lunbox-test-raw-qcow", file: "handler_raw_qcow.wasm", for_tests: true },
];

impl Handler {
    /// What cargo calls it.
    fn built(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }
}

/// Options of `cargo xtask build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The programs go to target/debug/, the handlers to target/handlers/. Handlers need Rust's wasm32-unknown-unknown target:
rustup adds it, or else Debian's compiler is downloaded into target/toolchain/ (--toolchain names one of the two).

Examples:
  cargo xtask build
  cargo xtask build --handlers                      without the programs, which take minutes at first
  cargo xtask build --handlers --toolchain debian   without rustup's target")]
pub struct Options {
    /// Build the handlers alone
    #[arg(long)]
    handlers: bool,
}

/// Builds what is asked for.
///
/// # Errors
/// When a build fails or no compiler for handlers can be had.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if options.handlers {
        toolchain::prepare()?;
        return handlers();
    }
    all()
}

/// Builds everything: the Wasm target if need be, handlers, host programs.
///
/// # Errors
/// When a build fails or the Wasm target cannot be had.
pub fn all() -> anyhow::Result<()> {
    toolchain::prepare()?;
    handlers()?;
    host()
}

/// Builds the handlers, and of the programs only those of `packages`.
///
/// # Errors
/// As [`all`].
pub fn some(packages: &[&str]) -> anyhow::Result<()> {
    toolchain::prepare()?;
    handlers()?;
    let mut command = cargo(&["build", "--bins"]);
    for package in packages {
        command.args(["-p", package]);
    }
    process::run(&mut command)
}

/// A `cargo` that builds in the checkout. We are started by cargo, whose own variables would make the inner build
/// differ from the user's.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = cargo_program(program().as_ref(), arguments);
    toolchain::announce(&mut command);
    command
}

/// The cargo that started us, or else the one in `PATH`.
pub fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// [`cargo`] with another program in its place.
pub fn cargo_program(program: &OsStr, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
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

/// A program of ours that is built already. It is started directly and not by `cargo run`: that would select another set
/// of packages than the build did, so that their features may differ, and then compile for minutes. What it needs of
/// cargo it finds as `cargo run` would leave it.
pub fn built(program: &Path) -> Command {
    let mut command = cargo_program(program.as_os_str(), &[]);
    toolchain::announce(&mut command);
    command.env("CARGO", self::program());
    command
}

fn handlers() -> anyhow::Result<()> {
    let (mut command, output) = toolchain::cargo(&["build", "--profile", "guest"]);
    for handler in HANDLERS {
        command.args(["-p", handler.package]);
    }
    process::run(&mut command)?;
    let built = output.join(toolchain::TARGET).join("guest");
    for handler in HANDLERS {
        let folder = if handler.for_tests { paths::test_handlers() } else { paths::handlers() };
        std::fs::create_dir_all(&folder)?;
        let (from, to) = (built.join(handler.built()), folder.join(handler.file));
        ensure_component(&from)?;
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// A component begins with `\0asm`, version 13, layer 1; a core module would have 1, 0 there (WebAssembly component
/// model, Binary.md, preamble).
///
/// # Errors
/// When `file` cannot be read or is something else.
pub fn ensure_component(file: &Path) -> anyhow::Result<()> {
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
