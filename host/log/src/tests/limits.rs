//! LOG-2 (never waited for), LOG-12 (rate), levels that change while it runs.

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use super::{SOON, descriptor, lines, logged, options};
use crate::line::Line;
use crate::output::SystemLog;
use crate::queue::LINES;
use crate::repeat::{Key, Repeats, Verdict, WINDOW};
use crate::{Level, Options, crit};

#[test]
fn cfg_13_the_level_changes_at_once() {
    let seen = lines(options(Level::CRIT), |handle| {
        for number in (0..=5).chain((0..=5).rev()) {
            let level = Level::new(number).unwrap();
            handle.set_level(level);
            assert_eq!(handle.level(), level);
            crit!("at {number}");
            tracing::error!("at {number}");
            tracing::warn!("at {number}");
            tracing::info!("at {number}");
            tracing::debug!("at {number}");
            tracing::trace!("at {number}");
            // Of other crates no more than warnings.
            tracing::warn!(target: "elsewhere", "at {number}");
            tracing::info!(target: "elsewhere", "at {number}");
        }
    });
    for number in 0..=5_u8 {
        let at = |line: &&String| line.ends_with(&format!("at {number}"));
        let own = usize::from(number) + 1 + usize::from(number >= 2);
        // Twice the same.
        assert_eq!(seen.iter().filter(at).count(), 2 * own, "{seen:?}");
    }
}

#[test]
fn log_2_a_log_that_hangs_stops_nobody_and_what_is_lost_is_said() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let options = Options { file: descriptor(writer), ..options(Level::INFO) };
    let mut logged_lines = 0_u64;
    let mut text = String::new();
    let handle = logged(options, SystemLog::None, |handle| {
        let begin = Instant::now();
        let mut slowest = Duration::ZERO;
        while handle.lost() < 100 {
            let before = Instant::now();
            tracing::info!("line {logged_lines}");
            slowest = slowest.max(before.elapsed());
            logged_lines += 1;
            assert!(begin.elapsed() < SOON);
        }
        assert!(logged_lines > u64::try_from(LINES).unwrap());
        assert!(slowest < Duration::from_secs(5), "nobody waits for the pipe: {slowest:?}");
        assert!(!handle.flush(Duration::from_millis(20)), "it hangs");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        assert!(handle.flush(SOON));
        tracing::info!("last");
        assert!(handle.flush(SOON));
        handle.set_file(None);
        text = reading.join().unwrap().unwrap();
    });
    let lost = handle.lost();
    assert!(lost >= 100);
    let written = text.lines().filter(|line| line.contains("]") && line.contains(": line ")).count();
    assert_eq!(u64::try_from(written).unwrap() + lost, logged_lines);
    let said: u64 = text
        .lines()
        .filter_map(|line| {
            line.strip_suffix(" lines of the log were lost")?.rsplit(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    assert_eq!(said, lost, "{text}");
    assert!(text.ends_with(": last\n"));
}

#[test]
fn log_2_a_full_disk_loses_lines_and_says_so_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let full = File::options().append(true).open("/dev/full").unwrap();
    let options = Options { file: descriptor(full), ..options(Level::INFO) };
    let handle = logged(options, SystemLog::None, |handle| {
        for number in 0..7 {
            tracing::info!("lost {number}");
        }
        assert!(handle.flush(SOON));
        handle.set_directory(Some(folder.path())).unwrap();
        tracing::info!("there is room");
    });
    assert_eq!(handle.lost(), 7);
    let seen = super::read(folder.path());
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].ends_with("[WARN] output: 7 lines of the log were lost"), "{}", seen[0]);
    assert!(seen[1].ends_with(": there is room"));
}

