//! The file of the log.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::{FILE_NAME, LogError};

/// Opens the file in this directory for appending. Missing directories are made with mode 0755, a missing file with
/// 0600. A symbolic link in the file's place is followed if nobody else can have put it there.
pub(crate) fn open(directory: &Path) -> Result<File, LogError> {
    let folder = make(directory)
        .and_then(|()| at(AT_FDCWD, directory.as_os_str(), OFlag::O_PATH | OFlag::O_DIRECTORY));
    let found = folder.and_then(|folder| Ok((is_ours_alone(&folder)?, folder)));
    let (ours, folder) =
        found.map_err(|source| LogError::Directory { path: directory.to_owned(), source })?;
    let path = directory.join(FILE_NAME);
    // A pipe must not be waited for; a regular file takes no notice.
    let mut flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    flags.set(OFlag::O_NOFOLLOW, !ours);
    let file = match at(&folder, OsStr::new(FILE_NAME), flags) {
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

fn at(folder: impl AsFd, name: &OsStr, flags: OFlag) -> io::Result<File> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    loop {
        match openat(&folder, name, flags | OFlag::O_CLOEXEC, mode) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Makes what is missing. Whatever this process's umask is (the unit's is 0077, for what else it makes), everybody may
/// look for the log.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => {}
        Err(_) if directory.is_dir() => return Ok(()),
        Err(error) => match directory.parent() {
            Some(above) if error.kind() == io::ErrorKind::NotFound => {
                make(above)?;
                // Somebody else may have made it meanwhile.
                match DirBuilder::new().mode(0o755).create(directory) {
                    Err(_) if directory.is_dir() => return Ok(()),
                    made => made?,
                }
            }
            _ => return Err(error),
        },
    }
    // By a descriptor: above it others may be able to put something else in its place.
    let made = at(AT_FDCWD, directory.as_os_str(), OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?;
    made.set_permissions(Permissions::from_mode(0o755))
}

/// Whether nobody but root and this process's user can put anything into it.
fn is_ours_alone(folder: &File) -> io::Result<bool> {
    let found = folder.metadata()?;
    let owner = found.uid() == 0 || found.uid() == geteuid().as_raw();
    Ok(owner && found.mode() & 0o022 == 0)
}

/// A symbolic link, or a pipe that nobody reads (open(2)).
fn is_no_file(error: &io::Error) -> bool {
    [Errno::ELOOP, Errno::ENXIO].iter().any(|&errno| error.raw_os_error() == Some(errno as i32))
}
