//! Which packages Debian's compiler consists of, as apt knows them.

use crate::process;
use crate::progress::Progress;
use crate::tools;
use anyhow::{Context, bail, ensure};
use std::collections::BTreeSet;
use std::process::Command;

/// The compiler, and the source of its library.
const COMPILER: &str = "rustc-web";
pub const SOURCE: &str = "rust-web-src";
/// What the compiler is made of besides. Its other dependencies are a C compiler and linker for native programs,
/// which whoever builds this checkout has.
const LIBRARIES: &str = "libstd-rust-web-dev";
/// Packages of the compiler itself begin so: they are unpacked even where they are installed, because a compiler looks
/// for its parts next to itself.
const OWN_PREFIXES: [&str; 3] = [COMPILER, SOURCE, "libstd-rust-"];

/// One package at the version that apt would install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian counts.
    pub version: String,
    /// Bytes to download.
    pub size: u64,
}

/// The packages to unpack: compiler, source, and those libraries that this machine lacks. Fetches the package lists
/// first where they are missing and we may.
///
/// # Errors
/// When apt is not here, or knows no compiler that is new enough.
pub fn wanted() -> anyhow::Result<Vec<Package>> {
    if tools::find("apt-get").is_none() || tools::find("apt-cache").is_none() {
        bail!("there is no apt here, so no packages of Debian's compiler either");
    }
    let known = || -> anyhow::Result<Vec<Package>> {
        let text = process::output(Command::new("apt-cache").args(["show", "--no-all-versions", COMPILER]))?;
        parse_packages(&text)
    };
    if known().is_err() {
        ensure!(
            tools::is_root(),
            "apt knows no package {COMPILER}: if its lists are missing, `sudo apt-get update` fetches them; else this \
             release of Debian has no such compiler"
        );
        let progress = Progress::start("fetching apt's package lists");
        process::run_quietly(Command::new("apt-get").arg("update"), &progress)?;
        progress.done();
    }
    let compiler = known().with_context(|| format!("apt knows no package {COMPILER}"))?;
    ensure_new_enough(compiler.first().context("apt-cache told of no package")?)?;
    let mut names = needed(&process::output(Command::new("apt-cache").args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        LIBRARIES,
    ]))?);
    let installed = installed()?;
    names.retain(|name| is_own(name) || !installed.contains(name));
    names.extend([COMPILER.to_owned(), SOURCE.to_owned()]);
    let text = process::output(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(&names))?;
    let mut packages = parse_packages(&text)?;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Whether a package is a part of the compiler, and not a library that others use, too.
pub fn is_own(name: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Names of the packages in what `apt-cache depends --recurse` prints: they begin their lines; `<name>` is no package
/// but a thing that several provide.
fn needed(text: &str) -> BTreeSet<String> {
    let begins = |line: &&str| !line.starts_with([' ', '<', '|']) && !line.is_empty();
    text.lines().filter(begins).map(|line| line.split(':').next().unwrap_or(line).to_owned()).collect()
}

/// Names of the packages that are installed here.
fn installed() -> anyhow::Result<BTreeSet<String>> {
    let mut command = Command::new("dpkg-query");
    let text = process::output(command.args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"]))?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

/// Name, version and size of each package that `apt-cache show` printed.
fn parse_packages(text: &str) -> anyhow::Result<Vec<Package>> {
    let stanzas = text.split("\n\n").filter(|stanza| !stanza.trim().is_empty());
    let parse = |stanza: &str| -> anyhow::Result<Package> {
        let field = |name: &str| {
            let mut lines = stanza.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("apt-cache showed a package without {name}"))
        };
        let size = field("Size")?;
        Ok(Package {
            name: field("Package")?.to_owned(),
            version: field("Version")?.to_owned(),
            size: size.parse().with_context(|| format!("`{size}` is no package size"))?,
        })
    };
    let packages: Vec<Package> = stanzas.map(parse).collect::<anyhow::Result<_>>()?;
    ensure!(!packages.is_empty(), "apt-cache showed no package");
    Ok(packages)
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
    ensure!(
        Some(version) >= release(wanted),
        "apt has {COMPILER} {}, but Rust {wanted} is needed: a release of Debian with security updates has a newer one",
        compiler.version
    );
    Ok(())
}

#[cfg(test)]
mod tests;
