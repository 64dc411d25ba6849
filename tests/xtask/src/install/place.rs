//! Putting one file in its place: as a whole or not at all, because what is there may be running or be read.

use super::files::{BUS_POLICY, Content, Entry, strip};
use crate::process;
use crate::tools;
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What our version of a configuration file is called where there is another one already.
pub const NEW: &str = ".new";

/// What the original's bus policy is called where ours has taken its place.
pub const OLD: &str = ".old";

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not there.
    New,
    /// It was there and was another one.
    Updated,
    /// It was there already.
    Unchanged,
    /// It is the administrator's; ours lies beside it.
    Kept,
    /// It was the original's; that lies beside it now.
    Replaced,
}

impl Outcome {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Replaced => "replaced",
        }
    }
}

/// Makes sure that a link takes nobody's place.
///
/// # Errors
/// When something else is there.
pub fn ensure_free(entry: &Entry, destdir: &Path) -> anyhow::Result<()> {
    let Content::Link(target) = &entry.content else { return Ok(()) };
    let to = destdir.join(&entry.to);
    match fs::symlink_metadata(&to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", to.display())),
        Ok(_) if fs::read_link(&to).is_ok_and(|is| is == *target) => Ok(()),
        Ok(_) => bail!(
            "{} is there already and is not a link to {}: the original tcmu-runner? Remove its package, or take its place \
             with --replace",
            to.display(),
            target.display()
        ),
    }
}

/// Puts `entry` below `destdir`. With `replace`, our bus policy takes the place of another one.
///
/// # Errors
/// When something is not built, can not be read or can not be written.
pub fn put(entry: &Entry, destdir: &Path, replace: bool) -> anyhow::Result<Outcome> {
    let to = destdir.join(&entry.to);
    let folder = to.parent().context("a file has a folder")?;
    make_folders(folder)?;
    match &entry.content {
        Content::Link(target) => put_link(target, &to, folder),
        Content::Text(text) => put_file(text.as_bytes(), entry, &to, replace),
        Content::Copy(from) => put_file(&read(from)?, entry, &to, replace),
        Content::Program(from) => put_file(&stripped(from, folder)?, entry, &to, replace),
    }
}

/// Missing folders, which everybody may enter whatever the umask is.
fn make_folders(folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    Ok(())
}

fn read(from: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(from).with_context(|| {
        format!("cannot read {}; `cargo xtask build` builds what is missing", from.display())
    })
}

/// The program without what only a debugger needs, which is most of it.
fn stripped(from: &Path, folder: &Path) -> anyhow::Result<Vec<u8>> {
    ensure!(from.is_file(), "{} is not built; `cargo xtask build` builds it", from.display());
    if tools::find("strip").is_none() {
        bail!("`strip` is missing (Debian: binutils)");
    }
    let small = tempfile::Builder::new().prefix(".strip.").tempfile_in(folder)?;
    process::output(&mut strip(from, small.path()))?;
    read(small.path())
}

fn put_file(bytes: &[u8], entry: &Entry, to: &Path, replace: bool) -> anyhow::Result<Outcome> {
    let there = fs::read(to);
    let outcome = match &there {
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::New,
        Err(error) => bail!("cannot read {}: {error}", to.display()),
        Ok(there) if there == bytes => Outcome::Unchanged,
        Ok(_) if replace && entry.to == Path::new(BUS_POLICY) => Outcome::Replaced,
        Ok(_) if entry.configuration => Outcome::Kept,
        Ok(_) => Outcome::Updated,
    };
    match outcome {
        // The administrator may have made it stricter.
        Outcome::Unchanged if entry.configuration => {}
        Outcome::Unchanged => fs::set_permissions(to, Permissions::from_mode(entry.mode))?,
        Outcome::Kept => write(bytes, entry.mode, &beside(to, NEW))?,
        Outcome::Replaced => {
            write(&there.unwrap_or_default(), entry.mode, &beside(to, OLD))?;
            write(bytes, entry.mode, to)?;
        }
        Outcome::New | Outcome::Updated => write(bytes, entry.mode, to)?,
    }
    Ok(outcome)
}

/// `to` with `end` at its end.
fn beside(to: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(end);
    name.into()
}

fn write(bytes: &[u8], mode: u32, to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().context("a file has a folder")?;
    let new = tempfile::Builder::new().prefix(".install.").tempfile_in(folder)?;
    fs::write(new.path(), bytes)?;
    fs::set_permissions(new.path(), Permissions::from_mode(mode))?;
    new.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

fn put_link(target: &Path, to: &Path, folder: &Path) -> anyhow::Result<Outcome> {
    let outcome = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::New,
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", to.display())),
        Ok(_) if fs::read_link(to).is_ok_and(|is| is == *target) => return Ok(Outcome::Unchanged),
        Ok(metadata) => {
            ensure!(!metadata.is_dir(), "{} is a folder", to.display());
            Outcome::Updated
        }
    };
    let place = tempfile::Builder::new().prefix(".install.").tempdir_in(folder)?;
    let new = place.path().join("link");
    symlink(target, &new)?;
    fs::rename(&new, to)?;
    Ok(outcome)
}
