//! Any bytes as tcmu.conf. Nothing panics or spins, what is set is in range, and what is told is short and fits a line.

use lunbox_conf::{Document, MAX_LOG_LEVEL, MAX_PATH, MAX_WARNINGS};

/// The bytes are the file.
pub fn drive(bytes: &[u8]) {
    let (conf, warnings) = Document::parse(bytes);
    let lines = bytes.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count() + 1;
    assert!(warnings.len() <= MAX_WARNINGS + 1);
    for warning in &warnings {
        assert!(warning.line.is_none_or(|line| (1..=lines).contains(&line)));
        let text = warning.to_string();
        assert!(text.len() < 1000 && !text.contains(char::is_control));
        assert!(!warning.what.is_empty() && !warning.remedy.is_empty());
    }
    assert!(conf.log_level.is_none_or(|level| level <= MAX_LOG_LEVEL));
    if let Some(directory) = &conf.log_dir {
        let text = directory.as_os_str().as_encoded_bytes();
        assert!(directory.is_absolute() && text.len() <= MAX_PATH && !text.contains(&0));
        assert!(bytes.windows(text.len()).any(|window| window == text));
    }
    assert!(conf.metrics.as_ref().is_none_or(|address| !address.is_empty()));
    // A line of any kind before it takes nothing from a file whose lines are all good.
    if warnings.is_empty() {
        let longer = [b"=\xff no line\n", bytes].concat();
        let (again, told) = Document::parse(&longer);
        // Unless it makes the file too large, or its mark is not at its beginning any more.
        let marked = bytes.starts_with("\u{feff}".as_bytes());
        assert!(marked || longer.len() > lunbox_conf::MAX_BYTES || (again == conf && told.len() == 1));
    }
}
