//! Signals as calls on a thread of their own.

use std::fs;
use std::ops::ControlFlow;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that end the server.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The signals that end the server, held back. Make it before any thread begins: threads inherit what is blocked.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Holds the signals back. SIGHUP only if it is not to be ignored (nohup(1)).
    ///
    /// # Errors
    /// The system's.
    pub(super) fn hold() -> anyhow::Result<Self> {
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let hung_up = ignored & mask(Signal::SIGHUP) == 0;
        let wanted = ENDING.into_iter().filter(|signal| *signal != Signal::SIGHUP || hung_up);
        let set = SigSet::from_iter(wanted);
        set.thread_block().context("blocking signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("making a signalfd")?;
        Ok(Self(fd))
    }

    /// Has `take` called with the number of each signal, by a thread that lives as long as the process or until `take`
    /// wants no more.
    ///
    /// # Errors
    /// No thread to be had.
    pub(super) fn deliver(
        self,
        mut take: impl FnMut(u8) -> ControlFlow<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // Blocks; a descriptor that fails will not get better.
            while let Ok(Some(info)) = self.0.read_signal() {
                let number = u8::try_from(info.ssi_signo).unwrap_or(0);
                if take(number).is_break() {
                    break;
                }
            }
        });
        thread.context("starting a thread for signals")?;
        Ok(())
    }
}

/// The bit of a signal in the masks of proc(5).
fn mask(signal: Signal) -> u64 {
    let bit = u32::try_from(signal as i32 - 1).unwrap_or(0);
    1 << bit
}

/// `SigIgn` of /proc/PID/status.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found() {
        let status = "Name:\tx\nSigBlk:\t0000000000000003\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status) & mask(Signal::SIGHUP), 1);
        assert_eq!(ignored(status) & mask(Signal::SIGINT), 0);
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
        assert_eq!(mask(Signal::SIGTERM), 1 << 14);
    }
}
