use std::cell::RefCell;

use super::*;

fn locks(reads: bool, together: bool) -> Locks {
    Locks { own: Some(Byte::of_device("a", "")), reads, together }
}

fn locator() -> Locator {
    Locator::Path("/disk".to_owned())
}

fn open(file: &tempfile::NamedTempFile, reads: bool) -> OwnedFd {
    if reads { std::fs::File::open(file.path()).unwrap().into() } else { file.reopen().unwrap().into() }
}

#[test]
fn a_successor_waits_for_its_predecessor_in_every_role() {
    for (reads, together) in [(false, false), (false, true), (true, true)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let predecessor = open(&file, reads);
        let locks = locks(reads, together);
        let none = Patience::limited(Duration::ZERO);
        assert_eq!(take(&predecessor, locks, &none, &locator()).unwrap(), Fenced::Yes);
        let error = take(&open(&file, reads), locks, &none, &locator()).unwrap_err();
        assert!(matches!(error, FenceError::Held { blocker: Blocker::Predecessor, .. }), "{error}");
        assert!(error.to_string().contains("/disk was still held by operations of the process"), "{error}");
        // A device of another name is not in the way, if the file may be used together.
        let other = Locks { own: Some(Byte::of_device("b", "")), ..locks };
        let taken = take(&open(&file, reads), other, &none, &locator());
        match taken {
            Ok(Fenced::Yes) => assert!(together),
            Err(FenceError::Held { blocker: Blocker::Other, .. }) => assert!(!together),
            unexpected => panic!("{unexpected:?}"),
        }
        // Given back while the other one waits, and not before.
        let held = RefCell::new(Some(predecessor));
        let waits = RefCell::new(Vec::new());
        let patience = Patience {
            limit: Some(Duration::from_secs(30)),
            waiting: Some(&|wait: &Wait<'_>| {
                waits.borrow_mut().push(wait.to_string());
                drop(held.borrow_mut().take());
            }),
            ..Patience::default()
        };
        assert_eq!(take(&open(&file, reads), locks, &patience, &locator()).unwrap(), Fenced::Yes);
        assert_eq!(
            waits.into_inner(),
            ["/disk is held by operations of the process that served this device before"]
        );
    }
}

#[test]
fn a_wait_can_be_given_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let _predecessor = {
        let fd = open(&file, false);
        take(&fd, locks(false, false), &Patience::limited(Duration::ZERO), &locator()).unwrap();
        fd
    };
    let cancel = AtomicBool::new(false);
    let patience = Patience {
        // From within the wait, as another thread would.
        waiting: Some(&|_: &Wait<'_>| cancel.store(true, Ordering::Release)),
        ..Patience::cancelled_by(&cancel)
    };
    let error = take(&open(&file, false), locks(false, false), &patience, &locator()).unwrap_err();
    assert!(matches!(error, FenceError::Cancelled { blocker: Blocker::Predecessor, .. }), "{error}");
}

#[test]
fn nothing_stays_locked_of_an_attempt_that_failed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let other = open(&file, false);
    assert_eq!(lock::take(&other, lock::FILE, Mode::Alone), Ok(Taken::Yes));
    let fd = open(&file, false);
    let error = take(&fd, locks(false, false), &Patience::limited(Duration::ZERO), &locator()).unwrap_err();
    assert!(matches!(error, FenceError::Held { blocker: Blocker::Other, .. }), "{error}");
    assert!(error.to_string().contains("lsof"), "{error}");
    drop((fd, other));
    take(&open(&file, false), locks(false, false), &Patience::default(), &locator()).unwrap();
}

#[test]
fn what_can_not_have_a_predecessor_takes_only_the_files_lock() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let alone = Locks { own: None, ..locks(false, false) };
    let fd = open(&file, false);
    take(&fd, alone, &Patience::default(), &locator()).unwrap();
    let own = Byte::of_device("a", "");
    assert_eq!(lock::take(open(&file, false), own, Mode::Alone), Ok(Taken::Yes));
    assert_eq!(lock::take(open(&file, false), lock::FILE, Mode::Alone), Ok(Taken::Held));
}

#[test]
fn a_description_that_can_not_be_locked_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let reads = open(&file, true);
    let error = take(&reads, locks(false, false), &Patience::default(), &locator()).unwrap_err();
    assert!(matches!(error, FenceError::Lock { errno: Errno::EBADF, .. }), "{error}");
}

#[test]
fn no_memory_for_a_lock_is_tried_again_and_never_opens_the_fence() {
    let answers = RefCell::new(vec![Ok(Taken::Yes), Ok(Taken::Yes), Err(Errno::ENOLCK), Err(Errno::ENOLCK)]);
    let lock = |_, _| answers.borrow_mut().pop().unwrap();
    let patience = Patience::limited(Duration::from_secs(30));
    assert_eq!(take_by(lock, locks(false, false), &patience, &locator()).unwrap(), Fenced::Yes);
    assert!(answers.into_inner().is_empty(), "both locks were had");
    // Not for ever, and with words for both causes.
    let tries = RefCell::new(0);
    let never = |_, _| {
        *tries.borrow_mut() += 1;
        Err(Errno::ENOLCK)
    };
    let patience = Patience::limited(Duration::from_millis(20));
    let error = take_by(never, locks(false, false), &patience, &locator()).unwrap_err();
    assert!(matches!(error, FenceError::Lock { errno: Errno::ENOLCK, .. }), "{error}");
    assert!(error.to_string().contains("memory") && error.to_string().contains("nolock"), "{error}");
    assert!(*tries.borrow() > 1);
    let cancel = AtomicBool::new(true);
    let error =
        take_by(never, locks(false, false), &Patience::cancelled_by(&cancel), &locator()).unwrap_err();
    assert!(matches!(error, FenceError::Cancelled { .. }), "{error}");
}

#[test]
fn a_file_system_that_says_it_has_no_locks_is_told_apart() {
    let lock = |_, _| Ok(Taken::Unsupported);
    let taken = take_by(lock, locks(false, false), &Patience::default(), &locator());
    assert_eq!(taken.unwrap(), Fenced::No);
}
