//! `cargo xtask fresh-root`: the README's first command in a Debian that has nothing but what the README asks for, so
//! that a missing installation step cannot hide behind what a developer's machine happens to have.

mod rust;
mod source;

use crate::apt;
use crate::cleanup;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools::{self, Missing, Tool};
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The line of the README that names what it asks for besides Rust begins so.
const INSTALLATION: &str = "apt-get install --no-install-recommends ";

/// What making and entering the root needs.
const TOOLS: &[Tool] = &[
    Tool { program: "mmdebstrap", package: "mmdebstrap" },
    Tool { program: "unshare", package: "util-linux" },
    Tool { program: "chroot", package: "coreutils" },
    Tool { program: "git", package: "git" },
];

/// Where the checkout lies in the root.
const CHECKOUT: &str = "/lunbox";

/// Building wasmtime on two processors takes some ten minutes.
const LIMIT: Duration = Duration::from_secs(3600);

/// Variables that say how to reach the network; they may pass into the root.
const PASSED: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_UPDATE_ROOT",
];
/// Those of cargo for the same purpose begin so.
const PASSED_PREFIXES: [&str; 4] = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"];
/// What a registry's password ends with.
const SECRET_SUFFIX: &str = "_TOKEN";

/// How this machine reaches packages, names and servers is how the root must: copied into these folders of it.
const NETWORK: [(&str, &str); 5] = [
    ("/etc/apt", "etc"),
    ("/etc/resolv.conf", "etc"),
    ("/etc/hosts", "etc"),
    ("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs"),
    ("/usr/local/share/ca-certificates", "usr/local/share"),
];

/// Files of apt's with passwords: left out, whatever else is copied.
const SECRET_FILES: [&str; 2] = ["etc/apt/auth.conf", "etc/apt/auth.conf.d"];

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs root, Debian's apt and a toolchain from rustup, of which the root gets a copy without the Wasm target. The root
is made anew each time, in target/fresh-root, and removed at the end; the output is kept in target/fresh-root/log.

Examples:
  cargo xtask fresh-root                        what the README names first: cargo xtask demo
  cargo xtask fresh-root -- cargo xtask test --no-guest")]
pub struct Options {
    /// Leave the root behind
    #[arg(long)]
    keep: bool,
    /// What to run in the checkout
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What the README names first, in a fresh root.
///
/// # Errors
/// When the root cannot be made or the command fails in it.
pub fn demo() -> anyhow::Result<()> {
    let status = run(&Options { keep: false, command: Vec::new() })?;
    ensure!(status == 0, "`cargo xtask demo` ended with status {status} in a fresh root");
    Ok(())
}

/// Makes the root and runs the command in it; the result is its exit status.
///
/// # Errors
/// When the root cannot be made, or time is up.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    ensure!(
        tools::is_root(),
        "a fresh root needs root (file owners, mounts): `sudo -E cargo xtask fresh-root`"
    );
    tools::require(TOOLS, Missing::Install)?;
    let base = paths::target().join("fresh-root");
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let folder = tempfile::Builder::new().prefix("root.").tempdir_in(&base)?;
    let cleanup = cleanup::Folder::register(folder.path());
    // mmdebstrap wants an empty folder that everybody may enter.
    let root = folder.path().join("root");

    let packages = packages(&std::fs::read_to_string(paths::root().join("README.md"))?)?;
    let progress = Progress::start(format!("making a root of Debian {}: {packages}", apt::release()?));
    bootstrap(&root, &packages, &progress)?;
    progress.done();
    let progress = Progress::start("copying the Rust toolchain and the checkout into it");
    rust::install(&root)?;
    println!("   {}", source::copy_into(&root.join(CHECKOUT.trim_start_matches('/')))?);
    progress.done();

    let default = ["cargo", "xtask", "demo"].map(str::to_owned);
    let words = if options.command.is_empty() { &default[..] } else { &options.command };
    println!("   {}# cd {CHECKOUT} && {}", root.display(), words.join(" "));
    let started = Instant::now();
    let status = enter(&root, words, &base.join("log"))?;
    println!(
        "   fresh root: status {status} after {:.1} min; the output is kept in {}",
        started.elapsed().as_secs_f64() / 60.0,
        base.join("log").display()
    );
    if options.keep {
        drop(cleanup);
        println!("   kept: {}", folder.keep().display());
    }
    Ok(status)
}

/// The packages that the README tells to install, separated by commas.
fn packages(readme: &str) -> anyhow::Result<String> {
    let mut lines = readme.lines().filter_map(|line| line.strip_prefix(INSTALLATION));
    let list = lines.next().with_context(|| format!("the README has no line `{INSTALLATION}…`"))?;
    ensure!(lines.next().is_none(), "the README has two lines `{INSTALLATION}…`");
    let words = list.split('#').next().unwrap_or_default().split_whitespace();
    Ok(words.collect::<Vec<_>>().join(","))
}

