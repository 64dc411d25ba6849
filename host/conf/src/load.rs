//! The file.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

use crate::document::MAX_BYTES;
use crate::{Conf, Document, Warning};

/// Where the file is unless the command line names another.
pub const PATH: &str = "/etc/tcmu/tcmu.conf";

/// A file's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What it sets.
    pub conf: Conf,
    /// What is wrong with it, in the order of its lines.
    pub warnings: Vec<Warning>,
    /// Whether there is no such file, which is one of the warnings.
    pub missing: bool,
}

/// The file is there and can not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is a directory, a device, a pipe.
    #[error("{} is not a regular file; put tcmu.conf there", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{} can not be read: {source}; see its permissions and those of its directories", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Reads the file at `path`. It does not wait for one to appear. Blocks for the disk, never for a pipe.
///
/// # Errors
/// See [`LoadError`]. What is in the file is no error.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let system = |source| LoadError::System { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(missing()),
        Err(error) => return Err(system(error)),
    };
    if !file.metadata().map_err(system)?.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    // One more byte than is looked at (and a byte order mark), so that "too large" is known.
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(4);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(system)?;
    let (conf, warnings) = Document::parse(&bytes);
    Ok(Loaded { conf, warnings, missing: false })
}

fn missing() -> Loaded {
    let what = "there is no such file, and everything is as the command line and the defaults say";
    let warning = Warning::of_file(what, "an empty file silences this");
    Loaded { conf: Conf::default(), warnings: vec![warning], missing: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_read_and_what_is_wrong_with_it_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tcmu.conf");
        fs::write(&path, "log_level = 4\n!\n").unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!((loaded.conf.log_level, loaded.warnings.len(), loaded.missing), (Some(4), 1, false));
        fs::write(&path, b"#\n".repeat(MAX_BYTES)).unwrap();
        assert!(load(&path).unwrap().warnings[0].what.contains("larger than"));
    }

    #[test]
    fn cfg_2_a_missing_file_is_an_empty_one_and_a_warning_at_once() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["tcmu.conf", "no/such/tcmu.conf"] {
            let begun = std::time::Instant::now();
            let loaded = load(&directory.path().join(path)).unwrap();
            assert!(loaded.missing && loaded.conf == Conf::default());
            assert!(
                loaded.warnings[0].to_string().contains("no such file, and everything is as"),
                "{loaded:?}"
            );
            assert!(begun.elapsed() < std::time::Duration::from_secs(1));
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, directory.path(), Path::new("/dev/null")] {
            let error = load(path).unwrap_err();
            assert!(matches!(error, LoadError::NotAFile { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = load(&file.join("tcmu.conf")).unwrap_err();
        assert!(matches!(error, LoadError::System { .. }), "{error}");
    }
}
