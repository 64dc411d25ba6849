//! Compiled components on disk.
//!
//! One file per component and engine, named by their digests. Nothing in it is needed: whatever is wrong with the
//! cache, the component is compiled again.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use tracing::warn;

use crate::container::{self, Digest};
use crate::source::WRITABLE_BY_OTHERS;
use crate::text::hex;

/// A directory that only our own user can write.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: OwnedFd,
    path: PathBuf,
    engine: Digest,
}

/// Tells the temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// Opens the directory, making it if it is missing. If it can not be trusted the reason and the remedy are
    /// logged, and there is no cache.
    pub(crate) fn open(path: &Path, engine: Digest) -> Option<Self> {
        match Self::try_open(path, engine) {
            Ok(cache) => Some(cache),
            Err(problem) => {
                warn!("handlers are compiled at each start, without the cache {}: {problem}", path.display());
                None
            }
        }
    }

    fn try_open(path: &Path, engine: Digest) -> Result<Self, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| format!("it can not be made: {error}; name another directory"))?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty())
            .map_err(|error| format!("it can not be opened: {error}; it must be a directory, not a link"))?;
        let directory = File::from(directory);
        check_trust(&directory).map_err(|problem| format!("{problem}, because its files are run"))?;
        Ok(Self { directory: directory.into(), path: path.to_owned(), engine })
    }

    fn name(&self, component: &Digest) -> String {
        let key = container::digest(&[&self.engine[..], component].concat());
        format!("{}.cwasm", hex(&key))
    }

    /// The stored container of a component, if there is one that can be trusted. Its contents are unchecked.
    pub(crate) fn get(&self, component: &Digest) -> Option<Vec<u8>> {
        let name = self.name(component);
        match self.try_get(&name) {
            Ok(found) => found,
            Err(problem) => {
                warn!("{}: {problem}; the handler is compiled again", self.path.join(name).display());
                None
            }
        }
    }

    fn try_get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        // O_NONBLOCK: whatever stands there instead of a file must not hold us up.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(nix::errno::Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(format!("it can not be opened: {error}")),
        };
        if !file.metadata().map_err(|error| error.to_string())?.is_file() {
            return Err("it is no regular file; remove it".to_owned());
        }
        check_trust(&file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| format!("it can not be read: {error}"))?;
        Ok(Some(bytes))
    }

    /// Stores a container. Readers see the old file or the whole new one.
    pub(crate) fn put(&self, component: &Digest, container: &[u8]) {
        let name = self.name(component);
        let temporary =
            format!(".{name}.{}.{}", std::process::id(), NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = self.try_put(&temporary, &name, container) {
            warn!(
                "{}: {error}; the handler will be compiled again at the next start; is there space, and may this user write?",
                self.path.join(name).display()
            );
            // It may never have been made.
            let _ = unlinkat(&self.directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    fn try_put(&self, temporary: &str, name: &str, container: &[u8]) -> std::io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.directory, temporary, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        // Not synced: after a crash a torn file is recognised by its digest and made again.
        file.write_all(container)?;
        renameat(&self.directory, temporary, &self.directory, name)?;
        Ok(())
    }
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
