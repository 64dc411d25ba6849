//! `action/reset_ring` under a daemon that goes on.

use lunbox_tcmu::{Next, Outstanding, Refused, Request, Response, Ring};

use crate::kernel::{Kernel, take};

/// A completion that must be refused; gives the command up.
fn refused(ring: &mut Ring, command: Outstanding) {
    match ring.complete(command, &Response::default()) {
        Err(Refused::Reset(command)) => command.abandon(),
        other => panic!("not refused as reset: {other:?}"),
    }
}

/// Completes one command, so that the tail is not 0.
fn leave_the_start(kernel: &mut Kernel, ring: &mut Ring) {
    kernel.queue();
    let command = take(ring, &mut Request::default());
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 1);
    assert!(!ring.was_reset());
}

#[test]
fn a_late_completion_does_not_finish_the_command_that_got_its_id() {
    // Tail at 0 and elsewhere; none, one or many commands queued anew before the daemon looks.
    for away in [false, true] {
        for queued in [0, 1, 2, 3, 10] {
            let mut kernel = Kernel::new(4096);
            let mut ring = kernel.attach();
            let mut request = Request::default();
            if away {
                leave_the_start(&mut kernel, &mut ring);
            }
            kernel.queue();
            kernel.queue();
            let old = [take(&mut ring, &mut request), take(&mut ring, &mut request)];
            let answered = kernel.reset();
            assert_eq!(answered.len(), 2);
            let ids: Vec<_> = (0..queued).map(|_| kernel.queue().0).collect();
            let tail = kernel.tail();

            assert!(ring.was_reset(), "away {away}, {queued} queued");
            assert_eq!(ring.next(&mut request), Ok(None), "nothing is taken before the old ones are settled");
            for command in old {
                refused(&mut ring, command);
            }
            assert_eq!(kernel.tail(), tail, "nothing was written");
            let generation = ring.generation();
            ring.resync().unwrap();
            assert!(!ring.was_reset() && ring.generation() > generation);
            for id in ids {
                let command = take(&mut ring, &mut request);
                assert_eq!(command.id(), id);
                ring.complete(command, &Response::default()).unwrap();
            }
            assert_eq!(kernel.collect().len(), queued);
            assert!(kernel.live.is_empty());
        }
    }
}

#[test]
fn a_completion_alone_notices_the_reset() {
    for (away, queued) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
        let mut kernel = Kernel::new(4096);
        let mut ring = kernel.attach();
        if away {
            leave_the_start(&mut kernel, &mut ring);
        }
        kernel.queue();
        let command = take(&mut ring, &mut Request::default());
        kernel.reset();
        for _ in 0..queued {
            kernel.queue();
        }
        refused(&mut ring, command);
        assert!(ring.was_reset());
    }
}

#[test]
fn a_seen_reset_stays_until_resync() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    kernel.queue();
    let old = take(&mut ring, &mut request);
    let mark = kernel.map.load_u64(128 + 32).unwrap();
    assert_ne!(mark, 0);
    kernel.reset();
    assert_eq!(ring.next(&mut request), Ok(None));
    // Even if the memory looked as before.
    kernel.queue();
    kernel.map.store_u64(128 + 32, mark).unwrap();
    assert!(ring.was_reset());
    refused(&mut ring, old);
}

#[test]
fn a_command_of_an_old_generation_is_refused_for_good() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    kernel.queue();
    let old = take(&mut ring, &mut request);
    kernel.reset();
    ring.resync().unwrap();
    kernel.queue();
    let new = take(&mut ring, &mut request);
    assert_eq!(old.id(), new.id(), "the kernel reuses ids, lowest first");
    assert_eq!(old.generation().value() + 1, new.generation().value());
    refused(&mut ring, old);
    assert!(!ring.was_reset(), "the present generation is sound");
    ring.complete(new, &Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 1);
}

#[test]
fn a_reset_of_an_idle_ring_is_survived() {
    for away in [false, true] {
        let mut kernel = Kernel::new(4096);
        let mut ring = kernel.attach();
        let mut request = Request::default();
        if away {
            leave_the_start(&mut kernel, &mut ring);
        }
        kernel.reset();
        assert_eq!(ring.was_reset(), away, "at position 0 nothing has changed");
        assert_eq!(ring.next(&mut request), Ok(None));
        ring.resync().unwrap();
        kernel.queue();
        let command = take(&mut ring, &mut request);
        ring.complete(command, &Response::default()).unwrap();
        assert_eq!(kernel.collect().len(), 1);
    }
}

#[test]
fn commands_not_yet_taken_are_not_taken_after_a_reset() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    leave_the_start(&mut kernel, &mut ring);
    for _ in 0..4 {
        kernel.queue();
    }
    kernel.reset();
    assert!(ring.head_moved(), "wakes the loop up");
    assert_eq!(ring.next(&mut request), Ok(None));
    ring.resync().unwrap();
    assert_eq!(ring.next(&mut request), Ok(None));
    assert_eq!(ring.outstanding(), 0);
}

#[test]
fn resync_without_a_reset_changes_nothing() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    kernel.queue();
    let command = take(&mut ring, &mut Request::default());
    ring.resync().unwrap();
    assert_eq!((ring.outstanding(), ring.generation().value()), (1, 0));
    ring.complete(command, &Response::default()).unwrap();
    assert_eq!(kernel.collect().len(), 1);
}

#[test]
fn a_mailbox_that_changed_is_refused_by_resync() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    leave_the_start(&mut kernel, &mut ring);
    kernel.reset();
    kernel.map.store_u32(8, 2048).unwrap();
    assert!(ring.resync().is_err());
    assert!(ring.was_reset(), "still to be settled");
    kernel.map.store_u32(8, 4096).unwrap();
    ring.resync().unwrap();
    assert!(!ring.was_reset());
}

/// A reset caught between the kernel's two stores: cmd_tail is 0 already, cmd_head still covers old entries.
fn reset_halfway(kernel: &mut Kernel, ring: &mut Ring, old: Outstanding) {
    let stale = kernel.head;
    kernel.reset();
    kernel.map.store_u32(12, stale).unwrap();
    refused(ring, old);
    ring.resync().unwrap();
}

#[test]
fn a_completed_entry_is_not_taken_as_a_request() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    leave_the_start(&mut kernel, &mut ring);
    kernel.queue();
    let old = take(&mut ring, &mut request);
    reset_halfway(&mut kernel, &mut ring, old);
    assert!(ring.next(&mut request).is_err());
    // The other half.
    kernel.map.store_u32(12, 0).unwrap();
    assert_eq!(ring.next(&mut request), Ok(None));
    leave_the_start(&mut kernel, &mut ring);
}

#[test]
fn an_abandoned_entry_is_not_taken_again() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let mut request = Request::default();
    // The notice moves the tail, so that the reset shows; behind it a request that looks as good as new.
    assert!(kernel.queue_notice(1, &[]));
    kernel.queue();
    assert!(matches!(ring.next(&mut request), Ok(Some(Next::TaskManagement(_)))));
    let old = take(&mut ring, &mut request);
    reset_halfway(&mut kernel, &mut ring, old);
    assert!(matches!(ring.next(&mut request), Ok(Some(Next::TaskManagement(_)))));
    let error = ring.next(&mut request).unwrap_err();
    assert!(error.to_string().contains("taken before"), "{error}");
    // It stops here, and the next reset puts it right.
    kernel.reset();
    assert_eq!(ring.next(&mut request), Ok(None));
    ring.resync().unwrap();
    leave_the_start(&mut kernel, &mut ring);
}
