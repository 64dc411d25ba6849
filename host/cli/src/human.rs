//! Numbers as people read them.

use std::time::Duration;

/// Bytes in the largest binary unit that leaves something before the point, with one digit behind it unless the
/// number is whole: `512 B`, `1.5 GiB`, `64 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    for (unit, shift) in [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let whole = bytes >> shift;
        if whole == 0 {
            continue;
        }
        let rest = bytes & ((1 << shift) - 1);
        // At most 60 bits times 10 fits. Cut, not rounded: nothing looks larger than it is.
        let tenths = (u128::from(rest) * 10) >> shift;
        return if rest == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") };
    }
    format!("{bytes} B")
}

/// A number with a comma before each three digits.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in its two largest units: `3d 4h`, `5m 12s`, `7s`, `250 ms`, `40 us`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, 0) if time.subsec_millis() == 0 => format!("{} us", time.subsec_micros()),
        (0, 0, 0, 0) => format!("{} ms", time.subsec_millis()),
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

/// Nanoseconds in the unit that people take for it, with a digit behind the point: `1.5 us`, `2.3 ms`, `1.0 s`.
#[must_use]
pub fn latency(ns: u64) -> String {
    let (unit, name) = match ns {
        0..1_000_000 => (1000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    format!("{}.{} {name}", ns / unit, ns % unit / (unit / 10))
}

/// Milliseconds since 1970 as a time of RFC 3339 in UTC.
#[must_use]
pub fn time(unix_ms: u64) -> String {
    let (days, in_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // The Gregorian calendar repeats every 400 years, which are 146,097 days. Years that begin in March have the
    // leap day at their end; 1970-01-01 is day 719,468 of them.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1 << 30, "1 GiB"),
            ((1 << 30) + 1, "1.0 GiB"),
            ((1 << 40) - 1, "1023.9 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn numbers() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn latencies() {
        for (ns, text) in
            [(0, "0.0 us"), (999_999, "999.9 us"), (2_345_000, "2.3 ms"), (61_000_000_000, "61.0 s")]
        {
            assert_eq!(latency(ns), text);
        }
    }

    #[test]
    fn spans() {
        for (ms, text) in [
            (0, "0 us"),
            (250, "250 ms"),
            (7999, "7s"),
            (312_000, "5m 12s"),
            (3_600_000, "1h 0m"),
            (4 * 3_600_000 + 3 * 86_400_000, "3d 4h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn dates() {
        // As date -u -d @N has them.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_795_344_000, "2026-11-22T10:40:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(seconds * 1000), text);
        }
        assert_eq!(time(1_795_344_000_123), "2026-11-22T10:40:00.123Z");
    }
}
