//! What a device tells about itself: counters that the loop writes and anybody reads.

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering};

use crate::statistics::{Class, ClassCounters, Statistics};

/// Whether the LUN's handler serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Commands are served.
    Serving,
    /// The handler failed and is being rebuilt; commands wait or are answered BUSY.
    Recovering,
    /// The loop has ended.
    Stopped,
}

/// A snapshot of a device's counters since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// State of the handler.
    pub health: Health,
    /// Commands completed, whatever the status.
    pub commands: u64,
    /// Commands that ended with something other than GOOD.
    pub failures: u64,
    /// Commands answered BUSY because the handler was down.
    pub busy: u64,
    /// Bytes read by commands that ended GOOD.
    pub bytes_read: u64,
    /// Bytes written by commands that ended GOOD.
    pub bytes_written: u64,
    /// Times the handler trapped, overran a limit or broke the contract.
    pub faults: u64,
    /// Handler instances made, the first included.
    pub instances: u64,
    /// Times the ring was reset under the running loop.
    pub resets: u64,
    /// Commands that an initiator aborted.
    pub aborts: u64,
    /// System calls of ring and executor.
    pub syscalls: u64,
    /// Operations that a handler planned although they were impossible.
    pub bad_plans: u64,
    /// CPU time of the device's thread in nanoseconds; 0 when it has ended.
    pub cpu_ns: u64,
    /// Commands that took longer than [`crate::Settings::command_timeout`]; each counts once, when it is found late.
    pub timeouts: u64,
    /// Logical unit resets that initiators asked for.
    pub lun_resets: u64,
    /// Commands that were aborted or lost to a reset of the ring and wait for their operations to end.
    pub aborting: u64,
    /// Commands that were taken from the ring and have not ended, at the end of the last turn of the loop.
    pub in_flight: u64,
    /// The LUN has a write cache: what is not flushed may be lost.
    pub write_cache: bool,
    /// Size of the LUN in bytes, as the loop serves it.
    pub size: u64,
}

/// The loop's side: one writer, so that plain load and store are enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    health: AtomicU8,
    pub(crate) commands: Counter,
    pub(crate) failures: Counter,
    pub(crate) busy: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) faults: Counter,
    pub(crate) instances: Counter,
    pub(crate) resets: Counter,
    pub(crate) aborts: Counter,
    pub(crate) syscalls: Counter,
    pub(crate) bad_plans: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) lun_resets: Counter,
    pub(crate) aborting: Counter,
    pub(crate) commands_in_flight: Counter,
    pub(crate) in_flight_max: Counter,
    pub(crate) sampled_every: Counter,
    /// 1 or 0.
    pub(crate) write_cache: Counter,
    /// Of the LUN, in bytes.
    pub(crate) size: Counter,
    pub(crate) classes: [ClassCounters; Class::COUNT],
    thread: AtomicI32,
    /// Store operations that have not ended.
    pub(crate) in_flight: Counter,
}

/// A number with one writing thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Only from the device's thread: not an atomic addition.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// As [`Counter::add`].
    pub(crate) fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// Called once by the device's thread.
    pub(crate) fn set_thread(&self, thread: nix::unistd::Pid) {
        self.thread.store(thread.as_raw(), Ordering::Relaxed);
    }

    /// Read by the asker, so that the loop pays nothing for it. The clock of a thread is named as
    /// pthread_getcpuclockid(3) names it: the complement of its id, shifted, with the per-thread scheduler clock.
    fn cpu_ns(&self) -> u64 {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread == 0 {
            return 0;
        }
        let clock = nix::time::ClockId::from_raw((!thread << 3) | 6);
        clock.now().map_or(0, |time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
        })
    }

    pub(crate) fn snapshot(&self) -> Status {
        let health = match self.health.load(Ordering::Acquire) {
            0 => Health::Serving,
            1 => Health::Recovering,
            _ => Health::Stopped,
        };
        Status {
            health,
            commands: self.commands.get(),
            failures: self.failures.get(),
            busy: self.busy.get(),
            bytes_read: self.bytes_read.get(),
            bytes_written: self.bytes_written.get(),
            faults: self.faults.get(),
            instances: self.instances.get(),
            resets: self.resets.get(),
            aborts: self.aborts.get(),
            syscalls: self.syscalls.get(),
            bad_plans: self.bad_plans.get(),
            cpu_ns: self.cpu_ns(),
            timeouts: self.timeouts.get(),
            lun_resets: self.lun_resets.get(),
            aborting: self.aborting.get(),
            in_flight: self.commands_in_flight.get(),
            write_cache: self.write_cache.get() != 0,
            size: self.size.get(),
        }
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let class = |class: Class| self.classes[class as usize].snapshot();
        Statistics {
            read: class(Class::Read),
            write: class(Class::Write),
            flush: class(Class::Flush),
            other: class(Class::Other),
            in_flight_max: self.in_flight_max.get(),
            sampled_every: u32::try_from(self.sampled_every.get()).unwrap_or(u32::MAX),
        }
    }
}
