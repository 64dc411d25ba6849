//! Shell completions, made from the command line's definition.

use clap::CommandFactory;
use serde::Serialize;

use crate::cli::{Cli, Completions};
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line};

#[derive(Serialize)]
struct Script<'a> {
    shell: String,
    script: &'a str,
}

/// Prints the completions of a shell.
///
/// # Errors
/// stdout's.
pub fn run(options: &Completions, output: &Output) -> anyhow::Result<Exit> {
    let script = script(options.shell);
    if output.is_json() {
        print_json(&Script { shell: options.shell.to_string(), script: &script })?;
    } else {
        print_line(script.trim_end())?;
    }
    Ok(Exit::Ok)
}

fn script(shell: clap_complete::Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lunbox", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell);
            for word in [
                "lunbox",
                "serve",
                "inspect",
                "handlers",
                "completions",
                "man",
                "read-only",
                "device",
                "policy",
                "socket",
            ] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
