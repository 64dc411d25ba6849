//! Resets in the middle of taking an entry, from another thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lunbox_memory::Extent;
use lunbox_tcmu::{Next, Outstanding, Request};

use crate::kernel::{Command, Kernel};

/// All parts of a command say which round it belongs to.
fn command(kernel: &Kernel, round: u64) -> Command {
    let mark = round % 251;
    let part = Extent { offset: kernel.data_start() + mark, length: mark };
    let cdb = vec![u8::try_from(mark).unwrap(); 16];
    Command { id: kernel.free_id(), cdb, data: vec![part; 2], bidi: vec![part; 2] }
}

fn check_whole(request: &Request, data_start: u64) {
    let mark = u64::from(request.cdb[0]);
    let part = Extent { offset: data_start + mark, length: mark };
    assert!(request.cdb.iter().all(|&byte| u64::from(byte) == mark), "torn CDB: {request:?}");
    assert_eq!((&request.data[..], &request.bidi[..]), (&[part; 2][..], &[part; 2][..]), "torn vectors");
}

#[test]
fn no_command_is_made_of_two() {
    let mut kernel = Kernel::new(4096);
    let mut ring = kernel.attach();
    let data_start = kernel.data_start();
    let (taken, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let rounds = thread::scope(|scope| {
        let daemon = scope.spawn(|| {
            let mut request = Request::default();
            let mut held: Vec<Outstanding> = vec![];
            let mut resets = 0_u64;
            let outcome = loop {
                match ring.next(&mut request) {
                    Ok(Some(Next::Command(command))) => {
                        held.push(command);
                        check_whole(&request, data_start);
                        taken.fetch_add(1, Ordering::Release);
                    }
                    Ok(None) if ring.was_reset() => {
                        held.drain(..).for_each(Outstanding::abandon);
                        ring.resync().unwrap();
                        resets += 1;
                    }
                    Ok(None) if stop.load(Ordering::Acquire) => break Ok(resets),
                    Ok(None) => thread::yield_now(),
                    other => break Err(format!("{other:?}")),
                }
            };
            held.drain(..).for_each(Outstanding::abandon);
            outcome
        });

        let end = Instant::now() + Duration::from_secs(1);
        let mut round = 0_u64;
        while Instant::now() < end && !daemon.is_finished() {
            round += 1;
            let before = taken.load(Ordering::Acquire);
            kernel.reset();
            for _ in 0..1 + round % 16 {
                let command = command(&kernel, round);
                kernel.try_queue(&command).unwrap();
            }
            // Until one was taken; the reset then comes while the next ones are.
            while taken.load(Ordering::Acquire) == before && !daemon.is_finished() {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Release);
        let resets = daemon.join().unwrap().unwrap();
        assert!(resets > 0, "resets were noticed");
        round
    });
    assert!(rounds > 100, "{rounds} rounds");
}
