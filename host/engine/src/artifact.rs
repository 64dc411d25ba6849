//! A compiled component on its way from the process that compiled it to those that run it.
//!
//! The compiler reads what strangers wrote, so it runs in a jailed process ([`crate::compile_child`]). What it answers
//! is a stream: one line of JSON that says what came of it, then the container if there is one. Whoever reads the
//! stream ([`Artifact::read_from`]) counts on a compiler that was taken over by its input: everything is bounded and
//! checked, and the machine code is bytes to it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::container::{self, MAX_BYTES, Unusable};
use crate::load::LoadError;
use crate::text::one_line;
use crate::{Digest, Manifest};

/// Longest first line in bytes.
const MAX_HEAD: u64 = 16 << 10;
/// Longest message of a compiler that is passed on, in bytes.
const MAX_MESSAGE: usize = 2048;

/// A handler that was compiled and has said who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub(crate) component: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) container: Vec<u8>,
}

/// What a container must have been made from, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The component's bytes ([`Digest::of`]).
    pub component: Digest,
    /// The engine ([`crate::engine_digest`]).
    pub engine: Digest,
}

/// Why a compiler's answer is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The component is no handler that could be run: a [`LoadError`]'s text, for the operator.
    #[error("{0}")]
    Refused(String),
    /// The compiler could not start to work.
    #[error("the compiler did not work: {0}")]
    Failed(String),
    /// The compiler ended without an answer.
    #[error("the compiler ended without an answer: it crashed or was ended; its log lines say more")]
    Nothing,
    /// The answer is not what a compiler of this program writes.
    #[error(
        "the compiler's answer can not be used: {0}; if the handler is not to blame, this program was replaced while \
         it ran: start it again"
    )]
    Malformed(String),
    /// The answer can not be read.
    #[error("the compiler's answer can not be read: {0}")]
    Read(#[from] io::Error),
}

/// The first line.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Head {
    /// So many bytes follow.
    Container(usize),
    Refused(String),
    Failed(String),
}

impl Artifact {
    /// What the handler said about itself.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The container: for [`crate::Engine::load_container`], or for a file named `handler_*.cwasm`.
    #[must_use]
    pub fn container(&self) -> &[u8] {
        &self.container
    }

    /// The component that it was made from.
    #[must_use]
    pub const fn component(&self) -> &Digest {
        &self.component
    }

    /// Checks a container without looking into its machine code.
    ///
    /// # Errors
    /// [`LoadError::Precompiled`] says what does not fit.
    pub fn from_container(container: Vec<u8>, expected: &Expected) -> Result<Self, LoadError> {
        Self::parse(container, &expected.engine, Some(&expected.component))
            .map_err(|unusable| LoadError::container(&unusable))
    }

    /// The same for a container that says itself what it was made from: a `handler_*.cwasm` that
    /// [`crate::HandlerFile::read`] took from a trusted owner.
    ///
    /// # Errors
    /// [`LoadError::Precompiled`] says what does not fit.
    pub fn of_precompiled(container: Vec<u8>, engine: &Digest) -> Result<Self, LoadError> {
        Self::parse(container, engine, None).map_err(|unusable| LoadError::container(&unusable))
    }

    pub(crate) fn parse(
        container: Vec<u8>,
        engine: &Digest,
        component: Option<&Digest>,
    ) -> Result<Self, Unusable> {
        let container::Parsed { component, manifest, .. } = container::parse(&container, engine, component)?;
        Ok(Self { component, manifest, container })
    }

    /// Writes the stream that [`Self::read_from`] reads.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        write_head(&mut to, &Head::Container(self.container.len()))?;
        to.write_all(&self.container)?;
        to.flush()
    }

    /// Reads a compiler's answer, to the end of the stream. Takes at most 256 MiB of memory, whatever is written;
    /// it is the caller's affair to end a compiler that writes nothing.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn read_from(from: impl Read, expected: &Expected) -> Result<Self, AnswerError> {
        let mut from = BufReader::new(from);
        let mut head = Vec::new();
        from.by_ref().take(MAX_HEAD).read_until(b'\n', &mut head)?;
        if head.is_empty() {
            return Err(AnswerError::Nothing);
        }
        let head = serde_json::from_slice(&head).map_err(|error| {
            AnswerError::Malformed(format!("first line: {}", one_line(&error.to_string(), 200)))
        })?;
        let length = match head {
            Head::Container(length) => length,
            Head::Refused(message) => return Err(AnswerError::Refused(one_line(&message, MAX_MESSAGE))),
            Head::Failed(message) => return Err(AnswerError::Failed(one_line(&message, MAX_MESSAGE))),
        };
        if length > MAX_BYTES {
            return Err(AnswerError::Malformed(format!("{length} bytes; at most {MAX_BYTES} are read")));
        }
        // Grows with what is there: the length is the compiler's word.
        let mut container = Vec::new();
        from.take(u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut container)?;
        if container.len() != length {
            let problem = format!("{length} bytes were announced, and more or fewer came");
            return Err(AnswerError::Malformed(problem));
        }
        Self::parse(container, &expected.engine, Some(&expected.component))
            .map_err(|unusable| AnswerError::Malformed(unusable.to_string()))
    }

    /// The container in memory, behind a descriptor that nobody can write by (a sealed memfd): for workers when there
    /// is no [`crate::Shelf`].
    ///
    /// # Errors
    /// The system has no memory or no descriptors left.
    pub fn to_file(&self) -> io::Result<File> {
        let descriptor = memfd_create("lunbox-handler", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let mut file = File::from(descriptor);
        file.write_all(&self.container)?;
        let seals =
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file)
    }
}

/// Answers that there is no artifact because of the component.
pub(crate) fn write_refusal(mut to: impl Write, message: &str) -> io::Result<()> {
    write_head(&mut to, &Head::Refused(message.to_owned()))?;
    to.flush()
}

/// Answers that there is no artifact, and that the component is not to blame.
pub(crate) fn write_failure(mut to: impl Write, message: &str) -> io::Result<()> {
    write_head(&mut to, &Head::Failed(message.to_owned()))?;
    to.flush()
}

fn write_head(to: &mut impl Write, head: &Head) -> io::Result<()> {
    let mut line = serde_json::to_vec(head)?;
    line.push(b'\n');
    to.write_all(&line)
}

#[cfg(test)]
mod tests;
