//! How a test of the suite ended, out of what `iscsi-test-cu` prints: its exit status does not tell a skipped test
//! from one that passed.

use std::fmt;

use crate::process::Finished;

/// The first line of what the suite does after a test.
const TEAR_DOWN: &str = "Send PRIN/READ_KEYS";

/// What some tests print instead of [SKIPPED].
const GAVE_UP: &str = "is not changeable";

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its assertions held, and it left nothing out.
    Pass,
    /// An assertion failed; the first message.
    Fail(String),
    /// It left out what it should test; its reason.
    Skip(String),
    /// It was killed when its time was over; the last line that it printed.
    Timeout(String),
    /// It ended without a summary; the last line that it printed.
    Crash(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(why) => write!(f, "FAIL: {why}"),
            Self::Skip(why) => write!(f, "skip: {why}"),
            Self::Timeout(last) => write!(f, "TIMEOUT after: {last}"),
            Self::Crash(last) => write!(f, "CRASH after: {last}"),
        }
    }
}

/// Classifies a run of one test with `-V`.
pub fn classify(finished: &Finished) -> Outcome {
    let text = format!("{}\n{}", finished.stdout, finished.stderr);
    if finished.out_of_time {
        return Outcome::Timeout(last_line(&text));
    }
    classify_text(&text)
}

fn classify_text(text: &str) -> Outcome {
    // What stands before the first test belongs to the suite's look at the LUN, which prints [SKIPPED] too.
    let body = text.split_once("Suite: ").map(|(_, body)| body);
    let (Some(ran), Some(failed)) = (summary(text, "tests", 2), summary(text, "tests", 4)) else {
        return match (body, marked(text, "[SKIPPED]")) {
            (None, Some(reason)) => Outcome::Skip(reason),
            _ => Outcome::Crash(last_line(text)),
        };
    };
    let body = body.map(before_tear_down).unwrap_or_default();
    let asserts_failed = summary(text, "asserts", 4).unwrap_or(0);
    if failed > 0 || asserts_failed > 0 {
        let steps = body.split_once("\nFAILED\n").map_or(body, |(steps, _)| steps);
        let reason = marked(steps, "[FAILED]").or_else(|| first_assertion(body));
        return Outcome::Fail(reason.unwrap_or_else(|| "no message".to_owned()));
    }
    if let Some(reason) = marked(body, "[SKIPPED]") {
        return Outcome::Skip(reason);
    }
    if let Some(line) = body.lines().find(|line| line.contains(GAVE_UP)) {
        return Outcome::Skip(line.trim().to_owned());
    }
    if ran == 0 {
        return Outcome::Skip("no test of this name was run".to_owned());
    }
    if took_no_step(body) {
        return Outcome::Skip("it took no step, and said nothing".to_owned());
    }
    // A [FAILED] without a failed assertion is a step that the test only wanted to try.
    Outcome::Pass
}

/// What a test itself printed: after its result the suite looks for reservations that it may have left, and prints
/// [SKIPPED] when the LUN has none of that kind.
fn before_tear_down(body: &str) -> &str {
    let end = body
        .rmatch_indices(TEAR_DOWN)
        .map(|(at, _)| at)
        .find(|at| body[..*at].trim_end().ends_with("passed"));
    end.map_or(body, |at| &body[..at])
}

/// Whether nothing stands between the test's name and its result.
fn took_no_step(body: &str) -> bool {
    let after_name = body.split_once("  Test: ").and_then(|(_, test)| test.split_once("..."));
    after_name.is_none_or(|(_, steps)| steps.trim() == "passed")
}

/// Column `column` of a row of CUnit's summary: its name, total, ran, passed, failed.
fn summary(text: &str, row: &str, column: usize) -> Option<u64> {
    let (_, table) = text.rsplit_once("Run Summary:")?;
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(row))?;
    line.split_whitespace().nth(column)?.parse().ok()
}

/// What stands after the first `mark`.
fn marked(text: &str, mark: &str) -> Option<String> {
    let (_, after) = text.split_once(mark)?;
    Some(after.lines().next().unwrap_or_default().trim().to_owned())
}

/// CUnit's first line about a failed assertion: `1. file.c:123  - CU_ASSERT…`.
fn first_assertion(text: &str) -> Option<String> {
    text.lines()
        .map(str::trim)
        .find_map(|line| line.strip_prefix("1. "))
        .map(|line| line.split(TEAR_DOWN).next().unwrap_or_default().trim().to_owned())
}

fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of one test, as CUnit 2.1-3 prints it.
    fn printed(body: &str, tests: &str, asserts: &str) -> String {
        format!(
            "    [SKIPPED] MODESENSE6 is not implemented.\n     CUnit - A unit testing framework for C - Version 2.1-3\n\
             \n\nSuite: Read10\n  Test: Simple ...\n{body}\n\nRun Summary:    Type  Total    Ran Passed Failed Inactive\n\
             {:>20}      1      1    n/a      0        0\n{:>20} {tests}        0\n{:>20} {asserts}      n/a\n\n\
             Elapsed time =    0.025 seconds\nTests completed with return value: 0\n",
            "suites", "tests", "asserts"
        )
    }

    #[test]
    fn a_test_whose_assertions_held_passes() {
        let text = printed("    [OK] READ10 returned SUCCESS\npassed", "1 1 1 0", "512 512 512 0");
        assert_eq!(classify_text(&text), Outcome::Pass);
    }

    #[test]
    fn a_skip_is_no_pass_although_the_test_counts_as_passed() {
        let text = printed("    [SKIPPED] ORWRITE is not implemented.\npassed", "1 1 1 0", "3 3 3 0");
        assert_eq!(classify_text(&text), Outcome::Skip("ORWRITE is not implemented.".to_owned()));
    }

    #[test]
    fn a_skip_on_the_line_of_the_test_counts() {
        let text = printed("", "1 1 1 0", "0 0 0 0").replace(
            "Test: Simple ...",
            "Test: Simple ...    [SKIPPED] Logical unit is not write-protected.",
        );
        assert_eq!(classify_text(&text), Outcome::Skip("Logical unit is not write-protected.".to_owned()));
    }

    #[test]
    fn a_test_that_gave_up_or_took_no_step_is_no_pass() {
        let text = printed("    SWP is not changeable\npassed    Send PRIN/READ_KEYS", "1 1 1 0", "1 1 1 0");
        assert_eq!(classify_text(&text), Outcome::Skip("SWP is not changeable".to_owned()));
        let text = printed("", "1 1 1 0", "1 1 1 0")
            .replace("Simple ...\n", "Simple ...passed    Send PRIN/READ_KEYS\n");
        assert_eq!(classify_text(&text), Outcome::Skip("it took no step, and said nothing".to_owned()));
    }

    #[test]
    fn a_skip_after_the_result_is_none_of_the_test() {
        let body = "    [OK] READ10 returned SUCCESS\npassed    Send PRIN/READ_KEYS\n    \
                    [SKIPPED] PERSISTENT RESERVE IN is not implemented.";
        assert_eq!(classify_text(&printed(body, "1 1 1 0", "2 2 2 0")), Outcome::Pass);
    }

    #[test]
    fn a_skip_of_a_test_that_reads_keys_itself_counts() {
        let body = "    Send PRIN/READ_KEYS\n    [SKIPPED] PERSISTENT RESERVE IN is not implemented.\n\
                    passed    Send PRIN/READ_KEYS\n    [SKIPPED] PERSISTENT RESERVE IN is not implemented.";
        let text = printed(body, "1 1 1 0", "0 0 0 0");
        assert_eq!(
            classify_text(&text),
            Outcome::Skip("PERSISTENT RESERVE IN is not implemented.".to_owned())
        );
    }

    #[test]
    fn a_failed_assertion_is_a_failure_with_the_suites_message() {
        let body = "    [FAILED] READ10 successful but should have failed\n    1. test_read10.c:40  - CU_ASSERT_EQUAL(a,b)";
        let text = printed(body, "1 1 0 1", "2 2 1 1");
        assert_eq!(
            classify_text(&text),
            Outcome::Fail("READ10 successful but should have failed".to_owned())
        );
    }

    #[test]
    fn a_failed_assertion_without_a_message_gives_its_place() {
        let body = "FAILED\n    1. test_inquiry.c:40  - CU_ASSERT_EQUAL(a,b)    Send PRIN/READ_KEYS\n    [FAILED] PRIN command";
        let text = printed(body, "1 1 0 1", "2 2 1 1");
        assert_eq!(
            classify_text(&text),
            Outcome::Fail("test_inquiry.c:40  - CU_ASSERT_EQUAL(a,b)".to_owned())
        );
    }

    #[test]
    fn a_failure_after_a_skip_is_a_failure() {
        let text = printed("    [SKIPPED] part\n    [FAILED] the rest", "1 1 0 1", "2 2 1 1");
        assert_eq!(classify_text(&text), Outcome::Fail("the rest".to_owned()));
    }

    #[test]
    fn a_failed_step_that_the_test_only_tried_is_no_failure() {
        let text = printed("    [FAILED] WRITESAME10 command failed\npassed", "1 1 1 0", "2 2 2 0");
        assert_eq!(classify_text(&text), Outcome::Pass);
    }

    #[test]
    fn without_a_summary_it_crashed() {
        assert_eq!(
            classify_text("Suite: Read10\n  Test: Simple ...\nSegmentation fault\n"),
            Outcome::Crash("Segmentation fault".to_owned())
        );
        assert_eq!(classify_text(""), Outcome::Crash("nothing".to_owned()));
    }

    #[test]
    fn a_suite_that_refuses_the_lun_skips() {
        assert_eq!(
            classify_text("    [SKIPPED] LUN is not a disk. Skipping test\n"),
            Outcome::Skip("LUN is not a disk. Skipping test".to_owned())
        );
    }

    #[test]
    fn a_name_that_fits_no_test_is_no_pass() {
        assert!(matches!(classify_text(&printed("", "1 0 0 0", "0 0 0 0")), Outcome::Skip(_)));
    }
}
