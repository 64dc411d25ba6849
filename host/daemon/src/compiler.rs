//! Compiling a component in a child that is confined and has little time; and other work with what strangers wrote.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SendError, channel};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// What it logs: a word of tracing. Clones have the same.
    level: Arc<Mutex<String>>,
    /// After so long it is killed.
    pub limit: Duration,
    /// It does not compile if the kernel can not confine it in every way.
    required: bool,
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
    /// A compiler that does without the parts of its jail that this kernel lacks. As root it never runs.
    #[must_use]
    pub fn new(executable: PathBuf, level: String, limit: Duration) -> Self {
        Self { executable, level: Arc::new(Mutex::new(level)), limit, required: false }
    }

    /// Whether it must be confined in every way: as the strictest tenant has it, because all use what it makes.
    #[must_use]
    pub fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    /// Children that are started from now on log this much, also those of clones.
    pub fn set_level(&self, level: String) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }

    /// Compiles a component. Blocks for the time limit at the most.
    ///
    /// # Errors
    /// See [`CompileError`]. The child has ended.
    pub fn compile(&self, component: &[u8], expected: &Expected) -> Result<Artifact, CompileError> {
        let input = input("lunbox-component", |file| file.write_all(component))?;
        let (artifact, over) =
            self.ask("compile", self.limit, input, |answer| Artifact::read_from(answer, expected))?;
        match artifact {
            Err(_) if over => Err(CompileError::TooLong(self.limit)),
            artifact => Ok(artifact?),
        }
    }

    /// Starts a child that does one thing, reads its answer, and says whether the child was killed because it took longer
    /// than `limit`. Blocks until it has ended.
    pub(crate) fn ask<A>(
        &self,
        word: &'static str,
        limit: Duration,
        input: File,
        read: impl FnOnce(ChildStdout) -> A,
    ) -> io::Result<(A, bool)> {
        let mut command = Command::new(&self.executable);
        lunbox_jail::scrub(&mut command);
        // Its log lines are to look like ours: local time, and priorities if stderr is the journal's.
        for name in ["TZ", "JOURNAL_STREAM"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let level = self.level.lock().unwrap_or_else(PoisonError::into_inner).clone();
        command.arg0(format!("lunboxd-{word}")).args([word, "--level", &level]).process_group(0);
        if self.required {
            command.arg("--required");
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let (done, finished) = channel::<()>();
        let (hand_over, handed_over) = channel::<Child>();
        // Before the child: one that nobody watches would never end.
        let watch = std::thread::Builder::new().name(format!("{word}-limit")).spawn(move || {
            let Ok(mut child) = handed_over.recv() else { return false };
            let over = finished.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            end(&mut child);
            over
        })?;
        let mut child = command.spawn()?;
        let answer = child.stdout.take();
        if let Err(SendError(mut child)) = hand_over.send(child) {
            end(&mut child);
            return Err(io::Error::other("its watch has ended"));
        }
        let Some(answer) = answer else {
            return Err(io::Error::other("it has no standard output"));
        };
        let answer = read(answer);
        // It may be about to write more than was read; nothing of that is wanted.
        drop(done);
        Ok((answer, watch.join().unwrap_or(false)))
    }
}

/// What a child reads, as a file: one that does not read can not hold up the writer.
pub(crate) fn input(name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    write(&mut file)?;
    file.rewind()?;
    Ok(file)
}

fn end(child: &mut Child) {
    // One that has ended needs no signal; it was not waited for, so its number is still its own.
    let _ = child.kill();
    match child.wait() {
        Ok(status) => tracing::debug!("child: {status}"),
        Err(error) => tracing::warn!("a child was not waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Instant;

    use lunbox_engine::Digest;

    use super::*;

    /// What becomes of a compiler that is another program.
    fn compile_with(program: &Path, limit: Duration) -> CompileError {
        let compiler = Compiler::new(program.to_owned(), "info".to_owned(), limit).required(true);
        // As a reload does it, through another clone.
        compiler.clone().set_level("debug".to_owned());
        let expected = Expected { component: Digest::of(b"component"), engine: Digest::of(b"engine") };
        loop {
            match compiler.compile(b"component", &expected) {
                // Another test's child was forked while the script was written, and has it open until it executes.
                Err(CompileError::Start(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                result => return result.unwrap_err(),
            }
        }
    }

    #[test]
    fn a_child_that_does_not_answer_is_killed_and_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (program, told) = (place.path().join("compiler"), place.path().join("told"));
        let script = format!("#!/bin/sh\necho $$ $* > {}\nexec sleep 600\n", told.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = compile_with(&program, Duration::from_secs(3));
        assert!(matches!(error, CompileError::TooLong(_)), "{error}");
        let told = std::fs::read_to_string(told).unwrap();
        let (pid, arguments) = told.trim().split_once(' ').unwrap();
        assert_eq!(arguments, "compile --level debug --required");
        assert!(!Path::new("/proc").join(pid).exists(), "process {pid} is left");
    }

    #[test]
    fn a_child_that_answers_something_else_is_not_waited_for_until_it_ends() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("compiler");
        std::fs::write(&program, "#!/bin/sh\nexec yes\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let begin = Instant::now();
        let error = compile_with(&program, TIME_LIMIT);
        assert!(matches!(error, CompileError::Answer(_)), "{error}");
        assert!(begin.elapsed() < TIME_LIMIT);
    }

    #[test]
    fn a_program_that_is_not_there_is_said_to_be_so() {
        let error = compile_with(Path::new("/no/such/program"), TIME_LIMIT);
        assert!(matches!(error, CompileError::Start(_)), "{error}");
    }
}
