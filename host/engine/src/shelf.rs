//! Compiled components on disk.
//!
//! One container per component and engine, named by their digests. Nothing on the shelf is needed: whatever is wrong
//! with it, the component is compiled again. Looking something up never runs it and never deserializes machine code.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use tracing::{debug, warn};

use crate::artifact::Artifact;
use crate::container::MAX_BYTES;
use crate::source::WRITABLE_BY_OTHERS;
use crate::{Digest, Manifest};

/// Entries that were not asked for in this time are removed.
const MAX_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Of more entries than this the ones that were asked for last stay.
const MAX_ENTRIES: usize = 256;
/// An entry's time is written when it is older than this: a look-up need not write to the disk.
const TOUCH_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Files that were never finished are removed after this time: whoever wrote them has gone.
const UNFINISHED: Duration = Duration::from_secs(60 * 60);
/// How names of entries end.
const SUFFIX: &str = ".cwasm";

/// A directory of containers that only our own user can write.
#[derive(Debug)]
pub struct Shelf {
    directory: OwnedFd,
    path: PathBuf,
    engine: Digest,
}

/// A container on the shelf.
#[derive(Debug)]
pub struct Shelved {
    /// The file, read-only. Those who get the descriptor read the container with [`crate::read_container`].
    pub file: File,
    /// What the handler said about itself.
    pub manifest: Manifest,
}

