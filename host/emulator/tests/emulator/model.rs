//! Random histories against a daemon that completes in random order: every byte arrives, nothing is shared,
//! nothing is lost, and an honest daemon is never blamed.

use std::collections::{BTreeMap, HashSet};

use lunbox_emulator::{CommandId, CommandSpec, Data, Options, Placement, QueueError};
use proptest::prelude::*;

use crate::daemon::{Request, bytes, collected, pair};

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(u32),
    Both(usize, u32),
    /// Complete the n-th outstanding command.
    Complete(prop::sample::Index),
    Collect,
    Reclaim,
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![0..600usize, 4000..4200usize, 0..40_000usize];
    let small = || length().prop_map(|length| u32::try_from(length).unwrap_or(0));
    prop_oneof![
        3 => length().prop_map(Step::Write),
        3 => small().prop_map(Step::Read),
        1 => (length(), small()).prop_map(|(out, input)| Step::Both(out, input)),
        6 => any::<prop::sample::Index>().prop_map(Step::Complete),
        2 => Just(Step::Collect),
        1 => Just(Step::Reclaim),
    ]
}

/// A command between queue and completion.
struct Open {
    request: Request,
    token: u64,
    out: Vec<u8>,
    input: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_byte_arrives_and_nothing_is_shared(
        steps in prop::collection::vec(step(), 1..200),
        ring_bytes in (64..300u32).prop_map(|words| words * 8),
        data_blocks in 10..40u32,
        placement in prop_oneof![
            Just(Placement::LowestFirst), Just(Placement::RoundRobin), Just(Placement::Scattered)
        ],
    ) {
        let (mut kernel, mut daemon) =
            pair(Options { ring_bytes, data_blocks, placement, ..Options::default() });
        let mut open: Vec<Open> = Vec::new();
        // Token to expected data-in, from completion to collection.
        let mut done: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut done_ids: HashSet<u16> = HashSet::new();
        for (token, step) in (0u64..).zip(steps) {
            let (out, input) = match step {
                Step::Write(length) => (bytes(token, length), 0),
                Step::Read(length) => (Vec::new(), length),
                Step::Both(length, input) => (bytes(token, length), input),
                Step::Complete(which) => {
                    if !open.is_empty() {
                        let ended = open.swap_remove(which.index(open.len()));
                        let (first, second) = (&ended.request.vectors, &ended.request.bidi);
                        let into = if ended.out.is_empty() { first } else { second };
                        if !ended.out.is_empty() {
                            prop_assert!(daemon.fetch(first) == ended.out, "data-out of {}", ended.token);
                        }
                        let answer = bytes(ended.token + 1000, ended.input);
                        daemon.fill(into, &answer);
                        daemon.good(ended.request.id);
                        done.insert(ended.token, answer);
                        done_ids.insert(ended.request.id);
                    }
                    continue;
                }
                Step::Collect => {
                    for ended in collected(&mut kernel) {
                        prop_assert_eq!(done.remove(&ended.token), Some(ended.data_in));
                    }
                    prop_assert!(done.is_empty());
                    done_ids.clear();
                    continue;
                }
                Step::Reclaim => {
                    kernel.reclaim().unwrap();
                    continue;
                }
            };
            let data = match (out.is_empty(), input) {
                (false, 0) => Data::Out(&out),
                (true, input) => Data::In(input),
                (false, input) => Data::Both { out: &out, input },
            };
            let taken: HashSet<u16> =
                open.iter().map(|open| open.request.id).chain(done_ids.iter().copied()).collect();
            let lowest = (1..).find(|id| !taken.contains(id)).map(CommandId);
            match kernel.queue(&CommandSpec { cdb: &[0; 6], data, token }) {
                Ok(id) => {
                    prop_assert_eq!(Some(id), lowest);
                    let request = daemon.commands().remove(0);
                    prop_assert_eq!(request.id, id.0);
                    open.push(Open { request, token, out, input: usize::try_from(input).unwrap() });
                }
                Err(QueueError::Full) => prop_assert!(!taken.is_empty(), "an idle device is never full"),
                Err(QueueError::TooBig) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
            let mut owned = HashSet::new();
            for id in kernel.outstanding() {
                for &block in kernel.blocks_of(id) {
                    prop_assert!(owned.insert(block), "block {} has two owners", block);
                }
            }
        }
        collected(&mut kernel);
        for left in open {
            let into = if left.out.is_empty() { &left.request.vectors } else { &left.request.bidi };
            daemon.fill(into, &bytes(0, left.input));
            daemon.good(left.request.id);
        }
        collected(&mut kernel);
        prop_assert_eq!((kernel.outstanding().count(), kernel.free_blocks()), (0, data_blocks));
        prop_assert_eq!(kernel.free_ring_bytes(), ring_bytes - 1);
        prop_assert_eq!(kernel.check(), Ok(()));
    }
}
