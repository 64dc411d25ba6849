//! Any command on any unit against a model: what is GOOD is done, what fails touches nothing else.

use lunbox_compose::{Facts, Failure, Verdict};
use lunbox_contract::Status;
use lunbox_scsi::Sense;
use proptest::prelude::*;

use crate::cases::{Kind, SIZE, disk, make};
use crate::fake::{Fault, facts, limits};

/// First block and blocks, at least one.
fn range(all: u64) -> impl Strategy<Value = (u64, u64)> {
    (0..all, 1..=all).prop_map(move |(lba, blocks)| (lba, blocks.min(all - lba)))
}

fn kind(all: u64) -> impl Strategy<Value = Kind> {
    let wrong = || proptest::option::of(any::<u64>());
    let copy = (0..all, 0..all, 0..=all).prop_map(move |(source, destination, blocks)| {
        (source, destination, blocks.min(all - source).min(all - destination))
    });
    prop_oneof![
        proptest::collection::vec(range(all), 0..10).prop_map(Kind::Unmap),
        (range(all), any::<(bool, bool, bool)>()).prop_map(|((lba, blocks), (zeros, ndob, unmap))| {
            Kind::WriteSame { lba, blocks, zeros, ndob, unmap }
        }),
        (range(all), wrong(), any::<bool>()).prop_map(|((lba, blocks), wrong, fua)| Kind::CompareAndWrite {
            lba,
            blocks,
            wrong,
            fua
        }),
        (range(all), any::<bool>()).prop_map(|((lba, blocks), fua)| Kind::OrWrite { lba, blocks, fua }),
        (range(all), any::<bool>()).prop_map(|((lba, blocks), compare)| Kind::WriteAndVerify {
            lba,
            blocks,
            compare
        }),
        range(all).prop_map(|(lba, blocks)| Kind::VerifyMedium { lba, blocks }),
        (range(all), wrong()).prop_map(|((lba, blocks), wrong)| Kind::VerifyWhole { lba, blocks, wrong }),
        range(all).prop_map(|(lba, blocks)| Kind::VerifyOneBlock { lba, blocks }),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|pattern| Kind::Format { pattern }),
        proptest::collection::vec(copy, 0..4).prop_map(|segments| Kind::Copy { segments }),
    ]
}

fn unit() -> impl Strategy<Value = Facts> {
    let unmap = (
        prop_oneof![Just(0), 0u64..70_000],
        prop_oneof![Just(0), Just(4096), Just(8192), 0u64..20_000],
        any::<bool>(),
    )
        .prop_map(|(max, granularity, zeroes)| limits(max, granularity, zeroes));
    let flags = any::<(bool, bool, bool)>();
    (prop_oneof![Just(512u32), Just(4096)], 1u64..40, unmap, flags).prop_map(
        |(block_size, blocks, unmap, (write_zeroes, compare_and_write, write_through))| Facts {
            block_size,
            max_transfer: blocks * u64::from(block_size),
            unmap: Some(unmap),
            write_zeroes,
            compare_and_write,
            write_through,
            ..facts(SIZE)
        },
    )
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let failure = prop_oneof![
        Just(Failure::Check(Sense::WRITE_ERROR)),
        Just(Failure::Check(Sense::SPACE_ALLOCATION_FAILED)),
        Just(Failure::Status(Status::Busy)),
    ];
    let step =
        (0usize..40, 1usize..3, failure).prop_map(|(at, times, failure)| Fault::Step { at, times, failure });
    proptest::option::of(prop_oneof![3 => step, 1 => (0usize..40).prop_map(|at| Fault::Copy { at })])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_means_done_and_nothing_else_is_ever_touched(
        (facts, kind) in unit()
            .prop_flat_map(|facts| (Just(facts), kind(SIZE / u64::from(facts.block_size)))),
        fault in fault(),
        order in any::<u64>(),
    ) {
        let mut disk = disk(facts);
        disk.fault = fault;
        disk.order = order;
        let mut case = make(&kind, &facts);
        let verdict = disk.run(&mut *case.composite, &case.data);
        let hit = match fault {
            None => false,
            Some(Fault::Step { at, .. }) => disk.log.len() > at,
            Some(Fault::Copy { at }) => disk.copies > at,
        };
        let zeroes = facts.unmap.is_some_and(|limits| limits.reads_zeroes);
        let good = verdict == Verdict::Good;
        case.check(good, zeroes, &disk.medium.read(0, SIZE));
        if hit {
            prop_assert!(!good, "a failure was lost");
        } else {
            // A handler that compares by itself tells the difference itself.
            let told = match verdict {
                Verdict::Failed(Failure::Check(sense)) => Verdict::Check(sense, None),
                other => other,
            };
            prop_assert_eq!(told, case.wanted);
            prop_assert!(!(facts.write_through && good && disk.volatile), "GOOD, and not durable");
        }
    }
}
