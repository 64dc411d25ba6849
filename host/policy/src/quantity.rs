//! Sizes and times with their units.

use std::time::Duration;

/// Reads bytes: a whole number, and perhaps B, KiB, MiB, GiB or TiB. The error says what to write.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or("write a whole number with its unit, such as \"64 MiB\"")?;
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        "KB" | "kB" | "MB" | "GB" | "TB" => {
            return Err(format!(
                "{unit} may mean 1000s or 1024s; write KiB, MiB, GiB or TiB, which are binary"
            ));
        }
        _ => return Err(format!("{unit:?} is no unit of bytes; there is B, KiB, MiB, GiB and TiB")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

/// Reads a time: a whole number with us, ms, s or min. The error says what to write.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or("write a whole number with its unit, such as \"50 ms\"")?;
    match unit {
        "us" | "µs" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "min" => number.checked_mul(60).map(Duration::from_secs).ok_or_else(|| "too long".to_owned()),
        "" => Err("the unit is missing; write us, ms, s or min behind the number".to_owned()),
        _ => Err(format!("{unit:?} is no unit of time; there is us, ms, s and min")),
    }
}

/// A number and the letters behind it, with or without a blank between.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse().ok()?;
    Some((number, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        assert_eq!(bytes("7 B"), Ok(7));
        for (text, part) in [
            ("", "64 MiB"),
            ("-1", "64 MiB"),
            ("1.5 GiB", "no unit"),
            ("64  MiB", "no unit"),
            ("64 MB", "1000s or 1024s"),
            ("64 mib", "no unit"),
            ("99999999999999999999", "64 MiB"),
            ("16777216 TiB", "too large"),
        ] {
            let error = bytes(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("50 ms"), Ok(Duration::from_millis(50)));
        assert_eq!(time("3min"), Ok(Duration::from_secs(180)));
        assert_eq!(time("250 µs"), Ok(Duration::from_micros(250)));
        assert_eq!(time("1 s"), Ok(Duration::from_secs(1)));
        for (text, part) in [
            ("50", "unit is missing"),
            ("1 h", "no unit"),
            ("ms", "50 ms"),
            ("9999999999999999999 min", "too long"),
        ] {
            let error = time(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
