//! Processor time of another process.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What all threads of a process have used so far, user and system, to the nanosecond (`/proc/PID/task/*/schedstat`).
/// Threads that have ended are not in it: the servers that are measured keep theirs.
///
/// # Errors
/// When the process has gone.
pub fn used(pid: u32) -> Result<Duration> {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let file = thread.context("list of threads")?.path().join("schedstat");
        match std::fs::read_to_string(&file) {
            Ok(text) => sum += parse(&text).with_context(|| file.display().to_string())?,
            // It ended between the two calls.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        }
    }
    Ok(sum)
}

/// The first of schedstat's three numbers: nanoseconds on a processor.
fn parse(text: &str) -> Result<Duration> {
    match text.split_whitespace().next().map(str::parse) {
        Some(Ok(nanos)) => Ok(Duration::from_nanos(nanos)),
        _ => bail!("no number of nanoseconds: {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_number() {
        assert_eq!(parse("123456789 42 7\n").unwrap(), Duration::from_nanos(123_456_789));
        assert!(parse("").is_err());
        assert!(parse("x 1 2").is_err());
    }

    #[test]
    fn grows_with_work() {
        let before = used(std::process::id()).unwrap();
        let mut spent = 0_u64;
        crate::wait::until(Duration::from_secs(30), "processor time", || {
            for n in 0..1_000_000_u64 {
                spent = std::hint::black_box(spent.wrapping_add(n));
            }
            Ok((used(std::process::id())? > before + Duration::from_millis(5)).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn a_process_that_has_gone_is_an_error() {
        assert!(used(u32::MAX).is_err());
    }
}
