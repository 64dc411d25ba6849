//! Every step and every look at memory fails once, for every kind of command.

use lunbox_compose::{Facts, Failure, Verdict};
use lunbox_contract::Status;
use lunbox_scsi::Sense;

use crate::cases::{Kind, SIZE, disk, make};
use crate::fake::{Fault, facts, is_gone, limits};

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind::Unmap(vec![(0, 8), (16, 70), (9, 1), (100, 3), (120, 5), (190, 2)]),
        Kind::OrWrite { lba: 3, blocks: 101, fua: true },
        Kind::VerifyMedium { lba: 3, blocks: 101 },
        Kind::VerifyWhole { lba: 3, blocks: 101, wrong: None },
        Kind::VerifyOneBlock { lba: 3, blocks: 1 },
        Kind::CompareAndWrite { lba: 3, blocks: 5, wrong: None, fua: false },
        Kind::CompareAndWrite { lba: 3, blocks: 101, wrong: None, fua: true },
        Kind::Format { pattern: vec![] },
        Kind::Format { pattern: vec![1, 2, 3] },
        Kind::Copy { segments: vec![(0, 10, 60), (100, 1, 3)] },
    ];
    for flag in [false, true] {
        kinds.push(Kind::WriteSame { lba: 3, blocks: 101, zeros: flag, ndob: false, unmap: true });
        kinds.push(Kind::WriteSame { lba: 3, blocks: 101, zeros: true, ndob: true, unmap: flag });
        kinds.push(Kind::WriteAndVerify { lba: 3, blocks: 101, compare: flag });
    }
    kinds
}

fn units() -> Vec<Facts> {
    let plain = Facts { unmap: Some(limits(32 << 10, 4096, true)), ..facts(SIZE) };
    vec![
        plain,
        Facts { write_through: true, ..plain },
        Facts { write_zeroes: true, compare_and_write: true, ..plain },
        Facts { write_zeroes: true, compare_and_write: true, write_through: true, ..plain },
    ]
}

#[test]
fn a_failure_of_any_step_ends_the_command_with_it_and_spoils_nothing_else() {
    for kind in kinds() {
        for facts in units() {
            let mut steps = 0;
            loop {
                let mut disk = disk(facts);
                let failure = if steps % 2 == 0 {
                    Failure::Check(Sense::SPACE_ALLOCATION_FAILED.with_information(steps))
                } else {
                    Failure::Status(Status::Busy)
                };
                let at = usize::try_from(steps).unwrap();
                disk.fault = Some(Fault::Step { at, times: 1, failure });
                let mut case = make(&kind, &facts);
                let verdict = disk.run(&mut *case.composite, &case.data);
                case.check(false, true, &disk.medium.read(0, SIZE));
                if disk.log.len() <= at {
                    assert_eq!(verdict, case.wanted, "{kind:?}");
                    break;
                }
                assert_eq!(verdict, Verdict::Failed(failure), "step {steps} of {kind:?}");
                steps += 1;
            }
            assert!(steps > 0, "{kind:?} asks for nothing");
        }
    }
}

#[test]
fn memory_that_goes_away_is_busy_at_any_time() {
    let mut looked = 0;
    for kind in kinds() {
        for facts in units() {
            for at in 0.. {
                let mut disk = disk(facts);
                disk.fault = Some(Fault::Copy { at });
                let mut case = make(&kind, &facts);
                let verdict = disk.run(&mut *case.composite, &case.data);
                case.check(false, true, &disk.medium.read(0, SIZE));
                if disk.copies <= at {
                    assert_eq!(verdict, case.wanted, "{kind:?}");
                    break;
                }
                assert!(is_gone(verdict), "copy {at} of {kind:?}: {verdict:?}");
                looked += 1;
            }
        }
    }
    assert!(looked > 50, "{looked} copies");
}