fn bootstrap(root: &Path, packages: &str, progress: &Progress) -> anyhow::Result<()> {
    // In a mount namespace of its own: killed halfway, mmdebstrap leaves no mount that keeps the root from being removed.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "mmdebstrap"]);
    command.args(["--mode=root", "--variant=minbase", "--format=directory"]);
    command.args([r#"--aptopt=APT::Install-Recommends "false""#, "--dpkgopt=force-unsafe-io"]);
    command.arg(format!("--include={packages}"));
    command.arg(apt::release()?).arg(root).args(apt::package_sources()?);
    process::run_quietly(&mut command, progress)?;
    for (from, to) in NETWORK {
        if Path::new(from).exists() {
            let to = root.join(to);
            std::fs::create_dir_all(&to)?;
            process::output(Command::new("cp").args(["-rL", "--remove-destination", from]).arg(&to))?;
        }
    }
    drop_secrets(root)
}

fn drop_secrets(root: &Path) -> anyhow::Result<()> {
    for name in SECRET_FILES {
        let path = root.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
    }
    Ok(())
}

/// Runs `words` in the root's checkout, in namespaces of its own: whatever is mounted or started there ends with it.
fn enter(root: &Path, words: &[String], log: &Path) -> anyhow::Result<i32> {
    let script = "set -e; root=$1; shift\n\
                  mount --rbind /dev \"$root/dev\"\n\
                  mount --rbind /sys \"$root/sys\"\n\
                  mount -t proc proc \"$root/proc\"\n\
                  exec chroot \"$root\" /usr/bin/env -i \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", script, "sh"]).arg(root);
    command.args(["HOME=/root", "LANG=C.UTF-8", "USER=root"]);
    command.arg("PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(environment(std::env::vars()));
    command.args(["sh", "-c", &format!("cd {CHECKOUT} && exec \"$@\""), "sh"]).args(words);

    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let (mut child, group) = process::spawn(&mut command)?;
    // It holds write ends of the pipe, which would keep it open for ever.
    drop(command);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let expired = std::thread::scope(|scope| {
        let group = &group;
        let clock = scope.spawn(move || {
            let expired = end.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if expired {
                group.end();
            }
            expired
        });
        let copied = copy_lines(reader, log);
        drop(ended);
        copied.map(|()| clock.join().unwrap_or(false))
    })?;
    if expired {
        bail!("{} did not end within {} min", words.join(" "), LIMIT.as_secs() / 60);
    }
    let status = child.wait()?;
    Ok(status.code().unwrap_or(1))
}

/// Copies lines to standard output and to `log` as they come.
fn copy_lines(from: impl std::io::Read, log: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    for line in BufReader::new(from).split(b'\n') {
        let line = line?;
        println!("   | {}", String::from_utf8_lossy(&line));
        file.write_all(&line)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// Assignments of the variables that pass into the root.
fn environment(all: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let passes = |name: &str| {
        let known = PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        known && !name.ends_with(SECRET_SUFFIX)
    };
    all.filter(|(name, _)| passes(name)).map(|(name, value)| format!("{name}={value}")).collect()
}

/// A folder of the user's: what the variable says, else a folder in their home.
fn home(variable: &str, default: &str) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(variable) {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").with_context(|| format!("neither {variable} nor HOME is set"))?;
    Ok(PathBuf::from(home).join(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_how_to_reach_the_network_passes() {
        let all = [
            "https_proxy",
            "CARGO_HTTP_PROXY",
            "CARGO_MANIFEST_DIR",
            "RUSTUP_TOOLCHAIN",
            "HOME",
            "CARGO_REGISTRIES_OURS_INDEX",
            "CARGO_REGISTRIES_OURS_TOKEN",
        ];
        let pairs = all.map(|name| (name.to_owned(), "x".to_owned())).into_iter();
        assert_eq!(
            environment(pairs),
            ["https_proxy=x", "CARGO_HTTP_PROXY=x", "CARGO_REGISTRIES_OURS_INDEX=x"]
        );
    }

    #[test]
    fn apts_passwords_do_not_stay_in_the_root() {
        let root = tempfile::tempdir().unwrap();
        drop_secrets(root.path()).unwrap();
        let apt = root.path().join("etc/apt");
        std::fs::create_dir_all(apt.join("auth.conf.d")).unwrap();
        for file in ["auth.conf", "auth.conf.d/ours.conf", "sources.list"] {
            std::fs::write(apt.join(file), "x").unwrap();
        }
        drop_secrets(root.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(apt).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["sources.list"]);
    }

    #[test]
    fn the_root_gets_what_the_readme_tells_to_install() {
        let readme = std::fs::read_to_string(paths::root().join("README.md")).unwrap();
        let packages = packages(&readme).unwrap();
        // Rust links with cc, which is gcc's.
        for package in ["gcc", "libc6-dev", "git", "ca-certificates"] {
            assert!(packages.split(',').any(|listed| listed == package), "{package} in {packages}");
        }
    }

    #[test]
    fn a_readme_that_names_no_packages_or_two_lists_is_refused() {
        let line = format!("{INSTALLATION}git  gcc # a remark\n");
        assert_eq!(packages(&line).unwrap(), "git,gcc");
        assert!(packages("cargo xtask demo\n").is_err());
        assert!(packages(&line.repeat(2)).is_err());
    }

    #[test]
    fn the_log_has_what_was_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        copy_lines(&b"one\ntwo"[..], &log).unwrap();
        assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\n");
    }
}
