//! The libiscsi conformance suite does not get worse, and its reviewed lists are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use lunbox_clients::built::workspace;
use lunbox_clients::suite::list;
use lunbox_clients::suite::ratchet::Ratchet;
use lunbox_clients::suite::run::{self, Plan, Subject};

/// Where the reviewed lists of a run against `lunbox serve` are.
const SERVED: &str = "tests/clients/libiscsi";
/// Those of a run through the kernel's target, which is a test of the guest.
const THROUGH_THE_KERNEL: &str = "tests/guest/libiscsi";

fn kept(folder: &str, name: &str) -> String {
    let path = workspace().join(folder).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_listed_test_of_libiscsis_suite_still_passes() {
    let ratchet = Ratchet::parse(&kept(SERVED, "passes.txt")).unwrap();
    let ran = run::run(&Subject::Served, &list::installed().unwrap(), Plan::default(), |test, ran| {
        println!("{test}: {}", ran.outcome);
    })
    .unwrap();
    let outcomes: BTreeMap<_, _> =
        ran.iter().map(|(name, ran)| (name.clone(), ran.outcome.clone())).collect();
    let comparison = ratchet.compare(&outcomes);
    for name in comparison.lost.keys() {
        if let Some(ran) = ran.get(name) {
            println!("--- {name}\n{}", ran.printed);
        }
    }
    if !comparison.gained.is_empty() {
        tell(&format!(
            "{comparison}raise the list: cargo run -p lunbox-clients --bin libiscsi-suite -- --update"
        ));
    } else if !comparison.lost.is_empty() {
        tell(&comparison.to_string());
    }
    assert!(!comparison.is_worse(list::is_reviewed()), "{comparison}");
}

/// Not by a macro: what those print is thrown away when the test passes.
fn tell(text: &str) {
    let written = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
    written.expect("a test's standard error can be written");
}

#[test]
fn every_test_passes_or_has_its_reason_in_the_reviewed_lists() {
    for folder in [SERVED, THROUGH_THE_KERNEL] {
        let ratchet = Ratchet::parse(&kept(folder, "passes.txt")).unwrap();
        let passes: BTreeSet<&str> = ratchet.names().collect();
        let reviewed = kept(folder, "failures.md");
        let failures: BTreeSet<&str> = reviewed
            .split('`')
            .filter(|part| part.starts_with("SCSI.") || part.starts_with("iSCSI."))
            .collect();
        let both: Vec<_> = passes.intersection(&failures).collect();
        assert!(both.is_empty(), "{folder}: listed as passing and as failing: {both:?}");
        let installed = list::installed().unwrap();
        let neither: Vec<_> = installed
            .iter()
            .filter(|test| !passes.contains(test.as_str()) && !failures.contains(test.as_str()))
            .collect();
        let release = list::REVIEWED;
        let said = format!(
            "{folder}: neither in passes.txt nor in failures.md, which were made with libiscsi {release}: {neither:?}"
        );
        if list::is_reviewed() {
            assert!(neither.is_empty(), "{said}");
        } else if !neither.is_empty() {
            tell(&format!("{said}; this is another release"));
        }
    }
}
