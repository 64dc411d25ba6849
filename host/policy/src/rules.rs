//! What `[default]` and `[[tenant]]` have in common.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use glob::Pattern;
use toml::de::{DeTable, DeValue};

use crate::document::{Problems, Value};
use crate::matching::literal_prefix;
use crate::quantity;
use crate::tenant::{Allowed, Jail, Limits, Tenant, User};

/// Keys of a tenant that `[default]` has, too.
pub(crate) const RULES: [&str; 7] =
    ["user", "handlers", "roots", "shared", "limits", "jail", "own_worker_per_device"];

/// Reads what a tenant may.
pub(crate) fn read(problems: &mut Problems<'_>, above: &str, table: &DeTable<'_>, tenant: &mut Tenant) {
    let key = |name: &str| format!("{above}.{name}");
    tenant.user = table.get("user").and_then(|value| user(problems, value, &key("user")));
    if let Some(value) = table.get("handlers") {
        tenant.handlers = handlers(problems, value, &key("handlers"));
    }
    if let Some(value) = table.get("roots") {
        let list = problems.list(value, key("roots"), "roots = [\"/srv/acme\"]");
        if list.is_empty() && value.get_ref().is_array() {
            let message =
                "is empty, which would not mean no path but every path; name a directory, or leave roots out";
            problems.add(value.span(), key("roots"), message);
        }
        let paths = list.iter().filter_map(|value| absolute(problems, value, &key("roots"))).collect();
        tenant.roots = distinct(problems, value, &key("roots"), paths);
    }
    if let Some(value) = table.get("shared") {
        let list = problems.list(value, key("shared"), "shared = [\"/srv/acme/cluster/*\"]");
        tenant.shared =
            list.iter().filter_map(|value| shared(problems, value, &key("shared"), &tenant.roots)).collect();
    }
    if let Some(value) = table.get("limits") {
        tenant.limits = limits(problems, value, &key("limits"));
    }
    if let Some(value) = table.get("jail")
        && let Some(word) = problems.text(value, key("jail"))
    {
        match word {
            "best-effort" => tenant.jail = Jail::BestEffort,
            "required" => tenant.jail = Jail::Required,
            _ => problems.add(
                value.span(),
                key("jail"),
                format!("{word:?} is neither \"best-effort\" nor \"required\""),
            ),
        }
    }
    if let Some(value) = table.get("own_worker_per_device") {
        tenant.own_worker_per_device = problems.flag(value, key("own_worker_per_device")).unwrap_or_default();
    }
}

fn user(problems: &mut Problems<'_>, value: &Value<'_>, key: &str) -> Option<User> {
    let text = match value.get_ref() {
        DeValue::Integer(_) => problems.number(value, key)?.to_string(),
        _ => problems.text(value, key)?.to_owned(),
    };
    let mut wrong = |message: &str| {
        problems.add(value.span(), key, format!("{text:?} {message}"));
        None
    };
    let odd =
        |character: char| character.is_whitespace() || character.is_control() || "/:,".contains(character);
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        // The largest number means "no change" to setuid(2).
        let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        match (id(uid), gid.map(id)) {
            (Some(0), _) | (_, Some(Some(0))) => {
                wrong("is root, which a tenant must not be; name another user, or leave it out")
            }
            (None, _) | (_, Some(None)) => wrong("is no user; write a name, \"1000\" or \"1000:1000\""),
            (Some(uid), gid) => Some(User::Ids { uid, gid: gid.flatten() }),
        }
    } else if text == "root" {
        wrong("is what a tenant must not be; name another user, or leave it out")
    } else if text.is_empty() || text.len() > 256 || text.starts_with('-') || text.contains(odd) {
        wrong("is no user; write a name, \"1000\" or \"1000:1000\"")
    } else {
        Some(User::Name(text))
    }
}

fn handlers(problems: &mut Problems<'_>, value: &Value<'_>, key: &str) -> Allowed {
    if value.get_ref().as_str() == Some("all") {
        return Allowed::All;
    }
    let mut subtypes = Vec::new();
    for value in problems.list(value, key, "handlers = [\"file\"], or \"all\"") {
        let Some(subtype) = problems.text(value, key) else { continue };
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if subtype.is_empty() || !subtype.bytes().all(allowed) {
            let message = format!(
                "{subtype:?} is no subtype; write what stands before the first slash, such as \"file\""
            );
            problems.add(value.span(), key, message);
        } else if subtypes.iter().any(|known| known == subtype) {
            problems.add(value.span(), key, format!("names {subtype:?} twice; remove one"));
        } else {
            subtypes.push(subtype.to_owned());
        }
    }
    Allowed::Only(subtypes)
}

fn absolute(problems: &mut Problems<'_>, value: &Value<'_>, key: &str) -> Option<PathBuf> {
    let text = problems.text(value, key)?;
    let path = Path::new(text);
    let plain = |component: Component<'_>| matches!(component, Component::RootDir | Component::Normal(_));
    // Components skip the dots between slashes.
    if !path.is_absolute() || !path.components().all(plain) || text.split('/').any(|part| part == ".") {
        problems.add(value.span(), key, format!("{text:?} must begin with / and have no . and .. in it"));
        return None;
    }
    if text.contains('\0') {
        problems.add(value.span(), key, format!("{text:?} can be no path; remove what does not print"));
        return None;
    }
    Some(path.components().collect())
}

