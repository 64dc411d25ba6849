//! Running programs within a bound.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait;

/// How much of an output is kept, in bytes. The rest is read and thrown away, so that the program goes on.
const KEEP: u64 = 16 << 20;

/// What a program left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended; by SIGKILL if it was out of time.
    pub status: ExitStatus,
    /// Standard output, the first 16 MiB.
    pub stdout: String,
    /// Standard error, the first 16 MiB.
    pub stderr: String,
    /// Whether it was killed because its time was over.
    pub out_of_time: bool,
    /// From its start to its end.
    pub took: Duration,
}

impl Finished {
    /// Standard output of a success.
    ///
    /// # Errors
    /// When the program was out of time or ended with another status than 0; the message has what it printed.
    pub fn success(self, what: &str) -> Result<String> {
        if self.out_of_time {
            bail!("{what}: killed after {:?}\n{}{}", self.took, self.stdout, self.stderr);
        }
        if !self.status.success() {
            bail!("{what}: {}\n{}{}", self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }

    /// Both outputs of a failure that was not a lack of time.
    ///
    /// # Errors
    /// When the program ended with status 0, was killed, or was out of time.
    pub fn refusal(self, what: &str) -> Result<String> {
        let output = format!("{}{}", self.stdout, self.stderr);
        match self.status.code() {
            Some(0) => bail!("{what}: succeeded, but has to fail\n{output}"),
            Some(_) => Ok(output),
            None => {
                bail!("{what}: {} after {:?}, but has to fail by itself\n{output}", self.status, self.took)
            }
        }
    }
}

/// Starts `command` and waits until it ends, but no longer than `limit`: then it is killed. Standard input is empty.
///
/// # Errors
/// When the program cannot be started or waited for.
pub fn run(command: Command, limit: Duration) -> Result<Finished> {
    Running::start(command)?.finish(limit)
}

/// A program that runs beside us. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    since: Instant,
    stdout: Option<JoinHandle<io::Result<String>>>,
    stderr: Option<JoinHandle<io::Result<String>>>,
}

impl Running {
    /// Starts `command` with empty standard input; its outputs are read all the time.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let since = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self { child, name, since, stdout, stderr })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs. Does not block.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().with_context(|| format!("wait for {}", self.name))?.is_none())
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When it had ended before: there was nothing to kill.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let output = self.outputs()?;
            bail!("{}: ended before it was killed: {status}\n{}{}", self.name, output.0, output.1);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end, `limit` after its start at the latest: then it is killed.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let left = limit.saturating_sub(self.since.elapsed());
        let ended = wait::until(left, &self.name, || Ok(self.child.try_wait()?));
        let (status, out_of_time) = match ended {
            Ok(status) => (status, false),
            Err(_) => {
                self.child.kill().with_context(|| format!("kill {}", self.name))?;
                (self.child.wait()?, true)
            }
        };
        let took = self.since.elapsed();
        let (stdout, stderr) = self.outputs()?;
        Ok(Finished { status, stdout, stderr, out_of_time, took })
    }

    fn outputs(&mut self) -> Result<(String, String)> {
        let read = |reader: Option<JoinHandle<io::Result<String>>>| match reader.map(JoinHandle::join) {
            None => Ok(String::new()),
            Some(Ok(text)) => text.context("read what a program prints"),
            Some(Err(_)) => bail!("the reader of a program's output panicked"),
        };
        Ok((read(self.stdout.take())?, read(self.stderr.take())?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<io::Result<String>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        pipe.by_ref().take(KEEP).read_to_end(&mut kept)?;
        io::copy(&mut pipe, &mut io::sink())?;
        Ok(String::from_utf8_lossy(&kept).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn keeps_both_outputs_and_the_status() {
        let finished = run(shell("echo out; echo err >&2; exit 3"), Duration::from_secs(20)).unwrap();
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(finished.status.code(), Some(3));
        assert!(finished.clone().success("sh").unwrap_err().to_string().contains("err"));
        assert_eq!(finished.refusal("sh").unwrap(), "out\nerr\n");
    }

    #[test]
    fn a_program_out_of_time_is_killed() {
        let finished = run(shell("echo begun; exec tail -f /dev/null"), Duration::from_secs(5)).unwrap();
        assert!(finished.out_of_time);
        assert_eq!(finished.stdout, "begun\n");
        assert!(finished.clone().success("tail").unwrap_err().to_string().starts_with("tail: killed after"));
        assert!(finished.refusal("tail").is_err());
    }

    #[test]
    fn a_success_is_no_refusal() {
        let finished = run(shell("exit 0"), Duration::from_secs(20)).unwrap();
        assert!(finished.refusal("sh").is_err());
    }

    #[test]
    fn output_beyond_what_is_kept_does_not_stop_the_program() {
        let finished = run(shell("head -c 20000000 /dev/zero"), Duration::from_secs(60)).unwrap();
        assert!(finished.status.success());
        assert_eq!(u64::try_from(finished.stdout.len()).unwrap(), KEEP);
    }

    #[test]
    fn killing_what_has_ended_is_an_error() {
        let mut running = Running::start(shell("exit 0")).unwrap();
        wait::until(Duration::from_secs(20), "end", || Ok((!running.is_running()?).then_some(()))).unwrap();
        assert!(running.kill().unwrap_err().to_string().contains("ended before it was killed"));
    }
}
