use std::sync::atomic::AtomicBool;

use lunbox_wire::Report;

use super::*;
use crate::workers::scripted::{self, Said, device, say};

fn handles(request: &Request) -> Option<(u64, u32)> {
    if let Request::Handles { call, minor } = request { Some((*call, *minor)) } else { None }
}

/// Gives no descriptors, but says so.
fn generous(request: Request) -> Said {
    match request {
        Request::Handles { call, .. } => say(Report::Handles { call }),
        Request::Stop { call, .. } => say(Report::Done { call }),
        _ => Vec::new(),
    }
}

fn devices_of(minors: &[u32]) -> Vec<Served> {
    minors.iter().map(|&minor| device(minor, "x", Vec::new())).collect()
}

fn ends(worker: &Worker) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !worker.is_lost() {
        assert!(Instant::now() < deadline, "it was not ended");
        std::thread::yield_now();
    }
}

#[test]
fn a_socket_says_whose_worker_listens_at_it() {
    for (path, expected) in [
        ("/run/lunbox/workers/acme.sock", "acme"),
        ("/run/lunbox/workers/acme~7.sock", "acme"),
        ("/run/lunbox/workers/acme.uio3.sock", "acme.uio3"),
        ("/run/lunbox/workers/acme.uio3~12.sock", "acme.uio3"),
        ("/run/lunbox/workers/acme~.sock", "acme~"),
    ] {
        assert_eq!(key(Path::new(path)), Some(expected));
    }
    assert_eq!(key(Path::new("/run/lunbox/workers/acme")), None);
}

#[test]
fn what_is_done_on_several_threads_comes_back_in_order() {
    let items: Vec<usize> = (0..200).collect();
    assert_eq!(several(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    assert!(several(&[] as &[u8], |_| ()).is_empty());
}

#[test]
fn a_worker_that_lies_is_ended_and_nothing_more_is_taken_from_it() {
    let worker = scripted::worker("acme", &[1, 2, 3], generous, || {});
    let judged = Mutex::new(Vec::new());
    let fit = devices(&worker, &devices_of(&[1, 2, 3]), |inherited| {
        let minor = inherited.device.minor;
        judged.lock().unwrap().push(minor);
        if minor == 2 { Err(Unfit::Lie("said so".to_owned())) } else { Ok(minor) }
    });
    assert_eq!((fit, judged.into_inner().unwrap()), (vec![1], vec![1, 2]));
    ends(&worker);
}

#[test]
fn a_device_that_can_not_be_supervised_is_ended_and_its_neighbours_go_on() {
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let worker = scripted::worker(
        "acme",
        &[1, 2, 3],
        {
            let stopped = Arc::clone(&stopped);
            move |request| {
                if let Request::Stop { minor, .. } = &request {
                    stopped.lock().unwrap().push(*minor);
                }
                match handles(&request) {
                    // It has ended between the greeting and the question.
                    Some((call, 3)) => {
                        say(Report::Refused { call, kind: Refusal::Gone, reason: "gone".to_owned() })
                    }
                    _ => generous(request),
                }
            }
        },
        || {},
    );
    let fit = devices(&worker, &devices_of(&[1, 2, 3]), |inherited| match inherited.device.minor {
        1 => Err(Unfit::Here("no descriptors left".to_owned())),
        minor => Ok(minor),
    });
    assert_eq!((fit, stopped.lock().unwrap().as_slice()), (vec![2], [1].as_slice()));
    assert!(!worker.is_lost());
    assert_eq!(worker.devices(), 1);
}

#[test]
fn a_worker_that_greets_and_says_nothing_more_costs_the_wait_for_one_answer() {
    let asked = Arc::new(AtomicBool::new(false));
    let worker = scripted::worker(
        "acme",
        &[1, 2, 3],
        {
            let asked = Arc::clone(&asked);
            move |request| {
                asked.fetch_or(handles(&request).is_some(), Ordering::Relaxed);
                Vec::new()
            }
        },
        || {},
    );
    let begun = Instant::now();
    let fit: Vec<u32> = devices(&worker, &devices_of(&[1, 2, 3]), |inherited| Ok(inherited.device.minor));
    assert!(fit.is_empty() && asked.load(Ordering::Relaxed));
    assert!(begun.elapsed() < HANDLES.saturating_mul(2), "{:?}", begun.elapsed());
    ends(&worker);
}
