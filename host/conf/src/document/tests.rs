use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{ForeignSubtypes, MAX_LOG_LEVEL, MAX_PATH};

fn clean(text: &str) -> Conf {
    let (conf, warnings) = Document::parse(text.as_bytes());
    assert_eq!(warnings, [], "{text:?}");
    conf
}

/// The one warning of a text, and what was set all the same.
fn faulty(text: &[u8]) -> (Conf, String) {
    let (conf, warnings) = Document::parse(text);
    assert_eq!(warnings.len(), 1, "{} {warnings:?}", text.escape_ascii());
    (conf, warnings[0].to_string())
}

#[test]
fn cfg_4_one_key_in_a_line_and_comments_of_their_own() {
    let conf = clean("# log_level = 1\n\t # log_dir = /a\n\n   \n  log_level\t=\t4  \nlog_dir=/var/log/tcmu");
    assert_eq!(conf.log_level, Some(4));
    assert_eq!(conf.log_dir.as_deref(), Some(Path::new("/var/log/tcmu")));
    assert_eq!((conf.foreign_subtypes, conf.metrics), (None, None));
    assert_eq!(clean(""), Conf::default());
    // Of two lines the later counts.
    assert_eq!(clean("log_level = 1\nlog_level = 2").log_level, Some(2));
    assert_eq!(clean("\u{feff}log_level = 1").log_level, Some(1));
}

#[test]
fn cfg_4_each_of_three_line_ends_ends_a_line_and_is_counted_once() {
    assert_eq!(
        clean("log_level = 1\rlog_dir = /a\r\nmetrics = unix:/m\n").metrics.as_deref(),
        Some("unix:/m")
    );
    for text in ["\n\n\n?", "\r\r\r?", "\r\n\r\n\r\n?", "\r\n\n\r?"] {
        assert_eq!(Document::parse(text.as_bytes()).1[0].line, Some(4), "{text:?}");
    }
}

#[test]
fn cfg_4_a_line_that_begins_with_anything_else_is_told_and_stops_nothing() {
    for first in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphabetic()) {
        if first == b'#' || first.is_ascii_whitespace() {
            continue;
        }
        let (conf, warning) = faulty(&[&[first][..], b"log_dir = /x\nlog_level = 2\n"].concat());
        assert_eq!((conf.log_level, conf.log_dir), (Some(2), None), "{first}");
        assert!(warning.starts_with("line 1: `") && warning.contains("begin with a letter"), "{warning}");
    }
}

#[test]
fn cfg_4_what_is_not_key_equals_value_is_told() {
    let (conf, warning) = faulty(b"log_level 3\nlog_dir = /a");
    assert_eq!((conf.log_level, conf.log_dir), (None, Some(PathBuf::from("/a"))));
    assert!(warning.starts_with("line 1: `3` stands where `=` should"), "{warning}");
    assert!(warning.ends_with("write `log_level = value`"), "{warning}");
}

#[test]
fn cfg_5_a_key_keeps_its_type_whatever_a_line_says() {
    assert_eq!(clean("log_level = \"3\"").log_level, Some(3));
    let (conf, warning) = faulty(b"log_level");
    assert!(conf.log_level.is_none() && warning.contains("log_level: it has no value"), "{warning}");
    let (conf, warning) = faulty(b"log_level = high");
    assert!(conf.log_level.is_none() && warning.contains("`high` is not a number"), "{warning}");
    let (conf, warning) = faulty(b"log_dir = 5");
    assert!(conf.log_dir.is_none() && warning.contains("not an absolute path"), "{warning}");
    let (conf, warning) = faulty(b"log_dir");
    assert!(conf.log_dir.is_none() && warning.contains("log_dir: it has no value"), "{warning}");
    // And a bad line does not undo a good one.
    assert_eq!(faulty(b"log_level = 4\nlog_level = x").0.log_level, Some(4));
}

#[test]
fn cfg_6_numbers() {
    for empty in [&b"log_level ="[..], b"log_level = ''", b"log_level = -", b"log_level = --1"] {
        assert_eq!(faulty(empty).0.log_level, None, "{}", empty.escape_ascii());
    }
    let (conf, warning) = faulty(b"log_level = 2 # two");
    assert_eq!(conf.log_level, Some(2));
    assert!(
        warning.contains("after the number is ignored") && warning.contains("line of its own"),
        "{warning}"
    );
    assert_eq!(clean("log_level = 003").log_level, Some(3));
    assert_eq!(clean("log_level = -0").log_level, Some(0));
}

