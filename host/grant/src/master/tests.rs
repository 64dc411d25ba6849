use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::*;
use crate::fence::Blocker;

struct Place {
    directory: tempfile::TempDir,
    claims: Arc<Claims>,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), claims: Arc::default() }
    }

    fn locator(&self, name: &str) -> Locator {
        Locator::Path(self.directory.path().join(name).to_str().unwrap().to_owned())
    }

    fn open(&self, name: &str, device: &str, access: Access, shared: bool) -> Result<Master, GrantError> {
        let locator = self.locator(name);
        let wanted =
            Wanted { device, option: "path", locator: &locator, access, roots: &[], shared, memory_bytes: 0 };
        Master::open(&wanted, &self.claims)
    }

    fn adopt(&self, name: &str, fd: impl Into<OwnedFd>, read_only: bool) -> Result<Master, GrantError> {
        let locator = self.locator(name);
        let adopted = Adopted {
            device: "a",
            option: "path",
            locator: &locator,
            read_only,
            shared: false,
            memory_bytes: 0,
        };
        Master::adopt(Some(fd.into()), &adopted, &self.claims)
    }
}

const AT_ONCE: Patience<'_> = Patience::limited(Duration::ZERO);

fn file(description: Description) -> File {
    assert_eq!(description.fenced, Fenced::Yes);
    File::from(description.fd.unwrap())
}

fn held(result: Result<Description, FenceError>) -> Blocker {
    match result.unwrap_err() {
        FenceError::Held { blocker, .. } => blocker,
        other => panic!("{other}"),
    }
}

#[test]
fn every_description_is_a_new_one_of_the_same_file() {
    let place = Place::new();
    let master = place.open("disk", "a", Access::Create, false).unwrap();
    assert!(master.created() && !master.read_only() && !master.shared());
    assert_eq!(
        (master.kind(), master.option(), master.locator()),
        (Kind::File, "path", &place.locator("disk"))
    );
    let first = file(master.describe(&AT_ONCE).unwrap());
    first.write_all_at(b"first", 0).unwrap();
    assert_eq!(master.size(), Some(5));
    assert_eq!(held(master.describe(&AT_ONCE)), Blocker::Predecessor);
    // Whatever is at its path by now.
    let path = place.directory.path().join("disk");
    std::fs::rename(&path, place.directory.path().join("moved")).unwrap();
    std::fs::write(&path, "another").unwrap();
    drop(first);
    let second = file(master.describe(&AT_ONCE).unwrap());
    let mut contents = [0; 5];
    second.read_exact_at(&mut contents, 0).unwrap();
    assert_eq!(&contents, b"first");
    // Even if it has no name at all.
    std::fs::remove_file(place.directory.path().join("moved")).unwrap();
    drop(second);
    file(master.describe(&AT_ONCE).unwrap()).read_exact_at(&mut contents, 0).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
}

#[test]
fn a_read_only_store_is_fenced_and_not_written_to() {
    let place = Place::new();
    std::fs::write(place.directory.path().join("disk"), "data").unwrap();
    let open = |device: &str| place.open("disk", device, Access::ReadOnly, false).unwrap();
    let (first, second) = (open("a"), open("b"));
    assert!(first.read_only());
    let description = file(first.describe(&AT_ONCE).unwrap());
    description.write_all_at(b"x", 0).unwrap_err();
    // Its reads would still fill buffers of the ring.
    assert_eq!(held(first.describe(&AT_ONCE)), Blocker::Predecessor);
    file(second.describe(&AT_ONCE).unwrap());
    drop(description);
    file(first.describe(&AT_ONCE).unwrap());
}

#[test]
fn shared_writers_are_fenced_from_their_own_predecessors_only() {
    let place = Place::new();
    let open = |device: &str, shared| place.open("disk", device, Access::Create, shared);
    let (first, second) = (open("a", true).unwrap(), open("b", true).unwrap());
    let held_by_first = file(first.describe(&AT_ONCE).unwrap());
    let held_by_second = file(second.describe(&AT_ONCE).unwrap());
    assert_eq!(held(first.describe(&AT_ONCE)), Blocker::Predecessor);
    drop(held_by_first);
    let again = file(first.describe(&AT_ONCE).unwrap());
    let error = open("c", false).unwrap_err();
    assert!(matches!(error, GrantError::Claimed { .. }), "{error}");
    // One who wants it alone, in another process of ours.
    let stranger = Place { directory: place.directory, claims: Arc::default() };
    let alone = stranger.open("disk", "c", Access::Create, false).unwrap();
    assert_eq!(held(alone.describe(&AT_ONCE)), Blocker::Other);
    drop((again, held_by_second));
    file(alone.describe(&AT_ONCE).unwrap());
}

