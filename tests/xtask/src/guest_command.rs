//! `cargo xtask guest`: one guest, one command or a shell.

use crate::compile;
use crate::guest::{self, Contents, Machine, Request};
use crate::process::quoted;
use crate::tools::Missing;
use anyhow::bail;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Options of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In the guest, /host has lunboxd, lunbox, handlers/, handlers-test/, install/ and tests/, and is in PATH.
A single CMD is a shell command line; several words are one command with its arguments.
Exit status: that of CMD; 124 when time was up, 125 when the guest died.

Examples:
  cargo xtask guest                                  a shell in User-Mode Linux
  cargo xtask guest -- uname -a
  cargo xtask guest --smp -- 'lsmod | grep target'   on two emulated processors
  cargo xtask guest --share ./data -- ls /host/data")]
pub struct Options {
    /// Two emulated processors (qemu) instead of User-Mode Linux
    #[arg(long)]
    smp: bool,
    /// Seconds for boot and command together [default: 600; none for a shell]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(256..=65536))]
    mem: u64,
    /// A file or folder that appears in /host; may be given several times
    #[arg(long, value_name = "PATH")]
    share: Vec<PathBuf>,
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
    /// Leave the run's folder (share, console log) behind
    #[arg(long)]
    keep: bool,
    /// What to run; without it a shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Builds, boots and runs; the result is the exit status.
///
/// # Errors
/// When something cannot be built or the guest cannot be started.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    let shell = options.command.is_empty();
    if shell && !std::io::stdin().is_terminal() {
        bail!("a shell needs a terminal on standard input; name a command: `cargo xtask guest -- CMD`");
    }
    if !options.no_build {
        compile::all()?;
    }
    let timeout = options.timeout.or((!shell).then_some(600)).map(Duration::from_secs);
    let request = Request {
        machine: if options.smp { Machine::Smp } else { Machine::Uml },
        memory_mib: options.mem,
        timeout,
        terminal: shell,
        keep: options.keep,
        contents: Contents {
            command: if shell { shell_command() } else { command_line(&options.command) },
            environment: terminal_environment(shell),
            extra: options.share.clone(),
        },
        missing: Missing::Report,
    };
    let outcome = guest::run(&request, &mut std::io::stdout().lock())?;
    eprintln!(
        "guest: boot {:.1} s, all {:.1} s, status {}",
        outcome.boot.as_secs_f64(),
        outcome.total.as_secs_f64(),
        outcome.status
    );
    Ok(outcome.status)
}

fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        _ => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// The guest's terminal does not learn the size of ours by itself.
fn shell_command() -> String {
    let size = crate::cleanup::stty(&["size"]).unwrap_or_default();
    let resize = match size.split_once(' ') {
        Some((rows, columns)) if rows != "0" && columns != "0" => {
            format!("stty rows {} cols {}; ", quoted(rows), quoted(columns))
        }
        _ => String::new(),
    };
    format!("{resize}echo 'Type exit to leave the guest.'; bash -i")
}

fn terminal_environment(shell: bool) -> Vec<(String, String)> {
    let kind = std::env::var("TERM").ok().filter(|_| shell);
    kind.map(|kind| ("TERM".to_owned(), kind)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_line_and_several_are_arguments() {
        assert_eq!(command_line(&["a | b".into()]), "a | b");
        assert_eq!(command_line(&["echo".into(), "a | b".into()]), "echo 'a | b'");
    }
}
