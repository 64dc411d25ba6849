use super::*;
use crate::configfs::Configfs;
use crate::name::DeviceName;

struct Tree {
    root: tempfile::TempDir,
    device: DeviceDirectory,
}

const LUN: &str = "iscsi/iqn.2003-01.org.example:gate/tpgt_1/lun/lun_0/statistics";

impl Tree {
    /// A device with one group of one port, as the kernel shows them.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let configfs = Configfs::new(root.path().join("core"), root.path().join("parameters"));
        let device = configfs.device(&DeviceName::parse("tcm-user/3/f1/file//x").unwrap());
        let tree = Self { root, device };
        tree.group("default_tg_pt_gp", "0", "");
        tree.group("ao", "16", "iSCSI/iqn.2003-01.org.example:gate/tpgt_1/lun_0\n");
        tree.port(LUN, "3", "5");
        tree.put("iscsi/iqn.2003-01.org.example:gate/tpgt_1/enable", "1\n");
        tree
    }

    fn put(&self, path: &str, value: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn alua(&self, field: &str, value: &str) {
        self.put(&format!("core/user_3/f1/alua/{field}"), value);
    }

    fn group(&self, name: &str, id: &str, members: &str) {
        for (field, value) in [
            ("tg_pt_gp_id", id),
            ("alua_access_state", "0\n"),
            ("alua_access_status", "None\n"),
            ("alua_access_type", "Implicit\n"),
            ("implicit_trans_secs", "0\n"),
            ("preferred", "0\n"),
            ("members", members),
            ("alua_support_transitioning", "1\n"),
            ("alua_support_offline", "1\n"),
            ("alua_support_lba_dependent", "0\n"),
            ("alua_support_unavailable", "1\n"),
            ("alua_support_standby", "1\n"),
            ("alua_support_active_nonoptimized", "1\n"),
            ("alua_support_active_optimized", "1\n"),
        ] {
            self.alua(&format!("{name}/{field}"), value);
        }
    }

    fn port(&self, statistics: &str, relative: &str, protocol: &str) {
        self.put(&format!("{statistics}/scsi_port/indx"), &format!("{relative}\n"));
        self.put(&format!("{statistics}/scsi_transport/proto_id"), &format!("{protocol}\n"));
    }

    fn only(&self) -> PortGroup {
        let groups = self.device.port_groups().unwrap();
        assert_eq!(groups.len(), 1, "{groups:?}");
        groups.into_iter().next().unwrap()
    }
}

fn is_content(result: Result<Vec<PortGroup>, ConfigfsError>, field: &str) -> bool {
    matches!(result, Err(ConfigfsError::Content { path, .. }) if path.ends_with(field))
}

#[test]
fn a_group_is_read_with_its_port() {
    let tree = Tree::new();
    tree.alua("ao/preferred", "1\n");
    tree.alua("ao/implicit_trans_secs", "7\n");
    tree.alua("ao/alua_access_state", "2\n");
    tree.alua("ao/alua_access_status", "Altered by Implicit ALUA\n");
    let port = Port {
        fabric: "iscsi".to_owned(),
        wwn: "iqn.2003-01.org.example:gate".to_owned(),
        tag: 1,
        relative_id: 3,
        protocol: 5,
        enabled: true,
    };
    let expected = PortGroup {
        name: "ao".to_owned(),
        id: 16,
        state: 2,
        preferred: true,
        supported: 0xcf,
        status: AccessStatus::Implicit,
        access_type: AccessType::Implicit,
        implicit_transition_seconds: 7,
        ports: vec![port],
    };
    assert_eq!(tree.device.port_groups().unwrap(), [expected]);
}

#[test]
fn without_groups_of_somebodys_own_there_are_none() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.device.path().join("alua/ao")).unwrap();
    assert_eq!(tree.device.port_groups().unwrap(), []);
    fs::remove_dir_all(tree.device.path().join("alua")).unwrap();
    assert_eq!(tree.device.port_groups().unwrap(), [], "kernels without ALUA");
}

#[test]
fn groups_stand_in_the_order_of_their_numbers_and_one_without_number_is_none() {
    let tree = Tree::new();
    tree.group("aaa", "300\n", "");
    tree.group("zzz", "2\n", "");
    tree.group("fresh", "", "");
    let ids: Vec<_> = tree.device.port_groups().unwrap().iter().map(|group| group.id).collect();
    assert_eq!(ids, [2, 16, 300]);
}

#[test]
fn each_supported_state_has_its_bit() {
    for (field, bit) in [
        ("transitioning", 0x80),
        ("offline", 0x40),
        ("unavailable", 0x08),
        ("standby", 0x04),
        ("active_nonoptimized", 0x02),
        ("active_optimized", 0x01),
    ] {
        let tree = Tree::new();
        tree.alua(&format!("ao/alua_support_{field}"), "0\n");
        assert_eq!(tree.only().supported, 0xcf & !bit, "{field}");
    }
    let tree = Tree::new();
    tree.alua("ao/alua_support_lba_dependent", "1\n");
    assert_eq!(tree.only().supported, 0xdf);
}

