//! Log lines of guests.

use std::time::{Duration, Instant};

use tracing::{debug, enabled, error, info, warn};

use crate::Limits;
use crate::bindings::lunbox::handler::log::Level;
use crate::text::one_line;

/// Longest line in bytes (`log` in the WIT).
pub(crate) const MAX_LINE: usize = 1024;

/// Forwards a guest's lines to the log with the device's name, cut, escaped and limited in rate. What was
/// suppressed is counted and reported with the next line that passes, or at the end.
#[derive(Debug)]
pub(crate) struct GuestLog {
    device: Box<str>,
    rate: Rate,
    suppressed: u64,
}

impl GuestLog {
    pub(crate) fn new(device: &str, limits: &Limits) -> Self {
        Self {
            device: one_line(device, 256).into_boxed_str(),
            rate: Rate::new(limits.log_lines_per_second, limits.log_burst, Instant::now()),
            suppressed: 0,
        }
    }

    pub(crate) fn write(&mut self, level: Level, message: &str) {
        let wanted = match level {
            Level::Error => enabled!(target: "lunbox::handler", tracing::Level::ERROR),
            Level::Warning => enabled!(target: "lunbox::handler", tracing::Level::WARN),
            Level::Info => enabled!(target: "lunbox::handler", tracing::Level::INFO),
            Level::Debug => enabled!(target: "lunbox::handler", tracing::Level::DEBUG),
        };
        if !wanted {
            return;
        }
        if !self.rate.take(Instant::now()) {
            self.suppressed += 1;
            return;
        }
        self.report_suppressed();
        let device = &*self.device;
        let line = one_line(message, MAX_LINE);
        match level {
            Level::Error => error!(target: "lunbox::handler", device, "{line}"),
            Level::Warning => warn!(target: "lunbox::handler", device, "{line}"),
            Level::Info => info!(target: "lunbox::handler", device, "{line}"),
            Level::Debug => debug!(target: "lunbox::handler", device, "{line}"),
        }
    }

    fn report_suppressed(&mut self) {
        let suppressed = std::mem::take(&mut self.suppressed);
        if suppressed > 0 {
            let device = &*self.device;
            warn!(
                target: "lunbox::handler", device, suppressed,
                "{suppressed} log lines of the handler were suppressed: it wrote more than {} a second",
                self.rate.per_second
            );
        }
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        self.report_suppressed();
    }
}

/// A token bucket.
#[derive(Debug)]
struct Rate {
    per_second: u32,
    burst: u32,
    tokens: u32,
    /// Up to here tokens were paid out.
    paid: Instant,
}

impl Rate {
    const fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second, burst, tokens: burst, paid: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        if let Some(interval) = Duration::from_secs(1).checked_div(self.per_second) {
            let interval = interval.max(Duration::from_nanos(1));
            let earned = now.saturating_duration_since(self.paid).as_nanos() / interval.as_nanos();
            match u32::try_from(earned) {
                Ok(earned) if earned < self.burst => {
                    self.tokens = self.tokens.saturating_add(earned).min(self.burst);
                    self.paid += interval * earned;
                }
                _ => {
                    self.tokens = self.burst;
                    self.paid = now;
                }
            }
        }
        let Some(left) = self.tokens.checked_sub(1) else { return false };
        self.tokens = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(10, 5, start);
        assert_eq!((0..20).filter(|_| rate.take(start)).count(), 5);
        assert!(!rate.take(start + Duration::from_millis(99)));
        assert!(rate.take(start + Duration::from_millis(100)));
        assert!(!rate.take(start + Duration::from_millis(199)), "fractions are not paid out twice");
        assert!(rate.take(start + Duration::from_millis(200)));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| rate.take(later)).count(), 5, "idle time saves up one burst");
    }

    #[test]
    fn a_rate_of_zero_is_the_burst_alone() {
        let start = Instant::now();
        let mut rate = Rate::new(0, 2, start);
        assert_eq!((0..9).filter(|_| rate.take(start + Duration::from_secs(9))).count(), 2);
    }
}
