//! Policies as operators write them, right and wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lunbox_policy::{Allowed, EXAMPLE, Jail, Limits, Policy, PolicyError, Problem, User};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, Path::new("policy.toml"))
}

fn problems(text: &str) -> Vec<Problem> {
    parse(text).expect_err(text).problems().to_vec()
}

/// A file with one tenant that is as it should be but for one line.
fn with(line: &str) -> String {
    format!("version = 1\n[[tenant]]\nname = \"a\"\nmatch = [{{ hba = 1 }}]\n{line}\n")
}

#[test]
fn the_example_says_what_it_explains() {
    let policy = parse(EXAMPLE).unwrap();
    assert_eq!(policy.source(), Some(Path::new("policy.toml")));
    let names: Vec<&str> = policy.tenants().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(names, ["acme", "backup", "default"]);
    let acme = policy.tenant_of(3, "anything", "file//somewhere");
    assert_eq!(acme.name, "acme");
    assert_eq!(acme.user, Some(User::Name("nobody".to_owned())));
    assert_eq!(acme.roots, [PathBuf::from("/srv/acme")]);
    assert!(acme.is_shared("/srv/acme/cluster/a") && !acme.is_shared("/srv/acme/cluster/a/b"));
    assert!(!acme.is_shared("/srv/acme/disk"));
    assert_eq!(acme.jail, Jail::Required);
    assert_eq!(
        acme.limits,
        Limits {
            memory_bytes: Some(64 << 20),
            table_elements: Some(65536),
            cpu_per_call: Some(Duration::from_millis(50)),
            wall_per_call: Some(Duration::from_secs(1)),
            hostcall_bytes: Some(8 << 20),
            log_lines_per_second: Some(100),
        }
    );
    assert_eq!(policy.tenant_of(0, "acme-1", "file//srv/acme/x/y").name, "acme");
    assert_eq!(policy.tenant_of(0, "acme-1", "file//srv/other").name, "default", "both keys must fit");
    let backup = policy.tenant_of(0, "backup-7x", "file//srv/backup/7");
    assert!(backup.name == "backup" && backup.own_worker_per_device && backup.handlers == Allowed::All);
    let default = policy.tenant_of(0, "backup-x", "file//srv/backup/7");
    assert_eq!(default.name, "default");
    assert_eq!(default.handlers, Allowed::Only(Vec::new()));
    assert!(!default.handlers.allows("file"));
    assert_eq!(policy.warnings(), [""; 0]);
}

#[test]
fn without_a_file_everything_is_as_without_tenants() {
    let policy = Policy::default();
    assert_eq!(policy.source(), None);
    assert!(policy.warnings().iter().any(|warning| warning.contains("there is no /etc/lunbox/policy.toml")));
    let tenant = policy.tenant_of(0, "disk", "file//x");
    assert_eq!((tenant.name.as_str(), &tenant.user, tenant.jail), ("default", &None, Jail::BestEffort));
    assert!(tenant.roots.is_empty() && tenant.shared.is_empty());
    assert_eq!(parse("version = 1\n").unwrap().tenants().collect::<Vec<_>>(), [tenant]);
}

#[test]
fn what_would_grant_nothing_is_refused_instead_of_ignored() {
    for text in [
        with("directories = [{ path = \"/srv/a\" }]"),
        "version = 1\n[default]\ndirectories = []\n".to_owned(),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].key.ends_with(".directories"), "{found:?}");
        assert!(found[0].message.contains("not possible in this version"), "{found:?}");
    }
    assert!(!problems(&with("roofs = []"))[0].message.contains("directories"));
}

