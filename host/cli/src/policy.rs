//! `lunbox policy`: what is wrong with a policy file, whose a device would be, and how a file is written.

mod given;
mod rules;
mod verdict;

pub use given::{GivenDevice, GivenDeviceError};

use std::path::{Path, PathBuf};

use lunbox_policy::{EXAMPLE, PATH, Policy, PolicyError, Problem};
use serde::Serialize;

use crate::cli::{self, CheckPolicy, PolicyCommand};
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line, printable};
use crate::table;
use rules::Rules;

/// What was found.
#[derive(Serialize)]
struct Report {
    /// Absent if there is no file and the defaults apply.
    policy: Option<PathBuf>,
    problems: Vec<Wrong>,
    tenants: Vec<Rules>,
    devices: Vec<Judged>,
}

#[derive(Serialize)]
struct Wrong {
    path: PathBuf,
    line: usize,
    column: usize,
    key: String,
    message: String,
}

/// A given device.
#[derive(Debug, Serialize)]
struct Judged {
    hba: u32,
    device: String,
    config: String,
    tenant: String,
    /// Why lunboxd would refuse it; absent if the policy has nothing against it.
    refused: Option<String>,
}

#[derive(Serialize)]
struct Example {
    example: &'static str,
}

/// Judges a file, or shows one.
///
/// # Errors
/// A file that can not be read, or stdout's.
pub fn run(options: &cli::Policy, output: &Output) -> anyhow::Result<Exit> {
    match &options.command {
        PolicyCommand::Check(options) => check(options, output),
        PolicyCommand::Example if output.is_json() => {
            print_json(&Example { example: EXAMPLE })?;
            Ok(Exit::Ok)
        }
        PolicyCommand::Example => {
            print_line(EXAMPLE.trim_end())?;
            Ok(Exit::Ok)
        }
    }
}

fn check(options: &CheckPolicy, output: &Output) -> anyhow::Result<Exit> {
    let policy = match Policy::load(&options.file) {
        Ok(policy) => policy,
        Err(PolicyError::Invalid(problems)) => return tell(&options.file, &problems, output),
        Err(error) => return Err(error.into()),
    };
    let report = report(&policy, options);
    for warning in policy.warnings().into_iter().chain(policy.tenants().flat_map(rules::missing)) {
        output.warning(&printable(&warning));
    }
    let refused = report.devices.iter().any(|device| device.refused.is_some());
    if output.is_json() {
        print_json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(if refused { Exit::Failed } else { Exit::Ok })
}

fn tell(path: &Path, problems: &[Problem], output: &Output) -> anyhow::Result<Exit> {
    if output.is_json() {
        let wrong = |problem: &Problem| Wrong {
            path: problem.path.clone(),
            line: problem.line,
            column: problem.column,
            key: problem.key.clone(),
            message: problem.message.clone(),
        };
        let problems = problems.iter().map(wrong).collect();
        print_json(&Report {
            policy: Some(path.to_owned()),
            problems,
            tenants: Vec::new(),
            devices: Vec::new(),
        })?;
    } else {
        for problem in problems {
            output.error(&printable(&problem.to_string()));
        }
    }
    Ok(Exit::Failed)
}

fn report(policy: &Policy, options: &CheckPolicy) -> Report {
    let judged = |given: &GivenDevice| {
        let tenant = policy.tenant_of(given.hba, &given.name, &given.config);
        Judged {
            hba: given.hba,
            device: given.name.clone(),
            config: given.config.clone(),
            tenant: tenant.name.clone(),
            refused: verdict::refusal(tenant, given),
        }
    };
    Report {
        policy: policy.source().map(Path::to_owned),
        problems: Vec::new(),
        tenants: policy.tenants().map(Rules::from).collect(),
        devices: options.device.iter().map(judged).collect(),
    }
}

fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    match &report.policy {
        Some(path) => print_line(&format!("{}: nothing is wrong", printable(&path.display().to_string())))?,
        None => print_line(&format!("there is no {PATH}: one tenant, which may use any path"))?,
    }
    if report.devices.is_empty() {
        for tenant in &report.tenants {
            print_line("")?;
            table::print_fields(&tenant.fields(), output)?;
        }
    }
    for device in &report.devices {
        print_line("")?;
        let name = format!("user_{}/{} = {}", device.hba, device.device, device.config);
        let mut fields = vec![("device", name)];
        fields.extend(device.refused.iter().map(|reason| ("refused", reason.clone())));
        let rules = report.tenants.iter().find(|tenant| tenant.name == device.tenant);
        fields.extend(rules.map(Rules::fields).unwrap_or_default());
        table::print_fields(&fields, output)?;
    }
    Ok(())
}
