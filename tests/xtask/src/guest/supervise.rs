//! Watches one machine from start to end: boot watchdog, time limit, output, and nothing left behind.

use crate::cleanup::Watchdog;
use crate::process;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// The line by which `guest-init.sh` says that the boot is over.
const READY: &[u8] = b"lunbox-guest: ready";
/// How long output may still trickle in after the machine's end. Its processes are dead then: this is for the pipe.
const DRAIN: Duration = Duration::from_secs(5);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the ready line.
    pub boot: Duration,
    /// Until the machine's end; `None` is without limit.
    pub total: Option<Duration>,
}

/// Why the machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited,
    /// We killed it: the ready line did not come.
    Hung,
    /// We killed it: the time limit was reached.
    TimedOut,
}

/// How the run went.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Why it ended.
    pub end: End,
    /// From the start to the ready line, if it came.
    pub ready: Option<Duration>,
}

enum Event {
    Output(Vec<u8>),
    OutputEnd,
    Exited,
}

/// Starts `command` and watches it. What arrives on `channel` after the ready line goes to `output`; with `terminal`,
/// our standard input goes to the channel. On return all of the machine's processes are dead and reaped.
///
/// # Errors
/// When the machine cannot be started or `output` cannot be written.
pub fn run(
    mut command: Command,
    channel: UnixStream,
    limits: Limits,
    terminal: bool,
    output: &mut dyn Write,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let (child, group) = process::spawn(&mut command)?;
    let watchdog = Watchdog::over(&group)?;
    // The command holds the machine's end of the channel; as long as we have it, we never see the end of output.
    drop(command);
    let (sender, events) = mpsc::channel();
    read_output(channel.try_clone()?, sender.clone());
    wait_for_exit(child.id(), sender);
    if terminal {
        forward_input(channel);
    }

    let mut boot = BootFilter::default();
    let mut ready = None;
    let mut output_ended = false;
    let end = loop {
        let limit = match (ready, limits.total) {
            (None, Some(total)) => Some(limits.boot.min(total)),
            (None, None) => Some(limits.boot),
            (Some(_), total) => total,
        };
        let event = match limit {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(limit) => events.recv_timeout(limit.saturating_sub(started.elapsed())),
        };
        match event {
            Ok(Event::Output(bytes)) => {
                if boot.pass(&bytes, output)? {
                    ready = ready.or_else(|| Some(started.elapsed()));
                }
            }
            Ok(Event::OutputEnd) => output_ended = true,
            Ok(Event::Exited) | Err(RecvTimeoutError::Disconnected) => break End::Exited,
            Err(RecvTimeoutError::Timeout)
                if ready.is_none() && limits.total.is_none_or(|total| total > limits.boot) =>
            {
                break End::Hung;
            }
            Err(RecvTimeoutError::Timeout) => break End::TimedOut,
        }
    };
    drop(watchdog);
    // Nobody has reaped the leader yet, so the group's number is still its own.
    group.end();
    // A short run may be over before we have seen a byte of its output.
    let drain_until = Instant::now() + DRAIN;
    while !output_ended {
        match events.recv_timeout(drain_until.saturating_duration_since(Instant::now())) {
            Ok(Event::Output(bytes)) => {
                if boot.pass(&bytes, output)? {
                    ready = ready.or_else(|| Some(started.elapsed()));
                }
            }
            Ok(Event::Exited) => {}
            Ok(Event::OutputEnd) | Err(_) => output_ended = true,
        }
    }
    Ok(Ended { end, ready })
}

fn read_output(mut channel: UnixStream, events: Sender<Event>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let event = match channel.read(&mut buffer) {
                Ok(0) | Err(_) => Event::OutputEnd,
                Ok(length) => Event::Output(buffer[..length].to_vec()),
            };
            let last = matches!(event, Event::OutputEnd);
            if events.send(event).is_err() || last {
                return;
            }
        }
    });
}

/// Tells when the machine has ended, without reaping it.
fn wait_for_exit(child: u32, events: Sender<Event>) {
    std::thread::spawn(move || {
        if let Ok(raw) = i32::try_from(child) {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(Pid::from_raw(raw)), flags) == Err(nix::errno::Errno::EINTR) {}
        }
        // The receiver is gone only when the supervisor has failed already.
        let _ = events.send(Event::Exited);
    });
}

/// Copies our standard input to the guest's terminal until either ends. The thread may outlive the guest by the time
/// of one blocked read; it ends with the process.
fn forward_input(mut channel: UnixStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut channel);
    });
}

/// Holds back what the machine says before it is ready.
#[derive(Default)]
struct BootFilter {
    seen: Vec<u8>,
    ready: bool,
}

impl BootFilter {
    /// Takes more output and passes on what follows the ready line; tells whether that line has come.
    fn pass(&mut self, bytes: &[u8], output: &mut dyn Write) -> anyhow::Result<bool> {
        if self.ready {
            output.write_all(bytes)?;
        } else {
            self.seen.extend_from_slice(bytes);
            let Some(start) = self.seen.windows(READY.len()).position(|window| window == READY) else {
                return Ok(false);
            };
            let Some(length) = self.seen[start..].iter().position(|&byte| byte == b'\n') else {
                return Ok(false);
            };
            self.ready = true;
            output.write_all(&self.seen[start + length + 1..])?;
            self.seen = Vec::new();
        }
        output.flush()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    const SOON: Duration = Duration::from_secs(20);

    fn supervise(script: &str, limits: Limits) -> (Ended, String) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(OwnedFd::from(theirs));
        let mut output = Vec::new();
        let ended = run(command, ours, limits, false, &mut output).unwrap();
        (ended, String::from_utf8(output).unwrap())
    }

    #[test]
    fn output_after_the_ready_line_is_passed_on_whole() {
        let script = "exec 1>&0; echo noise; printf 'lunbox-gue'; echo 'st: ready 1.0'; echo one; seq 1 5000";
        let (ended, output) = supervise(script, Limits { boot: SOON, total: Some(SOON) });
        assert_eq!(ended.end, End::Exited);
        assert!(ended.ready.is_some());
        let expected: String =
            std::iter::once("one\n".to_owned()).chain((1..=5000).map(|n| format!("{n}\n"))).collect();
        assert_eq!(output, expected);
    }

    #[test]
    fn a_silent_boot_is_ended_by_the_watchdog() {
        let limits = Limits { boot: Duration::from_millis(100), total: Some(SOON) };
        let (ended, _) = supervise("sleep 1000 & wait", limits);
        assert_eq!(ended.end, End::Hung);
        assert_eq!(ended.ready, None);
    }

    #[test]
    fn a_command_out_of_time_is_ended_with_all_its_processes() {
        let script = "exec 1>&0; echo 'lunbox-guest: ready 1'; sh -c 'echo $$; exec sleep 1000' & wait";
        let (ended, output) = supervise(script, Limits { boot: SOON, total: Some(Duration::from_secs(3)) });
        assert_eq!(ended.end, End::TimedOut);
        // The grandchild was killed with its group. It may not have come to dying yet, and until init has reaped it, it
        // shows as a zombie.
        let deadline = Instant::now() + SOON;
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", output.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "{stat}");
            std::thread::yield_now();
        }
    }
}
