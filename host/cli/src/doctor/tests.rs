use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::*;

fn found(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    checks::all(system, |found| -> Result<(), std::convert::Infallible> {
        findings.extend(found);
        Ok(())
    })
    .unwrap();
    findings
}

/// A system of files, as much of one as is needed; nobody answers at its socket.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// One in which all is well, but for the daemon, which does not run.
    fn sound() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("/sys/kernel/config/target/core/user_0/disk/attrib/cmd_time_out", "30\n"),
            ("/sys/kernel/config/target/core/user_0/disk/attrib/hw_max_sectors", "128\n"),
            ("/sys/kernel/config/target/core/user_0/disk/info", "Config: file//srv/x\n"),
            ("/sys/kernel/config/target/iscsi/iqn.x/tpgt_1/auth/password", "TOPSECRET\n"),
            ("/sys/kernel/config/target/iscsi/discovery_auth/password", "TOPSECRET\n"),
            ("/sys/module/target_core_user/parameters/block_netlink", "unblocked\n"),
            ("/sys/module/target_core_user/parameters/global_max_data_area_mb", "2048\n"),
            ("/sys/module/tcm_loop/refcnt", "1\n"),
            ("/sys/class/uio/uio0/name", "tcm-user/0/disk/file//srv/x\n"),
            ("/dev/uio0", ""),
            ("/proc/sys/kernel/io_uring_disabled", "0\n"),
            ("/proc/sys/kernel/seccomp/actions_avail", "kill_process\n"),
            ("/sys/kernel/security/lsm", "capability,landlock,yama\n"),
            ("/usr/share/dbus-1/system.d/tcmu-runner.conf", "<allow own=\"org.kernel.TCMUService1\"/>"),
            ("/run/dbus/system_bus_socket", ""),
            ("/run/tcmu.lock", ""),
            ("/etc/tcmu/tcmu.conf", "log_level = 3\n"),
            ("/usr/lib/lunbox/handlers/handler_file.wasm", ""),
            ("/var/log/tcmu-runner.log", "first line\nlast line\n"),
        ] {
            place.put(path, text);
        }
        fs::create_dir_all(place.at("/run/lunbox")).unwrap();
        fs::set_permissions(place.at("/run/lunbox"), fs::Permissions::from_mode(0o711)).unwrap();
        place
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn system(&self) -> System {
        System::new(self.directory.path(), &self.at("/run/lunbox/control.sock"))
    }

    /// What is not well, apart from the daemon.
    fn bad(&self) -> Vec<(&'static str, Verdict)> {
        let findings = found(&self.system());
        for finding in &findings {
            assert_eq!(finding.remedy.is_some(), finding.verdict != Verdict::Ok, "{finding:?}");
        }
        let bad =
            findings.iter().filter(|finding| finding.verdict != Verdict::Ok && finding.check != "lunboxd");
        bad.map(|finding| (finding.check, finding.verdict)).collect()
    }
}

#[test]
fn where_all_is_well_only_the_daemon_is_missing() {
    let place = Place::sound();
    assert_eq!(place.bad(), []);
    let findings = found(&place.system());
    let daemon = findings.iter().find(|finding| finding.check == "lunboxd").unwrap();
    assert_eq!(daemon.verdict, Verdict::Problem);
    assert!(daemon.found.contains("does not answer"), "{daemon:?}");
    let devices = findings.iter().find(|finding| finding.check == "devices").unwrap();
    assert!(devices.found.contains("hw_max_sectors=128"), "{devices:?}");
}

#[test]
fn each_thing_that_is_wrong_is_found_alone() {
    use Verdict::{Problem, Warning};
    type Harm = fn(&Place);
    let harms: [(Harm, &str, Verdict); 15] = [
        (|p| fs::remove_dir_all(p.at("/sys/module/target_core_user")).unwrap(), "module", Problem),
        (|p| fs::remove_dir_all(p.at("/sys/module/tcm_loop")).unwrap(), "fabric", Warning),
        (|p| fs::remove_file(p.at("/dev/uio0")).unwrap(), "UIO nodes", Problem),
        (
            |p| p.put("/sys/module/target_core_user/parameters/block_netlink", "blocked\n"),
            "block_netlink",
            Problem,
        ),
        (
            |p| p.put("/sys/module/target_core_user/parameters/global_max_data_area_mb", "8\n"),
            "data area",
            Warning,
        ),
        (
            |p| p.put("/sys/kernel/config/target/core/user_0/disk/attrib/cmd_time_out", "0\n"),
            "cmd_time_out",
            Warning,
        ),
        (|p| p.put("/proc/sys/kernel/io_uring_disabled", "2\n"), "io_uring", Warning),
        (|p| p.put("/sys/kernel/security/lsm", "capability,yama\n"), "Landlock", Warning),
        (|p| fs::remove_dir_all(p.at("/proc/sys/kernel/seccomp")).unwrap(), "seccomp", Warning),
        (|p| fs::remove_dir_all(p.at("/usr/share/dbus-1")).unwrap(), "bus policy", Problem),
        (|p| fs::remove_dir_all(p.at("/run/dbus")).unwrap(), "bus", Problem),
        (|p| p.put("/etc/tcmu/tcmu.conf", "colour = red\n"), "tcmu.conf", Warning),
        (|p| fs::remove_dir_all(p.at("/usr/lib/lunbox/handlers")).unwrap(), "handlers", Problem),
        (
            |p| fs::set_permissions(p.at("/run/lunbox"), fs::Permissions::from_mode(0o777)).unwrap(),
            "run directory",
            Problem,
        ),
        (|p| fs::remove_dir_all(p.at("/var/log")).unwrap(), "log", Problem),
    ];
    for (harm, check, verdict) in harms {
        let place = Place::sound();
        harm(&place);
        assert_eq!(place.bad(), [(check, verdict)]);
    }
}

