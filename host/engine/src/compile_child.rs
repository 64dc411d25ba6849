//! What a process does that exists to compile one component.
//!
//! It is started by a supervisor that does not want to run a compiler on strangers' input itself: component on
//! stdin, answer on stdout ([`Artifact::read_from`](crate::Artifact::read_from)), log on stderr. The handler's
//! `describe` runs in it, too, so it needs what any process needs that runs guests: threads, and memory that may be
//! made executable.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::artifact::{write_failure, write_refusal};
use crate::source::MAX_COMPONENT;
use crate::{Engine, EngineOptions, LoadError};

/// Reads a component to its end (at most 64 MiB), compiles it, and writes the answer. Blocks meanwhile, and uses all
/// CPUs. To be called once, when the process is confined.
///
/// The exit code says whether an answer was written; a component that was refused is an answer.
pub fn main(component: impl Read, answer: impl Write) -> ExitCode {
    match answer_to(component, answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the compiler's answer can not be written: {error}; was it given up?");
            ExitCode::FAILURE
        }
    }
}

fn answer_to(component: impl Read, answer: impl Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    // One byte more shows one that is too long.
    if let Err(error) = component.take(MAX_COMPONENT + 1).read_to_end(&mut bytes) {
        return write_failure(answer, &format!("the component can not be read: {error}"));
    }
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > MAX_COMPONENT {
        return write_refusal(answer, &LoadError::TooLarge { size, limit: MAX_COMPONENT }.to_string());
    }
    let engine = match Engine::new(EngineOptions::default()) {
        Ok(engine) => engine,
        Err(error) => return write_failure(answer, &error.to_string()),
    };
    match engine.compile(&bytes) {
        Ok(artifact) => artifact.write_to(answer),
        Err(error) => write_refusal(answer, &error.to_string()),
    }
}
