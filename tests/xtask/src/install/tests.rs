use super::files::{self, Content, Entry};
use super::place::Outcome;
use super::*;
use crate::tools;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn text(to: &str, text: &str, configuration: bool) -> Entry {
    Entry { to: to.into(), mode: 0o644, content: Content::Text(text.to_owned()), configuration }
}

fn outcomes(report: &Report) -> Vec<Outcome> {
    report.files.iter().map(|file| file.outcome).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Everything but the programs and the handler, which a unit test can not have built.
fn unbuilt(prefix: &str) -> Vec<Entry> {
    let stand_in = |mut entry: Entry| {
        let built = match &entry.content {
            Content::Program(_) => true,
            Content::Copy(from) => from.starts_with(paths::handlers()),
            Content::Text(_) | Content::Link(_) => false,
        };
        if built {
            entry.content = Content::Text("#!/bin/sh\n".to_owned());
        }
        entry
    };
    files::fixed(prefix).unwrap().into_iter().map(stand_in).collect()
}

#[test]
fn a_second_installation_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let entries = unbuilt("/usr");
    let report = install(&entries, root.path(), false).unwrap();
    assert!(report.files.iter().all(|file| file.outcome == Outcome::New));
    let report = install(&entries, root.path(), false).unwrap();
    assert!(report.files.iter().all(|file| file.outcome == Outcome::Unchanged), "{report:?}");
    assert!(
        serde_json::to_string(&report)
            .unwrap()
            .contains(r#""path":"/usr/bin/lunboxd","outcome":"unchanged""#)
    );
}

#[test]
fn modes_links_and_folders_do_not_depend_on_who_installs() {
    let root = tempfile::tempdir().unwrap();
    install(&unbuilt("/usr"), root.path(), false).unwrap();
    let at = |path: &str| root.path().join(path);
    assert_eq!(mode(&at("usr/bin/lunboxd")), 0o755);
    assert_eq!(mode(&at("etc/tcmu/tcmu.conf")), 0o644);
    assert_eq!(mode(&at("usr/lib/systemd/system/lunboxd.service")), 0o644);
    assert_eq!(mode(&at("usr/lib/lunbox/handlers")), 0o755);
    assert_eq!(fs::read_link(at("usr/bin/tcmu-runner")).unwrap(), Path::new("lunboxd"));
    let alias = fs::read_link(at("usr/lib/systemd/system/tcmu-runner.service")).unwrap();
    assert_eq!(alias, Path::new("lunboxd.service"));
    // No scratch file stays.
    let left: Vec<_> = fs::read_dir(at("usr/bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn configuration_is_never_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let entries = [text("etc/tcmu/tcmu.conf", "ours\n", true), text("usr/share/x", "ours\n", false)];
    install(&entries, root.path(), false).unwrap();
    let conf = root.path().join("etc/tcmu/tcmu.conf");
    for path in [&conf, &root.path().join("usr/share/x")] {
        fs::write(path, "theirs\n").unwrap();
    }
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o600)).unwrap();
    let report = install(&entries, root.path(), false).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Kept, Outcome::Updated]);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "theirs\n");
    assert_eq!(fs::read_to_string(root.path().join("etc/tcmu/tcmu.conf.new")).unwrap(), "ours\n");
    assert_eq!(fs::read_to_string(root.path().join("usr/share/x")).unwrap(), "ours\n");
    // The same text with stricter permissions is not ours to loosen.
    fs::write(&conf, "ours\n").unwrap();
    install(&entries, root.path(), false).unwrap();
    assert_eq!(mode(&conf), 0o600);
}

#[test]
fn the_original_is_not_replaced_unasked() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    let original = root.path().join("usr/bin/tcmu-runner");
    fs::write(&original, "the original").unwrap();
    let entries = unbuilt("/usr");
    let error = install(&entries, root.path(), false).unwrap_err().to_string();
    assert!(error.contains("usr/bin/tcmu-runner") && error.contains("--replace"), "{error}");
    assert_eq!(fs::read_to_string(&original).unwrap(), "the original");
    assert!(!root.path().join("usr/bin/lunboxd").exists(), "nothing was begun");
    install(&entries, root.path(), true).unwrap();
    assert_eq!(fs::read_link(&original).unwrap(), Path::new("lunboxd"));
}

