//! Which packages Debian's compiler consists of, as apt knows them.

use crate::apt;
use crate::deb::{self, Package};
use crate::tools;
use anyhow::Context;

/// The compiler, and the source of its library.
const COMPILER: &str = "rustc-web";
pub const SOURCE: &str = "rust-web-src";
/// What the compiler is made of besides. Its other dependencies are a C compiler and linker for native programs,
/// which whoever builds this checkout has.
const LIBRARIES: &str = "libstd-rust-web-dev";
/// Packages of the compiler itself begin so: they are unpacked even where they are installed, because a compiler looks
/// for its parts next to itself.
const OWN_PREFIXES: [&str; 3] = [COMPILER, SOURCE, "libstd-rust-"];

/// This machine's package sources do not have the compiler: a property of the machine, and no failure of what was tried.
#[derive(Debug)]
pub struct Unavailable(String);

impl Unavailable {
    /// With that reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// The packages to unpack: compiler, source, and those libraries that this machine lacks. Fetches the package lists
/// first where they are missing or too old and we may.
///
/// # Errors
/// [`Unavailable`] when apt is not here, or knows no compiler that is new enough; others when apt fails.
pub fn wanted() -> anyhow::Result<Vec<Package>> {
    if tools::find("apt-get").is_none() || tools::find("apt-cache").is_none() {
        return Err(
            Unavailable::new("there is no apt here, so no packages of Debian's compiler either").into()
        );
    }
    apt::with_fresh_lists(|| {
        let known = deb::known([COMPILER]).map_err(|error| {
            Unavailable::new(format!(
                "apt knows no package {COMPILER}; not every release of Debian has it ({error:#})"
            ))
        })?;
        ensure_new_enough(known.first().context("apt-cache told of no package")?)
    })?;
    let mut names = deb::with_dependencies(LIBRARIES)?;
    let installed = deb::installed()?;
    names.retain(|name| is_own(name) || !installed.contains(name));
    names.extend([COMPILER.to_owned(), SOURCE.to_owned()]);
    deb::known(&names)
}

/// Whether a package is a part of the compiler, and not a library that others use, too.
pub fn is_own(name: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The compiler must be as new as the checkout asks for in `rust-version`.
fn ensure_new_enough(compiler: &Package) -> anyhow::Result<()> {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let release = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split(['.', '+', '-', '~']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let version = release(&compiler.version).with_context(|| {
        format!("{COMPILER} has the version {}, which is no Rust release", compiler.version)
    })?;
    if Some(version) >= release(wanted) {
        return Ok(());
    }
    let reason = format!(
        "apt has {COMPILER} {}, but Rust {wanted} is needed: a release of Debian with security updates has a newer one",
        compiler.version
    );
    Err(Unavailable::new(reason).into())
}

#[cfg(test)]
mod tests;
