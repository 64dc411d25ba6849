//! What the workspace has built: the `lunbox` program and the handlers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Environment variable that names the `lunbox` program.
pub const BIN: &str = "LUNBOX_BIN";
/// Environment variable that names the folder of handlers.
pub const HANDLERS: &str = "LUNBOX_HANDLERS";

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The `lunbox` program: `LUNBOX_BIN`, else the one of our target folder, else `target/debug/lunbox`.
///
/// # Errors
/// When there is none; the message says how to build it.
pub fn lunbox() -> Result<PathBuf> {
    find(BIN, "debug/lunbox", "cargo build -p lunbox-cli", Path::is_file)
}

/// The folder of handlers: `LUNBOX_HANDLERS`, else the one of our target folder, else `target/handlers`.
///
/// # Errors
/// When there is none; the message says how to build it.
pub fn handlers() -> Result<PathBuf> {
    find(HANDLERS, "handlers", "cargo xtask build", Path::is_dir)
}

/// The folder for compiled handlers, beside the handlers themselves: those of the user stay out of the tests, and the
/// tests' out of the user's. It need not be there.
///
/// # Errors
/// When there are no handlers.
pub fn cache() -> Result<PathBuf> {
    Ok(handlers()?.with_file_name("clients-cache"))
}

fn find(variable: &str, below: &str, build: &str, right: fn(&Path) -> bool) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        let named = PathBuf::from(named);
        if right(&named) {
            return Ok(named);
        }
        bail!("{variable}={}: no such thing; correct it or unset it", named.display());
    }
    let ours = std::env::current_exe().context("path of this program")?;
    let mut targets: Vec<&Path> = ours.ancestors().filter(|folder| folder.ends_with("debug")).collect();
    targets.reverse();
    let usual = workspace().join("target");
    let places: Vec<PathBuf> = targets
        .into_iter()
        .filter_map(Path::parent)
        .chain([usual.as_path()])
        .map(|target| target.join(below))
        .collect();
    match places.iter().find(|place| right(place)) {
        Some(found) => Ok(found.clone()),
        None => {
            bail!("{}: not built; run `{build}`, or name it with {variable}", usual.join(below).display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_the_folder_with_the_contract() {
        assert!(workspace().join("wit/handler.wit").is_file());
    }

    #[test]
    fn what_is_not_built_says_how_to_build_it() {
        let error =
            find("LUNBOX_UNSET", "debug/no-such-program", "cargo build -p it", Path::is_file).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("run `cargo build -p it`") && message.contains("LUNBOX_UNSET"), "{message}");
    }
}