#[test]
fn tenants_beside_an_open_default_are_warned_about() {
    let with_default = |lines: &str| {
        let text = with("roots = [\"/srv/a\"]") + "[default]\n" + lines;
        parse(&text).unwrap().warnings()
    };
    for open in ["", "handlers = [\"file\"]\n", "user = \"nobody\"\n"] {
        let found = with_default(open);
        assert!(found.len() == 1 && found[0].contains("under [default]"), "{open}: {found:?}");
    }
    for closed in ["handlers = []\n", "roots = [\"/srv/default\"]\n"] {
        assert_eq!(with_default(closed), [""; 0], "{closed}");
    }
    let alone = parse("version = 1\n[default]\nuser = \"nobody\"\n").unwrap();
    assert_eq!(alone.warnings(), [""; 0], "without tenants there is nothing to get around");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error = Policy::load(Path::new("/no/such/policy.toml")).unwrap_err();
    assert!(matches!(error, PolicyError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("there is no file /no/such/policy.toml; "), "{error}");
}

#[test]
fn files_that_can_not_be_trusted_or_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("policy.toml");
    fs::write(&path, EXAMPLE).unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert_eq!(Policy::load(&path).unwrap().tenants().count(), 3);
    for wrong in [0o664, 0o646] {
        mode(wrong);
        let error = Policy::load(&path).unwrap_err();
        assert!(matches!(error, PolicyError::Writable { .. }), "{error}");
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
    mode(0o644);
    fs::write(&path, [b'#'; (1 << 20) + 1]).unwrap();
    assert!(Policy::load(&path).unwrap_err().to_string().contains("more than 1048576 bytes"));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(Policy::load(&path), Err(PolicyError::Read { .. })));
    assert!(Policy::load(place.path()).unwrap_err().to_string().contains("no regular file"));
    assert!(
        matches!(Policy::load(&path.join("x")), Err(PolicyError::Read { .. })),
        "no file, but no absence either"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = r#"version = 1
colour = "red"
[default]
name = "x"
handlers = "file"
[[tenant]]
name = "Acme Inc"
match = [{ hba = -1 }, { lun = 3 }]
roots = ["srv", "/srv/../etc"]
[tenant.limits]
memory = 0
cpu_per_call = 50
[[tenant]]
name = "b"
"#;
    let found = problems(text);
    let places: Vec<(usize, usize, &str)> =
        found.iter().map(|problem| (problem.line, problem.column, problem.key.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, 1, "colour"),
            (4, 1, "default.name"),
            (5, 12, "default.handlers"),
            (7, 8, "tenant 1.name"),
            (8, 18, "tenant 1.match.hba"),
            (8, 26, "tenant 1.match.lun"),
            (9, 10, "tenant 1.roots"),
            (9, 17, "tenant 1.roots"),
            (11, 10, "tenant 1.limits.memory"),
            (12, 16, "tenant 1.limits.cpu_per_call"),
            (13, 1, "tenant.b.match"),
        ],
        "{found:#?}"
    );
    let shown = parse(text).unwrap_err().to_string();
    assert_eq!(shown.lines().count(), found.len());
    assert!(
        shown.starts_with("policy.toml:2:1: colour: is no key of this table; there is: version"),
        "{shown}"
    );
}

#[test]
fn mistakes_of_syntax_are_all_told() {
    let found = problems("version = 1\nx = \n[default\nuser = 'a'\n");
    assert!(found.len() >= 2, "{found:?}");
    assert_eq!((found[0].line, found[1].line), (2, 3), "{found:?}");
    let twice = problems("version = 1\nversion = 1\n");
    assert_eq!(twice[0].line, 2, "{twice:?}");
    assert!(twice[0].message.contains("duplicate"), "{twice:?}");
}

#[test]
fn versions() {
    assert!(problems("")[0].message.contains("version = 1"));
    assert!(problems("version = \"1\"\n")[0].message.contains("whole number"));
    let found = problems("version = 2\ntenants = {}\n");
    assert_eq!(found.len(), 1, "the rest follows rules that are not known: {found:?}");
    assert!(found[0].message.contains("reads 1"), "{found:?}");
}