#[test]
fn cfg_7_one_quote_at_each_end_is_dropped_and_no_other() {
    let directory = |text: &str| clean(&format!("log_dir = {text}")).log_dir.unwrap();
    for text in ["/a b", "\"/a b\"", "'/a b'", "\"/a b'", "\"/a b", "/a b'"] {
        assert_eq!(directory(text), Path::new("/a b"), "{text}");
    }
    assert_eq!(directory("\"/a\"b'c\"\""), Path::new("/a\"b'c\""));
    assert_eq!(directory("/a=b#c;d"), Path::new("/a=b#c;d"));
}

#[test]
fn cfg_7_text_after_a_closing_quote_is_told_and_not_of_the_value() {
    for rest in [" # x", "# x", " ; x", " x", "x", " # it's \"x\""] {
        let (conf, warning) = faulty(format!("log_dir = \"/var/log\"{rest}").as_bytes());
        assert_eq!(conf.log_dir.as_deref(), Some(Path::new("/var/log")), "{rest}");
        let shown = format!(
            "`{}` after the closing quote is ignored; a comment has a line",
            rest.trim().escape_default()
        );
        assert!(warning.contains(&shown), "{warning}");
    }
    let (conf, warning) = faulty(b"log_level = '4' # details");
    assert!(conf.log_level == Some(4) && warning.contains("after the closing quote is ignored"), "{warning}");
    // A value that can not be used is told as that, and changes nothing.
    let (conf, warning) = faulty(b"foreign_subtypes = \"x\" # y");
    assert!(conf.foreign_subtypes.is_none() && warning.contains("`x` is none of its words"), "{warning}");
    let (conf, warning) = faulty(b"metrics = 'unix:/m' # y");
    assert!(conf.metrics.as_deref() == Some("unix:/m") && warning.contains("`# y`"), "{warning}");
    // One quote alone is none that closes.
    assert_eq!(clean("log_dir = \"/a # b").log_dir.as_deref(), Some(Path::new("/a # b")));
}

#[test]
fn cfg_8_a_level_out_of_range_is_the_nearest_one_and_told() {
    for level in 0..=MAX_LOG_LEVEL {
        assert_eq!(clean(&format!("log_level = {level}")).log_level, Some(level));
    }
    for (text, level) in [("6", 5), ("255", 5), ("256", 5), ("99999999999999999999999", 5), ("-1", 0)] {
        let (conf, warning) = faulty(format!("log_level = {text}").as_bytes());
        assert_eq!(conf.log_level, Some(level), "{text}");
        assert!(warning.contains(&format!("taken as {level}; write a number from 0 to 5")), "{warning}");
    }
}

#[test]
fn cfg_9_a_directory_is_absolute_without_nul_and_not_too_long() {
    let longest = format!("/{}", "d".repeat(MAX_PATH - 1));
    assert_eq!(clean(&format!("log_dir = {longest}")).log_dir.unwrap().as_os_str().len(), MAX_PATH);
    let (conf, warning) = faulty(format!("log_dir = {longest}d").as_bytes());
    assert!(conf.log_dir.is_none() && warning.contains("4064 bytes; 4063 are the most"), "{warning}");
    let (conf, warning) = faulty(b"log_dir = /a\0b");
    assert!(conf.log_dir.is_none() && warning.contains("NUL"), "{warning}");
    // Paths are bytes.
    let (conf, _) = Document::parse(b"log_dir = /\xff\xfe");
    assert_eq!(conf.log_dir.unwrap().as_os_str().len(), 3);
}

#[test]
fn cfg_10_an_unknown_key_is_told_with_those_that_there_are() {
    for line in ["loglevel = 3", "vpd83_cfgstring = true", "Log_level = 1", "a"] {
        let (conf, warning) = faulty(line.as_bytes());
        assert_eq!(conf, Conf::default());
        assert!(warning.contains("no such key; there are log_level, log_dir, "), "{warning}");
    }
}

