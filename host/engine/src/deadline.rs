//! The CPU budget of a call.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Limits;
use crate::fault::Stop;

/// CPU time of the current call, looked at on ticks only.
///
/// Asking for the thread's CPU time is a system call, which costs more than a whole call into a guest. So the
/// measuring begins with the first tick that finds the call running; nearly all calls end before it. A call gets
/// its budget, plus the part of a tick before the measuring, plus the part of a tick after the budget was used up.
#[derive(Debug)]
pub(crate) struct CallClock {
    budget: Duration,
    /// CPU time of the thread at the first tick of this call.
    measured_from: Option<Duration>,
}

impl CallClock {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self { budget: limits.cpu_per_call, measured_from: None }
    }

    /// A call begins.
    pub(crate) const fn begin(&mut self) {
        self.measured_from = None;
    }

    /// A tick found the call running.
    pub(crate) fn tick(&mut self) -> Result<(), Stop> {
        let now = thread_cpu_time()?;
        let spent = now.saturating_sub(*self.measured_from.get_or_insert(now));
        if spent > self.budget { Err(Stop::Deadline { spent, budget: self.budget }) } else { Ok(()) }
    }
}

fn thread_cpu_time() -> Result<Duration, Stop> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|_| Stop::Host("the thread's CPU clock can not be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(cpu: Duration) {
        let start = thread_cpu_time().unwrap();
        while thread_cpu_time().unwrap() - start < cpu {
            std::hint::black_box(0);
        }
    }

    #[test]
    fn counts_cpu_time_of_this_call_only() {
        let mut clock =
            CallClock::new(&Limits { cpu_per_call: Duration::from_millis(5), ..Limits::default() });
        clock.tick().unwrap();
        burn(Duration::from_millis(6));
        let Err(Stop::Deadline { spent, budget }) = clock.tick() else { panic!("the budget is used up") };
        assert!(spent >= Duration::from_millis(6) && budget == Duration::from_millis(5));
        clock.begin();
        clock.tick().unwrap();
    }

    #[test]
    fn waiting_is_not_computing() {
        let mut clock =
            CallClock::new(&Limits { cpu_per_call: Duration::from_millis(20), ..Limits::default() });
        clock.tick().unwrap();
        // Another thread takes 60 ms of wall time while this one only waits.
        std::thread::spawn(|| burn(Duration::from_millis(60))).join().unwrap();
        clock.tick().unwrap();
    }
}