#[test]
fn single_mistakes_and_their_remedies() {
    for (line, key, part) in [
        ("user = \"root\"", "user", "name another"),
        ("user = 0", "user", "root"),
        ("user = \"1000:0\"", "user", "root"),
        ("user = \"1000:\"", "user", "\"1000:1000\""),
        ("user = \"4294967295\"", "user", "no user"),
        ("user = \"a b\"", "user", "no user"),
        ("user = \"\"", "user", "no user"),
        ("user = true", "user", "true or false"),
        ("handlers = [\"file\", \"file\"]", "handlers", "twice"),
        ("handlers = [\"file/\"]", "handlers", "no subtype"),
        ("handlers = [1]", "handlers", "a text in quotes"),
        ("roots = []", "roots", "every path"),
        ("roots = \"/srv\"", "roots", "a list"),
        ("roots = [\"/srv\", \"/srv/\"]", "roots", "twice"),
        ("roots = [\"/srv/./x\"]", "roots", "must begin with /"),
        ("shared = [\"*.img\"]", "shared", "must begin with /"),
        ("shared = [\"/srv/[\"]", "shared", "no pattern"),
        ("shared = [\"\"]", "shared", "empty"),
        ("roots = [\"/srv/a\"]\nshared = [\"/srv/b/*\"]", "shared", "outside of all roots"),
        ("jail = \"none\"", "jail", "\"required\""),
        ("own_worker_per_device = 1", "own_worker_per_device", "true or false"),
        ("limits = { memory = \"0 MiB\" }", "limits.memory", "64 KiB to 4 GiB"),
        ("limits = { memory = \"5 GiB\" }", "limits.memory", "out of bounds"),
        ("limits = { memory = \"64 MB\" }", "limits.memory", "1000s or 1024s"),
        ("limits = { table_elements = 0 }", "limits.table_elements", "1 to 10000000"),
        ("limits = { cpu_per_call = \"0 ms\" }", "limits.cpu_per_call", "1 ms to 60 s"),
        ("limits = { cpu_per_call = \"50\" }", "limits.cpu_per_call", "unit is missing"),
        ("limits = { wall_per_call = \"2 h\" }", "limits.wall_per_call", "no unit"),
        ("limits = { hostcall = 1 }", "limits.hostcall", "4 KiB to 1 GiB"),
        ("limits = { log_lines_per_second = 1.5 }", "limits.log_lines_per_second", "a fraction"),
        (
            "limits = { log_lines_per_second = 99999999999999999999 }",
            "limits.log_lines_per_second",
            "out of bounds",
        ),
        ("limits = { ram = 1 }", "limits.ram", "there is: memory"),
    ] {
        let found = problems(&with(line));
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
        assert_eq!(found[0].key, format!("tenant.a.{key}"), "{line}");
        assert!(found[0].message.contains(part), "{line}: {}", found[0].message);
        assert!(found[0].line >= 5, "{line}: {found:?}");
    }
    for right in [
        "user = 1000",
        "user = \"lunbox-acme\"",
        "handlers = \"all\"",
        "handlers = []",
        "roots = [\"/\"]\nshared = [\"/**/x\"]",
        "roots = [\"/srv/a\"]\nshared = [\"/srv/*/b\"]",
        "limits = { memory = 1_048_576, hostcall = 0x10000 }",
    ] {
        parse(&with(right)).unwrap();
    }
}

