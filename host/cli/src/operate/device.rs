//! `lunbox device`: list, show, reset.

use std::time::Duration;

use lunbox_control::{Answer, DeviceReport, GrantReport, Request, TargetPortGroupReport};
use serde::Serialize;

use crate::cli::{Daemon, Device, DeviceCommand};
use crate::exit::Exit;
use crate::human;
use crate::output::{Output, print_json};
use crate::table::{self, Align};

#[derive(Serialize)]
struct List {
    devices: Vec<DeviceReport>,
}

#[derive(Serialize)]
struct Reset<'a> {
    reset: &'a str,
}

/// Does what is to be done.
///
/// # Errors
/// A daemon that does not answer or refuses, or stdout's.
pub fn run(options: &Device, output: &Output) -> anyhow::Result<Exit> {
    match &options.command {
        DeviceCommand::List(daemon) => list(daemon, output),
        DeviceCommand::Show(options) => show(&options.name, &options.daemon, output),
        DeviceCommand::Reset(options) => reset(&options.name, &options.daemon, output),
    }
}

fn list(daemon: &Daemon, output: &Output) -> anyhow::Result<Exit> {
    let mut devices = super::ask(daemon, &Request::DeviceList, |answer| match answer {
        Answer::Devices(devices) => Ok(devices),
        other => Err(other),
    })?;
    devices.sort_by_cached_key(|device| order(&device.name));
    if output.is_json() {
        print_json(&List { devices })?;
    } else if devices.is_empty() {
        output.note("lunboxd has no devices; targetcli makes some (backstores of type user:…)");
    } else {
        let heads = [
            ("NAME", Align::Left),
            ("TENANT", Align::Left),
            ("HANDLER", Align::Left),
            ("HEALTH", Align::Left),
            ("SIZE", Align::Right),
            ("COMMANDS", Align::Right),
            ("FAULTS", Align::Right),
            ("CONFIG", Align::Left),
        ];
        table::print(heads, &devices.iter().map(row).collect::<Vec<_>>(), output)?;
    }
    Ok(Exit::Ok)
}

/// `user_2` before `user_10`, and the 2 of `disk2` before that of `disk10`.
pub(super) fn order(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let (text, number) = rest.split_at(digits);
        let end = number.find(|character: char| !character.is_ascii_digit()).unwrap_or(number.len());
        let (number, behind) = number.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = behind;
    }
    parts
}

fn row(device: &DeviceReport) -> [String; 8] {
    [
        device.name.clone(),
        device.tenant.clone(),
        device.handler.as_ref().map_or_else(|| "-".to_owned(), |handler| handler.subtype.clone()),
        device.health.to_string(),
        human::bytes(device.size),
        human::count(device.counters.commands),
        human::count(device.counters.faults),
        device.config.clone(),
    ]
}

fn show(name: &str, daemon: &Daemon, output: &Output) -> anyhow::Result<Exit> {
    let request = Request::DeviceShow { device: name.to_owned() };
    let device = super::ask(daemon, &request, |answer| match answer {
        Answer::Device(device) => Ok(device),
        other => Err(other),
    })?;
    if output.is_json() {
        print_json(&device)?;
    } else {
        table::print_fields(&fields(&device), output)?;
    }
    Ok(Exit::Ok)
}

fn fields(device: &DeviceReport) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("device", format!("{} (/dev/uio{}, kernel number {})", device.name, device.minor, device.id)),
        ("config", device.config.clone()),
        ("health", device.health.to_string()),
    ];
    if let Some(trouble) = &device.trouble {
        fields.push(("trouble", trouble.clone()));
    }
    let worker = device.worker.map_or_else(|| "none".to_owned(), |pid| format!("process {pid}"));
    fields.push(("tenant", device.tenant.clone()));
    fields.push(("worker", format!("{worker}, {} restarts of the device", human::count(device.restarts))));
    let handler = device.handler.as_ref();
    let handler = handler.map_or_else(
        || "none of this subtype is there".to_owned(),
        |handler| {
            format!("{}: {} {}, sha256 {}", handler.subtype, handler.name, handler.version, handler.digest)
        },
    );
    fields.push(("handler", handler));
    let writes = if device.read_only { ", read-only" } else { "" };
    let (size, block) = (human::bytes(device.size), device.block_size);
    fields.push(("size", format!("{size} ({} bytes), blocks of {block}{writes}", device.size)));
    if device.grants.is_empty() {
        fields.push(("grants", "none: its handler reaches nothing outside of itself".to_owned()));
    }
    for (index, grant) in device.grants.iter().enumerate() {
        fields.push((if index == 0 { "grants" } else { "" }, granted(grant)));
    }
    for (index, (name, value)) in device.options.iter().enumerate() {
        fields.push((if index == 0 { "options" } else { "" }, format!("{name} = {value}")));
    }
    let limits = &device.limits;
    fields.push((
        "limits",
        format!(
            "memory {}, {} table elements",
            human::bytes(limits.memory_bytes),
            human::count(limits.table_elements)
        ),
    ));
    let (cpu, wall) =
        (Duration::from_micros(limits.cpu_per_call_us), Duration::from_millis(limits.wall_per_call_ms));
    fields.push((
        "",
        format!("{} CPU a call; with WASI {} in all", human::duration(cpu), human::duration(wall)),
    ));
    let (carried, lines) = (human::bytes(limits.hostcall_bytes), human::count(limits.log_lines_per_second));
    fields.push(("", format!("{carried} across the border a call, {lines} log lines a second")));
    let counters = &device.counters;
    fields.push((
        "commands",
        format!(
            "{}, {} not GOOD, {} of these BUSY, {} aborted",
            human::count(counters.commands),
            human::count(counters.failures),
            human::count(counters.busy),
            human::count(counters.aborts)
        ),
    ));
    let limit = match device.command_timeout_s {
        0 => "no limit".to_owned(),
        seconds => format!("longer than {seconds} s"),
    };
    fields.push((
        "",
        format!(
            "{} in flight, {} of these aborted and waiting for the store, {} timed out ({limit}), {} LUN resets",
            human::count(counters.in_flight),
            human::count(counters.aborting),
            human::count(counters.timeouts),
            human::count(counters.lun_resets)
        ),
    ));
    if let Some(on) = device.write_cache {
        fields.push(("write cache", if on { "on" } else { "off: each write is durable" }.to_owned()));
    }
    if device.software_write_protect {
        fields.push((
            "protected",
            "an initiator has protected it against writes (mode page 0Ah, SWP)".to_owned(),
        ));
    }
    for (index, port) in device.target_ports.iter().enumerate() {
        let text = format!("{} {} in group {}", port.relative_id, port.name, port.group);
        fields.push((if index == 0 { "port" } else { "" }, text));
    }
    for (index, group) in device.target_port_groups.iter().enumerate() {
        fields.push((if index == 0 { "port groups" } else { "" }, port_group(group)));
    }
    fields.push(("read", human::bytes(counters.bytes_read)));
    fields.push(("written", human::bytes(counters.bytes_written)));
    fields.push((
        "faults",
        format!(
            "{}, {} instances, {} resets of the ring",
            human::count(counters.faults),
            human::count(counters.instances),
            human::count(counters.resets)
        ),
    ));
    fields.push(("CPU time", human::duration(Duration::from_nanos(counters.cpu_ns))));
    fields
}

