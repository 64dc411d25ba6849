//! `cargo xtask install`: what an installed Lunbox is made of, put below a folder.

pub mod files;
mod place;
mod text;

use crate::compile;
use crate::paths;
use anyhow::Context;
use files::Entry;
use place::Outcome;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files below /etc that are there already and differ are left as they are: the new one is put beside them as NAME.new.
tcmu-runner and its unit become links to lunboxd's. If the original of either is in their place, nothing is installed;
remove its package first, or say --replace. That also puts our bus policy, which is stricter, in the place of the
original's, which is kept as NAME.old.

Examples:
  cargo xtask install --destdir /tmp/stage           look at it, or make a package of it
  sudo -E cargo xtask install                        this machine, below /usr
  sudo -E cargo xtask install --prefix /usr/local")]
pub struct Options {
    /// Folder that stands for the root of the machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    destdir: PathBuf,
    /// Where programs, handlers, pages and units go; configuration is always in /etc
    #[arg(long, value_name = "DIR", default_value = files::USUAL_PREFIX, value_parser = prefix)]
    prefix: String,
    /// Take the place of the original tcmu-runner's program, unit and bus policy
    #[arg(long)]
    replace: bool,
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
    /// Print JSON: one object with what was done to each file
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Each file, in the order of [`files::all`].
    pub files: Vec<Done>,
}

/// What was done to one file.
#[derive(Debug, Serialize)]
pub struct Done {
    /// Where it is on the machine: destdir is not in it.
    pub path: PathBuf,
    /// What happened to it.
    pub outcome: Outcome,
}

/// Installs.
///
/// # Errors
/// When something is not built or can not be built, or a file can not be written or must not be replaced.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if !options.no_build {
        compile::all()?;
    }
    let report = install(&files::all(&options.prefix)?, &options.destdir, options.replace)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    for file in &report.files {
        println!("{:9}  {}", file.outcome.word(), file.path.display());
    }
    for file in &report.files {
        if let Some(note) = note(file) {
            println!("note: {note}");
        }
    }
    if options.destdir == Path::new("/") {
        println!("next: systemctl daemon-reload && systemctl reload dbus && systemctl enable --now lunboxd");
    }
    Ok(())
}

/// What to do about a file that was there.
fn note(file: &Done) -> Option<String> {
    let path = file.path.display();
    let is_policy = file.path == Path::new("/").join(files::BUS_POLICY);
    match file.outcome {
        Outcome::Kept if is_policy => Some(format!(
            "the old bus policy is still in force: {path}. If it is the original tcmu-runner's, any user may call what is \
             root's; ours is {path}{}, and --replace puts it in place",
            place::NEW
        )),
        Outcome::Kept => {
            Some(format!("{path} was there and differs; ours is {path}{}. Compare the two", place::NEW))
        }
        Outcome::Replaced => Some(format!("what {path} was until now is {path}{}", place::OLD)),
        Outcome::New | Outcome::Updated | Outcome::Unchanged => None,
    }
}

/// Puts `entries` below `destdir`. With `replace`, links take the place of files, and our bus policy that of another.
///
/// # Errors
/// When a file can not be written, or a link's place is taken; then nothing was changed.
pub fn install(entries: &[Entry], destdir: &Path, replace: bool) -> anyhow::Result<Report> {
    if !replace {
        for entry in entries {
            place::ensure_free(entry, destdir)?;
        }
    }
    let mut files = Vec::new();
    for entry in entries {
        let path = Path::new("/").join(&entry.to);
        let outcome = place::put(entry, destdir, replace)
            .with_context(|| format!("cannot install {}", path.display()))?;
        files.push(Done { path, outcome });
    }
    Ok(Report { files })
}

/// Folder of the files that are installed as they are, or nearly so.
pub fn sources() -> PathBuf {
    paths::root().join("host/daemon/install")
}

fn prefix(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.+".contains(c));
    if !path.is_absolute() || !plain || path.components().any(|part| part == std::path::Component::ParentDir)
    {
        return Err("an absolute path of letters, digits and -_.+ (units can not quote others)".to_owned());
    }
    let text = text.trim_end_matches('/');
    if text.is_empty() { Err("not the root folder itself; say /usr".to_owned()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod scripts_tests;

#[cfg(test)]
mod tests;