#[test]
fn tenants_and_what_they_match() {
    let tenants = |list: &[(&str, &str)]| {
        let mut text = "version = 1\n".to_owned();
        for (name, matches) in list {
            text.push_str(&format!("[[tenant]]\nname = \"{name}\"\nmatch = {matches}\n"));
        }
        text
    };
    for (list, part) in [
        (&[("a", "[]")][..], "no device would be its"),
        (&[("a", "[{}]")], "[default]"),
        (&[("a", "[{ device = \"\" }]")], "empty"),
        (&[("a", "[{ device = \"a/b\" }]")], "no device's name has a slash"),
        (&[("a", "[{ config = \"file\" }]")], "subtype/"),
        (&[("a", "[{ device = \"a**b\" }]")], "no pattern"),
        (&[("a", "[{ hba = 4294967296 }]")], "user_3"),
        (&[("a", "{ hba = 1 }")], "a list"),
        (&[("a", "[1]")], "a table"),
        (&[("a", "[{ hba = 1 }]"), ("a", "[{ hba = 2 }]")], "line 2 already"),
        (&[("a", "[{ hba = 1 }]"), ("b", "[{ hba = 1, device = \"x\" }]")], "move this tenant up"),
        (&[("a", "[{ hba = 1 }, { hba = 1 }]")], "never gets a device"),
        (&[("a", "[{ device = \"*\" }]"), ("b", "[{ hba = 1 }]")], "tenant.a in line 4"),
        (&[("default", "[{ hba = 1 }]")], "[default]"),
        (&[("-a", "[{ hba = 1 }]")], "not beginning with -"),
        (&[("a/../b", "[{ hba = 1 }]")], "can not be a name"),
        (&[("abcdefghijklmnopqrstuvwxyz0123456", "[{ hba = 1 }]")], "1 to 32"),
    ] {
        let found = problems(&tenants(list));
        assert_eq!(found.len(), 1, "{list:?}: {found:#?}");
        assert!(found[0].message.contains(part), "{list:?}: {}", found[0]);
    }
    let policy = parse(&tenants(&[
        ("narrow", "[{ hba = 1, device = \"x\" }]"),
        ("wide", "[{ hba = 1 }, { device = \"x?\" }]"),
    ]))
    .unwrap();
    assert_eq!(policy.tenant_of(1, "x", "file/").name, "narrow");
    assert_eq!(policy.tenant_of(1, "y", "file/").name, "wide");
    assert_eq!(policy.tenant_of(9, "xy", "file/").name, "wide");
    assert_eq!(policy.tenant_of(9, "x", "file/").name, "default");
}

/// Lines that mean something, in any order, so that more than the parser of TOML is reached.
fn plausible() -> impl Strategy<Value = String> {
    let keys = "(version|name|match|user|handlers|roots|shared|limits|jail|directories|own_worker_per_device|x|hba|memory)";
    let values = r#"(1|-1|0x7f|1\.5|true|"all"|"/"|"\[x"|"64 MiB"|\[\]|\["/srv","a\*\*"\]|\[\{hba=3\},\{device="\*"\}\]|\{path="/x"\}|\{memory=0\})"#;
    let line = prop_oneof![
        Just("version = 1".to_owned()),
        Just("[default]".to_owned()),
        Just("[[tenant]]".to_owned()),
        Just("[tenant.limits]".to_owned()),
        format!("{keys} = {values}").prop_map_regex(),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// Texts that fit a regular expression.
trait Regex {
    fn prop_map_regex(self) -> BoxedStrategy<String>;
}

impl Regex for String {
    fn prop_map_regex(self) -> BoxedStrategy<String> {
        proptest::string::string_regex(&self).expect("a regular expression").boxed()
    }
}

fn judged(text: &str) {
    match parse(text) {
        Ok(policy) => {
            let tenant = policy.tenant_of(1, "disk", "file//srv/x");
            assert!(!tenant.name.is_empty());
            let _ = tenant.is_shared("/srv/x");
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1, "{problem:?}");
                assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "(?s).{0,200}") {
        judged(&text);
    }

    #[test]
    fn plausible_text_is_judged(text in plausible()) {
        judged(&text);
    }

    #[test]
    fn the_example_with_a_hole_is_judged(start in 0..EXAMPLE.len(), length in 0..200usize) {
        let end = (start + length).min(EXAMPLE.len());
        if let (Some(before), Some(after)) = (EXAMPLE.get(..start), EXAMPLE.get(end..)) {
            judged(&format!("{before}{after}"));
        }
    }
}

#[test]
fn deep_nesting_is_judged() {
    judged(&format!("version = 1\nx = {}", "[".repeat(100_000)));
    judged(&format!("version = 1\n[{}]\n", vec!["a"; 10_000].join(".")));
    judged(&format!("x = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000)));
}
