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
fn a_device_that_can_not_be_supervised_here_is_tried_again_and_goes_on_like_its_neighbours() {
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let worker = scripted::worker(
        "acme",
        &[1, 2, 3, 4],
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
    let tries = AtomicUsize::new(0);
    let fit = devices(&worker, &devices_of(&[1, 2, 3, 4]), |inherited| match inherited.device.minor {
        1 => Err(Unfit::Here("no descriptors left".to_owned())),
        4 if tries.fetch_add(1, Ordering::Relaxed) == 0 => Err(Unfit::Here("not yet".to_owned())),
        minor => Ok(minor),
    });
    assert_eq!(fit, [2, 4]);
    assert!(stopped.lock().unwrap().is_empty(), "what serves well is not ended");
    assert!(!worker.is_lost());
    assert_eq!(worker.devices(), 3, "the one that is left alone runs there");
}

#[test]
fn a_worker_that_is_slow_keeps_its_loops() {
    let stopped = Arc::new(AtomicBool::new(false));
    let worker = scripted::worker(
        "acme",
        &[1, 2],
        {
            let stopped = Arc::clone(&stopped);
            move |request| {
                if handles(&request).is_some() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                stopped.fetch_or(matches!(request, Request::Stop { .. }), Ordering::Relaxed);
                generous(request)
            }
        },
        || {},
    );
    // The first answer uses up all the time that there is.
    let rest = Duration::from_millis(1);
    let fit = devices_within(&worker, &devices_of(&[1, 2]), rest, |inherited| Ok(inherited.device.minor));
    assert_eq!(fit, [1]);
    assert!(!worker.is_lost() && !stopped.load(Ordering::Relaxed));
    assert_eq!(worker.devices(), 2);
}

#[test]
fn a_worker_whose_loop_nobody_supervises_lets_go_of_its_node_when_it_ends() {
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let worker = scripted::worker(
        "acme",
        &[1, 2],
        {
            let stopped = Arc::clone(&stopped);
            move |request| match request {
                Request::Stop { minor, .. } => {
                    stopped.lock().unwrap().push(minor);
                    Vec::new()
                }
                // Both loops end.
                Request::Leave => [1, 2]
                    .map(|minor| {
                        let notice = lunbox_wire::Notice::Ended("broken".to_owned());
                        (Report::Notice { minor, notice }, Vec::new())
                    })
                    .into(),
                _ => Vec::new(),
            }
        },
        || {},
    );
    worker.leave_alone(Minor(1));
    worker.tell(&Request::Leave);
    let deadline = Instant::now() + Duration::from_secs(20);
    let ended = || matches!(worker.condition(Minor(2)), crate::service::Condition::Ended(_));
    while !(ended() && stopped.lock().unwrap().as_slice() == [1]) {
        assert!(Instant::now() < deadline, "{:?}", stopped.lock().unwrap());
        std::thread::yield_now();
    }
    assert_eq!(worker.devices(), 1, "the other one is its supervisor's to stop");
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
