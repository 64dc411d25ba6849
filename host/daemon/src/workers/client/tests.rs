use super::*;
use crate::workers::scripted::{self, Said as Words, say};

fn silent(_: Request) -> Words {
    Vec::new()
}

fn level() -> impl FnOnce(Call) -> Request {
    |call| Request::Status { call }
}

#[test]
fn counters_are_kept_of_a_workers_own_devices_and_once_each() {
    let counters = |commands| DeviceStatus { commands, ..DeviceStatus::default() };
    let worker = scripted::worker(
        "acme",
        &[1, 2],
        move |request| {
            let Request::Status { call } = request else { return Vec::new() };
            let status = |devices: Vec<(u32, DeviceStatus)>, more| {
                (Report::Status { call, devices, more }, Vec::new())
            };
            let mut said: Words =
                (0..100).map(|round| status(vec![(1, counters(round)), (7, counters(9))], true)).collect();
            said.push(status(vec![(2, counters(5))], false));
            said
        },
        || {},
    );
    match worker.ask(&[], Duration::from_secs(20), level()) {
        Ok(Answer::Status(devices)) => {
            assert_eq!(devices, [(Minor(1), counters(99)), (Minor(2), counters(5))]);
        }
        other => panic!("{other:?}"),
    }
    assert!(worker.state().status.is_empty());
}

#[test]
fn parts_of_an_answer_that_nobody_waits_for_are_not_kept() {
    let worker = scripted::worker(
        "acme",
        &[1],
        |request| match request {
            Request::Status { call } => {
                say(Report::Status { call, devices: vec![(1, DeviceStatus::default())], more: true })
            }
            _ => Vec::new(),
        },
        || {},
    );
    let asked = worker.ask(&[], Duration::from_millis(50), level());
    assert!(matches!(asked, Err(AskError::Silent(_))), "{asked:?}");
    assert!(worker.state().status.is_empty());
}

#[test]
fn a_worker_that_left_a_question_unanswered_is_not_waited_for_again_until_it_speaks() {
    let speaks = Arc::new(AtomicBool::new(false));
    let worker = scripted::worker(
        "acme",
        &[],
        {
            let speaks = Arc::clone(&speaks);
            move |request| match request {
                Request::Status { call } | Request::Stop { call, .. } if speaks.load(Ordering::Relaxed) => {
                    say(Report::Done { call })
                }
                _ => Vec::new(),
            }
        },
        || {},
    );
    let stop = |call| Request::Stop { call, minor: 0, how: lunbox_wire::Ending::Drain, patience_ms: 0 };
    let first = worker.ask_for(&[], Duration::from_millis(50), stop);
    assert_eq!(first, Err(AskError::Silent(Duration::from_millis(50))));
    let asked = Instant::now();
    assert_eq!(worker.ask_for(&[], Duration::from_secs(60), stop), Err(AskError::Silent(MUTE)));
    assert!(asked.elapsed() < Duration::from_secs(30), "waited for as if it had answered before");
    speaks.store(true, Ordering::Relaxed);
    assert_eq!(worker.ask_for(&[], Duration::from_secs(60), stop), Ok(()));
}

#[test]
fn all_workers_are_asked_for_their_counters_in_the_time_of_one() {
    let workers: Vec<_> = (0..20).map(|_| scripted::worker("acme", &[], silent, || {})).collect();
    let asked = Instant::now();
    let answers = ask_for_status(&workers, Duration::from_millis(500));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().all(|(_, answer)| matches!(answer, Err(AskError::Silent(_)))));
}

#[test]
fn what_a_worker_says_is_one_line() {
    let worker = scripted::worker(
        "acme",
        &[],
        |request| match request {
            Request::Status { call } => say(Report::Refused {
                call,
                kind: Refusal::Failed,
                reason: format!("so\n2026 ERROR lunboxd: forged{}", "x".repeat(1000)),
            }),
            _ => Vec::new(),
        },
        || {},
    );
    let Err(AskError::Refused(_, reason)) = worker.ask(&[], Duration::from_secs(20), level()) else {
        panic!("not refused")
    };
    assert!(reason.starts_with("so 2026 ERROR") && reason.chars().count() <= 501, "{reason}");
}

#[test]
fn whoever_waits_for_a_worker_that_dies_hears_of_it_after_the_death_was_noted() {
    let ((entered, noting), (go_on, told)) = (channel::<()>(), channel::<()>());
    let (heard, asked) = channel::<()>();
    let hears = move |_| {
        heard.send(()).unwrap();
        Vec::new()
    };
    let worker = scripted::worker("acme", &[], hears, move || {
        entered.send(()).unwrap();
        told.recv().unwrap();
    });
    let asker = std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || worker.ask_for(&[], Duration::from_secs(60), level())
    });
    asked.recv().unwrap();
    worker.kill();
    noting.recv().unwrap();
    assert!(worker.is_lost() && worker.state().waiting.len() == 1, "woken while the death is being noted");
    go_on.send(()).unwrap();
    assert_eq!(asker.join().unwrap(), Err(AskError::Lost));
}

#[test]
fn an_answer_that_lost_its_descriptors_is_a_refusal_and_the_worker_goes_on() {
    let worker = scripted::worker("acme", &[1], silent, || {});
    let (sender, answer) = channel();
    worker.state().waiting.insert(77, sender);
    assert!(worker.refuse_waiting());
    match answer.recv() {
        Ok(Answer::Refused(Refusal::Failed, reason)) => assert!(reason.contains("LimitNOFILE"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!worker.refuse_waiting(), "who sends descriptors that nobody asked for garbles messages");
    assert!(!worker.is_lost());
}
