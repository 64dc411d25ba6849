//! The tests of tests/guest that count in rounds.

use crate::paths;
use crate::test::guest_tests;
use anyhow::{Context, ensure};
use std::path::Path;
use std::time::Duration;

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Of its file, without the ending.
    pub name: String,
    /// What it does in each round; a test without rows has one, of its own name.
    pub rows: Vec<String>,
    /// Whether it can be told which rows to run.
    pub takes_rows: bool,
    /// Time for [`Script::default_rounds`] of each row.
    pub seconds: u64,
    /// Rounds if it is not told how many.
    pub default_rounds: u32,
}

impl Script {
    /// Its file in tests/guest.
    pub fn file(&self) -> String {
        format!("{}{}", self.name, guest_tests::SUFFIX)
    }

    /// Time for so many rounds of each row.
    pub fn limit(&self, rounds: u32) -> Duration {
        super::scaled(Duration::from_secs(self.seconds), rounds, self.default_rounds)
    }

    /// `None` of a test that does not count in rounds.
    fn read(name: &str, text: &str) -> anyhow::Result<Option<Self>> {
        let Some(default) = default_of(text, "LUNBOX_ROUNDS") else { return Ok(None) };
        let default_rounds =
            default.parse().with_context(|| format!("{name}: LUNBOX_ROUNDS is `{default}` by default"))?;
        let rows = default_of(text, "LUNBOX_ROWS");
        Ok(Some(Self {
            name: name.to_owned(),
            takes_rows: rows.is_some(),
            rows: rows.unwrap_or(name).split_whitespace().map(str::to_owned).collect(),
            seconds: guest_tests::seconds(name, text)?,
            default_rounds,
        }))
    }
}

/// What stands in `${NAME:-…}`.
fn default_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("${{{name}:-"))?;
    Some(rest.split_once('}')?.0)
}

/// The tests in the order of their names, `test` alone if it is given, with `row` alone if that is given.
///
/// # Errors
/// When nothing is left.
pub fn find(test: Option<&str>, row: Option<&str>) -> anyhow::Result<Vec<Script>> {
    let scripts = find_in(&paths::guest_scripts())?;
    let known = describe(&scripts);
    let mut chosen = scripts;
    chosen.retain(|script| test.is_none_or(|test| script.name == test));
    if let Some(row) = row {
        chosen.retain(|script| script.rows.iter().any(|has| has == row));
        for script in &mut chosen {
            script.rows = vec![row.to_owned()];
        }
    }
    ensure!(!chosen.is_empty(), "no such test or row; there are: {known}");
    Ok(chosen)
}

fn describe(scripts: &[Script]) -> String {
    let each = |script: &Script| format!("{} ({})", script.name, script.rows.join(", "));
    scripts.iter().map(each).collect::<Vec<_>>().join("; ")
}

fn find_in(folder: &Path) -> anyhow::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(guest_tests::SUFFIX) else { continue };
        scripts.extend(Script::read(name, &std::fs::read_to_string(&path)?)?);
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: &str = "#!/bin/sh\n# limit: 500\n# machines: uml\nrounds=${LUNBOX_ROUNDS:-20}\n\
                         rows=${LUNBOX_ROWS:-worker supervisor}\n";

    #[test]
    fn what_a_test_takes_is_read_off_its_text() {
        let script = Script::read("crash", CRASH).unwrap().unwrap();
        assert_eq!(script.rows, ["worker", "supervisor"]);
        assert!(script.takes_rows);
        assert_eq!(script.file(), "crash.test.sh");
        assert_eq!(script.limit(100), Duration::from_secs(2500));
        let one_row = CRASH.replace("LUNBOX_ROWS", "OTHER");
        let script = Script::read("fence", &one_row).unwrap().unwrap();
        assert_eq!((script.rows, script.takes_rows), (vec!["fence".to_owned()], false));
        assert_eq!(Script::read("x", "#!/bin/sh\n# limit: 5\n").unwrap(), None);
        let odd = CRASH.replace("20", "many");
        assert!(Script::read("crash", &odd).unwrap_err().to_string().contains("many"));
    }

    #[test]
    fn tests_of_the_checkout_count_and_what_is_not_there_is_named() {
        let scripts = find(None, None).unwrap();
        assert!(scripts.iter().any(|script| script.name == "crash" && script.takes_rows));
        let error = find(Some("no-such-test"), None).unwrap_err().to_string();
        assert!(error.contains("crash ("), "{error}");
        assert!(find(None, Some("no-such-row")).is_err());
        let row = find(Some("crash"), Some("worker")).unwrap();
        assert_eq!(row[0].rows, ["worker"]);
    }
}
