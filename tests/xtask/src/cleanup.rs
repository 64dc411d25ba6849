//! What must go when the command is interrupted: process groups and folders.
//!
//! Every child runs in a process group of its own, so that a group can be ended as a whole: User-Mode Linux has one
//! host process per guest process. A signal thread owns SIGINT, SIGTERM and SIGHUP; it ends the registered groups,
//! removes the registered folders, gives the terminal back and leaves with 128 + signal. Orphans of those groups come
//! to us, not to a process 1 that may not reap them. Against our own SIGKILL, a [`Watchdog`] ends a group whose owner
//! is gone.

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Registry {
    groups: Vec<Pid>,
    folders: Vec<PathBuf>,
    terminal: Option<String>,
    instead: Option<Instead>,
}

/// What the next signal does instead of ending the command.
struct Instead(Box<dyn FnOnce() + Send>);

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { groups: Vec::new(), folders: Vec::new(), terminal: None, instead: None });

fn registry() -> MutexGuard<'static, Registry> {
    // The lists stay usable after a panic of another thread: each change is a single push or retain.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the signal thread. By handlers, not by a mask: children inherit a mask, and what they run could not be ended
/// by these signals; an `exec` takes handlers back.
///
/// # Errors
/// When the handlers cannot be set or the thread cannot be started.
pub fn install() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    set_child_subreaper(true)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever();
        let mut next = move || signals.next().map_or(1, |signal| 128 + signal);
        let mut status = next();
        let instead = registry().instead.take();
        if let Some(Instead(act)) = instead {
            act();
            status = next();
        }
        let registry = registry();
        for &group in &registry.groups {
            end(group);
        }
        if let Some(settings) = &registry.terminal {
            restore_terminal(settings);
        }
        for folder in &registry.folders {
            // Killed processes may still hold files in it; names go all the same.
            let _ = std::fs::remove_dir_all(folder);
        }
        eprintln!("\ninterrupted");
        std::process::exit(status);
    })?;
    Ok(())
}

/// Lets the next signal call `act`, in the signal thread, instead of ending the command: for a good end that the
/// caller brings about. The signal after it ends the command as ever.
pub fn on_next_interrupt(act: impl FnOnce() + Send + 'static) {
    registry().instead = Some(Instead(Box::new(act)));
}

/// A process group that is killed when the command is interrupted, for as long as this value lives.
#[derive(Debug)]
pub struct Group(Pid);

impl Group {
    /// Registers the group that `leader` leads.
    pub fn register(leader: Pid) -> Self {
        registry().groups.push(leader);
        Self(leader)
    }

    /// Kills the group now and reaps what of it is ours, orphans too. A group that is gone already is no error. Call it
    /// at the end of the leader's life, not after somebody has reaped it: its number may have a new owner then.
    pub fn end(&self) {
        end(self.0);
    }
}

fn end(group: Pid) {
    let members = Pid::from_raw(-group.as_raw());
    // Killed in rounds: a tracer that dies lets its processes go, and they may fork once more.
    let _ = killpg(group, Signal::SIGKILL);
    loop {
        match waitpid(members, None) {
            Ok(_) => {
                let _ = killpg(group, Signal::SIGKILL);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        registry().groups.retain(|&group| group != self.0);
    }
}

/// A small process that kills a group when we are gone, however that comes: it waits for the end of a pipe that only
/// we hold open. Dropped, it ends without doing anything.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Starts watching over `group`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn over(group: &Group) -> anyhow::Result<Self> {
        let script = r#"read -r _; kill -s KILL -- "-$1""#;
        let child = Command::new("sh")
            .args(["-c", script, "sh", &group.0.to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe ends: the group's number may belong to somebody else by now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed when the command is interrupted, for as long as this value lives.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Registers `path`.
    pub fn register(path: &Path) -> Self {
        registry().folders.push(path.to_path_buf());
        Self(path.to_path_buf())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        registry().folders.retain(|folder| *folder != self.0);
    }
}

/// The terminal in raw mode for as long as this value lives; the old settings come back on drop and on interrupt.
#[derive(Debug)]
pub struct RawTerminal(String);

impl RawTerminal {
    /// Puts the terminal on standard input into raw mode.
    ///
    /// # Errors
    /// When `stty` fails, which it does when standard input is no terminal.
    pub fn enter() -> anyhow::Result<Self> {
        let saved = stty(&["-g"])?;
        stty(&["raw", "-echo"])?;
        registry().terminal = Some(saved.clone());
        Ok(Self(saved))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore_terminal(&self.0);
        registry().terminal = None;
    }
}

fn restore_terminal(settings: &str) {
    if let Err(error) = stty(&[settings]) {
        eprintln!("cannot restore the terminal ({error}); `stty sane` does");
    }
}

/// Runs `stty` on the terminal of standard input and returns what it prints.
///
/// # Errors
/// When it cannot be started or ends with a status other than 0.
pub fn stty(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("stty").args(arguments).stdin(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "stty {arguments:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn sleeper() -> (Child, Group) {
        crate::process::spawn(Command::new("sleep").arg("1000")).unwrap()
    }

    fn blocked(status: &str) -> &str {
        status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim()
    }

    #[test]
    fn children_get_no_signal_blocked() {
        let before = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        install().unwrap();
        let child = Command::new("cat").arg("/proc/self/status").output().unwrap();
        assert_eq!(blocked(&String::from_utf8(child.stdout).unwrap()), blocked(&before));
    }

    #[test]
    fn watchdog_ends_the_group_when_its_pipe_ends() {
        let (mut child, group) = sleeper();
        let mut watchdog = Watchdog::over(&group).unwrap();
        // What the kernel does with our end when we die.
        drop(watchdog.0.stdin.take());
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn dropped_watchdog_leaves_the_group_alone() {
        let (mut child, group) = sleeper();
        drop(Watchdog::over(&group).unwrap());
        assert_eq!(child.try_wait().unwrap(), None);
        group.end();
        assert!(child.wait().is_err(), "the group was reaped as a whole");
    }

    #[test]
    fn registrations_end_with_their_values() {
        let (_child, group) = sleeper();
        let leader = group.0;
        assert!(registry().groups.contains(&leader));
        group.end();
        drop(group);
        assert!(!registry().groups.contains(&leader));
    }
}
