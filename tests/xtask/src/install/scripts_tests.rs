//! The package's scripts: in an empty root, and with stand-ins for systemd's programs.

use super::sources;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

const ALIAS: &str = "etc/systemd/system/tcmu-runner.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/lunboxd.service";

fn script(name: &str) -> PathBuf {
    sources().join("deb").join(name)
}

#[test]
fn package_scripts_are_shell() {
    for name in SCRIPTS {
        assert!(Command::new("sh").arg("-n").arg(script(name)).status().unwrap().success(), "{name}");
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// A root with our unit, and nothing else.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.put_unit();
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put_unit(&self) {
        let units = self.at("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::copy(sources().join("lunboxd.service"), units.join("lunboxd.service")).unwrap();
    }

    /// As dpkg does: the files go before `postrm` runs.
    fn remove(&self) {
        for name in ["lunboxd.service", "tcmu-runner.service"] {
            fs::remove_file(self.at("usr/lib/systemd/system").join(name)).unwrap();
        }
        self.run("postrm", "remove");
    }

    fn run(&self, name: &str, argument: &str) {
        let mut command = Command::new("sh");
        command.arg(script(name)).arg(argument).env("DPKG_ROOT", self.0.path());
        // It asks what it is run for.
        command.env("DPKG_MAINTSCRIPT_PACKAGE", "lunbox");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name} {argument}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn enabled(&self) -> [bool; 2] {
        [ALIAS, WANTED].map(|link| is_link(&self.at(link)))
    }
}

#[test]
fn a_removed_package_leaves_no_link_in_the_way_of_the_originals_unit() {
    let root = Root::new();
    root.run("postinst", "configure");
    assert_eq!(root.enabled(), [true, true], "deb-systemd-helper (Debian: init-system-helpers) enables it");
    root.remove();
    assert_eq!(root.enabled(), [false, false]);
    // And if it comes back, it is enabled again.
    root.put_unit();
    root.run("postinst", "configure");
    assert_eq!(root.enabled(), [true, true]);
    root.remove();
    root.run("postrm", "purge");
    assert_eq!(root.enabled(), [false, false]);
}

#[test]
fn what_the_administrator_disabled_or_linked_stays_so_over_a_removal() {
    let root = Root::new();
    root.run("postinst", "configure");
    fs::remove_file(root.at(WANTED)).unwrap();
    root.remove();
    assert_eq!(root.enabled(), [false, false]);
    root.put_unit();
    root.run("postinst", "configure");
    assert_eq!(root.enabled(), [false, false], "it was disabled");
    // A unit of the administrator's own, under the same name, is none of ours.
    fs::write(root.at("etc/systemd/system/lunboxd.service"), "[Service]\n").unwrap();
    std::os::unix::fs::symlink("/etc/systemd/system/lunboxd.service", root.at(ALIAS)).unwrap();
    root.remove();
    assert_eq!(root.enabled(), [true, false]);
}

/// Runs `postinst configure 1.0` where `systemctl` says what `systemctl` (a script's body) does. All that it would touch
/// lies in a folder; every call of a stand-in is a line of what is returned.
fn upgrade(systemctl: &str) -> (Vec<String>, Output) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let place = folder.path().display();
    for name in ["bin", "booted"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("alias"), "").unwrap();
    fs::write(at("calls"), "").unwrap();
    let programs = [
        ("systemctl", systemctl),
        ("deb-systemd-invoke", ""),
        ("deb-systemd-helper", ""),
        ("systemd-tmpfiles", ""),
    ];
    for (name, body) in programs.into_iter().chain([("dbus-send", ""), ("sleep", "")]) {
        let text = format!("#!/bin/sh\ncd '{place}'\necho \"{name} $*\" >> calls\n{body}\n");
        fs::write(at("bin").join(name), text).unwrap();
        fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = fs::read_to_string(script("postinst")).unwrap();
    let (unit, system) = ("/usr/lib/systemd/system/tcmu-runner.service", "/run/systemd/system");
    assert!(text.matches(unit).count() == 1 && text.matches(system).count() == 1);
    let text = text.replace(unit, &format!("{place}/alias")).replace(system, &format!("{place}/booted"));
    fs::write(at("postinst"), text).unwrap();
    let path = format!("{place}/bin:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.arg(at("postinst")).args(["configure", "1.0"]).env("PATH", path).env_remove("DPKG_ROOT");
    let output = command.output().unwrap();
    let calls = fs::read_to_string(at("calls")).unwrap();
    (calls.lines().map(str::to_owned).collect(), output)
}

/// A service that runs as process 7 and leaves when it is asked a third time who it is.
const RUNS: &str = "case $* in
    *is-active*) exit 0 ;;
    *MainPID*) echo x >> asked; [ $(wc -l < asked) -ge 4 ] && echo 9 || echo 7 ;;
esac";

#[test]
fn after_an_upgrade_the_daemon_is_started_whether_it_is_enabled_or_not() {
    let (calls, output) = upgrade(RUNS);
    assert!(output.status.success(), "{output:?}");
    let at = |call: &str| calls.iter().position(|made| made == call);
    let handover = at("systemctl kill --signal=USR2 --kill-whom=main lunboxd.service").unwrap();
    let start = at("systemctl start lunboxd.service").unwrap();
    assert!(at("systemctl --system daemon-reload").unwrap() < handover && handover < start, "{calls:?}");
    // Until the old one had left, and no longer.
    assert_eq!(calls.iter().filter(|call| call.starts_with("sleep")).count(), 2, "{calls:?}");
    // This would ask whether the unit is enabled, and policy-rc.d.
    assert!(!calls.iter().any(|call| call.starts_with("deb-systemd-invoke")), "{calls:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn an_upgrade_that_leaves_no_daemon_says_what_to_do_and_one_that_is_slow_says_so() {
    let fails = format!("[ \"$1\" != start ] || exit 1\n{RUNS}");
    let (_, output) = upgrade(&fails);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("systemctl reset-failed lunboxd"), "{said}");
    let stays = "case $* in *MainPID*) echo 7 ;; esac";
    let (calls, output) = upgrade(stays);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("takes long to hand over"), "{said}");
    assert!(calls.last().unwrap() == "systemctl start lunboxd.service", "{calls:?}");
}

#[test]
fn a_daemon_that_did_not_run_is_started_as_the_distribution_wants() {
    let (calls, output) = upgrade("case $* in *is-active*) exit 3 ;; esac");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(calls.last().unwrap(), "deb-systemd-invoke start lunboxd.service");
    assert!(!calls.iter().any(|call| call.contains("USR2")), "{calls:?}");
}
