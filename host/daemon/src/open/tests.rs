use std::fs;
use std::path::Path;

use lunbox_engine::native::NativeFactory;
use lunbox_handler_file::File;

use super::*;
use crate::mailbox::mailbox;

struct Place {
    root: tempfile::TempDir,
    opener: Opener,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut handlers = Catalogue::default();
        handlers.add(Path::new("native"), Arc::new(NativeFactory::<File>::new()));
        let (sender, _) = mailbox().unwrap();
        let uio = Uio::new(path("class"), path("dev"));
        let opener = Opener::new(handlers, uio, Configfs::new(path("core"), path("parameters")), sender);
        let place = Self { root, opener };
        place.configure("Size: 1048576 MaxDataAreaMB: 8", 512, 128);
        place
    }

    fn configure(&self, size: &str, block_size: u32, max_sectors: u32) {
        let directory = self.root.path().join("core/user_0/f1");
        fs::create_dir_all(directory.join("attrib")).unwrap();
        fs::write(directory.join("info"), format!("Config: file/x {size} DataPagesPerBlk: 1\n")).unwrap();
        fs::write(directory.join("attrib/hw_block_size"), format!("{block_size}\n")).unwrap();
        fs::write(directory.join("attrib/hw_max_sectors"), format!("{max_sectors}\n")).unwrap();
    }

    /// Starts a device on something that is no UIO node: everything before the ring is done for real.
    fn start(&self, config: &str) -> String {
        let name = DeviceName::parse(&format!("tcm-user/0/f1/file/{config}")).unwrap();
        let node = UioNode { minor: Minor(0), name, map_bytes: 0x1000 };
        let no_uio = fs::File::open("/dev/zero").unwrap();
        self.opener.start(&node, no_uio.into()).err().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn handlers_are_found_by_their_exact_subtype() {
    let place = Place::new();
    assert!(place.opener.serves("file") && !place.opener.serves("f") && !place.opener.serves("files"));
    assert_eq!(place.opener.subtypes(), "file");
}

#[test]
fn a_device_of_impossible_size_is_refused_before_anything_is_opened() {
    let place = Place::new();
    let path = place.path("disk");
    for (size, block_size, max_sectors, expected) in [
        ("Size: 12345 MaxDataAreaMB: 8", 512, 128, "dev_size=12345 is not a multiple of hw_block_size=512"),
        ("Size: 0 MaxDataAreaMB: 8", 512, 128, "dev_size=0 "),
        ("Size: 4096 MaxDataAreaMB: 8", 1000, 128, "hw_block_size=1000 is not a power of two"),
        ("Size: 4096 MaxDataAreaMB: 8", 512, 0, "hw_max_sectors=0"),
        ("nothing", 512, 128, "core/user_0/f1/info"),
    ] {
        place.configure(size, block_size, max_sectors);
        let error = place.start(&path);
        assert!(error.starts_with("user_0/f1: ") && error.contains(expected), "{error}");
    }
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_start_that_fails_gives_the_file_back() {
    let place = Place::new();
    let path = place.path("disk");
    for _ in 0..2 {
        let error = place.start(&path);
        assert!(error.contains("uio0") && !error.contains("in use"), "{error}");
    }
    assert!(Path::new(&path).exists(), "the file was opened, so it was the ring that failed");
}

#[test]
fn the_daemons_own_arguments_do_not_become_part_of_the_path() {
    let place = Place::new();
    place.start(&format!("{};tcmur_cmd_time_out=30", place.path("disk")));
    assert!(Path::new(&place.path("disk")).exists());
    let error = place.start("relative;tcmur_cmd_time_out=30");
    assert!(error.contains("\"relative\" is not an absolute path"), "{error}");
}
