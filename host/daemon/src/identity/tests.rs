use std::fs;
use std::path::PathBuf;

use lunbox_tcmu::{Configfs, DeviceName};

use super::*;

struct Tree {
    root: tempfile::TempDir,
    device: DeviceDirectory,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let configfs = Configfs::new(root.path().join("core"), root.path().join("parameters"));
        let device = configfs.device(&DeviceName::parse("tcm-user/0/f1/file//x").unwrap());
        let tree = Self { root, device };
        tree.put("core/user_0/f1/wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n");
        for (tag, relative) in [(1, "1"), (2, "2")] {
            let group = format!("iscsi/iqn.x/tpgt_{tag}");
            tree.put(&format!("{group}/enable"), "1\n");
            tree.put(&format!("{group}/lun/lun_0/statistics/scsi_port/indx"), relative);
            tree.put(&format!("{group}/lun/lun_0/statistics/scsi_transport/proto_id"), "5\n");
        }
        tree.group("ao", 16, 1);
        tree.group("ano", 17, 2);
        tree.put("core/user_0/f1/alua/ano/alua_access_state", "2\n");
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn put(&self, path: &str, value: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn alua(&self, group: &str, field: &str) -> String {
        fs::read_to_string(self.path(&format!("core/user_0/f1/alua/{group}/{field}"))).unwrap()
    }

    fn group(&self, name: &str, id: u16, tag: u16) {
        for (field, value) in [
            ("tg_pt_gp_id", id.to_string()),
            ("alua_access_state", "0\n".to_owned()),
            ("alua_access_status", "None\n".to_owned()),
            ("alua_access_type", "Implicit\n".to_owned()),
            ("implicit_trans_secs", "300\n".to_owned()),
            ("preferred", "0\n".to_owned()),
            ("members", format!("iSCSI/iqn.x/tpgt_{tag}/lun_0\n")),
            ("alua_support_transitioning", "1\n".to_owned()),
            ("alua_support_offline", "1\n".to_owned()),
            ("alua_support_lba_dependent", "0\n".to_owned()),
            ("alua_support_unavailable", "1\n".to_owned()),
            ("alua_support_standby", "1\n".to_owned()),
            ("alua_support_active_nonoptimized", "1\n".to_owned()),
            ("alua_support_active_optimized", "1\n".to_owned()),
        ] {
            self.put(&format!("core/user_0/f1/alua/{name}/{field}"), &value);
        }
    }
}

#[test]
fn the_first_enabled_port_speaks_for_the_unit() {
    let tree = Tree::new();
    let (identity, complaints) = merge(&Identity::default(), read(&tree.device));
    assert_eq!((identity.serial.as_str(), complaints), ("abc", vec![]));
    let port = |relative_id, group, name: &str| lunbox_wire::Port {
        relative_id,
        protocol: 5,
        group,
        name: name.to_owned(),
        target_name: "iqn.x".to_owned(),
    };
    assert_eq!(identity.ports, [port(1, 16, "iqn.x,t,0x0001")]);
    let states: Vec<_> =
        identity.groups.iter().map(|group| (group.id, group.state, &group.ports[..])).collect();
    assert_eq!(states, [(16, 0, &[1][..]), (17, 2, &[2][..])]);
    assert_eq!((identity.groups[0].supported, identity.groups[0].implicit_transition_s), (0xcf, 255));

    tree.put("iscsi/iqn.x/tpgt_1/enable", "0\n");
    assert_eq!(merge(&identity, read(&tree.device)).0.ports, [port(2, 17, "iqn.x,t,0x0002")]);
    tree.put("iscsi/iqn.x/tpgt_2/enable", "0\n");
    let (identity, _) = merge(&identity, read(&tree.device));
    assert_eq!((identity.ports.len(), identity.groups.len()), (0, 2));
}

#[test]
fn of_explicit_groups_nothing_is_told_but_the_operator() {
    for text in ["Explicit\n", "Implicit and Explicit\n"] {
        let tree = Tree::new();
        tree.put("core/user_0/f1/alua/ano/alua_access_type", text);
        let (identity, complaints) = merge(&Identity::default(), read(&tree.device));
        assert_eq!((identity.serial.as_str(), identity.ports.len(), identity.groups.len()), ("abc", 0, 0));
        assert!(
            complaints.len() == 1 && complaints[0].contains("alua/ano/alua_access_type"),
            "{complaints:?}"
        );
    }
}

#[test]
fn what_can_not_be_read_is_told_as_it_was_known() {
    let tree = Tree::new();
    let (known, _) = merge(&Identity::default(), read(&tree.device));
    tree.put("core/user_0/f1/alua/ao/preferred", "perhaps\n");
    fs::remove_file(tree.path("core/user_0/f1/wwn/vpd_unit_serial")).unwrap();
    let (identity, complaints) = merge(&known, read(&tree.device));
    assert_eq!(identity, known);
    assert!(
        complaints[0].contains("vpd_unit_serial") && complaints[1].contains("preferred"),
        "{complaints:?}"
    );
}

#[test]
fn a_group_that_becomes_optimized_makes_the_others_standby() {
    let tree = Tree::new();
    tree.put("core/user_0/f1/alua/ao/alua_access_state", "2\n");
    tree.put("core/user_0/f1/alua/ano/alua_access_state", "0\n");
    assert_eq!(set_access_state(&tree.device, 16, OPTIMIZED), AccessStateAnswer::Set);
    assert!(tree.alua("ao", "alua_access_state").starts_with('0'));
    assert!(tree.alua("ao", "alua_access_status").starts_with('1'));
    assert!(tree.alua("ano", "alua_access_state").starts_with('2'));
}

#[test]
fn a_group_that_becomes_standby_leaves_the_others_alone() {
    let tree = Tree::new();
    assert_eq!(set_access_state(&tree.device, 16, STANDBY), AccessStateAnswer::Set);
    assert!(tree.alua("ao", "alua_access_state").starts_with('2'));
    assert_eq!(tree.alua("ano", "alua_access_status"), "None\n");
}

#[test]
fn other_groups_and_other_states_are_refused_and_nothing_is_written() {
    let tree = Tree::new();
    // Not there; there, but not the enabled port's; another state.
    for (group, state, answer) in [
        (99, OPTIMIZED, AccessStateAnswer::Failed),
        (17, OPTIMIZED, AccessStateAnswer::Failed),
        (16, 1, AccessStateAnswer::Unsupported),
        (16, 3, AccessStateAnswer::Unsupported),
        (16, 14, AccessStateAnswer::Unsupported),
    ] {
        assert_eq!(set_access_state(&tree.device, group, state), answer, "{group} {state}");
    }
    tree.put("core/user_0/f1/alua/ao/alua_support_standby", "0\n");
    assert_eq!(set_access_state(&tree.device, 16, STANDBY), AccessStateAnswer::Unsupported);
    fs::remove_file(tree.path("core/user_0/f1/alua/ao/members")).unwrap();
    assert_eq!(set_access_state(&tree.device, 16, OPTIMIZED), AccessStateAnswer::Failed);
    for group in ["ao", "ano"] {
        assert_eq!(tree.alua(group, "alua_access_status"), "None\n", "{group}");
    }
}