#[test]
fn our_own_keys() {
    assert_eq!(clean("foreign_subtypes = answer").foreign_subtypes, Some(ForeignSubtypes::Answer));
    assert_eq!(clean("foreign_subtypes = 'leave'").foreign_subtypes, Some(ForeignSubtypes::Leave));
    let (conf, warning) = faulty(b"foreign_subtypes = ignore");
    assert!(conf.foreign_subtypes.is_none() && warning.contains("write `answer` or `leave`"), "{warning}");
    assert_eq!(clean("metrics = 127.0.0.1:9842").metrics.as_deref(), Some("127.0.0.1:9842"));
    assert!(faulty(b"metrics").1.contains("it has no value"));
    assert!(faulty(b"metrics = \xff").1.contains("is not an address"));
}

#[test]
fn cfg_3_megabytes_are_looked_at_once_and_no_further() {
    let begun = Instant::now();
    let junk = b"%\n".repeat(MAX_BYTES);
    let (conf, warnings) = Document::parse(&[b"log_level = 1\n", &junk[..], b"log_level = 2\n"].concat());
    assert_eq!(conf.log_level, Some(1));
    assert_eq!(warnings.len(), MAX_WARNINGS + 1);
    assert!(warnings[0].to_string().contains("larger than 2097152 bytes"), "{}", warnings[0]);
    let last = warnings[MAX_WARNINGS].to_string();
    assert!(last.contains("more lines are wrong"), "{last}");
    // One line of megabytes, which is cut, is no line.
    let long = [b"log_level = 1\nlog_dir = /", &b"a".repeat(3 << 20)[..]].concat();
    let (conf, warnings) = Document::parse(&long);
    assert_eq!((conf.log_level, conf.log_dir, warnings.len()), (Some(1), None, 1));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // The limit itself is within it.
    let mut exact = b"#".repeat(MAX_BYTES - 14);
    exact.extend_from_slice(b"\nlog_level = 4");
    assert_eq!((exact.len(), Document::parse(&exact).0.log_level), (MAX_BYTES, Some(4)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_keep_every_promise(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        promises(&bytes);
    }

    #[test]
    fn text_that_is_nearly_right_keeps_every_promise(
        lines in proptest::collection::vec(
            ("[ \t]{0,2}", "log_level|log_dir|foreign_subtypes|metrics|x|#|=|\\?", "[ =]{0,3}", "['\"]?[-/0-9a-z\u{0}#]{0,6}['\"]?", "\r|\n|\r\n"),
            0..20,
        )
    ) {
        let text: String = lines.iter().map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}")).collect();
        promises(text.as_bytes());
    }

    #[test]
    fn bad_lines_change_nothing_about_the_good_ones(
        junk in proptest::collection::vec("[^a-zA-Z#\r\n]{1,40}", 1..6),
        level in 0..=MAX_LOG_LEVEL,
        directory in "/[a-zA-Z0-9._/-]{0,40}",
    ) {
        let good = format!("log_level = {level}\nlog_dir = {directory}\n");
        let text = format!("{}\n{good}{}\n", junk.join("\n"), junk.join("\n"));
        let (conf, _) = Document::parse(text.as_bytes());
        prop_assert_eq!(conf, Document::parse(good.as_bytes()).0);
    }
}

fn promises(bytes: &[u8]) {
    let (conf, warnings) = Document::parse(bytes);
    let lines = bytes.iter().filter(|&&byte| ends_line(byte)).count() + 1;
    assert!(warnings.len() <= MAX_WARNINGS + 1);
    for warning in warnings {
        assert!(warning.line.is_none_or(|line| (1..=lines).contains(&line)), "{warning}");
        let text = warning.to_string();
        assert!(!text.contains(char::is_control) && text.len() < 1000, "{text}");
    }
    assert!(conf.log_level.is_none_or(|level| level <= MAX_LOG_LEVEL));
    if let Some(directory) = conf.log_dir {
        assert!(directory.is_absolute() && directory.as_os_str().len() <= MAX_PATH);
        assert!(!directory.as_os_str().as_encoded_bytes().contains(&0));
    }
    assert!(conf.metrics.is_none_or(|address| !address.is_empty()));
}
