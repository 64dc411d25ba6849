use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;

use super::*;

struct Place {
    root: tempfile::TempDir,
    claims: Arc<Claims>,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), claims: Arc::default() }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    fn open(&self, name: &str, device: &str) -> Result<Grant, GrantError> {
        open_store(&self.path(name), device, &self.claims, Access::Create)
    }
}

#[test]
fn a_missing_file_is_created_for_root_only_and_an_existing_one_is_kept() {
    let place = Place::new();
    let grant = place.open("new", "user_0/a").unwrap();
    assert!(grant.can_grow);
    assert_eq!(fs::metadata(place.path("new")).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(grant);
    fs::write(place.path("new"), "data").unwrap();
    place.open("new", "user_0/a").unwrap();
    assert_eq!(fs::read(place.path("new")).unwrap(), b"data");
}

#[test]
fn a_file_without_data_gets_the_size_that_was_asked_for() {
    let place = Place::new();
    let sized = |name: &str, bytes| {
        open_store(&place.path(name), "a", &place.claims, Access::Sized { bytes }).map(|grant| grant.created)
    };
    assert!(sized("new", 1 << 30).unwrap());
    let metadata = fs::metadata(place.path("new")).unwrap();
    assert_eq!(metadata.len(), 1 << 30);
    assert!(metadata.blocks() < 2048, "sparse: {} blocks", metadata.blocks());
    fs::write(place.path("empty"), "").unwrap();
    assert!(!sized("empty", 4096).unwrap());
    assert_eq!(fs::metadata(place.path("empty")).unwrap().len(), 4096);
    // What is there stays as it is.
    fs::write(place.path("data"), "data").unwrap();
    assert!(!sized("data", 4096).unwrap());
    assert_eq!(fs::read(place.path("data")).unwrap(), b"data");
    let error = sized("endless", u64::MAX).unwrap_err();
    assert!(matches!(&error, GrantError::Length { errno: Errno::EFBIG, .. }), "{error}");
    assert_eq!(fs::metadata(place.path("endless")).unwrap().len(), 0);
}

#[test]
fn what_can_not_back_a_lun_is_refused_with_a_remedy() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("file"), "").unwrap();
    nix::unistd::mkfifo(place.path("fifo").as_str(), Mode::S_IRWXU).unwrap();
    let refused = |path: &str| open_store(path, "user_0/a", &place.claims, Access::Create).unwrap_err();
    assert!(matches!(refused("tmp/x"), GrantError::Relative { .. }));
    assert!(refused("tmp/x").to_string().contains("<subtype>//directory/file"));
    assert!(matches!(refused(""), GrantError::Relative { .. }));
    assert!(matches!(refused(&place.path("directory")), GrantError::Directory { .. }));
    assert!(matches!(refused(&place.path("fifo")), GrantError::NotStorage { kind: "FIFO", .. }));
    assert!(matches!(refused("/dev/null"), GrantError::NotStorage { kind: "character device", .. }));
    assert!(matches!(refused("/dev/no-such-disk"), GrantError::NoDevice { .. }));
    assert!(!Path::new("/dev/no-such-disk").exists(), "nothing may be created in /dev");
    assert!(matches!(refused(&place.path("none/x")), GrantError::NoDirectory { .. }));
    assert!(matches!(refused(&place.path("file/x")), GrantError::NoDirectory { .. }));
}

#[test]
fn a_magic_link_is_not_followed_but_a_symbolic_link_is() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    symlink(place.path("file"), place.path("link")).unwrap();
    place.open("link", "user_0/a").unwrap();
    let file = fs::File::options().read(true).write(true).open(place.path("file")).unwrap();
    let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let error = open_store(&magic, "user_0/a", &place.claims, Access::Create).unwrap_err();
    assert!(matches!(error, GrantError::Denied { errno: Errno::ELOOP, .. }), "{error}");
}

#[test]
fn one_file_serves_one_device_under_whatever_name() {
    let place = Place::new();
    let first = place.open("file", "user_0/first").unwrap();
    symlink(place.path("file"), place.path("link")).unwrap();
    fs::hard_link(place.path("file"), place.path("other-name")).unwrap();
    for name in ["file", "link", "other-name"] {
        let error = place.open(name, "user_0/second").unwrap_err();
        assert!(matches!(&error, GrantError::Claimed { holder, .. } if holder == "user_0/first"), "{error}");
        assert!(error.to_string().contains("in use by user_0/first"), "{error}");
        assert!(error.to_string().contains("serve both read-only"), "{error}");
    }
    place.open("another", "user_0/second").unwrap();
    drop(first);
    place.open("link", "user_0/second").unwrap();
}

