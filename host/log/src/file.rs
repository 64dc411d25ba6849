//! The file of the log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::{FILE_NAME, LogError};

/// Opens the file in this directory for appending. Missing directories are made with mode 0755, a missing file with
/// 0600.
pub(crate) fn open(directory: &Path) -> Result<File, LogError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| LogError::Directory { path: directory.to_owned(), source })?;
    let path = directory.join(FILE_NAME);
    // A pipe must not be waited for; a regular file takes no notice.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags.bits()).open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_no_file(&error) => return Err(LogError::NotAFile { path }),
        Err(source) => return Err(LogError::File { path, source }),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(LogError::NotAFile { path }),
        Err(source) => Err(LogError::File { path, source }),
    }
}

/// A symbolic link, or a pipe that nobody reads (open(2)).
fn is_no_file(error: &io::Error) -> bool {
    [Errno::ELOOP, Errno::ENXIO].iter().any(|&errno| error.raw_os_error() == Some(errno as i32))
}
