//! Workers that say what a test wants: the other end of a link, without a process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use lunbox_tcmu::Minor;
use lunbox_wire::{Device, Handler, Hello, Limits, Link, Report, Request, RingKind, Store, VERSION};

use super::client::Origin;
use super::spawn::Place;
use super::{Pool, Spawner, Worker};
use crate::journal::Journal;

/// What is said to a request: any number of reports.
pub type Said = Vec<(Report, Vec<OwnedFd>)>;

/// One report without descriptors.
pub fn say(report: Report) -> Said {
    vec![(report, Vec::new())]
}

pub fn hello(tenant: &str) -> Hello {
    Hello {
        version: VERSION,
        build: "test".to_owned(),
        tenant: tenant.to_owned(),
        pid: 0,
        jail: Vec::new(),
        devices: 0,
    }
}

/// A device as a worker tells it; nothing of it is true.
pub fn device(minor: u32, name: &str, stores: Vec<Store>) -> Device {
    let word = || "said".to_owned();
    Device {
        minor,
        id: 4711,
        name: name.to_owned(),
        ring: RingKind::Uio,
        map_bytes: 1,
        size: 1,
        block_size: 1,
        max_transfer: 1,
        read_only: false,
        handler: Handler { subtype: word(), name: word(), version: word(), digest: word() },
        stores,
        options: vec![(word(), word())],
        limits: Limits {
            memory_bytes: u64::MAX,
            table_elements: u64::MAX,
            cpu_per_call_us: u64::MAX,
            wall_per_call_ms: u64::MAX,
            hostcall_bytes: u32::MAX,
            log_lines_per_second: u32::MAX,
        },
        command_timeout_s: 0,
        write_cache: None,
        size_chosen: false,
        modes: lunbox_wire::Modes::default(),
    }
}

/// A worker that has greeted. `answer` is asked on a thread of its own, until the link ends; `died` is called when that
/// is noticed.
pub fn worker(
    tenant: &str,
    minors: &[u32],
    answer: impl FnMut(Request) -> Said + Send + 'static,
    died: impl FnOnce() + Send + 'static,
) -> Arc<Worker> {
    let (link, other) = Link::pair().unwrap();
    std::thread::spawn(move || play(&other, answer));
    let minors: Vec<_> = minors.iter().copied().map(Minor).collect();
    Worker::listen(link, hello(tenant), &minors, Origin::default(), Arc::new(|_, _| {}), move |_| died())
        .unwrap()
}

/// Workers of any name. `answer` is told whose it is to be; greetings are answered without it.
pub fn pool(answer: impl Fn(&str, Request) -> Said + Send + Sync + 'static) -> Arc<Pool> {
    let body = move |link: Link, tenant: String| {
        play(&link, |request| match request {
            Request::Hello { .. } => say(Report::Hello(hello(&tenant))),
            request => answer(&tenant, request),
        });
    };
    let spawner = Spawner {
        place: Place::Thread(Arc::new(body)),
        sockets: PathBuf::new(),
        build: "test".to_owned(),
        level: "INFO".to_owned(),
    };
    Pool::new(spawner, Arc::new(|_, _| {}), Journal::default())
}

/// Answers until the link ends.
fn play(link: &Link, mut answer: impl FnMut(Request) -> Said) {
    while let Ok(Some((request, _))) = link.receive::<Request>() {
        for (report, descriptors) in answer(request) {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            if link.send(&report, &descriptors).is_err() {
                return;
            }
        }
    }
}
