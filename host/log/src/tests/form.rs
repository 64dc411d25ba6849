//! LOG-1, LOG-5, LOG-7: what lines look like.

use jiff::Timestamp;
use tracing::level_filters::LevelFilter;

use super::{lines, options, two_hours_east};
use crate::line::{LONGEST, Line};
use crate::{Level, crit};

#[test]
fn log_1_levels_have_numbers_tokens_and_priorities() {
    let table = [
        (0, "crit", "CRIT", 2, LevelFilter::OFF),
        (1, "error", "ERROR", 3, LevelFilter::ERROR),
        (2, "warn", "WARN", 4, LevelFilter::WARN),
        (3, "info", "INFO", 6, LevelFilter::INFO),
        (4, "debug", "DEBUG", 7, LevelFilter::DEBUG),
        (5, "trace", "DEBUG_SCSI_CMD", 7, LevelFilter::TRACE),
    ];
    for (number, word, token, priority, filter) in table {
        let level = Level::new(number).unwrap();
        assert_eq!((level.number(), level.token(), level.priority()), (number, token, priority));
        assert_eq!((LevelFilter::from(level), Level::from(filter)), (filter, level));
        assert_eq!(level.to_string(), word);
        for name in [word, token, level.tracing_word(), &number.to_string()] {
            assert_eq!(name.parse(), Ok(level), "{name}");
        }
    }
    assert_eq!(Level::new(6), None);
    assert!("6".parse::<Level>().is_err());
    assert!("loud".parse::<Level>().unwrap_err().to_string().contains("loud"));
}

#[test]
fn log_5_the_form_of_a_line_to_the_letter() {
    let when: Timestamp = "2026-11-22T23:05:09.007999Z".parse().unwrap();
    let text = "start:12 file/disk: opened".to_owned();
    let line = Line { level: Level::TRACE, when, text, fields: Vec::new() };
    let mut full = String::new();
    line.full(&two_hours_east(), 77, &mut full);
    assert_eq!(full, "2026-11-23 01:05:09.007 77 [DEBUG_SCSI_CMD] start:12 file/disk: opened\n");
}

#[test]
fn log_5_every_level_and_the_device() {
    let at = line!() + 2;
    let seen = lines(options(Level::TRACE), |_| {
        crit!("Starting...");
        tracing::error!(device = %"tcm-user/0/disk/file/a/b", "gone");
        tracing::warn!(device = "user_0/disk", size = 5, path = "/a b", "odd");
        tracing::info!(code = ?Some(3), r#type = %"x");
        tracing::debug!("five {}", 5);
        tracing::trace!(device = "tcm-user/1/d/zbc/", "28 0 0");
    });
    let expected = [
        format!("[CRIT] form:{at}: Starting..."),
        format!("[ERROR] form:{} file/disk: gone", at + 1),
        format!("[WARN] form:{} user_0/disk: odd size=5 path=\"/a b\"", at + 2),
        format!("[INFO] form:{}: code=Some(3) type=x", at + 3),
        format!("[DEBUG] form:{}: five 5", at + 4),
        format!("[DEBUG_SCSI_CMD] form:{} zbc/d: 28 0 0", at + 5),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn log_5_a_device_is_asked_for_its_whole_name() {
    struct Name;
    impl std::fmt::Display for Name {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str(if formatter.alternate() { "tcm-user/0/disk/file/a" } else { "user_0/disk" })
        }
    }
    let seen =
        lines(options(Level::INFO), |_| tracing::info!(device = %Name, other = %Name, "serving {Name}"));
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ends_with(" file/disk: serving user_0/disk other=user_0/disk"), "{}", seen[0]);
}

#[test]
fn log_5_the_device_of_a_span_counts() {
    let seen = lines(options(Level::INFO), |_| {
        let outer = tracing::info_span!("outer", device = "tcm-user/0/disk/file/a");
        outer.in_scope(|| {
            let inner = tracing::info_span!("inner", device = tracing::field::Empty, other = 1);
            inner.in_scope(|| tracing::info!("first"));
            inner.record("device", "tcm-user/0/later/file/a");
            inner.in_scope(|| tracing::info!("second"));
            tracing::info!(device = "own", "third");
        });
        tracing::info!("none");
    });
    let ends: Vec<_> =
        seen.iter().map(|line| line.split_once(' ').unwrap().1.split_once(' ').unwrap().1).collect();
    assert_eq!(ends, ["file/disk: first", "file/later: second", "own: third", "none"]);
}

#[test]
fn names_and_messages_that_look_like_the_log_forge_nothing() {
    let forged = "x: [CRIT] main:1: y\n2026-11-23 00:10:25.123 1 [CRIT] main:1: forged";
    let seen = lines(options(Level::TRACE), |_| {
        tracing::error!(device = %format!("tcm-user/0/{forged}/file/a"), "true");
        tracing::error!(device = %forged, "true");
        tracing::error!(reason = %forged, quoted = forged, "said {forged}");
        tracing::error!(device = "tcm-user/0/\u{1b}[2J\u{202e}/fi le/a", "true");
        tracing::error!(device = %"n".repeat(5000), "true");
    });
    assert_eq!(seen.len(), 5, "{seen:?}");
    for line in &seen {
        assert!(line.starts_with("[ERROR] form:"), "{line}");
        assert!(
            !line.contains(|character: char| character.is_control() || character == '\u{202e}'),
            "{line}"
        );
    }
    let escaped = "x:\\x20[CRIT]\\x20main:1:\\x20y\\n2026-11-23\\x2000:10:25.123\\x201\\x20[CRIT]\\x20main:1:\\x20forged";
    // The prefix ends at the first colon with a space behind it, whatever the name.
    let prefix = |line: &str| line.splitn(3, ' ').nth(2).unwrap().split_once(": ").unwrap().0.to_owned();
    assert_eq!(prefix(&seen[0]), format!("file/{escaped}"));
    assert_eq!(prefix(&seen[1]), escaped);
    assert_eq!(prefix(&seen[3]), "fi\\x20le/\\u{1b}[2J\\u{202e}");
    assert_eq!(prefix(&seen[4]).len(), 256);
}

#[test]
fn log_7_long_lines_are_cut_and_keep_their_end() {
    let seen = lines(options(Level::INFO), |_| {
        tracing::info!("{}", "a".repeat(LONGEST - 100));
        tracing::info!("{}", "é".repeat(LONGEST));
        tracing::info!(much = %"b".repeat(10 * LONGEST), "fields");
        tracing::info!("next");
    });
    assert_eq!(seen.len(), 4);
    assert!(seen[0].ends_with("aaa") && seen[0].len() > LONGEST - 100, "tcmu-runner cut at 254");
    assert!(seen[1].ends_with("é… [cut]") && seen[1].len() < LONGEST + 100);
    assert!(seen[2].ends_with("b… [cut]") && seen[2].len() < LONGEST + 100);
    assert!(seen[3].ends_with(": next"));
}