#[test]
fn a_store_that_may_still_write_keeps_its_file() {
    let place = Place::new();
    place.open("file", "user_0/stuck").unwrap().claim.keep_for_good();
    assert!(matches!(place.open("file", "user_0/next"), Err(GrantError::Claimed { .. })));
}

#[test]
fn a_link_that_leads_nowhere_is_refused_and_its_target_not_created() {
    let place = Place::new();
    symlink(place.path("target"), place.path("link")).unwrap();
    symlink("/dev/no-such-disk", place.path("disk")).unwrap();
    for name in ["link", "disk"] {
        let error = place.open(name, "user_0/a").unwrap_err();
        assert!(matches!(error, GrantError::DanglingLink { .. }), "{error}");
        assert!(error.to_string().contains("leads nowhere"), "{error}");
    }
    assert!(!Path::new(&place.path("target")).exists());
    assert!(!Path::new("/dev/no-such-disk").exists(), "nothing may be created in /dev");
}

#[test]
fn nothing_is_created_in_dev_by_whatever_way_it_is_reached() {
    let place = Place::new();
    symlink("/dev", place.path("devices")).unwrap();
    fs::create_dir(place.path("devs")).unwrap();
    for path in [
        place.path("devices/no-such-disk"),
        "/tmp/../dev/no-such-disk".to_owned(),
        "/dev/no-such-directory/disk".to_owned(),
    ] {
        let error = open_store(&path, "user_0/a", &place.claims, Access::Create).unwrap_err();
        assert!(matches!(error, GrantError::NoDevice { .. }), "{path}: {error}");
    }
    assert!(!Path::new("/dev/no-such-disk").exists());
    // Out of /dev again.
    let path = format!("/dev/..{}", place.path("devs/file"));
    open_store(&path, "user_0/a", &place.claims, Access::Create).unwrap();
    assert!(Path::new(&place.path("devs/file")).is_file());
}

#[test]
fn a_missing_file_through_a_linked_directory_is_created_and_a_directory_is_not() {
    let place = Place::new();
    fs::create_dir(place.path("real")).unwrap();
    symlink(place.path("real"), place.path("linked")).unwrap();
    place.open("linked/file", "user_0/a").unwrap();
    assert!(Path::new(&place.path("real/file")).is_file());
    for name in ["linked", "new/", "new/."] {
        let error = place.open(name, "user_0/a").unwrap_err();
        assert!(matches!(error, GrantError::Directory { .. }), "{name}: {error}");
    }
    symlink("/dev/null", place.path("null")).unwrap();
    let error = place.open("null", "user_0/a").unwrap_err();
    assert!(matches!(error, GrantError::NotStorage { kind: "character device", .. }), "{error}");
}

#[test]
fn what_must_be_there_is_not_created() {
    let place = Place::new();
    for access in [Access::Existing, Access::ReadOnly] {
        let error = open_store(&place.path("file"), "a", &place.claims, access).unwrap_err();
        assert!(matches!(error, GrantError::Missing { .. }), "{error}");
    }
    assert!(!Path::new(&place.path("file")).exists());
    assert!(place.open("file", "a").unwrap().created);
    let grant = open_store(&place.path("file"), "a", &place.claims, Access::Existing).unwrap();
    assert!(!grant.created && grant.can_grow);
}

#[test]
fn a_read_only_file_is_served_to_many_readers_and_to_no_writer() {
    let place = Place::new();
    fs::write(place.path("file"), "data").unwrap();
    fs::set_permissions(place.path("file"), fs::Permissions::from_mode(0o400)).unwrap();
    let read = |device: &str| open_store(&place.path("file"), device, &place.claims, Access::ReadOnly);
    let (first, _second) = (read("first").unwrap(), read("second").unwrap());
    assert!(!first.can_grow);
    let mut contents = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(first.fd.try_clone().unwrap()), &mut contents).unwrap();
    assert_eq!(contents, "data");
    let written = nix::unistd::write(&first.fd, b"x");
    assert_eq!(written, Err(Errno::EBADF));
    fs::set_permissions(place.path("file"), fs::Permissions::from_mode(0o600)).unwrap();
    let error = place.open("file", "third").unwrap_err();
    assert!(matches!(&error, GrantError::Claimed { holder, .. } if holder == "first"), "{error}");
}

#[test]
fn another_process_keeps_its_file() {
    let place = Place::new();
    // Claims of its own: all that another process shares with us is the file.
    let other = open_store(&place.path("file"), "a", &Arc::default(), Access::Create).unwrap();
    let error = place.open("file", "b").unwrap_err();
    assert!(matches!(error, GrantError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(other);
    place.open("file", "b").unwrap();
}