#[test]
fn log_12_the_same_line_ten_times_then_how_often() {
    let seen = lines(options(Level::TRACE), |_| {
        for number in 0..30 {
            tracing::error!(device = "a", "device {number}");
        }
        for device in ["b", "c"] {
            for number in 0..10 {
                tracing::error!(device, "other {number}");
            }
        }
        for number in 0..30 {
            tracing::warn!("no device, {number}");
        }
        for _ in 0..12 {
            tracing::info!("no device, the same");
        }
        for number in 0..30 {
            crit!("crit {}", number % 2);
            tracing::trace!(device = "a", "trace {}", number % 2);
            tracing::info!(target: "lunbox::handler", device = "a", "handler");
        }
        for number in 0..40 {
            tracing::debug!(device = "a", "debug {}", number % 2);
        }
    });
    let count = |text: &str| seen.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count(" a: device "), 10 + 1);
    // Their texts differ: what is not shown may have said something else.
    assert_eq!(count(" a: device 10 … and 19 more lines like it"), 1, "{seen:?}");
    assert_eq!((count(" b: other "), count(" c: other ")), (10, 10));
    assert_eq!(count("no device, the same"), 10 + 1);
    assert_eq!(count(": no device, the same … repeated 2 more times"), 1);
    assert_eq!(count(": no device, ") - 11, 30);
    assert_eq!((count(": crit "), count(": trace "), count(": handler")), (30, 30, 30));
    assert_eq!(count(": debug "), 22);
    assert_eq!(count("more times"), 3);
    assert_eq!(count("more lines like it"), 1);
}

fn line(text: &str) -> Line {
    Line::own(Level::WARN, "here", text)
}

fn same(hash: u64) -> Key {
    Key { hash, text: true }
}

#[test]
fn log_12_five_hundred_devices_that_complain_in_three_places_are_limited() {
    let repeats = Repeats::default();
    let now = Instant::now();
    let keys: Vec<Key> = (0..1500).map(|number| repeats.key(number, None)).collect();
    let mut passed = 0;
    for _ in 0..30 {
        for &key in &keys {
            passed += u32::from(matches!(repeats.judge(key, &line("storm"), now), Verdict::Pass(_)));
        }
    }
    // A set that is too full by chance lets a key or two through; as a rule there is none.
    assert!((15_000..15_600).contains(&passed), "{passed} of 45000 passed");
}

#[test]
fn what_is_suppressed_of_a_device_is_found_by_its_device_in_the_journal() {
    let repeats = Repeats::default();
    let begin = Instant::now();
    let key = repeats.key("disk", None);
    let fields = b"LUNBOX_DEVICE_NAME\n".to_vec();
    for number in 0..11 {
        repeats.judge(key, &Line { fields: fields.clone(), ..line(&format!("write {number}")) }, begin);
    }
    let mut said = Vec::new();
    repeats.sweep(begin + WINDOW, false, |line| said.push(line.clone()));
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].text.as_str(), &said[0].fields), ("here: write 10", &fields));
}

#[test]
fn log_12_windows_end_and_memory_is_bounded() {
    let repeats = Repeats::default();
    let begin = Instant::now();
    let judge = |hash, seconds: f64| {
        repeats.judge(same(hash), &line("storm"), begin + Duration::from_secs_f64(seconds))
    };
    for _ in 0..10 {
        assert!(matches!(judge(1, 0.0), Verdict::Pass(None)));
    }
    assert!(!repeats.is_pending());
    assert!(matches!(judge(1, 1.0), Verdict::Suppressed(true)));
    assert!(matches!(judge(1, 2.0), Verdict::Suppressed(false)));
    assert!(repeats.is_pending());
    assert!(matches!(judge(2, 2.0), Verdict::Pass(None)), "another one");
    repeats.sweep(begin + Duration::from_secs(4), false, |line| panic!("too early: {line:?}"));
    assert!(repeats.is_pending());
    let mut said = Vec::new();
    repeats.sweep(begin + WINDOW, false, |line| said.push((line.level, line.text.clone())));
    assert_eq!(said, [(Level::WARN, "here: storm … repeated 2 more times".to_owned())]);
    assert!(!repeats.is_pending());
    // The next window, and what was counted in it is said by the one after it.
    for _ in 0..10 {
        assert!(matches!(judge(1, 5.0), Verdict::Pass(None)));
    }
    assert!(matches!(judge(1, 6.0), Verdict::Suppressed(true)));
    let Verdict::Pass(Some(summary)) = judge(1, 10.0) else { panic!("nothing said") };
    assert_eq!(summary.text, "here: storm … repeated 1 more times");
    // Any number of keys: what is pushed out is said, and nothing grows.
    for _ in 0..11 {
        judge(1, 11.0);
    }
    let mut said = 0;
    for key in 2..100_000 {
        if let Verdict::Pass(Some(_)) = judge(key, 12.0) {
            said += 1;
        }
    }
    assert_eq!(said, 1);
}
