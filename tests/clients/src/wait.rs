//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Asks `condition` again and again until it gives something, and returns that. Blocks for at most `limit`.
///
/// # Errors
/// What `condition` fails with, at once; and when `limit` is over, with `what` in the message.
pub fn until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        if start.elapsed() >= limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn gives_what_the_condition_finds() {
        let mut looks = 0;
        let found = super::until(Duration::from_secs(10), "third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn names_what_did_not_happen() {
        let error = super::until::<()>(Duration::from_millis(10), "the flood", || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "the flood: not within 10ms");
    }

    #[test]
    fn ends_at_the_first_error() {
        let error =
            super::until::<()>(Duration::from_secs(10), "anything", || anyhow::bail!("broken")).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }
}