/// Why a directory is no shelf, or could not take an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ShelfError {
    /// The directory, or the entry.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// Tells the temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Shelf {
    /// Opens a directory for the containers of one engine ([`crate::engine_digest`]), making it with mode 0700 if it
    /// is missing.
    ///
    /// # Errors
    /// It can not be made or opened, is a link, or others than our own user own it or may write it: what is in it
    /// will be run.
    pub fn open(path: &Path, engine: Digest) -> Result<Self, ShelfError> {
        let wrong = |problem| ShelfError { path: path.to_owned(), problem };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| wrong(format!("it can not be made: {error}; name another directory")))?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(|error| {
            wrong(format!("it can not be opened: {error}; it must be a directory, not a link"))
        })?;
        let directory = File::from(directory);
        check_trust(&directory).map_err(|problem| wrong(format!("{problem}, because its files are run")))?;
        Ok(Self { directory: directory.into(), path: path.to_owned(), engine })
    }

    fn name(&self, component: &Digest) -> String {
        let key = Digest::of_all(&[self.engine.as_bytes(), component.as_bytes()]);
        format!("{key}{SUFFIX}")
    }

    /// The container of a component, if there is one that can be trusted and is intact. What is wrong with one that
    /// is there is logged; put another in its place.
    #[must_use]
    pub fn get(&self, component: &Digest) -> Option<Shelved> {
        let (file, artifact) = self.read(component)?;
        Some(Shelved { file, manifest: artifact.manifest })
    }

    /// The same with the container.
    pub(crate) fn read(&self, component: &Digest) -> Option<(File, Artifact)> {
        let name = self.name(component);
        match self.try_read(&name, component) {
            Ok(found) => found,
            Err(problem) => {
                warn!("{}: {problem}; the handler is compiled again", self.path.join(name).display());
                None
            }
        }
    }

    fn try_read(&self, name: &str, component: &Digest) -> Result<Option<(File, Artifact)>, String> {
        let Some(file) = self.open_entry(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        (&file)
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("it can not be read: {error}"))?;
        let artifact =
            Artifact::parse(bytes, &self.engine, Some(component)).map_err(|unusable| unusable.to_string())?;
        self.touch(&file);
        Ok(Some((file, artifact)))
    }

    fn open_entry(&self, name: &str) -> Result<Option<File>, String> {
        // O_NONBLOCK: whatever stands there instead of a file must not hold us up.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(format!("it can not be opened: {error}")),
        };
        if !file.metadata().map_err(|error| error.to_string())?.is_file() {
            return Err("it is no regular file; remove it".to_owned());
        }
        check_trust(&file)?;
        Ok(Some(file))
    }

    /// Notes that an entry was asked for, in its modification time: access times are switched off on many systems.
    fn touch(&self, file: &File) {
        let now = SystemTime::now();
        let recent = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|modified| age(now, modified) < TOUCH_AFTER);
        if !recent && let Err(error) = file.set_modified(now) {
            debug!("{}: an entry's time is not kept: {error}", self.path.display());
        }
    }

    /// Stores a container. Readers see the old file or the whole new one. Entries that nobody has asked for in 90
    /// days, and those beyond 256, are removed.
    ///
    /// # Errors
    /// It was made for another engine, or the file can not be written.
    pub fn put(&self, artifact: &Artifact) -> Result<Shelved, ShelfError> {
        let name = self.name(&artifact.component);
        let wrong = |problem| ShelfError { path: self.path.join(&name), problem };
        // What could not be found again would stay for 90 days.
        Artifact::parse(artifact.container.clone(), &self.engine, Some(&artifact.component))
            .map_err(|unusable| wrong(unusable.to_string()))?;
        let temporary =
            format!(".{name}.{}.{}", std::process::id(), NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed));
        let stored = self.try_put(&temporary, &name, &artifact.container).map_err(|error| {
            // It may never have been made.
            let _ = unlinkat(&self.directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
            wrong(format!("{error}; is there space, and may this user write?"))
        });
        self.prune(SystemTime::now());
        let file = stored
            .and_then(|()| self.open_entry(&name).map_err(wrong))?
            .ok_or_else(|| wrong("it was removed as soon as it was written".to_owned()))?;
        Ok(Shelved { file, manifest: artifact.manifest.clone() })
    }

    fn try_put(&self, temporary: &str, name: &str, container: &[u8]) -> std::io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Readable only: workers hold descriptors of it, and root without capabilities can not open it for writing.
        let mut file = File::from(openat(&self.directory, temporary, flags, Mode::S_IRUSR)?);
        // Not synced: after a crash a torn file is recognised by its digest and made again.
        file.write_all(container)?;
        renameat(&self.directory, temporary, &self.directory, name)?;
        Ok(())
    }

    /// Removes what nobody will miss.
    fn prune(&self, now: SystemTime) {
        let mut entries = match self.entries() {
            Ok(entries) => entries,
            Err(error) => {
                debug!("{}: old entries are not removed: {error}", self.path.display());
                return;
            }
        };
        entries.sort_unstable_by_key(|(_, modified)| std::cmp::Reverse(*modified));
        let mut kept = 0;
        for (name, modified) in entries {
            let age = age(now, modified);
            let stays = if name.starts_with('.') {
                age < UNFINISHED
            } else {
                kept += 1;
                kept <= MAX_ENTRIES && age < MAX_AGE
            };
            if !stays && let Err(error) = unlinkat(&self.directory, name.as_str(), UnlinkatFlags::NoRemoveDir)
            {
                debug!("{}: not removed: {error}", self.path.join(name).display());
            }
        }
    }

    /// Names and times of the files that are ours by their names.
    fn entries(&self) -> std::io::Result<Vec<(String, SystemTime)>> {
        // By way of the descriptor: the path may lead elsewhere by now.
        let directory = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_ours(&name)
                && let Ok(metadata) = entry.metadata()
            {
                entries.push((name, metadata.modified()?));
            }
        }
        Ok(entries)
    }
}

/// Whether a file can only be an entry, or one that was never finished ([`Shelf::put`]). An operator may keep handlers in
/// the same directory, which end in the same way.
fn is_ours(name: &str) -> bool {
    let is_entry = |name: &str| name.strip_suffix(SUFFIX).is_some_and(|key| key.parse::<Digest>().is_ok());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(temporary) = name.strip_prefix('.') else { return is_entry(name) };
    let mut parts = temporary.rsplitn(3, '.');
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_entry)
}

/// Times in the future count as now.
fn age(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// Only our own user may have written, and can write, what we run.
fn check_trust(file: &File) -> Result<(), String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let own = geteuid().as_raw();
    if metadata.uid() != own {
        return Err(format!("it belongs to user {}: chown it to user {own} or remove it", metadata.uid()));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!("others may write it (mode {mode:o}): chmod go-w it or remove it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
