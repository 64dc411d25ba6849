//! `lunbox events`: what happens, as it happens.

use anyhow::bail;
use lunbox_control::client::Heard;
use lunbox_control::{Client, EventReport};
use serde::Serialize;

use crate::cli::Events;
use crate::exit::Exit;
use crate::human;
use crate::output::{Output, print_json, print_line, printable};

#[derive(Serialize)]
struct Lost {
    lost: u64,
}

/// Prints events until the daemon ends, or stdout's reader goes.
///
/// # Errors
/// A daemon that does not answer, its end, or stdout's.
pub fn run(options: &Events, output: &Output) -> anyhow::Result<Exit> {
    let events = Client::connect(&options.daemon.socket)?.events()?;
    output.note("following what happens; Ctrl-C ends it");
    for heard in events {
        match heard? {
            Heard::Event(event) if output.is_json() => print_json(&event)?,
            Heard::Event(event) => print_line(&line(&event))?,
            Heard::Lost(lost) if output.is_json() => print_json(&Lost { lost })?,
            Heard::Lost(lost) => {
                output
                    .warning(&format!("{lost} events were lost here: they came faster than they were read"));
            }
        }
    }
    bail!("lunboxd has ended; run this again when it is back")
}

fn line(event: &EventReport) -> String {
    let whose = match (&event.device, &event.worker) {
        (Some(device), _) => device.clone(),
        (None, Some(worker)) => format!("worker {worker}"),
        (None, None) => "-".to_owned(),
    };
    let (at, kind, whose, text) =
        (human::time(event.at), event.kind, printable(&whose), printable(&event.text));
    format!("{at}  {kind:<18}  {whose:<20}  {text}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use lunbox_control::EventKind;

    use super::*;

    #[test]
    fn lines_name_device_or_worker() {
        let event = EventReport {
            at: 1_795_344_000_123,
            device: Some("user_0/disk".to_owned()),
            worker: Some("acme".to_owned()),
            kind: EventKind::DeviceRevived,
            text: "after\n12 ms".to_owned(),
        };
        assert_eq!(
            line(&event),
            "2026-11-22T10:40:00.123Z  device_revived      user_0/disk           after\\n12 ms"
        );
        let event = EventReport { device: None, ..event };
        assert!(line(&event).contains("  worker acme  "), "{}", line(&event));
        assert!(line(&EventReport { worker: None, ..event }).contains("  -  "));
    }
}
