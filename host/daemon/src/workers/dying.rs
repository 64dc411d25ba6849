//! Processes that have died and can not end: the kernel waits for operations of theirs on storage that stands still.
//! Their descriptors stay open meanwhile, so neither the link's end nor the pidfd tells.

/// `include/linux/sched.h`: the thread is on its way out.
const PF_EXITING: u64 = 0x4;

/// The first thread of the process has ended, or is about to, as /proc shows it. False if it can not be seen.
pub(super) fn is_dying(pid: i32) -> bool {
    pid > 0
        && std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| says_so(&stat).unwrap_or(false))
}

/// proc_pid_stat(5): behind the name in parentheses come the state and, as the seventh field, the flags.
fn says_so(stat: &str) -> Option<bool> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    Some(matches!(state, "Z" | "X") || flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_flags_tell_whatever_the_name_is() {
        let stat =
            |name: &str, state: &str, flags: u64| format!("7 ({name}) {state} 1 7 7 0 -1 {flags} 0 0 0\n");
        assert_eq!(says_so(&stat("lunbox-w", "S", 0x40_0000)), Some(false));
        assert_eq!(says_so(&stat("a) Z 1 7 7 0 -1 4 (", "S", 0x40_0000)), Some(false));
        assert_eq!(says_so(&stat("lunbox-w", "Z", 0x40_0000)), Some(true));
        assert_eq!(says_so(&stat("lunbox-w", "D", 0x40_0004)), Some(true));
        assert_eq!(says_so("nonsense"), None);
    }

    #[test]
    fn a_living_process_is_not_dying_and_one_that_ended_unseen_is() {
        assert!(!is_dying(std::process::id().cast_signed()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_dying(pid) {
            assert!(std::time::Instant::now() < deadline, "a process that nobody waited for is no zombie");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!is_dying(pid) && !is_dying(0));
    }
}