#[test]
fn a_claim_lives_as_long_as_its_master() {
    let place = Place::new();
    let open = |device: &str| place.open("disk", device, Access::Create, false);
    let master = open("a").unwrap();
    assert!(matches!(open("b"), Err(GrantError::Claimed { holder, .. }) if holder == "a"));
    drop(master);
    open("b").unwrap().keep_for_good();
    assert!(matches!(open("c"), Err(GrantError::Claimed { holder, .. }) if holder == "b"));
}

#[test]
fn an_adopted_descriptor_is_closed_and_can_be_described_again() {
    let place = Place::new();
    let earlier = Place { directory: tempfile::tempdir().unwrap(), claims: Arc::default() };
    let wanted = place.open("disk", "a", Access::Create, false).unwrap();
    let worker = file(wanted.describe(&AT_ONCE).unwrap());
    drop(wanted);
    let adopted = place.adopt("disk", worker.try_clone().unwrap(), false).unwrap();
    assert!(matches!(place.open("disk", "b", Access::Create, false), Err(GrantError::Claimed { .. })));
    assert_eq!(held(adopted.describe(&AT_ONCE)), Blocker::Predecessor, "the worker still has it");
    drop(worker);
    // Were the copy that came open, its lock would be there.
    file(adopted.describe(&AT_ONCE).unwrap()).write_all_at(b"x", 0).unwrap();
    assert_eq!(adopted.size(), Some(1));
    drop(earlier);
}

#[test]
fn a_descriptor_for_reading_never_becomes_one_for_writing() {
    let place = Place::new();
    let path = place.directory.path().join("disk");
    std::fs::write(&path, "data").unwrap();
    let refused = |fd: OwnedFd, read_only| {
        let error = place.adopt("disk", fd, read_only).unwrap_err();
        assert!(matches!(error, GrantError::WrongDescriptor { .. }), "{error}");
    };
    refused(File::open(&path).unwrap().into(), false);
    refused(File::options().write(true).open(&path).unwrap().into(), false);
    refused(File::options().write(true).open(&path).unwrap().into(), true);
    let path_only = open(&path, OFlag::O_PATH, Mode::empty()).unwrap();
    refused(path_only, true);
    let adopted = place.adopt("disk", File::open(&path).unwrap(), true).unwrap();
    file(adopted.describe(&AT_ONCE).unwrap()).write_all_at(b"x", 0).unwrap_err();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let error = place.adopt("disk", null, false).unwrap_err();
    assert!(matches!(error, GrantError::NotStorage { .. }), "{error}");
    // Less than was had is fine.
    drop(adopted);
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let adopted = place.adopt("disk", both, true).unwrap();
    file(adopted.describe(&AT_ONCE).unwrap()).write_all_at(b"x", 0).unwrap_err();
}

#[test]
fn memory_needs_no_descriptor_and_other_stores_are_refused() {
    let claims = Arc::default();
    let open = |text: &str, memory_bytes| {
        let locator = text.parse().unwrap();
        let access = Access::Existing;
        Master::open(
            &Wanted {
                device: "a",
                option: "",
                locator: &locator,
                access,
                roots: &[],
                shared: false,
                memory_bytes,
            },
            &claims,
        )
    };
    let memory = open("memory", 4096).unwrap();
    assert_eq!((memory.kind(), memory.size()), (Kind::Memory { bytes: 4096 }, Some(4096)));
    let description = memory.describe(&AT_ONCE).unwrap();
    assert!(description.fd.is_none() && description.fenced == Fenced::NotNeeded);
    assert!(matches!(open("memory", 0), Err(GrantError::NoMemory)));
    assert!(matches!(open("rbd=p/i", 1), Err(GrantError::NoClient { kind: "rbd", .. })));
    assert!(matches!(open("glfs=v@h/p", 1), Err(GrantError::NoClient { kind: "glfs", .. })));
    let locator = Locator::Memory;
    let adopted = Adopted {
        device: "a",
        option: "",
        locator: &locator,
        read_only: false,
        shared: false,
        memory_bytes: 1,
    };
    assert_eq!(Master::adopt(None, &adopted, &claims).unwrap().kind(), Kind::Memory { bytes: 1 });
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    let error = Master::adopt(Some(file), &adopted, &claims).unwrap_err();
    assert!(matches!(error, GrantError::WrongDescriptor { .. }), "{error}");
}

#[test]
fn the_roots_of_the_tenant_hold_for_masters() {
    let place = Place::new();
    let roots = [PathBuf::from("/srv/tenant")];
    let locator = place.locator("disk");
    let wanted = Wanted {
        device: "a",
        option: "path",
        locator: &locator,
        access: Access::Create,
        roots: &roots,
        shared: false,
        memory_bytes: 0,
    };
    let error = Master::open(&wanted, &place.claims).unwrap_err();
    assert!(matches!(error, GrantError::OutsideRoots { .. }), "{error}");
}
