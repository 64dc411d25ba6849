//! Debian's own Rust compiler for handlers: the package rustc-web and its library's source, unpacked below the target
//! directory. No root, nothing installed.
//!
//! Debian has no ready library for the Wasm target that matches a compiler new enough, so cargo builds the library,
//! too (`-Zbuild-std`), which needs the compiler's own source: the two come from one source package. The linkers are
//! the other toolchain's.

mod fetch;
mod packages;

use crate::compile;
use crate::deb::{self, Package};
use crate::paths;
use crate::process::quoted;
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub use packages::Unavailable;

/// Changes whenever what is made of the packages changes.
const RECIPE: &str = "1";
/// How the folder of an unpacked compiler begins.
const PREFIX: &str = "debian-";
/// How the folder of one that is not complete begins.
const UNFINISHED: &str = "fetch.";
/// The program in it that is called as rustc.
const RUSTC: &str = "rustc";

/// An unpacked compiler.
#[derive(Debug)]
pub struct Debian {
    wrapper: PathBuf,
}

impl Debian {
    /// Makes sure that the compiler is there; downloads and unpacks it if need be. `linkers` are the folders that the
    /// linkers lie in. Blocks while another process does the same.
    ///
    /// # Errors
    /// [`Unavailable`] when apt is not here or knows no compiler that is new enough; others when the packages cannot be
    /// had or unpacked.
    pub fn ensure(linkers: &[PathBuf]) -> anyhow::Result<Self> {
        let cache = paths::toolchain();
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let lock = std::fs::File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the toolchain's folder")?;
        let packages = match packages::wanted() {
            Ok(packages) => packages,
            Err(reason) => match only_cached(&cache)? {
                Some(folder) => return Self::wrap(&cache, &folder, linkers),
                None => return Err(reason),
            },
        };
        let folder_of = |packages: &[Package]| Ok(cache.join(format!("{PREFIX}{}", key(packages)?)));
        let mut folder = folder_of(&packages)?;
        if !folder.is_dir() {
            drop_interrupted(&cache)?;
            folder = fetch::fetch(&cache, folder_of)?;
            drop_others(&cache, &folder)?;
        }
        Self::wrap(&cache, &folder, linkers)
    }

    /// Writes the program that is called instead of cargo.
    fn wrap(cache: &Path, folder: &Path, linkers: &[PathBuf]) -> anyhow::Result<Self> {
        let wrapper = cache.join("wasm-cargo");
        let cargo = compile::program();
        let text = wrapper_text(Path::new(&cargo), &folder.join(RUSTC), linkers);
        deb::write_program(&wrapper, &text)?;
        Ok(Self { wrapper })
    }

    /// A compiler that is called through `wrapper`.
    #[cfg(test)]
    pub fn at(wrapper: &Path) -> Self {
        Self { wrapper: wrapper.to_path_buf() }
    }

    /// The program to call instead of cargo; it takes cargo's arguments.
    pub fn wrapper(&self) -> &std::ffi::OsStr {
        self.wrapper.as_os_str()
    }
}

/// `RUSTC_BOOTSTRAP` lets a released compiler build its own library, which is otherwise reserved to nightly ones.
fn wrapper_text(cargo: &Path, rustc: &Path, linkers: &[PathBuf]) -> String {
    let quoted = |path: &Path| quoted(&path.to_string_lossy());
    let linkers: Vec<String> = linkers.iter().map(|folder| quoted(folder)).collect();
    format!(
        "#!/bin/sh\n# Made by `cargo xtask`: cargo with Debian's compiler, for handlers.\n\
         PATH={}:$PATH RUSTC={} RUSTC_BOOTSTRAP=1\nexport PATH RUSTC RUSTC_BOOTSTRAP\n\
         exec {} \"$@\" -Zbuild-std=std,panic_abort\n",
        linkers.join(":"),
        quoted(rustc),
        quoted(cargo),
    )
}

/// Digest of everything that decides what is in the folder.
fn key(packages: &[Package]) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    digest.update(RECIPE);
    for package in packages.iter().filter(|package| packages::is_own(&package.name)) {
        digest.update(format!("{}={}\n", package.name, package.version));
    }
    let mut text = String::new();
    for byte in digest.finalize().iter().take(8) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Complete compilers in the cache.
fn cached(cache: &Path) -> anyhow::Result<Vec<PathBuf>> {
    folders(cache, PREFIX)
}

fn folders(cache: &Path, prefix: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// The compiler of an earlier run, for when apt cannot say what is current.
fn only_cached(cache: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(cached(cache)?.pop())
}

/// 844 MB each: only the current one is kept.
fn drop_others(cache: &Path, current: &Path) -> anyhow::Result<()> {
    for folder in cached(cache)? {
        if folder != current {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    Ok(())
}

/// What a killed run left. Call with the lock held: then nobody else is at it.
fn drop_interrupted(cache: &Path) -> anyhow::Result<()> {
    for folder in folders(cache, UNFINISHED)? {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
