use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::*;

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
            ("/sys/module/target_core_user/parameters/block_netlink", "0\n"),
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
        let findings = checks::all(&self.system());
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
    let findings = checks::all(&place.system());
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
        (|p| p.put("/sys/module/target_core_user/parameters/block_netlink", "1\n"), "block_netlink", Problem),
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
    let inode = fs::metadata(place.at("/run/tcmu.lock")).unwrap().ino();
    let waits = format!("1: -> FLOCK ADVISORY WRITE 88 08:01:{inode} 0 EOF\n");
    place.put("/proc/locks", &waits);
    assert_eq!(place.bad(), [], "who waits does not hold");
    place.put("/proc/locks", &format!("{waits}2: POSIX ADVISORY WRITE 77 08:01:{inode} 0 EOF\n"));
    assert_eq!(place.bad(), [("lock", Verdict::Problem)]);
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