#[test]
fn another_daemon_is_found_by_its_name_and_by_its_lock() {
    let place = Place::sound();
    place.put("/proc/77/comm", "tcmu-runner\n");
    assert_eq!(place.bad(), [("tcmu-runner", Verdict::Problem)]);
    std::os::unix::fs::symlink("/usr/bin/lunboxd (deleted)", place.at("/proc/77/exe")).unwrap();
    assert_eq!(place.bad(), [], "it is ours under the other name");
    let lock = fs::metadata(place.at("/run/tcmu.lock")).unwrap();
    let (major, minor) = (nix::sys::stat::major(lock.dev()), nix::sys::stat::minor(lock.dev()));
    let inode = lock.ino();
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let waits = format!("1: -> FLOCK ADVISORY WRITE 88 {file} 0 EOF\n");
    place.put("/proc/locks", &waits);
    assert_eq!(place.bad(), [], "who waits does not hold");
    let other = format!("{waits}2: POSIX ADVISORY WRITE 77 {major:02x}:{:02x}:{inode} 0 EOF\n", minor + 1);
    place.put("/proc/locks", &other);
    assert_eq!(place.bad(), [], "a file of another file system has the number, too");
    place.put("/proc/locks", &format!("{other}3: POSIX ADVISORY WRITE 77 {file} 0 EOF\n"));
    assert_eq!(place.bad(), [("lock", Verdict::Problem)]);
    place.put("/proc/locks", &format!("3: POSIX ADVISORY WRITE 0 {file} 0 EOF\n"));
    let findings = found(&place.system());
    let lock = findings.iter().find(|finding| finding.check == "lock").unwrap();
    assert!(lock.found.contains("held by a process of another container"), "{lock:?}");
}

#[test]
fn devices_without_a_time_out_are_counted_and_those_with_one_of_their_own_are_not() {
    let place = Place::sound();
    let device = |number: usize, config: &str| {
        let path = format!("/sys/kernel/config/target/core/user_{number}/disk/attrib");
        place.put(&format!("{path}/cmd_time_out"), "0\n");
        place.put(&format!("{path}/dev_config"), config);
    };
    device(1, "rbd/pool/image;osd_op_timeout=30\n");
    device(2, "file//srv/y;tcmur_cmd_time_out=20;\n");
    assert_eq!(place.bad(), []);
    for number in 3..8 {
        device(number, "file//srv/z\n");
    }
    let findings = found(&place.system());
    let warning = findings.iter().find(|finding| finding.check == "cmd_time_out").unwrap();
    assert!(
        warning.found.contains("5 devices (user_3/disk, user_4/disk, user_5/disk and 2 more)"),
        "{warning:?}"
    );
}

#[test]
fn a_daemon_that_hangs_is_waited_for_once_and_the_rest_is_told() {
    let place = Place::sound();
    // It listens, and says nothing.
    let _daemon = std::os::unix::net::UnixListener::bind(place.at("/run/lunbox/control.sock")).unwrap();
    let system = place.system().with_patience(std::time::Duration::from_millis(50));
    let findings = found(&system);
    let silent: Vec<_> = findings.iter().filter(|finding| finding.check == "lunboxd").collect();
    assert!(silent.len() == 1 && silent[0].found.contains("has not answered"), "{findings:?}");
    assert_eq!(findings.last().unwrap().check, "log", "the others are told");
    // Were it asked again, this would be waited for.
    let patient = system.with_patience(std::time::Duration::from_secs(600));
    assert!(patient.ask(&lunbox_control::Request::Statistics).is_err());
}

#[test]
fn strangers_can_not_steer_the_terminal() {
    let finding = Finding::problem("device", "user_0/\x1b[2Jx\n", "do");
    assert_eq!(finding.line(false), "problem  device          user_0/\\u{1b}[2Jx\\n; do");
    assert!(finding.line(true).starts_with("\x1b[1;31mproblem"));
}

fn unpacked(bundle: &Path) -> String {
    let said = Command::new("tar")
        .arg("--extract")
        .arg("--to-stdout")
        .arg("--gzip")
        .arg("--file")
        .arg(bundle)
        .output();
    let said = said.unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_bundle_has_what_is_needed_and_no_secret() {
    let place = Place::sound();
    let bundle = place.at("/bundle.tar.gz");
    bundle::write(&bundle, &place.system(), "{\"findings\":[]}", &Output::new(true)).unwrap();
    assert_eq!(fs::metadata(&bundle).unwrap().mode() & 0o777, 0o600);
    let text = unpacked(&bundle);
    for part in [
        "{\"findings\":[]}",
        "last line",
        "log_level = 3",
        "/core/user_0/disk/info: Config: file//srv/x",
        "does not answer",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("TOPSECRET"), "{text}");
    let before = fs::read(&bundle).unwrap();
    let error = bundle::write(&bundle, &place.system(), "", &Output::new(true)).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert_eq!(fs::read(&bundle).unwrap(), before, "what is there stays");
}
