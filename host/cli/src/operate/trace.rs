//! `lunbox trace`: the commands of a device, as they are completed.

use anyhow::bail;
use lunbox_control::{Client, CommandReport, SenseReport};
use lunbox_scsi::{Command, decode, opcode_name};
use serde::Serialize;

use crate::cli::Trace;
use crate::exit::Exit;
use crate::human;
use crate::output::{Output, print_json, print_line};

/// A command in JSON: as it came, and what it means.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    command: &'a CommandReport,
    name: &'static str,
    #[serde(flatten)]
    range: Option<Range>,
}

#[derive(Serialize)]
struct Lost {
    lost: u64,
}

/// Blocks that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Range {
    lba: u64,
    blocks: u64,
    fua: bool,
}

/// Prints commands until there were enough, the device or the daemon ends, or stdout's reader goes.
///
/// # Errors
/// A daemon that does not answer or refuses, the device's end, or stdout's.
pub fn run(options: &Trace, output: &Output) -> anyhow::Result<Exit> {
    let traces = Client::connect(&options.daemon.socket)?.trace(&options.name)?;
    output.note("following the device's commands; Ctrl-C ends it");
    let mut left = options.count;
    for trace in traces {
        let trace = trace?;
        if trace.lost > 0 && output.is_json() {
            print_json(&Lost { lost: trace.lost })?;
        } else if trace.lost > 0 {
            output.warning(&format!(
                "{} commands are missing here: they came too quickly",
                human::count(trace.lost)
            ));
        }
        for command in &trace.commands {
            if left == Some(0) {
                return Ok(Exit::Ok);
            }
            if output.is_json() {
                print_json(&Told { command, name: opcode_name(&command.cdb), range: range(&command.cdb) })?;
            } else {
                print_line(&line(command))?;
            }
            left = left.map(|left| left - 1);
        }
        if left == Some(0) {
            return Ok(Exit::Ok);
        }
    }
    bail!(
        "the device's loop has ended, or lunboxd has (lunbox device show tells); run this again when it is back"
    )
}

fn range(cdb: &[u8]) -> Option<Range> {
    match decode(cdb).ok()? {
        Command::Read { lba, blocks, fua, .. } | Command::Write { lba, blocks, fua, .. } => {
            Some(Range { lba: lba.0, blocks: blocks.0, fua })
        }
        Command::SynchronizeCache { lba, blocks, .. } => {
            Some(Range { lba: lba.0, blocks: blocks.0, fua: false })
        }
        _ => None,
    }
}

fn line(command: &CommandReport) -> String {
    let name = opcode_name(&command.cdb);
    let what = match range(&command.cdb) {
        Some(Range { lba, blocks, fua }) => {
            let fua = if fua { " FUA" } else { "" };
            format!("lba {lba} blocks {blocks}{fua}")
        }
        None => {
            let hex: Vec<String> = command.cdb.iter().map(|byte| format!("{byte:02x}")).collect();
            let more = if usize::from(command.cdb_length) > command.cdb.len() { " …" } else { "" };
            format!("[{}{more}]", hex.join(" "))
        }
    };
    let (at, id) = (human::time(command.at_us / 1000), command.id);
    let (queue, service) = (human::latency(command.queue_ns), human::latency(command.service_ns));
    let status = status(command.status);
    let sense = command.sense.map(sense).unwrap_or_default();
    let micros = command.at_us % 1000;
    // Microseconds matter here: 2026-11-22T10:40:00.123456Z.
    let at = format!("{}{micros:03}Z", at.trim_end_matches('Z'));
    format!(
        "{at}  {id:>5}  {name:<24}  {what:<32}  {:>10}  {queue:>8} + {service:<8}  {status}{sense}",
        human::bytes(command.data_length)
    )
    .trim_end()
    .to_owned()
}

/// The standard's name (SAM-5 5.3.1).
fn status(code: u8) -> String {
    let name = match code {
        0x00 => "GOOD",
        0x02 => "CHECK CONDITION",
        0x04 => "CONDITION MET",
        0x08 => "BUSY",
        0x18 => "RESERVATION CONFLICT",
        0x28 => "TASK SET FULL",
        0x30 => "ACA ACTIVE",
        0x40 => "TASK ABORTED",
        other => return format!("status {other:02X}h"),
    };
    name.to_owned()
}

fn sense(sense: SenseReport) -> String {
    let SenseReport { key, asc, ascq } = sense;
    let name = lunbox_scsi::SenseKey::try_from(key).map_or("", |key| key.name());
    format!(": {name} {key:X}/{asc:02X}/{ascq:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(cdb: &[u8]) -> CommandReport {
        CommandReport {
            at_us: 1_795_344_000_123_456,
            id: 7,
            cdb: cdb.to_vec(),
            cdb_length: u16::try_from(cdb.len()).unwrap(),
            data_length: 4096,
            queue_ns: 1500,
            service_ns: 2_345_000,
            ..CommandReport::default()
        }
    }

    #[test]
    fn reads_and_writes_are_told_by_their_blocks() {
        let read = line(&command(&[0x28, 0x08, 0, 0, 1, 0, 0, 0, 8, 0]));
        for part in [
            "2026-11-22T10:40:00.123456Z",
            "READ(10)",
            "lba 256 blocks 8 FUA",
            "4 KiB",
            "1.5 us",
            "2.3 ms",
            "GOOD",
        ] {
            assert!(read.contains(part), "{part}: {read}");
        }
        let write = [0x8a, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
        assert_eq!(range(&write), Some(Range { lba: 1 << 32, blocks: 16, fua: false }));
    }

    #[test]
    fn failures_are_told_with_their_reason_and_what_is_unknown_with_its_bytes() {
        let failed = CommandReport {
            status: 2,
            sense: Some(SenseReport { key: 5, asc: 0x21, ascq: 0 }),
            ..command(&[0x2a, 0, 0, 0, 1, 0, 0, 0, 8, 0])
        };
        assert!(line(&failed).ends_with("CHECK CONDITION: ILLEGAL REQUEST 5/21/00"), "{}", line(&failed));
        let vendor = CommandReport { cdb_length: 32, status: 0x77, ..command(&[0x7f; 16]) };
        let text = line(&vendor);
        assert!(text.contains("[7f 7f") && text.contains(" …]") && text.ends_with("status 77h"), "{text}");
        assert!(!line(&command(&[])).is_empty());
    }

    #[test]
    fn json_has_both_the_bytes_and_their_meaning() {
        let command = command(&[0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0]);
        let told = Told { command: &command, name: opcode_name(&command.cdb), range: range(&command.cdb) };
        let value = serde_json::to_value(&told).unwrap();
        assert_eq!(
            (&value["name"], &value["lba"], &value["blocks"]),
            (&"READ(10)".into(), &256.into(), &8.into())
        );
        assert_eq!((&value["id"], &value["cdb"][0]), (&7.into(), &0x28.into()));
    }
}
