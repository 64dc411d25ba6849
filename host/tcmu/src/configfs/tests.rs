use super::*;

struct Tree {
    root: tempfile::TempDir,
    configfs: Configfs,
    device: DeviceDirectory,
}

const INFO: &str = "Status: DEACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 128\n        \
     Config: file//tmp/f1.raw Size: 268435456 MaxDataAreaMB: 1024 DataPagesPerBlk: 1 CmdRingSizeMB: 8\n";

fn tree() -> Tree {
    let root = tempfile::tempdir().unwrap();
    let configfs = Configfs::new(root.path().join("core"), root.path().join("parameters"));
    let device = configfs.device(&DeviceName::parse("tcm-user/3/f1/file//x").unwrap());
    assert_eq!(device.path(), root.path().join("core/user_3/f1"));
    fs::create_dir_all(device.path()).unwrap();
    fs::create_dir(root.path().join("parameters")).unwrap();
    Tree { root, configfs, device }
}

impl Tree {
    fn put(&self, field: &str, value: &str) {
        let path = self.device.path().join(field);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn get(&self, field: &str) -> String {
        fs::read_to_string(self.device.path().join(field)).unwrap()
    }
}

#[test]
fn fields_are_read_as_the_kernel_writes_them() {
    let tree = tree();
    tree.put("info", INFO);
    tree.put("enable", "1\n");
    tree.put("attrib/hw_block_size", "512\n");
    tree.put("attrib/hw_max_sectors", "128\n");
    tree.put("statistics/scsi_dev/indx", "7\n");
    tree.put("wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: f1-serial-0001\n");
    let device = &tree.device;
    assert_eq!(device.size().unwrap(), 268_435_456);
    assert!(device.enabled().unwrap());
    assert_eq!(device.block_size().unwrap(), 512);
    assert_eq!(device.max_sectors().unwrap(), 128);
    for (value, on) in [("0\n", false), ("1\n", true)] {
        tree.put("attrib/emulate_write_cache", value);
        assert_eq!(device.write_cache().unwrap(), on);
    }
    assert_eq!(device.device_id().unwrap(), DeviceId(7));
    assert_eq!(device.serial().unwrap(), "f1-serial-0001");
    tree.put("enable", "0\n");
    assert!(!device.enabled().unwrap());
}

#[test]
fn a_cfgstring_can_not_fake_the_size() {
    let tree = tree();
    tree.put("info", "Config: file//x Size: 4096 MaxDataAreaMB: 1 Size: 1048576 MaxDataAreaMB: 1024\n");
    assert_eq!(tree.device.size().unwrap(), 1_048_576);
}

#[test]
fn the_serial_number_is_everything_behind_the_label() {
    let tree = tree();
    for (line, expected) in [
        ("T10 VPD Unit Serial Number: \n", ""),
        ("T10 VPD Unit Serial Number:\n", ""),
        ("T10 VPD Unit Serial Number:  a: b \n", " a: b "),
    ] {
        tree.put("wwn/vpd_unit_serial", line);
        assert_eq!(tree.device.serial().unwrap(), expected);
    }
    tree.put("wwn/vpd_unit_serial", "something else\n");
    assert!(matches!(tree.device.serial(), Err(ConfigfsError::Content { .. })));
}

#[test]
fn what_is_not_there_is_told_from_what_is_wrong() {
    let tree = tree();
    assert!(tree.device.exists());
    let missing = tree.configfs.device(&DeviceName::parse("tcm-user/3/none/file//x").unwrap());
    assert!(!missing.exists());
    assert!(tree.device.size().unwrap_err().is_absent());
    assert!(tree.device.reset_ring(Reset::Retry).unwrap_err().is_absent());
    assert!(tree.configfs.block_netlink(true).unwrap_err().is_absent());
    assert!(!tree.device.path().join("action").exists(), "writing must not create");
    for (field, value) in
        [("info", "nothing\n"), ("info", "a Size: x\n"), ("attrib/hw_block_size", "-1\n"), ("enable", "\n")]
    {
        tree.put(field, value);
        let error = match field {
            "info" => tree.device.size().unwrap_err(),
            "enable" => tree.device.enabled().unwrap_err(),
            _ => tree.device.block_size().unwrap_err(),
        };
        assert!(matches!(&error, ConfigfsError::Content { .. }), "{field}: {error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn actions_write_one_value() {
    let tree = tree();
    for field in ["action/block_dev", "action/reset_ring", "control"] {
        tree.put(field, "");
    }
    tree.device.block(true).unwrap();
    assert_eq!(tree.get("action/block_dev"), "1");
    tree.device.block(false).unwrap();
    assert_eq!(tree.get("action/block_dev"), "0");
    tree.device.reset_ring(Reset::Retry).unwrap();
    assert_eq!(tree.get("action/reset_ring"), "1");
    tree.device.reset_ring(Reset::Fail).unwrap();
    assert_eq!(tree.get("action/reset_ring"), "2");
    tree.device.notify_of_task_management().unwrap_err();
    tree.put("attrib/tmr_notification", "0");
    tree.device.notify_of_task_management().unwrap();
    assert_eq!(tree.get("attrib/tmr_notification"), "1");
    tree.device.set_size(1 << 40).unwrap();
    assert_eq!(tree.get("control"), "dev_size=1099511627776");
}

#[test]
fn module_parameters_are_written() {
    let tree = tree();
    let parameters = tree.root.path().join("parameters");
    for name in ["block_netlink", "reset_netlink"] {
        fs::write(parameters.join(name), "").unwrap();
    }
    assert!(tree.configfs.present());
    tree.configfs.block_netlink(true).unwrap();
    tree.configfs.reset_netlink().unwrap();
    assert_eq!(fs::read_to_string(parameters.join("block_netlink")).unwrap(), "1");
    assert_eq!(fs::read_to_string(parameters.join("reset_netlink")).unwrap(), "1");
    tree.configfs.block_netlink(false).unwrap();
    assert_eq!(fs::read_to_string(parameters.join("block_netlink")).unwrap(), "0");
}