#[test]
fn the_originals_bus_policy_is_named_and_replaced_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let entries = [text(files::BUS_POLICY, "ours\n", true), text("etc/tcmu/tcmu.conf", "ours\n", true)];
    assert!(unbuilt("/usr").iter().any(|entry| entry.to == Path::new(files::BUS_POLICY)));
    install(&entries, root.path(), false).unwrap();
    let policy = root.path().join(files::BUS_POLICY);
    let conf = root.path().join("etc/tcmu/tcmu.conf");
    fs::write(&policy, "theirs\n").unwrap();
    fs::write(&conf, "theirs\n").unwrap();
    let report = install(&entries, root.path(), false).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Kept, Outcome::Kept]);
    let said = note(&report.files[0]).unwrap();
    assert!(said.contains("still in force: /etc/dbus-1/") && said.contains("--replace"), "{said}");
    assert!(note(&report.files[1]).unwrap().contains("Compare the two"));
    let report = install(&entries, root.path(), true).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Replaced, Outcome::Kept]);
    assert!(note(&report.files[0]).unwrap().contains(".conf.old"));
    let old = root.path().join(files::BUS_POLICY.to_owned() + ".old");
    assert_eq!(fs::read_to_string(&policy).unwrap(), "ours\n");
    assert_eq!(fs::read_to_string(&old).unwrap(), "theirs\n");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "theirs\n", "the administrator's stays");
    let report = install(&entries, root.path(), true).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Unchanged, Outcome::Kept]);
    assert_eq!(fs::read_to_string(&old).unwrap(), "theirs\n");
}

#[test]
fn what_is_not_built_is_named_with_its_remedy() {
    let root = tempfile::tempdir().unwrap();
    for content in [Content::Program("/no/such/lunboxd".into()), Content::Copy("/no/such/lunboxd".into())] {
        let entry = Entry { to: "usr/bin/x".into(), mode: 0o755, content, configuration: false };
        let error = format!("{:#}", install(&[entry], root.path(), false).unwrap_err());
        assert!(error.contains("/no/such/lunboxd") && error.contains("cargo xtask build"), "{error}");
    }
}

#[test]
fn programs_lose_what_only_debuggers_need_and_still_run() {
    let root = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let entry = Entry {
        to: "usr/bin/x".into(),
        mode: 0o755,
        content: Content::Program(this.clone()),
        configuration: false,
    };
    install(std::slice::from_ref(&entry), root.path(), false).unwrap();
    let installed = root.path().join("usr/bin/x");
    assert!(fs::metadata(&installed).unwrap().len() < fs::metadata(&this).unwrap().len());
    let listing = Command::new(&installed).arg("--list").output().unwrap();
    assert!(listing.status.success() && !listing.stdout.is_empty());
    assert_eq!(outcomes(&install(&[entry], root.path(), false).unwrap()), [Outcome::Unchanged]);
}

#[test]
fn another_prefix_is_in_all_paths_and_etc_stays() {
    let entries = unbuilt("/opt/lunbox");
    let mut seen = BTreeSet::new();
    for entry in &entries {
        assert!(entry.to.starts_with("opt/lunbox") || entry.to.starts_with("etc"), "{}", entry.to.display());
        assert!(seen.insert(entry.to.clone()), "{} twice", entry.to.display());
        if let Content::Text(text) = &entry.content {
            assert!(!text.contains("/usr/bin/tcmu-runner"), "{text}");
        }
    }
    let unit = entries.iter().find(|entry| entry.to.ends_with("systemd/system/lunboxd.service")).unwrap();
    let Content::Text(unit) = &unit.content else { panic!("{unit:?}") };
    let start = "ExecStart=/opt/lunbox/bin/tcmu-runner --handler-path /opt/lunbox/lib/lunbox/handlers\n";
    assert!(unit.contains(start), "{unit}");
    for (text, good) in [
        ("/usr/", true),
        ("/opt/a-b_c.d+1", true),
        ("usr", false),
        ("/", false),
        ("/a b", false),
        ("/a/../b", false),
    ] {
        assert_eq!(prefix(text).is_ok(), good, "{text}");
    }
}

