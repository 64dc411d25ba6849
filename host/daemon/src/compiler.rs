//! Compiling a component in a child that is confined and has little time.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lunbox_engine::{AnswerError, Artifact, Expected};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// How long a compilation may take: the project's handlers take tens of milliseconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs the compiler.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program that understands `compile`: this one.
    pub executable: PathBuf,
    /// What it logs: a word of tracing.
    pub level: String,
    /// After so long it is killed.
    pub limit: Duration,
}

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The child could not be started.
    #[error(
        "the compiler can not be started: {0}; raise the limits of tasks and open files (TasksMax, LimitNOFILE)"
    )]
    Start(#[from] io::Error),
    /// It took too long.
    #[error("compiling it takes more than {} s; build it with optimisation, or split what it does", .0.as_secs())]
    TooLong(Duration),
    /// It answered something else than a compiled handler.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Compiler {
    /// Compiles a component. Blocks for the time limit at the most.
    ///
    /// # Errors
    /// See [`CompileError`]. The child has ended.
    pub fn compile(&self, component: &[u8], expected: &Expected) -> Result<Artifact, CompileError> {
        let mut command = Command::new(&self.executable);
        lunbox_jail::scrub(&mut command);
        command.arg0("lunboxd-compile").args(["compile", "--level", &self.level]).process_group(0);
        command.stdin(input(component)?).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn()?;
        let Some(answer) = child.stdout.take() else {
            return Err(io::Error::other("it has no standard output").into());
        };
        let (done, finished) = channel::<()>();
        let limit = self.limit;
        let watch = std::thread::Builder::new().name("compile-limit".to_owned()).spawn(move || {
            let over = finished.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            end(&mut child);
            over
        })?;
        let artifact = Artifact::read_from(answer, expected);
        // It may be about to write more than was read; nothing of that is wanted.
        drop(done);
        let over = watch.join().unwrap_or(false);
        match artifact {
            Err(_) if over => Err(CompileError::TooLong(self.limit)),
            artifact => Ok(artifact?),
        }
    }
}

/// The component as a file: a child that does not read can not hold up the writer.
fn input(component: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("lunbox-component", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(component)?;
    file.rewind()?;
    Ok(file)
}

fn end(child: &mut Child) {
    // One that has ended needs no signal; it was not waited for, so its number is still its own.
    let _ = child.kill();
    match child.wait() {
        Ok(status) => tracing::debug!("compiler: {status}"),
        Err(error) => tracing::warn!("the compiler was not waited for: {error}"),
    }
}
