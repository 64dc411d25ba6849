use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunbox_contract::{Description, Field, FieldKind, Grammar, Schema};
use lunbox_engine::{Abilities, Digest, Manifest};
use lunbox_tcmu::Change;
use lunbox_wire::{Report, Request};

use super::*;
use crate::service::Running;
use crate::workers::scripted::{self, say};
use crate::workers::spawn::Place as WorkerPlace;
use crate::workers::{Spawner, Worker};

struct Place {
    root: tempfile::TempDir,
    opener: Opener,
}

fn installed(subtype: &str, schema: Option<Schema>) -> Installed {
    let description = Description {
        subtype: subtype.to_owned(),
        name: subtype.to_owned(),
        version: "1".to_owned(),
        config_help: String::new(),
    };
    let abilities = Abilities { options: schema.is_some(), ..Abilities::default() };
    Installed {
        manifest: Manifest { description, abilities, schema, wasi: false },
        digest: Digest::of(subtype.as_bytes()),
        container: Arc::new(fs::File::open("/dev/null").unwrap()),
        path: subtype.into(),
    }
}

fn two_paths() -> Schema {
    let path = |name: &str| Field {
        name: name.to_owned(),
        kind: FieldKind::Path { read_only: false, create: true },
        required: true,
        help: "A path.".to_owned(),
    };
    let level = Field {
        name: "level".to_owned(),
        kind: FieldKind::Number { min: 1, max: 9 },
        required: false,
        help: "A number.".to_owned(),
    };
    Schema { grammar: Grammar::Semicolon, fields: vec![path("path"), path("copy"), level] }
}

impl Place {
    fn new() -> Self {
        Self::with_policy(|_| Policy::default())
    }

    fn with_policy(policy: impl FnOnce(&Path) -> Policy) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut handlers = Handlers::default();
        handlers.add(installed("file", None));
        handlers.add(installed("pair", Some(two_paths())));
        let spawner = Spawner {
            // Nothing is launched here.
            place: WorkerPlace::Process { executable: "/no/such/program".into() },
            sockets: path("sockets"),
            build: "test".to_owned(),
            level: "info".to_owned(),
        };
        let opener = Opener {
            rings: kernel_rings(),
            ring: RingKind::Uio,
            handlers,
            policy: policy(root.path()),
            uio: Uio::new(path("class"), path("dev")),
            configfs: Configfs::new(path("core"), path("parameters")),
            claims: Arc::default(),
            pool: Pool::new(spawner, Arc::new(|_, _| {}), Journal::default()),
            records: Arc::default(),
            journal: Journal::default(),
        };
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

    fn prepare(&self, config: &str) -> Result<Device, String> {
        let name = DeviceName::parse(&format!("tcm-user/0/f1/{config}")).unwrap();
        let node = UioNode { minor: Minor(0), name, map_bytes: 0x1000 };
        let no_uio = fs::File::open("/dev/null").unwrap();
        let prepared = self.opener.prepare(&node, DeviceId(7), no_uio.into(), &Cancel::default());
        prepared.map_err(|setback| setback.to_string())
    }

