//! What a tenant may, for people and programs.

use std::path::PathBuf;

use lunbox_policy::{Allowed, Jail, Tenant, User};
use serde::Serialize;

use crate::human;

/// A tenant's rules.
#[derive(Debug, Serialize)]
pub(super) struct Rules {
    pub(super) name: String,
    /// Absent: the daemon's user.
    user: Option<String>,
    /// Absent: all.
    handlers: Option<Vec<String>>,
    /// Empty: any path.
    roots: Vec<PathBuf>,
    /// Patterns.
    shared: Vec<String>,
    /// `best-effort` or `required`.
    jail: &'static str,
    own_worker_per_device: bool,
    limits: Limits,
}

/// What is absent is as the engine has it by default.
#[derive(Debug, Serialize)]
struct Limits {
    memory_bytes: Option<u64>,
    table_elements: Option<u64>,
    cpu_per_call_us: Option<u64>,
    wall_per_call_ms: Option<u64>,
    hostcall_bytes: Option<u32>,
    log_lines_per_second: Option<u32>,
}

impl From<&Tenant> for Rules {
    fn from(tenant: &Tenant) -> Self {
        // Both are bounded by an hour.
        let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: tenant.name.clone(),
            user: tenant.user.as_ref().map(ToString::to_string),
            handlers: match &tenant.handlers {
                Allowed::All => None,
                Allowed::Only(subtypes) => Some(subtypes.clone()),
            },
            roots: tenant.roots.clone(),
            shared: tenant.shared.iter().map(ToString::to_string).collect(),
            jail: match tenant.jail {
                Jail::BestEffort => "best-effort",
                Jail::Required => "required",
            },
            own_worker_per_device: tenant.own_worker_per_device,
            limits: Limits {
                memory_bytes: tenant.limits.memory_bytes,
                table_elements: tenant.limits.table_elements,
                cpu_per_call_us: tenant.limits.cpu_per_call.map(us),
                wall_per_call_ms: tenant.limits.wall_per_call.map(ms),
                hostcall_bytes: tenant.limits.hostcall_bytes,
                log_lines_per_second: tenant.limits.log_lines_per_second,
            },
        }
    }
}

impl Rules {
    /// One to a line.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let own = if self.own_worker_per_device { ", a worker for each device" } else { "" };
        let list =
            |items: &[String], none: &str| if items.is_empty() { none.to_owned() } else { items.join(" ") };
        let roots: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        let handlers = match &self.handlers {
            None => "all".to_owned(),
            Some(subtypes) => list(subtypes, "none"),
        };
        let mut fields = vec![
            ("tenant", format!("{}{own}", self.name)),
            ("user", self.user.clone().unwrap_or_else(|| "that of lunboxd, without capabilities".to_owned())),
            ("jail", self.jail.to_owned()),
            ("handlers", handlers),
            ("stores", list(&roots, "any path; links are followed")),
        ];
        if !self.shared.is_empty() {
            fields.push(("shared", self.shared.join(" ")));
        }
        fields.push(("limits", self.limits.text()));
        fields
    }
}

impl Limits {
    fn text(&self) -> String {
        use std::time::Duration;
        let parts = [
            self.memory_bytes.map(|bytes| format!("memory {}", human::bytes(bytes))),
            self.table_elements.map(|count| format!("{} table elements", human::count(count))),
            self.cpu_per_call_us
                .map(|us| format!("{} CPU a call", human::duration(Duration::from_micros(us)))),
            self.wall_per_call_ms
                .map(|ms| format!("{} a call with WASI", human::duration(Duration::from_millis(ms)))),
            self.hostcall_bytes
                .map(|bytes| format!("{} across the border a call", human::bytes(bytes.into()))),
            self.log_lines_per_second
                .map(|lines| format!("{} log lines a second", human::count(lines.into()))),
        ];
        let given: Vec<String> = parts.into_iter().flatten().collect();
        if given.is_empty() { "defaults".to_owned() } else { format!("{}; else defaults", given.join(", ")) }
    }
}

/// What a tenant's rules name that this machine does not have.
pub(super) fn missing(tenant: &Tenant) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(User::Name(name)) = &tenant.user
        && matches!(nix::unistd::User::from_name(name), Ok(None))
    {
        found.push(format!(
            "tenant {}: this machine has no user {name:?}; make it (useradd --system {name}) before lunboxd needs it",
            tenant.name
        ));
    }
    // A root may also be a disk or a file.
    for path in tenant.roots.iter().filter(|path| !path.exists()) {
        found.push(format!(
            "tenant {}: there is no {}; make it before it is needed",
            tenant.name,
            path.display()
        ));
    }
    found
}
