//! `cargo xtask fuzz`: builds the fuzz targets of tests/fuzz with coverage instrumentation and runs them.

use crate::compile;
use crate::paths;
use crate::process;
use crate::tools::{self, Missing};
use anyhow::{Context, bail, ensure};
use std::path::PathBuf;
use std::process::Command;

/// What libFuzzer needs of the compiler: counters per edge, a table of their addresses, comparisons traced.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on";

/// Instrumented for this target only: build scripts and macros stay plain because a target is named.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inputs that cover something new are kept in target/fuzz/corpus/TARGET and used by the next run; an input that
breaks something is kept in target/fuzz/found and its path is printed.

Examples:
  cargo xtask fuzz                      every target for a minute
  cargo xtask fuzz --seconds 3600 ring  one target for an hour")]
pub struct Options {
    /// Seconds per target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The target; without it all of them
    target: Option<String>,
}

/// Builds and runs.
///
/// # Errors
/// When there is no such target, the build fails, or a target finds something.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let manifest = manifest();
    let text =
        std::fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let all = targets(&text);
    let chosen: Vec<&String> = match &options.target {
        None => all.iter().collect(),
        Some(name) => all.iter().filter(|known| *known == name).collect(),
    };
    ensure!(!chosen.is_empty(), "no such fuzz target; there are: {}", all.join(", "));

    tools::require(tools::FUZZ, Missing::Install)?;
    let work = work();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--target", TARGET, "--manifest-path"]).arg(&manifest);
    build
        .arg("--target-dir")
        .arg(&work)
        .env("RUSTFLAGS", INSTRUMENTATION)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut build)?;

    let found = work.join("found");
    std::fs::create_dir_all(&found)?;
    for name in chosen {
        let corpus = work.join("corpus").join(name);
        std::fs::create_dir_all(&corpus)?;
        println!("fuzzing {name} for {} s", options.seconds);
        let mut fuzzer = Command::new(work.join(TARGET).join("release").join(name));
        fuzzer.arg(format!("-max_total_time={}", options.seconds));
        fuzzer.arg(format!("-artifact_prefix={}/{name}-", found.display()));
        fuzzer.args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048"]).arg(&corpus);
        if let Err(error) = process::run(&mut fuzzer) {
            bail!("{name} found something (see {}): {error}", found.display());
        }
    }
    Ok(())
}

/// The targets are a workspace of their own.
fn manifest() -> PathBuf {
    paths::root().join("tests/fuzz/Cargo.toml")
}

fn work() -> PathBuf {
    paths::target().join("fuzz")
}

/// Checks the targets as the workspace is checked: format and clippy. They are neither linked nor run, so this needs no
/// C++ compiler.
///
/// # Errors
/// When one of the two has something to say; it has said it.
pub fn check() -> anyhow::Result<()> {
    let mut format = compile::cargo(&["fmt", "--check", "--manifest-path"]);
    process::run(format.arg(manifest()))?;
    let mut clippy = compile::cargo(&["clippy", "--locked", "--manifest-path"]);
    clippy.arg(manifest()).arg("--target-dir").arg(work()).args(["--", "-D", "warnings"]);
    // A libFuzzer that nothing links: named, so that libfuzzer-sys does not compile its own.
    process::run(clippy.env("CUSTOM_LIBFUZZER_PATH", work().join("not-linked/libfuzzer.a")))
}

/// Names of the `[[bin]]` tables of a manifest.
fn targets(manifest: &str) -> Vec<String> {
    let mut in_bin = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_bin = line == "[[bin]]";
        } else if in_bin
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            names.push(value.trim().trim_matches('"').to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_from_bin_tables_only() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"ring\"\npath = \"x\"\n[lib]\nname = \"no\"\n[[bin]]\nname=\"cdb\"\n";
        assert_eq!(targets(manifest), ["ring", "cdb"]);
        assert!(targets("").is_empty());
    }
}
