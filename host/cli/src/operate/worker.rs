//! `lunbox worker`: the processes that devices run in.

use lunbox_control::{Answer, Request, WorkerReport};
use serde::Serialize;

use crate::cli::{Worker, WorkerCommand};
use crate::exit::Exit;
use crate::human;
use crate::output::{Output, print_json};
use crate::table::{self, Align};

#[derive(Serialize)]
struct List {
    workers: Vec<WorkerReport>,
}

/// Prints the workers.
///
/// # Errors
/// A daemon that does not answer, or stdout's.
pub fn run(options: &Worker, output: &Output) -> anyhow::Result<Exit> {
    let WorkerCommand::List(daemon) = &options.command;
    let mut workers = super::ask(daemon, &Request::WorkerList, |answer| match answer {
        Answer::Workers(workers) => Ok(workers),
        other => Err(other),
    })?;
    workers.sort_by(|a, b| (&a.tenant, a.started, a.pid).cmp(&(&b.tenant, b.started, b.pid)));
    if output.is_json() {
        print_json(&List { workers })?;
    } else if workers.is_empty() {
        output.note("lunboxd has no workers: there are no devices, or they run in lunboxd itself");
    } else {
        let heads = [
            ("TENANT", Align::Left),
            ("PID", Align::Right),
            ("STATE", Align::Left),
            ("DEVICES", Align::Right),
            ("RESTARTS", Align::Right),
            ("MEMORY", Align::Right),
            ("USER", Align::Left),
            ("PROGRAM", Align::Left),
            ("JAIL", Align::Left),
        ];
        table::print(heads, &workers.iter().map(row).collect::<Vec<_>>(), output)?;
    }
    Ok(Exit::Ok)
}

fn row(worker: &WorkerReport) -> [String; 9] {
    let dash = || "-".to_owned();
    [
        worker.tenant.clone(),
        if worker.pid > 0 { worker.pid.to_string() } else { dash() },
        if worker.adopted { format!("{} (adopted)", worker.state) } else { worker.state.to_string() },
        human::count(worker.devices),
        human::count(worker.restarts),
        if worker.memory_bytes > 0 { human::bytes(worker.memory_bytes) } else { dash() },
        worker.user.clone(),
        worker.build.clone(),
        if worker.jail.is_empty() { dash() } else { worker.jail.join(" ") },
    ]
}

#[cfg(test)]
mod tests {
    use lunbox_control::WorkerState;

    use super::*;

    #[test]
    fn what_is_not_there_is_a_dash() {
        let worker = WorkerReport {
            tenant: "acme".to_owned(),
            state: WorkerState::Waiting,
            adopted: true,
            ..WorkerReport::default()
        };
        let cells = row(&worker);
        assert_eq!([&cells[1], &cells[5], &cells[8]], ["-", "-", "-"]);
        assert_eq!(cells[2], "waiting (adopted)");
        assert_eq!(row(&WorkerReport { pid: 7, ..worker })[1], "7");
    }
}
