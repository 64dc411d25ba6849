//! Random sequences against the model: every command arrives once, in order and unchanged, and is answered once,
//! by us or by the reset.

use std::collections::{BTreeMap, VecDeque};

use lunbox_memory::Extent;
use lunbox_tcmu::{Next, Outstanding, Refused, Request, Response, Ring};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::kernel::{Command, Kernel};

#[derive(Clone, Debug)]
enum Step {
    Queue { cdb: usize, data: usize, bidi: usize },
    Notice(usize),
    Take(usize),
    Complete(usize),
    Collect,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (6..=260_usize, 0..9_usize, 0..3_usize)
            .prop_map(|(cdb, data, bidi)| Step::Queue { cdb, data, bidi }),
        4 => (6..=16_usize).prop_map(|cdb| Step::Queue { cdb, data: 0, bidi: 0 }),
        2 => (0..9_usize).prop_map(Step::Notice),
        8 => (1..5_usize).prop_map(Step::Take),
        12 => any::<usize>().prop_map(Step::Complete),
        5 => Just(Step::Collect),
        1 => Just(Step::Reset),
    ]
}

/// What the daemon is to see next.
#[derive(Debug)]
enum Sent {
    Command(Command),
    Notice(Vec<u16>),
}

struct Daemon {
    ring: Ring,
    request: Request,
    held: Vec<Outstanding>,
    /// Status given to each id and not yet seen by the kernel.
    given: BTreeMap<u16, u8>,
    completed: u8,
}

impl Daemon {
    fn take(&mut self, sent: &mut VecDeque<Sent>) -> bool {
        match self.ring.next(&mut self.request).unwrap() {
            None => return false,
            Some(Next::Command(command)) => {
                let Some(Sent::Command(expected)) = sent.pop_front() else { panic!("command out of turn") };
                let seen = &self.request;
                assert_eq!(command.id(), expected.id);
                assert_eq!(seen.cdb[..expected.cdb.len()], expected.cdb);
                assert_eq!((&seen.data, &seen.bidi), (&expected.data, &expected.bidi));
                self.held.push(command);
            }
            Some(Next::TaskManagement(_)) => {
                let Some(Sent::Notice(ids)) = sent.pop_front() else { panic!("notice out of turn") };
                assert_eq!(self.request.aborted, ids);
            }
        }
        true
    }

    fn complete(&mut self, pick: usize) {
        if self.held.is_empty() {
            return;
        }
        let command = self.held.swap_remove(pick % self.held.len());
        let id = command.id();
        self.completed = self.completed.wrapping_add(1);
        let sense = [self.completed; 18];
        let response = Response { status: self.completed, sense: Some(&sense), ..Response::default() };
        match self.ring.complete(command, &response) {
            Ok(()) => assert_eq!(self.given.insert(id, self.completed), None),
            Err(Refused::Reset(command)) => {
                command.abandon();
                self.settle();
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// What a device loop does after a reset.
    fn settle(&mut self) {
        assert!(self.ring.was_reset());
        self.held.drain(..).for_each(Outstanding::abandon);
        self.ring.resync().unwrap();
        assert!(!self.ring.was_reset());
    }

    /// The kernel looks at the ring: each answer must be one that was given.
    fn collect(&mut self, kernel: &mut Kernel) {
        self.ring.notify().unwrap();
        for answer in kernel.collect() {
            let status = self.given.remove(&answer.id);
            assert_eq!(status, Some(answer.status), "id {}", answer.id);
            assert_eq!(answer.sense[..18], [answer.status; 18]);
            assert_eq!(answer.sense[18..], [0; 78]);
        }
        assert!(self.given.is_empty(), "the kernel saw all of {:?}", self.given);
    }
}

fn run(size: u32, steps: &[Step]) {
    let mut kernel = Kernel::new(size);
    let mut sent = VecDeque::new();
    let ring = kernel.attach();
    let mut daemon =
        Daemon { ring, request: Request::default(), held: vec![], given: BTreeMap::new(), completed: 0 };
    let mut count = 0;
    for step in steps {
        match *step {
            Step::Queue { cdb, data, bidi } => {
                count += 1;
                let filler = u8::try_from(count % 251).unwrap();
                let start = kernel.data_start();
                let extents = |many| vec![Extent { offset: start + count, length: count }; many];
                let id = kernel.free_id();
                let command =
                    Command { id, cdb: vec![filler; cdb], data: extents(data), bidi: extents(bidi) };
                if kernel.try_queue(&command).is_some() {
                    sent.push_back(Sent::Command(command));
                }
            }
            Step::Notice(ids) => {
                let ids: Vec<u16> = (1..).take(ids).collect();
                if kernel.queue_notice(1, &ids) {
                    sent.push_back(Sent::Notice(ids));
                }
            }
            Step::Take(many) => {
                for _ in 0..many {
                    if !daemon.take(&mut sent) {
                        break;
                    }
                }
                if daemon.ring.was_reset() {
                    daemon.settle();
                }
            }
            Step::Complete(pick) => daemon.complete(pick),
            Step::Collect => {
                // After a reset the kernel only sees cmd_tail 0, which the daemon must not have moved.
                daemon.collect(&mut kernel);
            }
            Step::Reset => {
                kernel.reset();
                sent.clear();
                daemon.given.clear();
                assert!(daemon.held.is_empty() || daemon.ring.was_reset());
            }
        }
    }
    // Whatever is left is taken and answered: nothing is lost.
    if daemon.ring.was_reset() {
        daemon.settle();
    }
    while daemon.take(&mut sent) {}
    assert!(sent.is_empty(), "all that was sent has arrived");
    assert_eq!(daemon.ring.outstanding(), daemon.held.len());
    while !daemon.held.is_empty() {
        daemon.complete(count.to_ne_bytes()[0].into());
    }
    daemon.collect(&mut kernel);
    assert!(kernel.live.is_empty(), "unanswered: {:?}", kernel.live);
    assert_eq!(kernel.tail(), kernel.head, "all space is given back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_command_is_answered_once(words in 70..400_u32, steps in vec(step(), 1..300)) {
        run(words * 8, &steps);
    }
}