#[test]
fn words_that_are_not_the_kernels_are_errors_that_name_the_file() {
    for (text, expected) in [
        ("None\n", AccessType::None),
        ("Explicit\n", AccessType::Explicit),
        ("Implicit and Explicit\n", AccessType::Both),
    ] {
        let tree = Tree::new();
        tree.alua("ao/alua_access_type", text);
        assert_eq!(tree.only().access_type, expected);
    }
    for field in [
        "ao/alua_access_type",
        "ao/alua_access_status",
        "ao/alua_access_state",
        "ao/tg_pt_gp_id",
        "ao/preferred",
        "ao/implicit_trans_secs",
        "ao/alua_support_standby",
    ] {
        let tree = Tree::new();
        tree.alua(field, "whatever\n");
        assert!(is_content(tree.device.port_groups(), field), "{field}");
        fs::remove_file(tree.device.path().join("alua").join(field)).unwrap();
        assert!(tree.device.port_groups().unwrap_err().is_absent(), "{field}");
    }
    let tree = Tree::new();
    tree.alua("ao/alua_access_state", "4\n");
    assert!(is_content(tree.device.port_groups(), "alua_access_state"));
    tree.alua("ao/alua_access_state", "0\n");
    tree.alua("ao/tg_pt_gp_id", "65536\n");
    assert!(is_content(tree.device.port_groups(), "tg_pt_gp_id"));
}

#[test]
fn members_lead_nowhere_else() {
    let long = format!("iSCSI/{}/tpgt_1/lun_0", "n".repeat(MAX_WWN + 1));
    for line in [
        "iSCSI/../tpgt_1/lun_0",
        "../iqn.x/tpgt_1/lun_0",
        "iSCSI//tpgt_1/lun_0",
        "iSCSI/iqn.x/tpgt_1",
        "iSCSI/iqn.x/tpgt_1/lun_0/more",
        "iSCSI/iqn.x/tpgt_+1/lun_0",
        "iSCSI/iqn.x/tpgt_65536/lun_0",
        "iSCSI/iqn.x/tpgt_1/lun_x",
        "iSCSI/iqn.x/tpgt_1/lun_",
        "a_fabric_of_17_ch/iqn.x/tpgt_1/lun_0",
        &long,
    ] {
        let tree = Tree::new();
        tree.alua("ao/members", line);
        assert!(is_content(tree.device.port_groups(), "members"), "{line}");
    }
}

#[test]
fn a_port_that_has_gone_is_left_out_and_one_that_is_unreadable_is_an_error() {
    let tree = Tree::new();
    tree.alua(
        "ao/members",
        "loopback/naa.50014/tpgt_2/lun_7\0\niSCSI/iqn.2003-01.org.example:gate/tpgt_1/lun_0\n",
    );
    assert_eq!(tree.only().ports.len(), 1);
    // A fabric that knows no `enable` is on.
    tree.port("loopback/naa.50014/tpgt_2/lun/lun_7/statistics", "4", "6");
    let ports = tree.only().ports;
    assert_eq!((ports[0].relative_id, ports[0].protocol, ports[0].enabled, ports[0].tag), (4, 6, true, 2));
    tree.put("iscsi/iqn.2003-01.org.example:gate/tpgt_1/enable", "0\n");
    assert!(!tree.only().ports[1].enabled);
    tree.port(LUN, "3", "16");
    assert!(is_content(tree.device.port_groups(), "proto_id"));
    fs::remove_file(tree.root.path().join(LUN).join("scsi_transport/proto_id")).unwrap();
    assert!(tree.device.port_groups().unwrap_err().is_absent());
}

#[test]
fn there_is_an_end_to_groups_and_ports() {
    let tree = Tree::new();
    let line = "iSCSI/iqn.2003-01.org.example:gate/tpgt_1/lun_0\n";
    tree.alua("ao/members", &line.repeat(MAX_PORTS));
    assert_eq!(tree.only().ports.len(), MAX_PORTS);
    tree.alua("ao/members", &line.repeat(MAX_PORTS + 1));
    assert!(is_content(tree.device.port_groups(), "members"));
    tree.alua("ao/members", "");
    for number in 1..MAX_GROUPS {
        tree.group(&format!("g{number}"), &number.to_string(), "");
    }
    assert_eq!(tree.device.port_groups().unwrap().len(), MAX_GROUPS);
    tree.group("more", "999", "");
    assert!(is_content(tree.device.port_groups(), "alua"));
}

#[test]
fn a_state_is_written_with_its_reason() {
    let tree = Tree::new();
    tree.device.set_access_state("ao", 2).unwrap();
    let read = |field: &str| fs::read_to_string(tree.device.path().join("alua/ao").join(field)).unwrap();
    assert!(read("alua_access_state").starts_with('2'));
    assert!(read("alua_access_status").starts_with('1'));
    assert!(tree.device.set_access_state("absent", 2).unwrap_err().is_absent());
}
