use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn what_was_found_and_can_not_be_reached_is_not_called_missing() {
    for errno in [Errno::ENOENT, Errno::ENOTDIR] {
        let Failure::Refused(error) = reaching("/disk", errno) else { panic!("{errno}: not refused") };
        assert!(error.to_string().contains("is /proc mounted?"), "{error}");
    }
    assert!(matches!(reaching("/disk", Errno::EACCES), Failure::System(Errno::EACCES)));
}

/// A root with a disk in it, and another tenant's disk beside it.
struct Place {
    directory: tempfile::TempDir,
    roots: Vec<PathBuf>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(directory.path().join("other")).unwrap();
        fs::write(root.join("disk"), "ours").unwrap();
        fs::write(root.join("sub/disk"), "ours").unwrap();
        fs::write(directory.path().join("other/disk"), "theirs").unwrap();
        Self { directory, roots: vec![root] }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn find(&self, name: &str) -> Result<Found, GrantError> {
        find(&self.path(name), Access::Create, &self.roots)
    }

    fn link(&self, to: &str, name: &str) {
        symlink(to, self.path(name)).unwrap();
    }
}

fn inode(found: &Found) -> u64 {
    let Identity::File { inode, .. } = found.identity else { panic!("{found:?}") };
    inode
}

#[test]
fn what_is_in_a_root_is_found_and_created() {
    let place = Place::new();
    for name in ["root/disk", "root/sub/disk", "root/./sub//disk"] {
        let found = place.find(name).unwrap();
        assert!(!found.created);
        assert_eq!(inode(&found), fs::metadata(place.path(name)).unwrap().ino(), "{name}");
    }
    for name in ["root/new", "root/sub/new"] {
        assert!(place.find(name).unwrap().created, "{name}");
        assert_eq!(fs::metadata(place.path(name)).unwrap().len(), 0);
        assert!(!place.find(name).unwrap().created);
    }
    for access in [Access::Existing, Access::ReadOnly] {
        let error = find(&place.path("root/none"), access, &place.roots).unwrap_err();
        assert!(matches!(error, GrantError::Missing { .. }), "{error}");
    }
}

#[test]
fn a_store_is_open_as_it_has_to_be_and_nothing_is_left_to_whoever_is_jailed() {
    let place = Place::new();
    for access in [Access::Existing, Access::ReadOnly] {
        let path = place.path("root/disk");
        let found = find(&path, access, &place.roots).unwrap();
        let store = open_found(&found.place, &path, access).unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&store, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.intersects(OFlag::O_NONBLOCK | OFlag::O_APPEND), "{flags:?}");
        let mode = if access.writes() { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        assert_eq!(flags & OFlag::O_ACCMODE, mode);
    }
}

