//! A bus of one's own, and clients on it.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunbox_bus::{Announced, Backend, Bus, BusError, Handle, NAME, Options};
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

pub const ROOT: &str = "/org/kernel/TCMUService1";
pub const MANAGER: &str = "/org/kernel/TCMUService1/HandlerManager1";

/// A bus that everybody may use for everything, in a directory of its own.
pub struct PrivateBus {
    place: tempfile::TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    pub fn new() -> Self {
        let mut bus = Self::without_daemon();
        bus.start();
        bus
    }

    pub fn without_daemon() -> Self {
        Self { place: tempfile::tempdir().unwrap(), daemon: None }
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("bus")
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    pub fn start(&mut self) {
        let config = self.place.path().join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><listen>{}</listen>\
             <auth>EXTERNAL</auth><policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            self.address()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address=1"])
            .arg(format!("--config-file={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is there (Debian: apt-get install dbus-daemon)");
        let mut line = String::new();
        // It prints the address when it listens.
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "{line:?}");
        self.daemon = Some(daemon);
    }

    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let _ = std::fs::remove_file(self.socket());
    }

    /// A client. Its calls have an end.
    pub async fn client(&self) -> Connection {
        Builder::address(self.address().as_str()).method_timeout(TIME).build().await.unwrap()
    }

    pub fn serve(&self, backend: &Arc<Daemon>, handlers: &[&str]) -> Handle {
        self.try_serve(backend, handlers, me()).unwrap()
    }

    pub fn try_serve(
        &self,
        backend: &Arc<Daemon>,
        handlers: &[&str],
        trusted_user: u32,
    ) -> Result<Handle, BusError> {
        let backend: Arc<dyn Backend> = backend.clone();
        Bus::start(Options { trusted_user, ..self.options(handlers) }, backend)
    }

    pub fn options(&self, handlers: &[&str]) -> Options {
        Options {
            address: Some(self.address()),
            handlers: announced(handlers),
            trusted_user: me(),
            ..Options::default()
        }
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill();
        }
    }
}

/// No test takes so long unless it fails.
pub const TIME: Duration = Duration::from_secs(20);

pub fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

pub fn announced(subtypes: &[&str]) -> Vec<Announced> {
    let one = |subtype: &&str| Announced {
        subtype: (*subtype).to_owned(),
        config_desc: format!("Help on {subtype}.\nTwo lines."),
    };
    subtypes.iter().map(one).collect()
}

/// The daemon behind the service: answers as the configuration asks it to.
#[derive(Debug)]
pub struct Daemon {
    pub external: Mutex<Vec<(String, bool)>>,
    pub asked: Mutex<Vec<(String, String)>>,
    gate: (SyncSender<()>, Mutex<Receiver<()>>),
}

impl Daemon {
    pub fn new() -> Arc<Self> {
        let (open, gate) = sync_channel(100);
        Arc::new(Self { external: Mutex::default(), asked: Mutex::default(), gate: (open, Mutex::new(gate)) })
    }

    /// Lets one check go on that waits.
    pub fn open_gate(&self) {
        self.gate.0.send(()).unwrap();
    }
}

impl Backend for Daemon {
    fn check(&self, subtype: &str, configstr: &str) -> Result<(), String> {
        self.asked.lock().unwrap().push((subtype.to_owned(), configstr.to_owned()));
        match configstr.split_once('/').map_or("", |(_, config)| config) {
            "wait" => {
                self.gate.1.lock().unwrap().recv_timeout(TIME).unwrap();
                Ok(())
            }
            "panic" => panic!("asked for"),
            "silent" => Err(String::new()),
            "lines" => Err("no option \"x\"\nfile takes\0path".to_owned()),
            "endless" => Err("x".repeat(1 << 20)),
            config if config.starts_with("bad") => Err(config.to_owned()),
            _ => Ok(()),
        }
    }

    fn glance(&self, subtype: &str, configstr: &str) -> Result<(), String> {
        Err(format!("{subtype} was not asked for {configstr}"))
    }

    fn external(&self, subtype: &str, added: bool) {
        self.external.lock().unwrap().push((subtype.to_owned(), added));
    }
}

/// Until it is so. Fails when it takes too long.
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + TIME;
    while !so() {
        assert!(Instant::now() < until, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

pub async fn managed(client: &Connection) -> zbus::Result<Objects> {
    let interface = Some("org.freedesktop.DBus.ObjectManager");
    let reply = client.call_method(Some(NAME), ROOT, interface, "GetManagedObjects", &()).await?;
    reply.body().deserialize()
}

/// What targetcli makes of it: last elements of the paths, and their help texts.
pub async fn subtypes(client: &Connection) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, mut interfaces) in managed(client).await.unwrap() {
        let mut properties = interfaces.remove(NAME).unwrap_or_else(|| panic!("{path}: {interfaces:?}"));
        assert!(interfaces.is_empty(), "{path}: {interfaces:?}");
        let help = String::try_from(properties.remove("ConfigDesc").unwrap()).unwrap();
        assert!(properties.is_empty(), "{path}: {properties:?}");
        let subtype =
            path.as_str().strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')).unwrap().to_owned();
        found.insert(subtype, help);
    }
    found
}

pub async fn check(client: &Connection, subtype: &str, config: &str) -> zbus::Result<(bool, String)> {
    let path = format!("{ROOT}/{subtype}");
    client.call_method(Some(NAME), path, Some(NAME), "CheckConfig", &config).await?.body().deserialize()
}

pub async fn register(client: &Connection, subtype: &str, help: &str) -> zbus::Result<(bool, String)> {
    let interface = Some("org.kernel.TCMUService1.HandlerManager1");
    let reply =
        client.call_method(Some(NAME), MANAGER, interface, "RegisterHandler", &(subtype, help)).await?;
    reply.body().deserialize()
}

pub async fn introspect(client: &Connection, path: &str) -> String {
    let interface = Some("org.freedesktop.DBus.Introspectable");
    let reply = client.call_method(Some(NAME), path, interface, "Introspect", &()).await.unwrap();
    reply.body().deserialize().unwrap()
}