    fn refusal(&self, config: &str) -> String {
        self.prepare(config).err().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn handlers_are_found_by_their_exact_subtype() {
    let place = Place::new();
    assert!(place.opener.serves("file") && !place.opener.serves("f") && !place.opener.serves("files"));
    assert_eq!(place.opener.subtypes(), "file, pair");
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
        let error = place.refusal(&format!("file/{path}"));
        assert!(error.starts_with("user_0/f1: ") && error.contains(expected), "{error}");
    }
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_prepared_device_has_its_file_alone_until_it_is_dropped() {
    let place = Place::new();
    let config = format!("file/{}", place.path("disk"));
    let device = place.prepare(&config).unwrap();
    assert_eq!(device.condition(), crate::service::Condition::Lost, "nothing runs it yet");
    let record = place.opener.records.all().remove(0).device();
    assert_eq!((record.id, record.size, record.block_size, record.max_transfer), (7, 1 << 20, 512, 128));
    assert_eq!(record.name, format!("tcm-user/0/f1/{config}"));
    assert_eq!(record.stores.len(), 1);
    assert_eq!((record.stores[0].option.as_str(), record.stores[0].kind), ("", StoreKind::File));
    let error = place.refusal(&config);
    assert!(error.contains("in use"), "{error}");
    drop(device);
    assert!(place.opener.records.all().is_empty());
    place.prepare(&config).unwrap();
}

#[test]
fn a_schema_divides_the_text_into_stores_and_values() {
    let place = Place::new();
    let (one, other) = (place.path("one"), place.path("other"));
    let device = place.prepare(&format!("pair/{one};copy={other};level=3")).unwrap();
    let record = place.opener.records.all().remove(0).device();
    let stores: Vec<_> = record.stores.iter().map(|store| (&*store.option, &*store.locator)).collect();
    assert_eq!(stores, [("path", &*one), ("copy", &*other)]);
    assert_eq!(record.options, [("level".to_owned(), "3".to_owned())]);
    drop(device);
    let error = place.refusal(&format!("pair/{one};copy={other};level=30"));
    assert!(error.starts_with("user_0/f1: ") && error.contains("level"), "{error}");
    let error = place.refusal(&format!("pair/{one}"));
    assert!(error.contains("copy"), "{error}");
}

#[test]
fn the_daemons_own_arguments_do_not_become_part_of_the_path() {
    let place = Place::new();
    let disk = place.path("disk");
    for (written, seconds) in [
        (format!("file/{disk};tcmur_cmd_time_out=30"), 30),
        (format!("file/;tcmur_cmd_timeout=7;{disk}"), 7),
        (format!("file/{disk};tcmur_cmd_time_out=-1;"), 0),
        (format!("file/{disk}"), 0),
    ] {
        let device = place.prepare(&written).unwrap();
        assert_eq!(place.opener.records.all().remove(0).device().command_timeout_s, seconds, "{written}");
        drop(device);
    }
    assert!(Path::new(&disk).exists());
    let error = place.refusal("file/relative;tcmur_cmd_time_out=30");
    assert!(error.contains("relative"), "{error}");
}

#[test]
fn a_dev_config_that_the_kernel_may_have_cut_is_told() {
    let place = Place::new();
    let missing = format!("file/{}/{}", place.path("no-such-directory"), "x".repeat(200));
    let short = place.refusal(&missing);
    assert!(!short.contains("255"), "{short}");
    let long = place.refusal(&format!("{missing:x<255}"));
    assert!(long.contains("the kernel keeps 255 bytes of dev_config and may have cut it"), "{long}");
}

#[test]
fn aborts_are_asked_for_where_the_kernel_can_tell_of_them() {
    let place = Place::new();
    let attribute = place.root.path().join("core/user_0/f1/attrib/tmr_notification");
    fs::write(&attribute, "0").unwrap();
    drop(place.prepare(&format!("file/{}", place.path("disk"))).unwrap());
    assert_eq!(fs::read_to_string(&attribute).unwrap(), "1");
}

#[test]
fn values_that_are_in_force_are_no_change() {
    let place = Place::new();
    fs::write(place.root.path().join("core/user_0/f1/attrib/emulate_write_cache"), "0\n").unwrap();
    let config = format!("file/{}", place.path("disk"));
    let mut device = place.prepare(&config).unwrap();
    // Nothing serves it: whatever is asked of a worker fails.
    device.change(&Change::Size(1 << 20)).unwrap();
    device.change(&Change::Config(config.clone())).unwrap();
    device.change(&Change::WriteCache(false)).unwrap();
    let errno = |refused: Result<(), crate::service::Refusal>| refused.unwrap_err().errno;
    assert_eq!(errno(device.change(&Change::Size(2 << 20))), Errno::ENODEV);
    assert_eq!(errno(device.change(&Change::WriteCache(true))), Errno::ENODEV);
    assert_eq!(errno(device.change(&Change::Config(format!("{config}2")))), Errno::EOPNOTSUPP);
    assert_eq!(errno(device.change(&Change::Unknown)), Errno::EOPNOTSUPP);
}

#[test]
fn a_tenant_gets_only_what_its_policy_says() {
    let place = Place::with_policy(|root| {
        let text = format!(
            "version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{{device = \"f*\"}}]\nhandlers = [\"file\"]\n\
             roots = [{:?}]\n[tenant.limits]\nmemory = \"1 MiB\"\n",
            root.join("acme")
        );
        Policy::parse(&text, Path::new("policy.toml")).unwrap()
    });
    fs::create_dir(place.root.path().join("acme")).unwrap();
    let error = place.refusal(&format!("pair/{};copy=/x", place.path("acme/disk")));
    assert!(error.contains("tenant acme may not use handler \"pair\""), "{error}");
    let error = place.refusal(&format!("file/{}", place.path("disk")));
    assert!(error.contains("acme"), "{error}");
    assert!(!Path::new(&place.path("disk")).exists());
    let device = place.prepare(&format!("file/{}", place.path("acme/disk"))).unwrap();
    let record = place.opener.records.all().remove(0);
    assert_eq!((record.key(), record.device().limits.memory_bytes), ("acme", 1 << 20));
    assert_eq!(record.device().limits.table_elements, Limits::default().table_elements);
    drop(device);
}

/// What a worker gave back: /dev/null stands in for a UIO node.
struct Left {
    worker: Arc<Worker>,
    stopped: Arc<AtomicBool>,
    /// What it was told about its size.
    size: Arc<AtomicU64>,
}

impl Left {
    fn by(tenant: &str) -> Self {
        let (stopped, size) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let answer = {
            let (stopped, size) = (Arc::clone(&stopped), Arc::clone(&size));
            move |request| match request {
                Request::Resize { call, bytes, .. } => {
                    size.store(bytes, Ordering::Relaxed);
                    say(Report::Done { call })
                }
                Request::Stop { call, .. } => {
                    stopped.store(true, Ordering::Relaxed);
                    say(Report::Done { call })
                }
                _ => Vec::new(),
            }
        };
        Self { worker: scripted::worker(tenant, &[0], answer, || {}), stopped, size }
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Place {
    /// The kernel's device, on the file `disk` of this place.
    fn enable(&self, subtype: &str) -> String {
        self.enable_at(0, "f1", subtype)
    }

    fn enable_at(&self, minor: u32, device: &str, subtype: &str) -> String {
        let uio = self.root.path().join(format!("class/uio{minor}"));
        fs::create_dir_all(uio.join("maps/map0")).unwrap();
        let name = format!("tcm-user/0/{device}/{subtype}/{}", self.path("disk"));
        for (field, text) in
            [("name", name.as_str()), ("version", "2"), ("maps/map0/size", "0x2000"), ("dev", "1:3")]
        {
            fs::write(uio.join(field), format!("{text}\n")).unwrap();
        }
        let statistics = self.root.path().join(format!("core/user_0/{device}/statistics/scsi_dev"));
        fs::create_dir_all(&statistics).unwrap();
        fs::write(statistics.join("indx"), format!("{}\n", minor + 7)).unwrap();
        fs::write(self.path("disk"), vec![0; 4096]).unwrap();
        name
    }

    /// All of it, with what is left to be done.
    fn inherit(&self, left: &Left, name: &str, ring: &str) -> Result<Adopted<Device>, Unfit> {
        let leftovers = Leftovers::default();
        let adopted = self.judge(left, &self.said(0, name), ring, &leftovers);
        leftovers.settle(&self.opener);
        adopted
    }

    /// What an honest worker says of a device.
    fn said(&self, minor: u32, name: &str) -> Served {
        let store = Store {
            option: String::new(),
            locator: self.path("disk"),
            read_only: false,
            shared: true,
            kind: StoreKind::File,
        };
        Served { id: minor + 7, ..scripted::device(minor, name, vec![store]) }
    }

    fn judge(
        &self,
        left: &Left,
        said: &Served,
        ring: &str,
        leftovers: &Leftovers,
    ) -> Result<Adopted<Device>, Unfit> {
        let disk = fs::File::options().read(true).write(true).open(self.path("disk")).unwrap();
        let open = |path: &str| OwnedFd::from(fs::File::open(path).unwrap());
        let inherited = Inherited {
            worker: Arc::clone(&left.worker),
            device: said.clone(),
            descriptors: vec![open(ring), open("/dev/zero"), disk.into()],
        };
        self.opener.inherit(inherited, leftovers)
    }
}

#[test]
fn what_a_worker_says_of_a_device_is_taken_from_where_it_can_be_trusted() {
    let place = Place::new();
    let name = place.enable("file");
    let left = Left::by("default");
    let adopted = place.inherit(&left, "tcm-user/0/other/file//etc/shadow", "/dev/null").unwrap();
    assert_eq!((adopted.minor, adopted.id, adopted.outdated), (Minor(0), DeviceId(7), false));
    assert_eq!(adopted.name.to_string(), "user_0/f1", "the node tells the name");
    let record = place.opener.records.all().remove(0);
    let device = record.device();
    assert_eq!((device.name, device.id, device.map_bytes), (name, 7, 0x2000));
    assert_eq!((device.size, device.block_size, device.max_transfer), (1 << 20, 512, 128));
    assert_eq!(device.limits.memory_bytes, Limits::default().memory_bytes);
    assert_eq!((device.handler.subtype.as_str(), device.options.len()), ("file", 0));
    assert!(device.stores[0].shared, "as it runs");
    assert_eq!(record.key(), "default");
    assert_eq!(adopted.device.condition(), crate::service::Condition::Serving);
    let (next, running) = (installed("file", None).digest.to_string(), "said");
    assert_eq!((device.handler.digest, record.handler().digest.as_str()), (next, running));
    record.set_worker(None);
    assert_eq!(record.handler().name, "file", "the next loop is of the handler that is installed");
    assert_eq!(left.size.load(Ordering::Relaxed), 1 << 20, "the kernel knows of no other size");
    assert!(!left.stopped());
}

#[test]
fn a_ring_that_is_not_the_node_is_a_lie() {
    let place = Place::new();
    let name = place.enable("file");
    let left = Left::by("default");
    for ring in [place.path("disk").as_str(), "/dev/zero"] {
        let refused = place.inherit(&left, &name, ring).map(|_| ()).unwrap_err();
        assert!(matches!(&refused, Unfit::Lie(reason) if reason.contains("uio0")), "{refused:?}");
    }
    assert!(place.opener.records.all().is_empty());
    place.inherit(&left, &name, "/dev/null").unwrap();
}

#[test]
fn a_device_whose_node_has_gone_is_ended_and_its_files_are_free() {
    let place = Place::new();
    let name = place.enable("file");
    fs::remove_dir_all(place.root.path().join("class")).unwrap();
    let left = Left::by("default");
    assert_eq!(place.inherit(&left, &name, "/dev/null").map(|_| ()).unwrap_err(), Unfit::Gone);
    assert!(left.stopped() && place.opener.records.all().is_empty());
    place.prepare(&format!("file/{}", place.path("disk"))).unwrap();
}

#[test]
fn a_device_that_was_made_anew_at_its_node_is_not_the_one_that_the_worker_has() {
    let place = Place::new();
    let name = place.enable("file");
    let left = Left::by("default");
    let leftovers = Leftovers::default();
    // The name, the node and its numbers are the same; the kernel's number for the device is not.
    let said = Served { id: 6, ..place.said(0, &name) };
    let judged = place.judge(&left, &said, "/dev/null", &leftovers);
    assert_eq!(judged.map(|_| ()).unwrap_err(), Unfit::Gone);
    assert!(!left.stopped(), "a worker is not waited for while others are adopted");
    leftovers.settle(&place.opener);
    assert!(left.stopped() && place.opener.records.all().is_empty());
    place.prepare(&format!("file/{}", place.path("disk"))).unwrap();
}

#[test]
fn devices_that_share_a_file_go_on_when_policy_does_not_say_so_any_more() {
    let place = Place::new();
    let (one, other) = (place.enable("file"), place.enable_at(1, "f2", "file"));
    let (first, second) = (Left::by("default"), Left::by("default"));
    let leftovers = Leftovers::default();
    let one = place.judge(&first, &place.said(0, &one), "/dev/null", &leftovers).unwrap();
    let other = place.judge(&second, &place.said(1, &other), "/dev/null", &leftovers).unwrap();
    assert_eq!((one.name.to_string(), other.name.to_string()), ("user_0/f1".into(), "user_0/f2".into()));
    let error = place.refusal(&format!("file/{}", place.path("disk")));
    assert!(error.contains("in use"), "a new one gets what policy says: {error}");
}

#[test]
fn a_worker_can_not_keep_a_file_from_those_that_policy_lets_share_it() {
    let place = Place::with_policy(|root| {
        let path = root.join("disk");
        let tenant = |name: &str, device: &str| {
            format!("[[tenant]]\nname = {name:?}\nmatch = [{{device = {device:?}}}]\nshared = [{path:?}]\n")
        };
        let text = format!("version = 1\n{}{}", tenant("acme", "f2"), tenant("other", "f1"));
        Policy::parse(&text, Path::new("policy.toml")).unwrap()
    });
    let name = place.enable("file");
    let (hostile, honest) = (Left::by("acme"), Left::by("other"));
    let leftovers = Leftovers::default();
    // A device that is not there, of nobody's tenant, on a file by another name, and not shared.
    let mut lie = Served { id: 6, ..place.said(9, "tcm-user/0/gone/file/x") };
    lie.stores[0].shared = false;
    lie.stores[0].locator = "/elsewhere".to_owned();
    assert_eq!(place.judge(&hostile, &lie, "/dev/null", &leftovers).map(|_| ()).unwrap_err(), Unfit::Gone);
    place.judge(&honest, &place.said(0, &name), "/dev/null", &Leftovers::default()).unwrap();
    let gone = place.opener.gone(
        &hostile.worker,
        lie,
        &DeviceName::parse("tcm-user/0/gone/file/x").unwrap(),
        Vec::new(),
        vec![fs::File::options().read(true).write(true).open(place.path("disk")).unwrap().into()],
    );
    place.prepare(&format!("file/{}", place.path("disk"))).unwrap();
    drop(gone);
    leftovers.settle(&place.opener);
    assert!(hostile.stopped() && !honest.stopped());
}

#[test]
fn a_device_that_policy_gives_to_another_tenant_moves_to_that_tenants_worker() {
    let place = Place::with_policy(|_| {
        let text =
            "version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{device = \"f*\"}]\nuser = \"4242:4243\"\n";
        Policy::parse(text, Path::new("policy.toml")).unwrap()
    });
    let name = place.enable("file");
    let adopted = place.inherit(&Left::by("default"), &name, "/dev/null").unwrap();
    assert!(adopted.outdated);
    assert_eq!(place.opener.records.all().remove(0).key(), "acme");
    drop(adopted);
    assert!(!place.inherit(&Left::by("acme"), &name, "/dev/null").unwrap().outdated);
}

#[test]
fn without_its_handler_a_device_goes_on_where_it_is_and_is_not_started_again() {
    let place = Place::new();
    let name = place.enable("unknown");
    let left = Left::by("default");
    let adopted = place.inherit(&left, &name, "/dev/null").unwrap();
    assert!(!adopted.outdated && !left.stopped());
    let mut device = adopted.device;
    let setback = device.launch(&Cancel::default()).unwrap_err();
    assert!(setback.to_string().contains("no handler for subtype \"unknown\""), "{setback}");
}

#[test]
fn a_user_that_is_not_known_at_the_moment_does_not_end_devices_that_run() {
    let place = Place::with_policy(|_| {
        let text = "version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{device = \"f*\"}]\nuser = \"no-such-user\"\n";
        Policy::parse(text, Path::new("policy.toml")).unwrap()
    });
    let name = place.enable("file");
    let left = Left::by("acme");
    let adopted = place.inherit(&left, &name, "/dev/null").unwrap();
    assert!(!left.stopped());
    let mut device = adopted.device;
    let setback = device.launch(&Cancel::default()).unwrap_err();
    assert!(setback.to_string().contains("user no-such-user: there is none"), "{setback}");
}
