//! lunbox: operators' and authors' commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    lunbox_cli::main()
}
