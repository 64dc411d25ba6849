//! The tests of tests/guest: each boots a guest of its own, so that one that fails leaves nothing to the next.
//!
//! A test's first lines say what it needs: `# limit: SECONDS` and `# machines: uml` or `# machines: uml smp`.

use super::steps::Verdict;
use crate::guest::{self, Contents, Machine, Request};
use crate::paths;
use crate::tools::Missing;
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::time::Duration;

/// How the file name of a test ends.
pub const SUFFIX: &str = ".test.sh";
/// Long rounds and emulated processors take this many times the limit.
const FULL_FACTOR: u32 = 6;
const SMP_FACTOR: u32 = 4;

/// One test on one machine.
#[derive(Debug)]
pub struct GuestTest {
    name: String,
    machine: Machine,
    limit: Duration,
}

/// The tests, those on User-Mode Linux first; `only` chooses one by name.
///
/// # Errors
/// When a test lacks its lines or there is no test of that name.
pub fn find(only: Option<&str>) -> anyhow::Result<Vec<GuestTest>> {
    let mut tests = find_in(&paths::guest_scripts())?;
    if let Some(only) = only {
        tests.retain(|test| test.name == only);
        ensure!(!tests.is_empty(), "there is no guest test tests/guest/{only}{SUFFIX}");
    }
    Ok(tests)
}

fn find_in(folder: &Path) -> anyhow::Result<Vec<GuestTest>> {
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(SUFFIX) else { continue };
        let text = std::fs::read_to_string(&path)?;
        let seconds = seconds(&file, &text)?;
        for machine in header(&file, &text, "machines")?.split_whitespace() {
            let machine = match machine {
                "uml" => Machine::Uml,
                "smp" => Machine::Smp,
                other => bail!("{file}: machine `{other}`; there are uml and smp"),
            };
            tests.push(GuestTest { name: name.to_owned(), machine, limit: Duration::from_secs(seconds) });
        }
    }
    tests.sort_by(|a, b| (a.machine == Machine::Smp, &a.name).cmp(&(b.machine == Machine::Smp, &b.name)));
    Ok(tests)
}

/// The value of a line `# KEY: …` of the script `file`.
fn header<'a>(file: &str, text: &'a str, key: &str) -> anyhow::Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(':'))
        .with_context(|| format!("{file} has no line `# {key}: …`"))
}

/// How long a test may take, from its text.
///
/// # Errors
/// When it does not say, or not as a number.
pub fn seconds(file: &str, text: &str) -> anyhow::Result<u64> {
    let seconds = header(file, text, "limit")?.trim();
    seconds.parse().with_context(|| format!("{file}: limit `{seconds}` is no number"))
}

impl GuestTest {
    /// Heading of the step.
    pub fn title(&self) -> String {
        match self.machine {
            Machine::Uml => format!("guest: {}", self.name),
            Machine::Smp => format!("guest with 2 processors: {}", self.name),
        }
    }

    /// Whether it installs our package, which has to be built then.
    pub fn needs_package(&self) -> bool {
        self.name == "install"
    }

    /// Boots a guest and runs the test in it; `full` asks for its long rounds.
    ///
    /// # Errors
    /// When the guest cannot be started or the test fails.
    pub fn run(&self, full: bool) -> anyhow::Result<Verdict> {
        let mut limit = self.limit;
        let mut environment = Vec::new();
        if full {
            limit *= FULL_FACTOR;
            environment.push(("LUNBOX_FULL".to_owned(), "1".to_owned()));
        }
        if self.machine == Machine::Smp {
            limit *= SMP_FACTOR;
        }
        let request = Request {
            machine: self.machine,
            memory_mib: 2048,
            timeout: Some(limit),
            terminal: false,
            keep: false,
            contents: Contents {
                command: format!("/host/tests/{}{SUFFIX}", self.name),
                environment,
                extra: Vec::new(),
            },
            missing: Missing::Install,
        };
        let outcome = guest::run(&request, &mut std::io::stdout().lock())?;
        println!("   boot {:.1} s, all {:.1} s", outcome.boot.as_secs_f64(), outcome.total.as_secs_f64());
        match outcome.status {
            0 => Ok(Verdict::Passed),
            guest::TIMED_OUT => bail!("{} did not end within {} s", self.name, limit.as_secs()),
            guest::DIED => bail!("the guest died in {}", self.name),
            status => bail!("{} ended with status {status}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_of_the_checkout_is_found_with_limit_and_machine() {
        let tests = find(None).unwrap();
        assert!(tests.iter().any(|test| test.name == "first-light" && test.machine == Machine::Smp));
        assert!(tests.iter().all(|test| test.limit >= Duration::from_secs(10)));
        assert!(find(Some("no-such-test")).is_err());
    }

    #[test]
    fn a_test_without_its_lines_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.test.sh"), "#!/bin/sh\n# limit: 5\n").unwrap();
        let error = find_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("x.test.sh") && error.contains("machines"), "{error}");
        std::fs::write(folder.path().join("x.test.sh"), "# limit: five\n# machines: uml\n").unwrap();
        assert!(format!("{:#}", find_in(folder.path()).unwrap_err()).contains("five"));
    }
}
