//! What stands in a policy file.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use crate::document::{Problems, Value};
use crate::error::Problem;
use crate::matching::{Match, literal_prefix};
use crate::rules::{self, RULES, pattern};
use crate::tenant::{DEFAULT, Tenant};

/// The version of the format.
const VERSION: u64 = 1;

/// Longest name of a tenant.
const NAME_LENGTH: usize = 32;

/// A whole file: its tenants in order, `default` last, or everything that is wrong. Mistakes of syntax hide others.
pub(crate) fn read(text: &str, path: &Path) -> Result<Vec<Tenant>, Vec<Problem>> {
    let mut problems = Problems::new(path, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span().unwrap_or(0..0), "", error.message().replace('\n', " "));
    }
    if !problems.is_empty() {
        return Err(problems.into_list());
    }
    let document = document.get_ref();
    match document.get("version") {
        None => problems.add(0..0, "version", "is missing; begin the file with: version = 1"),
        Some(value) => {
            if let Some(number) = problems.number(value, "version")
                && number != VERSION
            {
                problems.add(
                    value.span(),
                    "version",
                    format!("{number} is not known here; this lunboxd reads {VERSION}"),
                );
                // Whatever else stands there follows other rules.
                return Err(problems.into_list());
            }
        }
    }
    problems.known(document, "", &["version", "default", "tenant"]);
    let mut tenants =
        document.get("tenant").map(|value| all_tenants(&mut problems, value)).unwrap_or_default();
    let mut default = Tenant::named(DEFAULT.to_owned());
    if let Some(value) = document.get("default")
        && let Some(table) = problems.table(value, DEFAULT, &RULES)
    {
        rules::read(&mut problems, DEFAULT, table, &mut default);
    }
    tenants.push(default);
    if problems.is_empty() { Ok(tenants) } else { Err(problems.into_list()) }
}

fn all_tenants(problems: &mut Problems<'_>, value: &Value<'_>) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    // Entries of tenants so far: what fits them, whose they are, and where.
    let mut taken: Vec<(Match, String, usize)> = Vec::new();
    for (index, value) in problems.list(value, "tenant", "begin each with [[tenant]]").iter().enumerate() {
        let known: Vec<&str> = ["name", "match"].into_iter().chain(RULES).collect();
        let Some(table) = problems.table(value, format_args!("tenant {}", index + 1), &known) else {
            continue;
        };
        let named = name(problems, value, table, index);
        let key = match &named {
            Some(name) => format!("tenant.{name}"),
            None => format!("tenant {}", index + 1),
        };
        if let Some(name) = &named
            && let Some(first) = names.insert(name.clone(), problems.line(&value.span()))
        {
            let message = format!(
                "there is a tenant of this name in line {first} already; name it otherwise, or join them"
            );
            problems.add(value.span(), format_args!("{key}.name"), message);
        }
        let mut tenant = Tenant::named(named.unwrap_or_default());
        tenant.matches = matches(problems, &key, value.span(), table, &mut taken);
        rules::read(problems, &key, table, &mut tenant);
        tenants.push(tenant);
    }
    tenants
}

fn name(problems: &mut Problems<'_>, value: &Value<'_>, table: &DeTable<'_>, index: usize) -> Option<String> {
    let key = format!("tenant {}.name", index + 1);
    let Some(value) = table.get("name") else {
        problems.add(value.span(), key, "is missing; give the tenant a name, such as: name = \"acme\"");
        return None;
    };
    let name = problems.text(value, &key)?;
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_LENGTH || !name.bytes().all(allowed) || name.starts_with('-') {
        let message = format!(
            "{name:?} can not be a name; write 1 to {NAME_LENGTH} of a-z, 0-9, _ and -, not beginning with -"
        );
        problems.add(value.span(), key, message);
        return None;
    }
    if name == DEFAULT {
        problems.add(
            value.span(),
            key,
            "is the name of what no tenant matches; write its rules under [default]",
        );
        return None;
    }
    Some(name.to_owned())
}

fn matches(
    problems: &mut Problems<'_>,
    above: &str,
    place: Range<usize>,
    table: &DeTable<'_>,
    taken: &mut Vec<(Match, String, usize)>,
) -> Vec<Match> {
    let key = format!("{above}.match");
    let example = "match = [{ device = \"acme-*\" }]";
    let Some(value) = table.get("match") else {
        problems.add(
            place,
            key,
            format!("is missing, so that no device would be its; write for example {example}"),
        );
        return Vec::new();
    };
    let list = problems.list(value, &key, example);
    if list.is_empty() && value.get_ref().is_array() {
        problems.add(
            value.span(),
            &key,
            format!("is empty, so that no device would be its; write for example {example}"),
        );
    }
    let mut found = Vec::new();
    for value in list {
        let before = problems.count();
        let Some(table) = problems.table(value, &key, &["hba", "device", "config"]) else { continue };
        if table.is_empty() {
            let message = "fits every device; write what is for all of them under [default]";
            problems.add(value.span(), &key, message);
            continue;
        }
        let line = problems.line(&value.span());
        let entry = Match {
            hba: table.get("hba").and_then(|value| {
                let key = format!("{key}.hba");
                let number = problems.number(value, &key)?;
                let number = u32::try_from(number);
                if number.is_err() {
                    problems.add(value.span(), key, "is larger than any HBA's number; write the 3 of user_3");
                }
                number.ok()
            }),
            device: table.get("device").and_then(|value| {
                let pattern = pattern(problems, value, &format!("{key}.device"))?;
                if pattern.as_str().contains('/') {
                    let message =
                        "no device's name has a slash; for what follows it write config = \"subtype/…\"";
                    problems.add(value.span(), format_args!("{key}.device"), message);
                }
                Some(pattern)
            }),
            config: table.get("config").and_then(|value| {
                let pattern = pattern(problems, value, &format!("{key}.config"))?;
                if literal_prefix(pattern.as_str()) == pattern.as_str() && !pattern.as_str().contains('/') {
                    let message =
                        "never fits: a configuration is subtype/…; write for example \"file//srv/acme/*\"";
                    problems.add(value.span(), format_args!("{key}.config"), message);
                }
                Some(pattern)
            }),
        };
        if problems.count() > before {
            // What was meant is not known, so nothing can be said about others.
            continue;
        }
        if let Some((earlier, owner, line)) = taken.iter().find(|(earlier, ..)| earlier.covers(&entry)) {
            let message = format!(
                "never gets a device: {earlier} of {owner} in line {line} takes all of them before; move this tenant up, \
                 or remove one of the two"
            );
            problems.add(value.span(), &key, message);
        } else {
            taken.push((entry.clone(), above.to_owned(), line));
        }
        found.push(entry);
    }
    found
}
