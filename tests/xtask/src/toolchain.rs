//! Which compiler builds the handlers: the checkout's own Rust toolchain where it has, or can get, the Wasm target;
//! else Debian's compiler, unpacked below `target/` and installed nowhere.

mod debian;
mod linker;
mod own;

use crate::compile;
use crate::paths;
use crate::process;
use anyhow::Context;
use debian::{Debian, Unavailable};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The target that handlers are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Names the program that tests call instead of cargo when they build handlers. Unset, they call cargo.
const WASM_CARGO: &str = "LUNBOX_WASM_CARGO";

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// This toolchain, else Debian's compiler
    #[default]
    Auto,
    /// This toolchain; rustup adds the target if it is missing
    Rustup,
    /// Debian's rustc-web and its library's source, unpacked below target/
    Debian,
}

/// What builds handlers.
#[derive(Debug)]
enum Toolchain {
    Own,
    Debian(Debian),
}

static WISH: OnceLock<Choice> = OnceLock::new();
static CHOSEN: OnceLock<Toolchain> = OnceLock::new();

/// Notes what the command line asked for. Later calls, and calls after [`prepare`], change nothing.
pub fn wish(choice: Choice) {
    WISH.get_or_init(|| choice);
}

/// Makes sure that handlers can be built, by downloading if need be; the first call decides, later ones return at once.
///
/// # Errors
/// When no way works; the message has the reason of each and what would help.
pub fn prepare() -> anyhow::Result<()> {
    if CHOSEN.get().is_some() {
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rustc = own::Own::of_checkout(&path)?;
    let toolchain = select(
        *WISH.get_or_init(Choice::default),
        || rustc.ensure(),
        || Debian::ensure(&linker::folders(rustc.sysroot(), &path)?),
    )?;
    CHOSEN.get_or_init(|| toolchain);
    Ok(())
}

/// Tries what `choice` allows.
fn select(
    choice: Choice,
    own: impl FnOnce() -> anyhow::Result<()>,
    debian: impl FnOnce() -> anyhow::Result<Debian>,
) -> anyhow::Result<Toolchain> {
    match choice {
        Choice::Rustup => own().map(|()| Toolchain::Own),
        Choice::Debian => debian().map(Toolchain::Debian),
        Choice::Auto => {
            let Err(reason) = own() else { return Ok(Toolchain::Own) };
            eprintln!("   {reason:#}\n   so the handlers are built by Debian's compiler instead");
            debian().map(Toolchain::Debian).with_context(|| {
                format!(
                    "handlers cannot be built. This toolchain: {reason:#}. Debian's compiler, the other way, \
                     cannot be had either"
                )
            })
        }
    }
}

/// A cargo for building handlers, with the arguments that the compiler in use needs, and the target directory that it
/// writes to. Call [`prepare`] first; before that it is the own toolchain's.
pub fn cargo(arguments: &[&str]) -> (Command, PathBuf) {
    let mut command = compile::cargo(arguments);
    match CHOSEN.get() {
        Some(Toolchain::Debian(debian)) => by_debian(debian, arguments),
        Some(Toolchain::Own) | None => {
            command.args(["--target", TARGET]);
            (command, paths::target())
        }
    }
}

/// The same with Debian's compiler. A target directory of its own keeps the two compilers' work apart.
fn by_debian(debian: &Debian, arguments: &[&str]) -> (Command, PathBuf) {
    let folder = paths::toolchain().join("build");
    let mut command = compile::cargo_program(debian.wrapper(), arguments);
    command.args(["--target", TARGET]).env("CARGO_TARGET_DIR", &folder);
    (command, folder)
}

/// Tells `command`, and the tests that it runs, what builds handlers.
pub fn announce(command: &mut Command) {
    if let Some(Toolchain::Debian(debian)) = CHOSEN.get() {
        command.env(WASM_CARGO, debian.wrapper());
    }
}

/// A component that was to be built by Debian's compiler.
#[derive(Debug)]
pub enum ByDebian {
    /// It lies there.
    Built(PathBuf),
    /// This machine's package sources do not have the compiler; why.
    Unavailable(String),
}

/// Builds the component of `package` with Debian's compiler, whatever else is there.
///
/// # Errors
/// When the compiler is to be had but cannot be downloaded or unpacked, or the build fails.
pub fn component_by_debian(package: &str, file: &str) -> anyhow::Result<ByDebian> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rustc = own::Own::of_checkout(&path)?;
    let debian = match available(Debian::ensure(&linker::folders(rustc.sysroot(), &path)?))? {
        Ok(debian) => debian,
        Err(reason) => return Ok(ByDebian::Unavailable(reason)),
    };
    let (mut command, folder) = by_debian(&debian, &["build", "--profile", "guest", "-p", package]);
    process::run(&mut command)?;
    Ok(ByDebian::Built(folder.join(TARGET).join("guest").join(file)))
}

/// Tells a compiler that is not to be had, with the reason, from one that was not got.
fn available<T>(compiler: anyhow::Result<T>) -> anyhow::Result<Result<T, String>> {
    match compiler {
        Err(error) if error.is::<Unavailable>() => Ok(Err(format!("{error:#}"))),
        other => other.map(Ok),
    }
}

#[cfg(test)]
mod tests;
