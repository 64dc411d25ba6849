use std::os::unix::fs::PermissionsExt;

use lunbox_clients::programs::{ISCSI_INQ, ISCSI_LS, ISCSI_READCAPACITY16};
use lunbox_clients::qemu;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB, client, io, says};

const SECRET: &str = "seven-flutes-4711";

/// A server that wants user `alice` with [`SECRET`] from a file.
fn guarded() -> Disk {
    let folder = lunbox_clients::image::scratch().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    Disk::new(8 * MIB, Options::new().arg("--chap-user").arg("alice").arg("--chap-secret-file").arg(&secret))
}

fn url_of(disk: &Disk, user: &str) -> String {
    disk.url().replacen("iscsi://", &format!("iscsi://{user}@"), 1)
}

#[test]
fn who_knows_the_secret_reads_and_writes() {
    let disk = guarded();
    let url = url_of(&disk, &format!("alice%{SECRET}"));
    says(ISCSI_READCAPACITY16, &[&url]);
    io(&url, &["write -P 3 0 1M", "read -P 3 0 1M"]);
    let portal = disk.server.portal().replacen("iscsi://", &format!("iscsi://alice%{SECRET}@"), 1);
    assert!(says(ISCSI_LS, &[&portal]).contains(&disk.server.started().target));
}

#[test]
fn a_wrong_secret_a_wrong_user_and_none_are_refused_and_the_file_stays_as_it_is() {
    let mut disk = guarded();
    for (user, failed) in [("alice%seven-flutes-4712", 1), ("bob%seven-flutes-4711", 2)] {
        let said = client(ISCSI_INQ, &[&url_of(&disk, user)]).refusal("iscsi-inq").unwrap();
        assert!(said.contains("Authentication"), "{user}: {said}");
        assert_eq!(disk.server.status().unwrap().logins_failed, failed, "{user}");
    }
    client(ISCSI_INQ, &[disk.url()]).refusal("iscsi-inq without a user").unwrap();
    qemu::io(disk.url(), &["write -P 3 0 1M"], LIMIT).unwrap().refusal("qemu-io without a user").unwrap();
    client(ISCSI_LS, &[&disk.server.portal()]).refusal("iscsi-ls without a user").unwrap();
    assert!(crate::support::all(&std::fs::read(&disk.file).unwrap(), 0));
    disk.must_become_idle();
}

#[test]
fn the_secret_may_come_from_the_environment_and_is_in_no_log_and_no_process_list() {
    let options = Options::new().arg("--log-level").arg("debug").arg("--chap-user").arg("alice");
    let disk = Disk::new(8 * MIB, options.env("LUNBOX_CHAP_SECRET", SECRET));
    says(ISCSI_INQ, &[&url_of(&disk, &format!("alice%{SECRET}"))]);
    client(ISCSI_INQ, &[&url_of(&disk, "alice%seven-flutes-4712")]).refusal("iscsi-inq").unwrap();
    let log = disk.server.log();
    assert!(log.lines().count() > 1, "nothing was logged");
    assert!(!log.contains("seven-flutes"), "{log}");
    // What everybody on this machine can see of it.
    let shown = std::fs::read(format!("/proc/{}/cmdline", disk.server.id())).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("\0alice\0") && !shown.contains("seven-flutes"), "{shown}");
}
