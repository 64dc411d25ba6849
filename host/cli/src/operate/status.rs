//! `lunbox status`: how lunboxd is.

use std::time::Duration;

use lunbox_control::{Answer, BusReport, Request, StatusReport};

use crate::cli::Status;
use crate::exit::Exit;
use crate::output::{Output, print_json};
use crate::{human, table};

/// Prints what the daemon tells of itself.
///
/// # Errors
/// A daemon that does not answer, or stdout's.
pub fn run(options: &Status, output: &Output) -> anyhow::Result<Exit> {
    let report = super::ask(&options.daemon, &Request::Status, |answer| match answer {
        Answer::Status(report) => Ok(report),
        other => Err(other),
    })?;
    if output.is_json() {
        print_json(&report)?;
    } else {
        table::print_fields(&fields(&report), output)?;
    }
    Ok(Exit::Ok)
}

fn fields(report: &StatusReport) -> Vec<(&'static str, String)> {
    let uptime = human::duration(Duration::from_millis(report.uptime_ms));
    let mut fields = vec![
        ("program", format!("lunboxd {}, process {}", report.program, report.pid)),
        ("phase", report.phase.clone()),
        ("running", format!("{uptime}, since {}", human::time(report.started))),
        (
            "policy",
            report.policy.clone().unwrap_or_else(|| "none: one tenant, which may use any path".to_owned()),
        ),
    ];
    let jail = if report.jail.is_empty() { "none".to_owned() } else { report.jail.join(" ") };
    if report.single_process {
        fields.push(("workers", "none: all devices run in lunboxd itself (--single-process)".to_owned()));
    } else {
        let restarts = human::count(report.worker_restarts);
        fields.push(("workers", format!("{}, {restarts} restarts", human::count(report.workers))));
        fields.push(("jail", jail));
    }
    let devices =
        format!("{}, {} serving", human::count(report.devices), human::count(report.devices_serving));
    fields.push(("devices", devices));
    for (index, handler) in report.handlers.iter().enumerate() {
        let name = if index == 0 { "handlers" } else { "" };
        fields.push((name, format!("{}: {} {}", handler.subtype, handler.name, handler.version)));
    }
    if report.handlers.is_empty() {
        fields.push(("handlers", "none".to_owned()));
    }
    if report.memory_bytes > 0 {
        fields.push(("memory", human::bytes(report.memory_bytes)));
    }
    if let Some(bus) = &report.bus {
        fields.push(("bus", of_bus(bus)));
    }
    if let Some(metrics) = &report.metrics {
        fields.push(("metrics", metrics.clone()));
    }
    if report.log_lines_lost > 0 {
        let lost = human::count(report.log_lines_lost);
        fields.push(("log", format!("{lost} lines were lost: see that its disk has room and is not slow")));
    }
    fields
}

fn of_bus(bus: &BusReport) -> String {
    if bus.up {
        return format!("up, as {}", bus.name);
    }
    let why = bus.trouble.as_deref().unwrap_or("it does not answer");
    format!("down, targetcli does not see the handlers: {why}")
}

#[cfg(test)]
mod tests {
    use lunbox_control::HandlerReport;

    use super::*;

    #[test]
    fn a_daemon_with_and_without_workers() {
        let handler =
            |subtype: &str| HandlerReport { subtype: subtype.to_owned(), ..HandlerReport::default() };
        let mut report = StatusReport {
            program: "0.1.0".to_owned(),
            pid: 42,
            uptime_ms: 90_061_000,
            jail: vec!["seccomp".to_owned(), "landlock".to_owned()],
            handlers: vec![handler("file"), handler("zbc")],
            workers: 2,
            devices: 1200,
            devices_serving: 1199,
            ..StatusReport::default()
        };
        let shown = |report: &StatusReport| {
            fields(report).iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
        };
        let text = shown(&report);
        for part in [
            "lunboxd 0.1.0, process 42",
            "1d 1h",
            "policy=none: one",
            "seccomp landlock",
            "1,200, 1,199 serving",
            "\n=zbc",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        for unknown in ["memory", "metrics", "log=", "bus"] {
            assert!(!text.contains(unknown), "what is not known is not shown: {text}");
        }
        report.log_lines_lost = 1234;
        report.metrics = Some("127.0.0.1:9287".to_owned());
        assert!(shown(&report).contains("metrics=127.0.0.1:9287\nlog=1,234 lines"), "{}", shown(&report));
        let name = "org.kernel.TCMUService1".to_owned();
        report.bus = Some(BusReport { name: name.clone(), up: true, trouble: None });
        assert!(shown(&report).contains("\nbus=up, as org.kernel.TCMUService1\n"), "{}", shown(&report));
        report.bus = Some(BusReport { name, up: false, trouble: Some("no such socket".to_owned()) });
        assert!(shown(&report).contains("\nbus=down, "), "{}", shown(&report));
        assert!(shown(&report).contains("handlers: no such socket\n"), "{}", shown(&report));
        report.single_process = true;
        report.policy = Some("/etc/lunbox/policy.toml".to_owned());
        let text = shown(&report);
        assert!(text.contains("--single-process") && text.contains("policy=/etc/lunbox"), "{text}");
        assert!(!text.contains("jail="), "{text}");
    }
}