/// Runs a program on installed files; whoever does not have it is told the package.
fn checker(program: &str, package: &str) -> Command {
    let path = tools::find(program);
    let path = path.unwrap_or_else(|| panic!("{program} is missing: apt-get install {package}"));
    Command::new(path)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let root = tempfile::tempdir().unwrap();
    install(&unbuilt("/usr"), root.path(), false).unwrap();
    let unit = root.path().join("usr/lib/systemd/system/lunboxd.service");
    // It looks for programs and pages on this machine, where ours are not.
    let program = root.path().join("usr/bin/tcmu-runner");
    let text = fs::read_to_string(&unit).unwrap().replace("/usr/bin/tcmu-runner", program.to_str().unwrap());
    fs::write(&unit, text).unwrap();
    let output =
        checker("systemd-analyze", "systemd").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("lunboxd")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
    // That this would be noticed.
    fs::write(&unit, "[Service]\nType=dbus\nExecStart=/bin/true\nNoSuchSetting=1\n").unwrap();
    let output =
        checker("systemd-analyze", "systemd").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("lunboxd.service"));
}

#[test]
fn the_unit_says_what_others_rely_on() {
    let unit = fs::read_to_string(sources().join("lunboxd.service")).unwrap();
    let lines: Vec<&str> = unit.lines().collect();
    for line in [
        "Type=dbus",
        "BusName=org.kernel.TCMUService1",
        "KillMode=process",
        // A lost bus name and a handover both end with status 0.
        "Restart=always",
        "RuntimeDirectoryPreserve=yes",
        "Alias=tcmu-runner.service",
        "Before=rtslib-fb-targetctl.service target.service",
        "LimitNOFILE=1000000",
        "TimeoutStopSec=90",
        "OOMPolicy=continue",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    // Each of these gives the service a mount namespace, or takes from workers what they need (see the unit).
    for setting in
        ["Private", "Protect", "ReadOnly", "Inaccessible", "MemoryDeny", "RestrictNamespaces", "Device"]
    {
        assert!(!lines.iter().any(|line| line.starts_with(setting)), "{setting}");
    }
}

#[test]
fn logrotates_file_keeps_what_operators_know() {
    let root = tempfile::tempdir().unwrap();
    let own = sources().join("logrotate.conf");
    let text = fs::read_to_string(&own).unwrap();
    for word in [
        "rotate 7",
        "size 10M",
        "compress",
        "missingok",
        "notifempty",
        "nodateext",
        "/var/log/tcmu-runner*.log {",
    ] {
        assert!(text.lines().any(|line| line.trim() == word), "{word}");
    }
    // The script that follows a rotation is shell.
    let (_, script) = text.split_once("postrotate\n").unwrap();
    let (script, _) = script.split_once("endscript").unwrap();
    // Its last word: the old file is not compressed before everybody has left it.
    assert!(script.trim_end().ends_with("\n        sleep 2"), "{script}");
    let file = root.path().join("script");
    fs::write(&file, script).unwrap();
    assert!(Command::new("sh").arg("-n").arg(&file).status().unwrap().success());
}

/// Starts a bus with our policy and ends it: true if it came up.
fn bus_takes(policy: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("policy.conf", policy);
    let socket = folder.path().join("bus");
    write(
        "bus.conf",
        &format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/></policy><include>policy.conf</include></busconfig>",
            socket.display()
        ),
    );
    let mut command = checker("dbus-daemon", "dbus-daemon");
    command.arg("--config-file").arg(folder.path().join("bus.conf")).args([
        "--nofork",
        "--nopidfile",
        "--print-address",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bus = command.spawn().unwrap();
    let mut address = String::new();
    // An address, or the end if it did not like what it read.
    BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
    bus.kill().unwrap();
    let said = bus.wait_with_output().unwrap().stderr;
    (address.starts_with("unix:"), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_bus_accepts_its_policy() {
    let policy = fs::read_to_string(sources().join("dbus-policy.conf")).unwrap();
    let (up, said) = bus_takes(&policy);
    assert!(up && !said.contains("policy.conf"), "{said}");
    let (up, said) = bus_takes(&policy.replace("own_prefix", "own_prefixes"));
    assert!(!up, "a mistake would be noticed: {said}");
}
