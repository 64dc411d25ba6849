use super::*;

struct Tree {
    root: tempfile::TempDir,
    uio: Uio,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (class, nodes) = (root.path().join("class"), root.path().join("dev"));
        fs::create_dir(&nodes).unwrap();
        Self { uio: Uio::new(class, nodes), root }
    }

    fn add(&self, minor: u32, name: &str, version: &str, size: &str) {
        let directory = self.root.path().join(format!("class/uio{minor}"));
        fs::create_dir_all(directory.join("maps/map0")).unwrap();
        fs::write(directory.join("name"), name).unwrap();
        fs::write(directory.join("version"), version).unwrap();
        fs::write(directory.join("maps/map0/size"), size).unwrap();
    }
}

#[test]
fn nodes_come_in_numeric_order_and_foreign_ones_not_at_all() {
    let tree = Tree::new();
    for minor in [10, 2, 0] {
        tree.add(minor, &format!("tcm-user/0/d{minor}/file//x\n"), "2\n", "0x0000000004200000\n");
    }
    tree.add(1, "igb_uio\n", "0.1\n", "0x1000\n");
    fs::create_dir(tree.root.path().join("class/uiox")).unwrap();
    fs::create_dir(tree.root.path().join("class/uio7")).unwrap(); // went while we looked
    let found: Vec<UioNode> = tree.uio.scan().unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|node| node.minor.0).collect::<Vec<_>>(), [0, 2, 10]);
    assert_eq!(found[2].name.device, "d10");
    assert_eq!(found[2].map_bytes, 0x0420_0000);
}

#[test]
fn without_uio_there_are_no_nodes() {
    assert!(Tree::new().uio.scan().unwrap().is_empty());
}

#[test]
fn a_node_that_can_not_be_used_says_why() {
    let tree = Tree::new();
    tree.add(0, "tcm-user/0/old/file//x\n", "1.0\n", "0x1000\n");
    tree.add(1, "tcm-user/0/size/file//x\n", "2\n", "4096\n");
    tree.add(2, "tcm-user/0/zero/file//x\n", "2\n", "0x0\n");
    tree.add(3, "tcm-user/0/bare\n", "2\n", "0x1000\n");
    let found = tree.uio.scan().unwrap();
    assert!(matches!(&found[0], Err(UioError::Version { found, .. }) if found == "1.0"));
    assert!(matches!(&found[1], Err(UioError::MapSize { found, .. }) if found == "4096"));
    assert!(matches!(&found[2], Err(UioError::MapSize { found, .. }) if found == "0x0"));
    assert!(matches!(&found[3], Err(UioError::Name { source: NameError::NoSubtype { .. }, .. })));
    assert!(matches!(tree.uio.node(Minor(9)), Err(UioError::Gone { .. })));
}

#[test]
fn opening_gives_a_non_blocking_descriptor_that_does_not_survive_exec() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let tree = Tree::new();
    fs::write(tree.root.path().join("dev/uio4"), "").unwrap();
    let fd = tree.uio.open(Minor(4)).unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK | OFlag::O_RDWR));
    let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    let error = tree.uio.open(Minor(5)).unwrap_err();
    assert!(matches!(&error, UioError::Gone { .. }));
    assert!(error.to_string().contains("dev/uio5 does not exist"), "{error}");
}

#[test]
fn a_descriptor_from_elsewhere_is_known_by_its_number_and_by_whether_it_lives() {
    let tree = Tree::new();
    tree.add(0, "tcm-user/0/d0/file//x\n", "2\n", "0x1000\n");
    let dev = |text: &str| fs::write(tree.root.path().join("class/uio0/dev"), text).unwrap();
    // Character devices that every system has stand in for nodes.
    let null = fs::File::open("/dev/null").unwrap();
    dev("1:3\n");
    assert_eq!(tree.uio.held(Minor(0), &null).unwrap(), Held::Live);
    dev("1:5\n");
    assert_eq!(tree.uio.held(Minor(0), &null).unwrap(), Held::Foreign);
    dev("nonsense\n");
    assert_eq!(tree.uio.held(Minor(0), &null).unwrap(), Held::Foreign);
    let file = fs::File::open(tree.root.path().join("class/uio0/dev")).unwrap();
    assert_eq!(tree.uio.held(Minor(0), &file).unwrap(), Held::Foreign);
    assert!(matches!(tree.uio.held(Minor(1), &null), Err(UioError::Gone { .. })));
    // A socket without another end answers poll as a node does whose device has gone.
    let (end, other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(lives(&end).unwrap());
    drop(other);
    assert!(!lives(&end).unwrap());
}
