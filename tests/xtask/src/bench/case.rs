//! What is measured in the guest: a load on a LUN, and who serves the LUN.

use anyhow::{Context, bail};
use serde::Serialize;
use std::fmt;

/// Who serves a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// lunboxd with the `file` handler, the device loop in a worker.
    Lunbox,
    /// The same daemon with a second LUN: how far apart equal things are found.
    Control,
    /// lunboxd in one process (`--single-process`), with a handler that plans as `file` does.
    Single,
    /// Debian's tcmu-runner, its `qcow` handler on a raw image.
    Runner,
    /// The kernel's own fileio backstore, buffered as the other two are.
    Fileio,
}

impl Side {
    /// By the name that the guest's script gives it.
    ///
    /// # Errors
    /// When it is another.
    pub fn parse(word: &str) -> anyhow::Result<Self> {
        Ok(match word {
            "lunbox" => Self::Lunbox,
            "control" => Self::Control,
            "single" => Self::Single,
            "runner" => Self::Runner,
            "fileio" => Self::Fileio,
            _ => bail!("the guest speaks of a side `{word}`"),
        })
    }
}

/// A load: `store:rw:block:depth`, in fio's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Case {
    /// File system of the backing files: `tmpfs` or `ext4`.
    pub store: String,
    /// `randread` or `randwrite`.
    pub rw: String,
    /// Bytes per I/O as fio writes them, such as `4k`.
    pub block: String,
    /// I/Os in flight.
    pub depth: u32,
}

impl Case {
    /// Whether its I/Os are writes.
    pub fn writes(&self) -> bool {
        self.rw.contains("write")
    }

    /// `4 KiB read, QD32`, without the store.
    pub fn load(&self) -> String {
        let direction = if self.writes() { "write" } else { "read" };
        format!("{} {direction}, QD{}", self.block.replace('k', " KiB"), self.depth)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.load(), self.store)
    }
}

/// Takes a job's name apart: `store:rw:block:depth:side`.
///
/// # Errors
/// When it has another form.
pub fn parse_job(name: &str) -> anyhow::Result<(Case, Side)> {
    let parts: Vec<&str> = name.split(':').collect();
    let [store, rw, block, depth, side] = parts[..] else { bail!("odd name of a job: `{name}`") };
    let depth = depth.parse().with_context(|| format!("depth in the name of a job: `{name}`"))?;
    let case = Case { store: store.to_owned(), rw: rw.to_owned(), block: block.to_owned(), depth };
    Ok((case, Side::parse(side)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_names_are_taken_apart() {
        let (case, side) = parse_job("tmpfs:randwrite:64k:8:control").unwrap();
        assert_eq!(side, Side::Control);
        assert_eq!(case.to_string(), "64 KiB write, QD8, tmpfs");
        assert!(case.writes());
    }

    #[test]
    fn other_names_are_refused_by_name() {
        for name in ["", "a:b:c:1", "a:b:c:x:lunbox", "a:b:c:1:stranger", "a:b:c:1:lunbox:more"] {
            assert!(parse_job(name).is_err(), "{name}");
        }
        assert!(parse_job("a:b:c:1:stranger").unwrap_err().to_string().contains("stranger"));
    }
}