#[test]
fn what_is_in_no_root_is_refused_with_the_roots() {
    let mut place = Place::new();
    place.roots.push(PathBuf::from("/srv/second"));
    for name in ["other/disk", "root-not/disk", "roo"] {
        let error = place.find(name).unwrap_err();
        assert!(matches!(error, GrantError::OutsideRoots { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&place.path("root")) && text.contains("/srv/second"), "{text}");
    }
    for name in ["root/../other/disk", "root/sub/../disk", "root/.."] {
        let error = place.find(name).unwrap_err();
        assert!(matches!(error, GrantError::DotDot { .. }), "{error}");
    }
    assert!(matches!(find("root/disk", Access::Create, &place.roots), Err(GrantError::Relative { .. })));
    let error = find("/srv/second/disk", Access::Create, &place.roots).unwrap_err();
    assert!(matches!(error, GrantError::NoRoot { errno: Errno::ENOENT, .. }), "{error}");
}

#[test]
fn links_do_not_lead_out_of_a_root() {
    let place = Place::new();
    place.link("../other", "root/up");
    place.link(&place.path("other"), "root/away");
    place.link(&place.path("root/sub"), "root/absolute");
    for name in ["root/up/disk", "root/away/disk", "root/up/new", "root/absolute/disk"] {
        let error = place.find(name).unwrap_err();
        assert!(matches!(error, GrantError::Escapes { .. }), "{name}: {error}");
        assert!(error.to_string().contains(&place.path("root")), "{error}");
    }
    place.link("/proc/self/cwd", "root/magic");
    let error = place.find("root/magic/disk").unwrap_err();
    assert!(matches!(error, GrantError::Escapes { .. } | GrantError::Denied { .. }), "{error}");
    // At the end none at all, wherever it leads.
    place.link("disk", "root/last");
    place.link("../other/disk", "root/last-away");
    place.link("none", "root/last-nowhere");
    for name in ["root/last", "root/last-away", "root/last-nowhere"] {
        let error = place.find(name).unwrap_err();
        assert!(matches!(error, GrantError::FinalLink { .. }), "{name}: {error}");
    }
    assert!(!Path::new(&place.path("other/new")).exists() && !Path::new(&place.path("root/none")).exists());
    // On the way those that stay in the root.
    place.link("sub", "root/stays");
    place.link("../sub", "root/sub/winding");
    assert!(!place.find("root/stays/disk").unwrap().created);
    assert!(!place.find("root/sub/winding/disk").unwrap().created);
    assert!(place.find("root/stays/new").unwrap().created);
}

#[test]
fn a_file_with_a_second_name_is_no_disk_in_a_root() {
    let place = Place::new();
    fs::hard_link(place.path("other/disk"), place.path("root/stolen")).unwrap();
    for access in [Access::Create, Access::Existing, Access::ReadOnly] {
        let error = find(&place.path("root/stolen"), access, &place.roots).unwrap_err();
        assert!(matches!(error, GrantError::HardLinked { .. }), "{error}");
        assert!(error.to_string().contains("find -samefile"), "{error}");
    }
    // Wherever its other name is, as that may be somebody else's tomorrow.
    fs::hard_link(place.path("root/disk"), place.path("root/sub/second")).unwrap();
    assert!(matches!(place.find("root/disk"), Err(GrantError::HardLinked { .. })));
    fs::remove_file(place.path("root/sub/second")).unwrap();
    place.find("root/disk").unwrap();
    // Who may name any path needs no other name for it.
    find(&place.path("root/stolen"), Access::Existing, &[]).unwrap();
    // The policy itself names the file.
    find(&place.path("root/stolen"), Access::Existing, &[PathBuf::from(place.path("root/stolen"))]).unwrap();
}

#[test]
fn what_can_not_be_a_disk_is_refused_in_a_root_as_well() {
    let place = Place::new();
    nix::unistd::mkfifo(place.path("root/fifo").as_str(), Mode::S_IRWXU).unwrap();
    let refused = |name: &str| place.find(name).unwrap_err();
    assert!(matches!(refused("root/fifo"), GrantError::NotStorage { kind: "FIFO", .. }));
    assert!(matches!(refused("root/sub"), GrantError::Directory { .. }));
    assert!(matches!(refused("root/new/"), GrantError::Directory { .. }));
    assert!(matches!(refused("root"), GrantError::Directory { .. }));
    assert!(matches!(refused("root/none/disk"), GrantError::NoDirectory { .. }));
    assert!(matches!(refused("root/disk/x"), GrantError::NoDirectory { .. }));
    let dev = find("/dev/null", Access::Create, &[PathBuf::from("/dev")]).unwrap_err();
    assert!(matches!(dev, GrantError::NotStorage { kind: "character device", .. }), "{dev}");
    let none = find("/dev/no-such-disk", Access::Create, &[PathBuf::from("/")]).unwrap_err();
    assert!(matches!(none, GrantError::NoDevice { .. }), "{none}");
}

#[test]
fn a_root_may_be_the_disk_itself_and_roots_may_lie_in_one_another() {
    let mut place = Place::new();
    // By a link, as those of /dev/disk are.
    place.link("../other/disk", "root/by-id");
    place.roots.push(PathBuf::from(place.path("root/by-id")));
    let found = place.find("root/by-id").unwrap();
    assert_eq!(inode(&found), fs::metadata(place.path("other/disk")).unwrap().ino());
    place.roots.push(PathBuf::from(place.path("root/none")));
    assert!(matches!(place.find("root/none"), Err(GrantError::Missing { .. })), "it is not created");
    // The inner root holds although the outer one would allow it.
    place.roots.push(PathBuf::from(place.path("root/sub")));
    place.link("..", "root/sub/out");
    assert!(matches!(place.find("root/sub/out/disk"), Err(GrantError::Escapes { .. })));
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A directory and a link to another tenant's directory change places all the time, and so do the disk and a link to
/// another tenant's disk. Whatever is found lies in the root.
#[test]
fn nobody_gets_out_of_a_root_by_racing() {
    let place = Place::new();
    place.link("../other", "root/trap");
    place.link("../../other/disk", "root/sub/trap");
    let swap = |one: &str, other: &str| {
        let (one, other) = (place.path(one), place.path(other));
        let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        nix::fcntl::renameat2(AT_FDCWD, one.as_str(), AT_FDCWD, other.as_str(), flags).unwrap();
    };
    // Whatever it is called at the moment.
    let directory = fs::File::open(place.path("root/sub")).unwrap();
    let stop = AtomicBool::new(false);
    let theirs = fs::metadata(place.path("other/disk")).unwrap().ino();
    let ours = fs::metadata(place.path("root/sub/disk")).unwrap().ino();
    let mut answers = HashSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swap("root/sub", "root/trap");
            }
        });
        scope.spawn(|| {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(&directory, "disk", &directory, "trap", flags).unwrap();
            }
        });
        // However this ends, or the threads would not.
        let _stops = Stops(&stop);
        let mut found_ours = 0;
        let mut refused = 0;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut turns = 0;
        // Until both outcomes were seen often enough to mean something.
        while (turns < 20_000 || found_ours < 100 || refused < 100) && std::time::Instant::now() < deadline {
            turns += 1;
            match place.find("root/sub/disk") {
                Ok(found) => {
                    assert_ne!(inode(&found), theirs);
                    assert!(inode(&found) == ours || found.created, "{found:?}");
                    found_ours += 1;
                }
                Err(error) => {
                    refused += 1;
                    answers.insert(std::mem::discriminant(&error));
                }
            }
        }
        assert!(found_ours >= 100 && refused >= 100, "{found_ours} found, {refused} refused in {turns}");
    });
    assert!(!answers.is_empty());
    let other: Vec<_> =
        fs::read_dir(place.path("other")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(other, ["disk"], "nothing was created outside");
    assert_eq!(fs::read(place.path("other/disk")).unwrap(), b"theirs");
}
