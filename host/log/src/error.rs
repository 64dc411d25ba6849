//! Why there is no log, or not the one that was asked for.

use std::io;
use std::path::PathBuf;

/// Why there is no log, or not the one that was asked for. What was logged to before is logged to still.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directory.
    #[error("log_dir {}: {source}; create it, or name another", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file.
    #[error("log file {}: {source}; see that it is a file that this user can write to", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a pipe or a device, where a line may wait for ever, or a symbolic link in a directory that others can write
    /// to, who could have it lead anywhere.
    #[error(
        "log file {} is no regular file, or a symbolic link in a directory that others can write to; remove it",
        path.display()
    )]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The thread that writes.
    #[error("no thread for the log: {0}; raise the limit of tasks (TasksMax)")]
    Thread(io::Error),
    /// The process logs somewhere already.
    #[error("this process has a log already")]
    Taken,
}
