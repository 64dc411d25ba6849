//! The quick run of the neighbours' benchmark gives figures for every condition. Nothing is said about how good they
//! are: other work runs beside a test.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_run_has_figures_for_each_condition() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("neighbours.json");
    let output = Command::new(env!("CARGO_BIN_EXE_lunbox-bench"))
        .args(["neighbours", "--quick", "--rounds", "1", "--recoveries", "3", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("within the spread of a quiet neighbour"), "{text}");

    let found: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rows = found["neighbours"].as_array().unwrap();
    for depth in [1, 32] {
        for name in [
            "quiet",
            "quiet again",
            "busy",
            "loop",
            "loop, forgiven",
            "memory",
            "trap",
            "log-flood",
            "wasi-sleep",
        ] {
            let row = rows.iter().find(|row| row["depth"] == depth && row["name"] == name);
            let row = row.unwrap_or_else(|| panic!("no row {name} at depth {depth}: {text}"));
            for figure in ["iops", "median_us", "p99_us", "median_ratio", "p99_ratio"] {
                let median = row[figure]["median"].as_f64().unwrap();
                assert!(median > 0.0, "{name} at depth {depth}: {figure} is {median}");
            }
            assert!(row["p99_us"]["median"].as_f64() >= row["median_us"]["median"].as_f64());
            let triggers = row["offender"]["triggers_per_s"].as_f64();
            assert_eq!(triggers.is_some_and(|triggers| triggers > 0.0), !name.starts_with("quiet"), "{name}");
        }
    }
    let recoveries = found["recoveries"].as_array().unwrap();
    for name in ["trap", "loop", "memory", "recursion"] {
        let recovery = recoveries.iter().find(|recovery| recovery["name"] == name).unwrap();
        assert_eq!(recovery["times"], 3);
        let serving = &recovery["serving_ms"];
        assert!(
            serving["low"].as_f64().unwrap() > 0.0 && serving["high"].as_f64() >= serving["median"].as_f64()
        );
    }
}
