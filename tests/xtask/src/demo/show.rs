//! What a demonstration prints: headings, and commands with what they mean and what they said.

use crate::process::{self, quoted};
use anyhow::Context;
use std::process::Command;
use std::time::Duration;

/// A step that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Begins a part.
pub fn heading(text: &str) {
    println!("\n== {text}");
}

/// Shows a command as one would type it, under one line of what it does.
pub fn announce(command: &Command, meaning: &str) {
    println!("   # {meaning}\n   $ {}", typed(command));
}

/// Shows text as a program's output.
pub fn output(text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        println!("     {}", line.trim_end());
    }
}

/// Announces `command`, runs it, shows and returns what it said.
///
/// # Errors
/// When it cannot be started, fails or takes minutes; the message has its last lines.
pub fn step(command: &mut Command, meaning: &str) -> anyhow::Result<String> {
    let text = silent_step(command, meaning)?;
    output(&text);
    Ok(text)
}

/// [`step`] without showing what it said.
///
/// # Errors
/// As there.
pub fn silent_step(command: &mut Command, meaning: &str) -> anyhow::Result<String> {
    announce(command, meaning);
    process::run_watched_for(command, LIMIT, |_| {}).with_context(|| format!("this step failed: {meaning}"))
}

fn typed(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(&argument.to_string_lossy()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed_again() {
        let mut command = Command::new("qemu-io");
        command.args(["-c", "read -P 0xa5 0 4k", "iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:x/0"]);
        assert_eq!(
            typed(&command),
            "qemu-io -c 'read -P 0xa5 0 4k' iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:x/0"
        );
    }

    #[test]
    fn a_failing_step_has_the_programs_words_and_what_it_was_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such LUN; exit 1"]);
        let text = format!("{:#}", step(&mut command, "the disk is read").unwrap_err());
        assert!(text.contains("no such LUN") && text.contains("the disk is read"), "{text}");
    }
}
