//! What passes today, kept in a file. The list only grows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::outcome::Outcome;

/// Head of the file.
const HEAD: &str = "\
# Tests of libiscsi's iscsi-test-cu that pass against `lunbox serve`. CI fails when one of them no longer passes.
# Made by `cargo run -p lunbox-clients --bin libiscsi-suite -- --update`, which adds and never removes.
";

/// The names in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ratchet(BTreeSet<String>);

/// A run against the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// On the list, and did not pass; how it ended, or `None` when the installed suite has no such test.
    pub lost: BTreeMap<String, Option<Outcome>>,
    /// Not on the list, and passed.
    pub gained: BTreeSet<String>,
}

impl Ratchet {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When a line is no name of a test, or a name stands twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut names = BTreeSet::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.split('.').count() != 3 || line.contains(char::is_whitespace) {
                bail!("{line}: not FAMILY.SUITE.TEST");
            }
            if !names.insert(line.to_owned()) {
                bail!("{line}: stands twice");
            }
        }
        Ok(Self(names))
    }

    /// The file's text: sorted, one name on a line.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for name in &self.0 {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}");
        }
        text
    }

    /// Whether `name` is on the list.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Compares with a run of the whole suite.
    pub fn compare(&self, outcomes: &BTreeMap<String, Outcome>) -> Comparison {
        let lost = self.0.iter().filter(|name| outcomes.get(*name) != Some(&Outcome::Pass));
        let gained =
            outcomes.iter().filter(|(name, outcome)| **outcome == Outcome::Pass && !self.contains(name));
        Comparison {
            lost: lost.map(|name| (name.clone(), outcomes.get(name).cloned())).collect(),
            gained: gained.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The list with what was gained.
    ///
    /// # Errors
    /// When something was lost: the list does not shrink. The message names the tests.
    pub fn raised(&self, comparison: &Comparison) -> Result<Self> {
        if !comparison.lost.is_empty() {
            bail!("{comparison}mend what broke; an entry is removed by hand, with the reason in the commit");
        }
        Ok(Self(self.0.union(&comparison.gained).cloned().collect()))
    }
}

impl Comparison {
    /// Whether the run was worse than the list. `same_suite`: the suite is the one that the list was made with. With
    /// another one a test that is not there says nothing: it may have got another name.
    pub fn is_worse(&self, same_suite: bool) -> bool {
        self.lost.values().any(|outcome| same_suite || outcome.is_some())
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, outcome) in &self.lost {
            match outcome {
                Some(outcome) => writeln!(f, "{name} no longer passes: {outcome}")?,
                None => writeln!(f, "{name} no longer passes: the installed suite has no such test")?,
            }
        }
        for name in &self.gained {
            writeln!(f, "{name} passes and is not on the list")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(list: &[(&str, Outcome)]) -> BTreeMap<String, Outcome> {
        list.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
    }

    #[test]
    fn the_text_is_read_as_it_was_written() {
        let ratchet = Ratchet::parse("# head\n\nSCSI.B.b\n  SCSI.A.a \n").unwrap();
        assert!(ratchet.text().ends_with("removes.\nSCSI.A.a\nSCSI.B.b\n"));
        assert_eq!(Ratchet::parse(&ratchet.text()).unwrap(), ratchet);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert!(Ratchet::parse("SCSI.A").unwrap_err().to_string().contains("SCSI.A: not FAMILY"));
        assert!(Ratchet::parse("SCSI.A.a b").is_err());
        assert!(Ratchet::parse("SCSI.A.a\nSCSI.A.a").unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn what_passes_no_longer_is_lost_and_keeps_the_list_as_it_is() {
        let ratchet = Ratchet::parse("SCSI.A.a\nSCSI.A.b\nSCSI.A.c\nSCSI.A.d").unwrap();
        let comparison = ratchet.compare(&outcomes(&[
            ("SCSI.A.a", Outcome::Pass),
            ("SCSI.A.b", Outcome::Fail("x".to_owned())),
            ("SCSI.A.c", Outcome::Skip("y".to_owned())),
            ("SCSI.A.e", Outcome::Pass),
        ]));
        assert_eq!(comparison.lost.keys().collect::<Vec<_>>(), ["SCSI.A.b", "SCSI.A.c", "SCSI.A.d"]);
        assert_eq!(comparison.gained.iter().collect::<Vec<_>>(), ["SCSI.A.e"]);
        let refusal = ratchet.raised(&comparison).unwrap_err().to_string();
        assert!(refusal.contains("SCSI.A.b no longer passes: FAIL: x"), "{refusal}");
        assert!(
            refusal.contains("SCSI.A.d no longer passes: the installed suite has no such test"),
            "{refusal}"
        );
    }

    #[test]
    fn a_test_that_another_release_lacks_is_no_loss_and_one_that_fails_is() {
        let ratchet = Ratchet::parse("SCSI.A.a").unwrap();
        let missing = ratchet.compare(&outcomes(&[]));
        assert!(missing.is_worse(true) && !missing.is_worse(false));
        let failed = ratchet.compare(&outcomes(&[("SCSI.A.a", Outcome::Fail("x".to_owned()))]));
        assert!(failed.is_worse(true) && failed.is_worse(false));
        let passed = ratchet.compare(&outcomes(&[("SCSI.A.a", Outcome::Pass)]));
        assert!(!passed.is_worse(true));
    }

    #[test]
    fn what_passes_now_raises_the_list() {
        let ratchet = Ratchet::parse("SCSI.A.b").unwrap();
        let comparison =
            ratchet.compare(&outcomes(&[("SCSI.A.a", Outcome::Pass), ("SCSI.A.b", Outcome::Pass)]));
        assert!(comparison.lost.is_empty());
        assert_eq!(
            ratchet.raised(&comparison).unwrap().names().collect::<Vec<_>>(),
            ["SCSI.A.a", "SCSI.A.b"]
        );
    }
}
