//! The files of `install/` say what the program says: the manual page its options, tcmu.conf its keys.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use lunbox_conf::{Conf, Document, ForeignSubtypes};
use lunbox_daemon::cli::Cli;

fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("install").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(installed(name)).unwrap()
}

#[test]
fn the_manual_page_has_the_options_of_the_program_and_no_other() {
    let page = text("lunboxd.8").replace("\\-", "-");
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let described: BTreeSet<&str> = words.filter_map(|word| word.strip_prefix("--")).collect();
    let mut command = Cli::command();
    command.build();
    let options: Vec<&clap::Arg> = command.get_arguments().filter(|option| !option.is_hide_set()).collect();
    let there: BTreeSet<&str> = options.iter().filter_map(|option| option.get_long()).collect();
    assert_eq!(described, there);
    for option in options {
        if let Some(short) = option.get_short() {
            assert!(page.contains(&format!("-{short} \", \" ")), "-{short}");
        }
    }
}

#[test]
fn the_manual_page_has_its_sections_and_no_line_that_roff_would_not_know() {
    let page = text("lunboxd.8");
    let known = ["TH", "SH", "B", "BI", "BR", "I", "IR", "RI", "TP", "PP", "RS", "RE", "nf", "fi", "br"];
    for line in page.lines() {
        assert!(!line.starts_with('\''), "{line}");
        if let Some(request) = line.strip_prefix('.') {
            assert!(known.contains(&request.split(' ').next().unwrap()), "{line}");
        }
    }
    for section in
        ["NAME", "SYNOPSIS", "OPTIONS", "SIGNALS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"]
    {
        assert!(page.lines().any(|line| line.strip_prefix(".SH ") == Some(section)), "{section}");
    }
}

#[test]
fn tcmu_conf_changes_nothing_as_it_is_installed() {
    let (conf, warnings) = Document::parse(text("tcmu.conf").as_bytes());
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(conf, Conf::default());
}

#[test]
fn tcmu_conf_shows_every_key_in_its_grammar() {
    let text = text("tcmu.conf");
    let settings: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = ")).collect();
    let settings: Vec<&str> = settings.into_iter().filter(|line| !line.contains("\"key = value\"")).collect();
    let (conf, warnings) = Document::parse(settings.join("\n").as_bytes());
    assert!(warnings.is_empty(), "{warnings:?} in {settings:?}");
    // Every field by name: a key that is added must be shown here as well.
    let Conf { log_level, log_dir, foreign_subtypes, metrics } = conf;
    assert_eq!((log_level, log_dir), (Some(3), Some(PathBuf::from("/var/log"))));
    assert_eq!(foreign_subtypes, Some(ForeignSubtypes::Answer));
    assert_eq!(metrics.as_deref(), Some("unix:/run/lunbox/metrics.sock"));
    assert_eq!(settings.len(), 4, "{settings:?}");
}
