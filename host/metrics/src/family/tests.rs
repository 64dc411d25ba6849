use std::collections::BTreeMap;

use super::*;

/// Name, labels and value.
type Line = (String, BTreeMap<String, String>, f64);

/// Name, labels and value of a line.
type Sample = (String, BTreeMap<String, String>, f64);

/// Every line, and the kind of every family; nothing that the format does not allow passes.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    let mut kinds = BTreeMap::new();
    let mut samples = Vec::new();
    let mut family = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(lines.peek().is_none(), "something follows the end");
            assert!(text.ends_with("# EOF\n"));
            return (kinds, samples);
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').expect("a word and what it is about");
            let (name, value) = rest.split_once(' ').expect("a name and what is said of it");
            assert!(is_name(name), "{name:?}");
            match word {
                "HELP" => {
                    assert!(!kinds.contains_key(name), "{name} is told twice");
                    family = name.to_owned();
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    assert!(["counter", "gauge", "info", "histogram"].contains(&value), "{value}");
                    kinds.insert(name.to_owned(), value.to_owned());
                }
                "UNIT" => assert!(name.ends_with(&format!("_{value}")) && name == family, "{line}"),
                other => panic!("{other} is no word of the format"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{name} is not of {family}"));
        let kind = kinds[&family].as_str();
        let allowed: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            _ => &["_bucket", "_sum", "_count"],
        };
        assert!(allowed.contains(&suffix), "{name} of a {kind}");
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
        samples.push((name, labels, value));
    }
    panic!("there is no # EOF");
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn sample(line: &str) -> Line {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{name:?}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{label:?} in {line}");
            let mut value = String::new();
            let mut characters = behind.char_indices();
            let end = loop {
                match characters.next().expect("the value ends") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next().expect("something is escaped").1 {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("\\{other} is no escape"),
                    }),
                    (_, other) => value.push(other),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} twice in {line}");
            rest = &behind[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|error| panic!("{value:?}: {error}")))
}

fn labels(of: &[(&'static str, &str)]) -> Labels {
    of.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn every_kind_is_written_as_the_format_wants_it() {
    let device = [("device", "user_0/disk"), ("class", "read")];
    let histogram = Histogram {
        sum: Duration::from_micros(1500),
        buckets: vec![(Duration::from_micros(1), 3), (Duration::from_millis(1), 4)],
        longer: 1,
    };
    let families = vec![
        Family::new("lunbox_build", "Program.").with(labels(&[("version", "0.1.0")]), Value::Info),
        Family::new("lunbox_commands", "Commands.")
            .with(labels(&device), Value::Counter(7))
            .with(labels(&[("device", "user_0/other"), ("class", "write")]), Value::Counter(u64::MAX)),
        Family::new("lunbox_devices", "Devices.").with(Labels::new(), Value::Gauge(2)),
        Family::new("lunbox_nothing", "Nothing."),
        Family::of("lunbox_cpu", Unit::Seconds, "CPU time.")
            .with(labels(&device), Value::Time(Duration::from_millis(2500))),
        Family::of("lunbox_moved", Unit::Bytes, "Bytes.").with(labels(&device), Value::Counter(4096)),
        Family::of("lunbox_service", Unit::Seconds, "Service.")
            .with(labels(&device), Value::Histogram(histogram)),
    ];
    let text = text(families);
    let (kinds, samples) = parse(&text);
    assert_eq!(kinds.len(), 6, "a family without samples is left out: {text}");
    assert_eq!(kinds["lunbox_service_seconds"], "histogram");
    let value = |name: &str, label: Option<(&str, &str)>| {
        let fits = |labels: &BTreeMap<String, String>| {
            label.is_none_or(|(label, value)| labels.get(label).is_some_and(|found| found == value))
        };
        let found: Vec<f64> = samples.iter().filter(|s| s.0 == name && fits(&s.1)).map(|s| s.2).collect();
        assert_eq!(found.len(), 1, "{name} {label:?}: {text}");
        format!("{}", found[0])
    };
    assert_eq!(value("lunbox_commands_total", Some(("device", "user_0/disk"))), "7");
    assert_eq!(value("lunbox_devices", None), "2");
    assert_eq!(value("lunbox_build_info", Some(("version", "0.1.0"))), "1");
    assert_eq!(value("lunbox_cpu_seconds_total", None), "2.5");
    assert_eq!(value("lunbox_moved_bytes_total", None), "4096");
    assert_eq!(value("lunbox_service_seconds_sum", None), "0.0015");
    assert_eq!(value("lunbox_service_seconds_count", None), "8");
    let bounds: Vec<(String, String)> = samples
        .iter()
        .filter(|sample| sample.0 == "lunbox_service_seconds_bucket")
        .map(|sample| (sample.1["le"].clone(), format!("{}", sample.2)))
        .collect();
    let expected = [("0.000001", "3"), ("0.001", "7"), ("+Inf", "8")];
    let expected = expected.map(|(bound, count)| (bound.to_owned(), count.to_owned()));
    assert_eq!(bounds, expected, "cumulative, up to everything");
    assert!(text.contains(&u64::MAX.to_string()), "counters lose no digits");
}

#[test]
fn names_of_devices_can_not_forge_lines() {
    for name in [
        "user_0/a\"} 1\nlunbox_commands_total{device=\"user_0/b",
        "back\\slash\\n",
        "\\",
        "\"",
        "\n# EOF\n",
        "Umlaut \u{e4}, \u{fffd}",
        "",
    ] {
        let families = vec![
            Family::new("lunbox_commands", "Commands.")
                .with(labels(&[("device", name), ("class", "read")]), Value::Counter(7)),
        ];
        let text = text(families);
        let (_, samples) = parse(&text);
        assert_eq!(samples.len(), 1, "{text}");
        assert_eq!(samples[0].1["device"], name, "{text}");
        assert_eq!(samples[0].1["class"], "read");
    }
}
