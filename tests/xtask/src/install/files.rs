//! The list of what is installed: from where, to where, with which mode.

use super::{sources, text};
use crate::compile;
use crate::paths;
use crate::process;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The prefix that the files in the checkout are written for.
pub const USUAL_PREFIX: &str = "/usr";

/// The bus policy, which lies where tcmu-runner's lay. No administrator's wish is in that: with it in force, everybody
/// may call what is root's.
pub const BUS_POLICY: &str = "etc/dbus-1/system.d/tcmu-runner.conf";

const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// One file of the installation.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it goes, relative to the root of the machine.
    pub to: PathBuf,
    /// Its permissions; a link has none.
    pub mode: u32,
    /// What it is.
    pub content: Content,
    /// Whether it is the administrator's once it is there.
    pub configuration: bool,
}

/// What a file consists of.
#[derive(Debug, Clone)]
pub enum Content {
    /// A program that is built, to be stripped.
    Program(PathBuf),
    /// A copy of a file.
    Copy(PathBuf),
    /// This text.
    Text(String),
    /// A symbolic link to this.
    Link(PathBuf),
}

/// A page as `lunbox man --json` prints it.
#[derive(Deserialize)]
struct Page {
    name: String,
    text: String,
}

/// A completion as `lunbox completions --json` prints it.
#[derive(Deserialize)]
struct Completion {
    script: String,
}

/// Everything, for `prefix`.
///
/// # Errors
/// When something is not built, or a file of the checkout can not be read.
pub fn all(prefix: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries = fixed(prefix)?;
    let share = below(prefix, "share");
    for page in manual()? {
        entries.push(file(share.join("man/man1").join(page.name), Content::Text(page.text)));
    }
    // Debian's zsh looks for packages' completions elsewhere than for the administrator's.
    let zsh = if prefix == USUAL_PREFIX { "zsh/vendor-completions" } else { "zsh/site-functions" };
    for (shell, place) in [
        ("bash", "bash-completion/completions/lunbox".to_owned()),
        ("zsh", format!("{zsh}/_lunbox")),
        ("fish", "fish/vendor_completions.d/lunbox.fish".to_owned()),
    ] {
        entries.push(file(share.join(place), Content::Text(completion(shell)?)));
    }
    Ok(entries)
}

/// What does not have to be asked for from a program.
///
/// # Errors
/// When a file of the checkout can not be read.
pub fn fixed(prefix: &str) -> anyhow::Result<Vec<Entry>> {
    let at = |place: &str| below(prefix, place);
    let own = |name: &str| sources().join(name);
    let program = |place: &str, from: PathBuf| Entry {
        to: at(place),
        mode: PROGRAM,
        content: Content::Program(from),
        configuration: false,
    };
    let copy = |to: PathBuf, from: PathBuf| file(to, Content::Copy(from));
    let text = |place: &str, name: &str| -> anyhow::Result<Entry> {
        Ok(file(at(place), Content::Text(text::for_prefix(&own(name), prefix)?)))
    };
    let link = |place: &str, target: &str| file(at(place), Content::Link(target.into()));
    let configuration = |place: &str, name: &str| Entry {
        to: Path::new("etc").join(place),
        mode: FILE,
        content: Content::Copy(own(name)),
        configuration: true,
    };
    Ok(vec![
        program("bin/lunboxd", paths::daemon()),
        program("bin/lunbox", paths::lunbox()),
        link("bin/tcmu-runner", "lunboxd"),
        copy(at("lib/lunbox/handlers/handler_file.wasm"), paths::handlers().join("handler_file.wasm")),
        text("lib/systemd/system/lunboxd.service", "lunboxd.service")?,
        link("lib/systemd/system/tcmu-runner.service", "lunboxd.service"),
        text("lib/tmpfiles.d/lunbox.conf", "tmpfiles.conf")?,
        text("share/dbus-1/system-services/org.kernel.TCMUService1.service", "dbus-activation.service")?,
        copy(at("share/man/man8/lunboxd.8"), own("lunboxd.8")),
        // Not a link, which would have to change its name when pages are compressed.
        file(at("share/man/man8/tcmu-runner.8"), Content::Text(".so man8/lunboxd.8\n".to_owned())),
        copy(at("share/doc/lunbox/examples/policy.toml"), paths::root().join("host/policy/example.toml")),
        configuration("tcmu/tcmu.conf", "tcmu.conf"),
        configuration("dbus-1/system.d/tcmu-runner.conf", "dbus-policy.conf"),
        configuration("logrotate.d/tcmu-runner", "logrotate.conf"),
    ])
}

fn file(to: PathBuf, content: Content) -> Entry {
    Entry { to, mode: FILE, content, configuration: false }
}

fn below(prefix: &str, place: &str) -> PathBuf {
    Path::new(prefix.trim_start_matches('/')).join(place)
}

fn manual() -> anyhow::Result<Vec<Page>> {
    let text = ask(&["man", "--json"])?;
    let pages: Vec<Page> =
        serde_json::from_str(&text).context("`lunbox man --json` printed something else")?;
    for page in &pages {
        ensure!(!page.name.contains('/') && page.name.ends_with(".1"), "a manual page `{}`", page.name);
    }
    Ok(pages)
}

fn completion(shell: &str) -> anyhow::Result<String> {
    let text = ask(&["completions", shell, "--json"])?;
    let completion: Completion =
        serde_json::from_str(&text).context("`lunbox completions --json` printed something else")?;
    Ok(completion.script)
}

fn ask(arguments: &[&str]) -> anyhow::Result<String> {
    let program = paths::lunbox();
    ensure!(program.is_file(), "{} is not built; `cargo xtask build` builds it", program.display());
    process::output(compile::built(&program).args(arguments))
}

/// A `Command` that strips `from` into `to`.
pub fn strip(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("strip");
    command.arg("-o").arg(to).arg(from);
    command
}
