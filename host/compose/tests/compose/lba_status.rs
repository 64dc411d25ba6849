//! GET LBA STATUS.

use lunbox_compose::{Facts, Failure, LbaStatus, Verb, Verdict};
use lunbox_scsi::{Lba, Sense};

use crate::fake::{Disk, Fault, facts};

const SIZE: u64 = 1 << 20;
const MAPPED: u8 = 0;
const DEALLOCATED: u8 = 1;

fn unit(extents: &[(u64, u64, bool)]) -> Disk {
    let mut disk = Disk::new(Facts { lba_status: true, ..facts(SIZE) });
    disk.extents = extents.to_vec();
    disk
}

/// The descriptors of the answer: `(first block, blocks, status)`.
fn ask(disk: &mut Disk, lba: u64, allocation: u32) -> Vec<(u64, u32, u8)> {
    let mut command = LbaStatus::new(&disk.facts, Lba(lba), allocation).unwrap();
    let verdict = disk.run(&mut command, &vec![0; usize::try_from(allocation).unwrap()]);
    let Verdict::Filled(filled) = verdict else { panic!("{verdict:?}") };
    let (answer, rest) = disk.data.split_at(usize::try_from(filled).unwrap());
    assert!(rest.iter().all(|byte| *byte == 0));
    let told = u32::from_be_bytes(answer[..4].try_into().unwrap());
    let descriptors = answer[8..].chunks_exact(16);
    assert_eq!(u64::from(told) + 4, filled);
    descriptors
        .map(|bytes| {
            let lba = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            (lba, u32::from_be_bytes(bytes[8..12].try_into().unwrap()), bytes[12] & 0xf)
        })
        .collect()
}

#[test]
fn extents_become_descriptors() {
    let mut disk = unit(&[(0, 4096, true), (4096, 8192, false), (12_288, SIZE - 12_288, true)]);
    let all = [(0, 8, MAPPED), (8, 16, DEALLOCATED), (24, 2024, MAPPED)];
    assert_eq!(ask(&mut disk, 0, 512), all);
    assert_eq!(ask(&mut disk, 10, 512), [(10, 14, DEALLOCATED), all[2]]);
    assert_eq!(ask(&mut disk, 2047, 512), [(2047, 1, MAPPED)]);
    // The allocation length cuts.
    assert_eq!(ask(&mut disk, 0, 24), [all[0]]);
}

#[test]
fn blocks_that_are_backed_in_part_are_mapped_and_neighbours_merge() {
    let mut disk = unit(&[
        (0, 100, true),
        (100, 1000, false),
        (1100, 100, true),
        (1200, 848, true),
        (2048, SIZE - 2048, false),
    ]);
    assert_eq!(
        ask(&mut disk, 0, 512),
        [(0, 1, MAPPED), (1, 1, DEALLOCATED), (2, 2, MAPPED), (4, 2044, DEALLOCATED)]
    );
}

#[test]
fn more_than_one_list_is_asked_for() {
    let extents: Vec<_> = (0..2048).map(|at| (at * 512, 512, at % 2 == 0)).collect();
    let mut disk = unit(&extents);
    let told = ask(&mut disk, 0, 1 << 16);
    assert_eq!(told.len(), 2048);
    assert!(told.iter().zip(0..).all(|(told, at)| *told == (at, 1, u8::try_from(at % 2).unwrap())));
    assert!(disk.log.len() > 10 && disk.log.iter().all(|ask| matches!(ask.verb, Verb::Status { .. })));
}

#[test]
fn whatever_a_handler_says_the_answer_is_one_about_the_medium() {
    for extents in [
        vec![],
        vec![(0, 0, false)],
        // Nothing new, backwards, beyond the end, over 64 bits.
        vec![(4096, 4096, false), (0, 4096, false), (8192, u64::MAX, false)],
        vec![(SIZE, 512, false)],
        vec![(u64::MAX, u64::MAX, false)],
        vec![(512, 10, false), (530, 100, false), (7, 3, true)],
    ] {
        let mut disk = unit(&[]);
        disk.raw_extents = Some(extents.clone());
        let told = ask(&mut disk, 3, 4096);
        let mut next = 3;
        for (lba, blocks, _) in &told {
            assert_eq!(*lba, next, "{extents:?}: {told:?}");
            assert!(*blocks > 0);
            next += u64::from(*blocks);
        }
        assert!(next > 3 && next <= 2048, "{extents:?}: {told:?}");
    }
}

/// The work buffer held something else before.
#[test]
fn only_what_the_handler_has_filled_counts() {
    let mut disk = unit(&[(0, 4096, false)]);
    assert_eq!(ask(&mut disk, 0, 512), [(0, 8, DEALLOCATED)]);
}

#[test]
fn without_the_ability_all_is_mapped() {
    let mut disk = Disk::new(facts(SIZE));
    assert_eq!(ask(&mut disk, 100, 512), [(100, 1948, MAPPED)]);
    assert!(disk.log.is_empty());
}

#[test]
fn an_allocation_without_room_for_a_descriptor_is_no_error() {
    for allocation in [1, 8, 23] {
        let mut disk = unit(&[(0, SIZE, true)]);
        let mut command = LbaStatus::new(&disk.facts, Lba(0), allocation).unwrap();
        let verdict = disk.run(&mut command, &vec![0; usize::try_from(allocation).unwrap()]);
        assert_eq!(verdict, Verdict::Filled(u64::from(allocation)));
    }
}

#[test]
fn beyond_the_end_and_failures_are_told() {
    assert_eq!(LbaStatus::new(&facts(SIZE), Lba(2048), 512).unwrap_err(), Sense::LBA_OUT_OF_RANGE);
    assert_eq!(LbaStatus::new(&facts(SIZE), Lba(u64::MAX), 512).unwrap_err(), Sense::LBA_OUT_OF_RANGE);
    let mut disk = unit(&[(0, SIZE, true)]);
    let failure = Failure::Check(Sense::UNRECOVERED_READ_ERROR);
    disk.fault = Some(Fault::Step { at: 0, times: 1, failure });
    let mut command = LbaStatus::new(&disk.facts, Lba(0), 512).unwrap();
    assert_eq!(disk.run(&mut command, &[0; 512]), Verdict::Failed(failure));
}
