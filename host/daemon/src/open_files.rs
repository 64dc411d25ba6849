//! How many files this process may have open. A device takes some descriptors here, and the usual soft limit is for
//! programs that use select(2).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The least that `--nofile` takes.
pub const LEAST: u64 = 65_536;

/// The most that `--nofile` takes.
pub const MOST: u64 = 1_048_576;

/// The soft and the hard limit.
type Limits = (u64, u64);

/// Raises the limit to what was asked for, or to what the hard limit allows. Never lowers anything. What is in the way
/// is logged.
pub fn raise(asked: Option<u64>) {
    let Ok(now) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let Some((soft, hard)) = wanted(now, asked) else {
        if let Some(asked) = asked {
            tracing::info!("{} files can be open already; --nofile {asked} changes nothing", now.0);
        }
        return;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, soft, hard) {
        Ok(()) => {}
        Err(Errno::EPERM) if hard > now.1 => tracing::warn!(
            "no more than {} files can be open: only root may raise the hard limit; raise LimitNOFILE",
            now.0
        ),
        Err(errno) => {
            tracing::warn!("no more than {} files can be open: {errno}; raise LimitNOFILE", now.0);
        }
    }
}

/// The limits to set; none if they do.
const fn wanted((soft, hard): Limits, asked: Option<u64>) -> Option<Limits> {
    match asked {
        Some(asked) if soft < asked => Some((asked, if hard < asked { asked } else { hard })),
        Some(_) => None,
        None if soft < hard => Some((hard, hard)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cli_5_the_soft_limit_becomes_what_was_asked_for_and_the_hard_one_only_if_it_is_lower() {
        assert_eq!(wanted((1024, 4096), Some(LEAST)), Some((LEAST, LEAST)));
        assert_eq!(wanted((1024, MOST), Some(LEAST)), Some((LEAST, MOST)));
        assert_eq!(wanted((LEAST, LEAST), Some(LEAST)), None);
        assert_eq!(wanted((MOST, MOST), Some(LEAST)), None);
    }

    #[test]
    fn without_a_number_the_hard_limit_is_used_up() {
        assert_eq!(wanted((1024, 524_288), None), Some((524_288, 524_288)));
        assert_eq!(wanted((4096, 4096), None), None);
    }

    #[test]
    fn what_is_raised_is_raised_for_this_process() {
        raise(None);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
