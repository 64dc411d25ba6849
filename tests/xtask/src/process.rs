//! Running other programs: in a process group of their own that an interrupt ends, except for those that only answer
//! or copy something ([`output`]), which end by themselves.

use crate::cleanup::Group;
use crate::progress::Progress;
use anyhow::{Context, bail};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How many of a failed program's last lines are shown.
const TAIL_LINES: usize = 30;

/// Starts `command` as leader of a new process group and registers it.
///
/// # Errors
/// When the program cannot be started; the message names it.
pub fn spawn(command: &mut Command) -> anyhow::Result<(Child, Group)> {
    let child = command
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let leader = Pid::from_raw(i32::try_from(child.id()).context("process id")?);
    Ok((child, Group::register(leader)))
}

/// The command line as a user would type it, for messages.
pub fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs `command` with its output going where ours goes.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let (mut child, _group) = spawn(command.stdin(Stdio::null()))?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` silently: its last line is the progress detail, and its last lines are in the error if it fails.
/// Returns everything it printed.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0.
pub fn run_quietly(command: &mut Command, progress: &Progress) -> anyhow::Result<String> {
    run_watched(command, |line| progress.detail(line))
}

/// [`run_watched`] for at most `limit`.
///
/// # Errors
/// As there, and when the time was up; it is killed then.
pub fn run_watched_for(
    command: &mut Command,
    limit: Duration,
    watch: impl FnMut(&str),
) -> anyhow::Result<String> {
    let started = spawn_captured(command)?;
    let (ended, end) = mpsc::channel::<()>();
    let text = std::thread::scope(|scope| {
        let group = &started.group;
        let clock = scope.spawn(move || {
            // Disconnected without a message when the program has ended by itself.
            let expired = end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if expired {
                group.end();
            }
            expired
        });
        let text = read_to_end(&started.output, watch);
        drop(ended);
        if clock.join().unwrap_or(false) {
            bail!("{} ran out of time ({} s)", shown(command), limit.as_secs_f64());
        }
        text
    })?;
    started.finish(command, text)
}

/// Runs `command` silently and shows `watch` each line of its output as it comes. Returns everything it printed.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0; its last lines are in the error.
pub fn run_watched(command: &mut Command, watch: impl FnMut(&str)) -> anyhow::Result<String> {
    let started = spawn_captured(command)?;
    let text = read_to_end(&started.output, watch)?;
    started.finish(command, text)
}

/// A program whose output comes through one pipe.
struct Captured {
    child: Child,
    group: Group,
    output: PipeReader,
}

fn spawn_captured(command: &mut Command) -> anyhow::Result<Captured> {
    let (output, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let (child, group) = spawn(command)?;
    // Our copies of the pipe's write end would keep it open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Captured { child, group, output })
}

fn read_to_end(output: &PipeReader, mut watch: impl FnMut(&str)) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        watch(line.trim());
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

impl Captured {
    fn finish(mut self, command: &Command, text: String) -> anyhow::Result<String> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", shown(command), tail(&text, TAIL_LINES));
        }
        Ok(text)
    }
}

/// Standard output of `command`, trimmed; its standard error is dropped unless it fails. It stays in our process group,
/// where a terminal's Ctrl-C reaches it and another signal to us does not: not for what takes long.
///
/// # Errors
/// When it cannot be started, ends with a status other than 0 or prints something that is not UTF-8.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout).context("output is not UTF-8")?.trim().to_owned())
}

/// Runs `command` for at most `limit`; `None` when the time was up (it is killed then), else whether it succeeded.
///
/// # Errors
/// When it cannot be started.
pub fn run_for(command: &mut Command, limit: Duration) -> anyhow::Result<Option<bool>> {
    let (mut child, group) = spawn(command.stdin(Stdio::null()))?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The receiver is gone when the time was up.
        let _ = sender.send(child.wait());
    });
    match receiver.recv_timeout(limit) {
        Ok(status) => Ok(Some(status?.success())),
        Err(_) => {
            group.end();
            Ok(None)
        }
    }
}

/// The last `lines` lines of `text`.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Quotes `word` for a POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_shell() {
        for word in ["plain", "", "two words", "it's", "$HOME `x` \"q\"", "a\nb"] {
            let out =
                Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
        }
    }

    #[test]
    fn tail_of_short_and_long_texts() {
        assert_eq!(tail("a\nb\n", 5), "a\nb");
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn failure_carries_the_programs_words() {
        let progress = Progress::start("failing program");
        let mut command = Command::new("sh");
        command.args(["-c", "echo reason; exit 3"]);
        let error = run_quietly(&mut command, &progress).unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains('3'), "{error}");
        progress.done();
    }

    #[test]
    fn captured_program_is_ended_when_its_time_is_up() {
        let mut slow = Command::new("sh");
        slow.args(["-c", "echo started; sleep 1000"]);
        let error = run_watched_for(&mut slow, Duration::from_millis(200), |_| {}).unwrap_err().to_string();
        assert!(error.contains("ran out of time"), "{error}");
        let mut quick = Command::new("sh");
        quick.args(["-c", "echo fine"]);
        assert_eq!(run_watched_for(&mut quick, Duration::from_secs(20), |_| {}).unwrap(), "fine\n");
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo reason; exit 3"]);
        let error = run_watched_for(&mut failing, Duration::from_secs(20), |_| {}).unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains('3'), "{error}");
    }

    #[test]
    fn time_limit_ends_the_whole_group() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        assert_eq!(run_for(&mut command, Duration::from_millis(200)).unwrap(), None);
        let mut quick = Command::new("true");
        assert_eq!(run_for(&mut quick, Duration::from_secs(20)).unwrap(), Some(true));
    }
}
