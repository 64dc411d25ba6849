//! The linkers that make a component: rustup's toolchains bring them, others may not.

use anyhow::bail;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What `.cargo/config.toml` names as linker; it calls the other.
const COMPONENT: &str = "wasm-component-ld";
const CORE: &str = "wasm-ld";

/// Folders that have to be in `PATH` so that both linkers are found, in order.
///
/// # Errors
/// When one is missing, in the toolchain as in `PATH`; the message says which and what brings it.
pub fn folders(sysroot: &Path, path: &OsStr) -> anyhow::Result<Vec<PathBuf>> {
    let mut places = toolchain_folders(sysroot);
    places.extend(std::env::split_paths(path));
    let mut found = Vec::new();
    for (program, remedy) in [
        (COMPONENT, "`cargo install wasm-component-ld --locked` builds it"),
        (CORE, "it comes with the distribution's package lld"),
    ] {
        let Some(place) = places.iter().find(|place| place.join(program).is_file()) else {
            bail!(
                "{program}, which links handlers, is neither in the toolchain {} nor in PATH: {remedy}; Rust \
                 toolchains from rustup have it",
                sysroot.display()
            );
        };
        if !found.contains(place) {
            found.push(place.clone());
        }
    }
    Ok(found)
}

/// Where rustup's toolchains keep programs for the compiler: below each host's name, and a folder deeper those under
/// the names that compilers call.
fn toolchain_folders(sysroot: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(sysroot.join("lib/rustlib")) else { return Vec::new() };
    let hosts = entries.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    hosts.flat_map(|bin| [bin.clone(), bin.join("gcc-ld")]).filter(|folder| folder.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), "").unwrap();
    }

    #[test]
    fn a_toolchain_from_rustup_has_both() {
        let sysroot = tempfile::tempdir().unwrap();
        let bin = sysroot.path().join("lib/rustlib/some-host/bin");
        program(&bin, COMPONENT);
        program(&bin.join("gcc-ld"), CORE);
        assert_eq!(folders(sysroot.path(), OsStr::new("")).unwrap(), [bin.clone(), bin.join("gcc-ld")]);
    }

    #[test]
    fn what_another_toolchain_lacks_may_be_in_path_and_is_named_if_not() {
        let (sysroot, extra) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let error = folders(sysroot.path(), extra.path().as_os_str()).unwrap_err().to_string();
        assert!(error.contains(COMPONENT) && error.contains("cargo install"), "{error}");
        program(extra.path(), COMPONENT);
        let error = folders(sysroot.path(), extra.path().as_os_str()).unwrap_err().to_string();
        assert!(error.contains("wasm-ld,") && error.contains("lld"), "{error}");
        program(extra.path(), CORE);
        assert_eq!(folders(sysroot.path(), extra.path().as_os_str()).unwrap(), [extra.path()]);
    }
}
