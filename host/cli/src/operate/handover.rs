//! `lunbox handover`: the supervisor leaves, its workers go on.

use lunbox_control::Request;
use serde::Serialize;

use crate::cli::Handover;
use crate::exit::Exit;
use crate::output::{Output, print_json};

#[derive(Serialize)]
struct Left {
    handover: bool,
}

/// Has the daemon leave.
///
/// # Errors
/// A daemon that does not answer or refuses, or stdout's.
pub fn run(options: &Handover, output: &Output) -> anyhow::Result<Exit> {
    super::ask(&options.daemon, &Request::Handover, super::done)?;
    if output.is_json() {
        print_json(&Left { handover: true })?;
    } else {
        output.note(
            "lunboxd leaves; its workers go on serving until the next one is started and takes them over",
        );
    }
    Ok(Exit::Ok)
}