fn distinct(problems: &mut Problems<'_>, value: &Value<'_>, key: &str, paths: Vec<PathBuf>) -> Vec<PathBuf> {
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].contains(path) {
            problems.add(value.span(), key, format!("names {} twice; remove one", path.display()));
        }
    }
    paths
}

fn shared(problems: &mut Problems<'_>, value: &Value<'_>, key: &str, roots: &[PathBuf]) -> Option<Pattern> {
    let pattern = pattern(problems, value, key)?;
    let start = literal_prefix(pattern.as_str());
    if !start.starts_with('/') || pattern.as_str().split('/').any(|part| part == "." || part == "..") {
        let message = format!("{:?} must begin with / and have no . and .. in it", pattern.as_str());
        problems.add(value.span(), key, message);
        return None;
    }
    let within = |root: &PathBuf| {
        let root = root.to_string_lossy();
        let root = root.trim_end_matches('/');
        start == root || start.starts_with(&format!("{root}/")) || root.starts_with(start)
    };
    if !roots.is_empty() && !roots.iter().any(within) {
        let message = format!(
            "{:?} is outside of all roots, so that it never fits; write a path in one",
            pattern.as_str()
        );
        problems.add(value.span(), key, message);
        return None;
    }
    Some(pattern)
}

fn limits(problems: &mut Problems<'_>, value: &Value<'_>, above: &str) -> Limits {
    let known =
        ["memory", "table_elements", "cpu_per_call", "wall_per_call", "hostcall", "log_lines_per_second"];
    let Some(table) = problems.table(value, above, &known) else { return Limits::default() };
    let key = |name: &str| format!("{above}.{name}");
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    Limits {
        memory_bytes: table
            .get("memory")
            .and_then(|value| size(problems, value, &key("memory"), 64 << 10..=4 << 30)),
        table_elements: table
            .get("table_elements")
            .and_then(|value| count(problems, value, &key("table_elements"), 1..=10_000_000)),
        cpu_per_call: table.get("cpu_per_call").and_then(|value| {
            time(problems, value, &key("cpu_per_call"), Duration::from_millis(1)..=Duration::from_secs(60))
        }),
        wall_per_call: table.get("wall_per_call").and_then(|value| {
            time(problems, value, &key("wall_per_call"), Duration::from_millis(1)..=Duration::from_secs(3600))
        }),
        hostcall_bytes: small(
            table
                .get("hostcall")
                .and_then(|value| size(problems, value, &key("hostcall"), 4 << 10..=1 << 30)),
        ),
        log_lines_per_second: small(
            table
                .get("log_lines_per_second")
                .and_then(|value| count(problems, value, &key("log_lines_per_second"), 1..=1_000_000)),
        ),
    }
}

fn size(
    problems: &mut Problems<'_>,
    value: &Value<'_>,
    key: &str,
    bounds: RangeInclusive<u64>,
) -> Option<u64> {
    let bytes = match value.get_ref() {
        DeValue::Integer(_) => problems.number(value, key)?,
        _ => understood(problems, value, key, quantity::bytes)?,
    };
    let shown = (format!("{} KiB", bounds.start() >> 10), format!("{} GiB", bounds.end() >> 30));
    bounded(problems, value, key, bytes, &bounds, shown)
}

fn count(
    problems: &mut Problems<'_>,
    value: &Value<'_>,
    key: &str,
    bounds: RangeInclusive<u64>,
) -> Option<u64> {
    let number = problems.number(value, key)?;
    let shown = (bounds.start().to_string(), bounds.end().to_string());
    bounded(problems, value, key, number, &bounds, shown)
}

fn time(
    problems: &mut Problems<'_>,
    value: &Value<'_>,
    key: &str,
    bounds: RangeInclusive<Duration>,
) -> Option<Duration> {
    let time = understood(problems, value, key, quantity::time)?;
    let shown = (format!("{} ms", bounds.start().as_millis()), format!("{} s", bounds.end().as_secs()));
    bounded(problems, value, key, time, &bounds, shown)
}

fn understood<T>(
    problems: &mut Problems<'_>,
    value: &Value<'_>,
    key: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = problems.text(value, key)?;
    read(text).map_err(|message| problems.add(value.span(), key, format!("{text:?}: {message}"))).ok()
}

fn bounded<T: PartialOrd>(
    problems: &mut Problems<'_>,
    value: &Value<'_>,
    key: impl Display,
    found: T,
    bounds: &RangeInclusive<T>,
    (least, most): (String, String),
) -> Option<T> {
    if bounds.contains(&found) {
        return Some(found);
    }
    problems.add(value.span(), key, format!("is out of bounds; write {least} to {most}, or leave it out"));
    None
}

/// A pattern as the shell knows them.
pub(crate) fn pattern(problems: &mut Problems<'_>, value: &Value<'_>, key: &str) -> Option<Pattern> {
    let text = problems.text(value, key)?;
    if text.is_empty() {
        problems.add(value.span(), key, "is empty; leave it out, or write a pattern with *, ? and [abc]");
        return None;
    }
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let message = format!(
                "is no pattern: {} (character {}); a plain [ is written [[]",
                error.msg,
                error.pos + 1
            );
            problems.add(value.span(), key, message);
            None
        }
    }
}