fn port_group(group: &TargetPortGroupReport) -> String {
    let ports: Vec<_> = group.ports.iter().map(u16::to_string).collect();
    let ports = if ports.is_empty() { "no ports".to_owned() } else { format!("ports {}", ports.join(", ")) };
    let preferred = if group.preferred { ", preferred" } else { "" };
    format!("{}: {}{preferred}, {ports}", group.id, group.state)
}

fn granted(grant: &GrantReport) -> String {
    let mut words = vec![if grant.read_only { "read" } else { "read and write" }.to_owned()];
    if grant.shared {
        words.push("shared with other writers".to_owned());
    } else if !grant.locked {
        words.push("not locked".to_owned());
    }
    words.push(human::bytes(grant.size));
    let option = if grant.option.is_empty() { String::new() } else { format!("{}: ", grant.option) };
    format!("{option}{} ({})", grant.locator, words.join(", "))
}

fn reset(name: &str, daemon: &Daemon, output: &Output) -> anyhow::Result<Exit> {
    super::ask(daemon, &Request::DeviceReset { device: name.to_owned() }, super::done)?;
    if output.is_json() {
        print_json(&Reset { reset: name })?;
    } else {
        output.note(&format!("{name} is reset"));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use lunbox_control::{DeviceHealth, TargetPortReport};

    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["user_10/a", "user_2/disk10", "user_2/disk9", "user_2/disk", "user_0/z"];
        names.sort_by_key(|name| order(name));
        assert_eq!(names, ["user_0/z", "user_2/disk9", "user_2/disk10", "user_2/disk", "user_10/a"]);
        let long = format!("user_0/{}", "9".repeat(100));
        assert_eq!(order(&long).len(), 2, "a number beyond all numbers is still one");
    }

    #[test]
    fn grants_are_told_with_what_they_allow() {
        let grant = GrantReport {
            option: "path".to_owned(),
            locator: "/srv/a".to_owned(),
            locked: true,
            size: 1 << 30,
            ..GrantReport::default()
        };
        assert_eq!(granted(&grant), "path: /srv/a (read and write, 1 GiB)");
        let grant = GrantReport { option: String::new(), read_only: true, locked: false, ..grant };
        assert_eq!(granted(&grant), "/srv/a (read, not locked, 1 GiB)");
        let grant = GrantReport { shared: true, read_only: false, ..grant };
        assert_eq!(granted(&grant), "/srv/a (read and write, shared with other writers, 1 GiB)");
    }

    #[test]
    fn ports_and_groups_are_shown_as_initiators_see_them() {
        let device = DeviceReport {
            software_write_protect: true,
            target_ports: vec![TargetPortReport {
                relative_id: 3,
                name: "iqn.x,t,0x0001".to_owned(),
                group: 16,
            }],
            target_port_groups: vec![
                TargetPortGroupReport {
                    id: 16,
                    state: "active/optimized".to_owned(),
                    preferred: true,
                    ports: vec![3, 4],
                },
                TargetPortGroupReport {
                    id: 17,
                    state: "standby".to_owned(),
                    ..TargetPortGroupReport::default()
                },
            ],
            ..DeviceReport::default()
        };
        let text: String = fields(&device).iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        for part in [
            "port=3 iqn.x,t,0x0001 in group 16",
            "port groups=16: active/optimized, preferred, ports 3, 4",
            "=17: standby, no ports",
            "protected=",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_device_that_nobody_serves() {
        let device = DeviceReport {
            name: "user_0/disk".to_owned(),
            health: DeviceHealth::Stopped,
            trouble: Some("no handler".to_owned()),
            ..DeviceReport::default()
        };
        let text: String = fields(&device).iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        for part in ["health=stopped", "trouble=no handler", "worker=none", "handler=none of", "grants=none"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("options="));
        assert_eq!(row(&device)[2], "-");
    }
}
