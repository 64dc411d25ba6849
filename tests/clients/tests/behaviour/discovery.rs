use lunbox_clients::programs::ISCSI_LS;
use lunbox_clients::serve::Options;

use crate::support::{Disk, MIB, says};

#[test]
fn a_client_that_asks_the_portal_finds_the_target_at_the_address_it_asked() {
    let disk = Disk::new(64 * MIB, Options::new());
    let started = disk.server.started();
    let listed = says(ISCSI_LS, &[&disk.server.portal()]);
    let expected = format!("Target:{} Portal:{},1", started.target, started.address);
    assert!(listed.lines().any(|line| line.trim() == expected), "{expected} in\n{listed}");
}

#[test]
fn a_client_that_asks_the_target_finds_its_lun_with_type_and_size() {
    let disk = Disk::new(64 * MIB, Options::new());
    let listed = says(ISCSI_LS, &["-s", &disk.server.portal()]);
    let luns: Vec<&str> = listed.lines().map(str::trim).filter(|line| line.starts_with("Lun:")).collect();
    assert_eq!(luns.len(), 1, "{listed}");
    assert!(luns[0].starts_with("Lun:0") && luns[0].contains("Type:DIRECT_ACCESS"), "{listed}");
    // libiscsi rounds the last block's address down.
    assert!(luns[0].contains("(Size:63M)") || luns[0].contains("(Size:64M)"), "{listed}");
}

#[test]
fn the_target_has_the_name_that_was_given() {
    let name = "iqn.2026-11.org.example:disk.one";
    let disk = Disk::new(MIB, Options::new().arg("--name").arg(name));
    assert_eq!(disk.server.started().target, name);
    assert_eq!(disk.url(), format!("iscsi://{}/{name}/0", disk.server.started().address));
    assert!(says(ISCSI_LS, &[&disk.server.portal()]).contains(&format!("Target:{name} ")));
}

#[test]
fn a_target_that_is_not_there_is_refused() {
    let mut disk = Disk::new(MIB, Options::new());
    let url = format!("iscsi://{}/iqn.2026-11.org.example:nobody/0", disk.server.started().address);
    let said =
        crate::support::client(lunbox_clients::programs::ISCSI_INQ, &[&url]).refusal("iscsi-inq").unwrap();
    assert!(said.contains("Target not found"), "{said}");
    assert_eq!(disk.server.status().unwrap().logins_failed, 1);
}
