//! UNMAP.

use lunbox_compose::{Facts, Failure, Unmap, Verb, Verdict};
use lunbox_scsi::{FieldPointer, Sense};

use crate::fake::{Disk, Fault, facts, length, limits};

const SIZE: u64 = 1 << 20;

fn unit() -> Facts {
    Facts { unmap: Some(limits(0, 0, true)), ..facts(SIZE) }
}

/// A parameter list of these `(LBA, blocks)`.
pub fn list(descriptors: &[(u64, u32)]) -> Vec<u8> {
    let bytes = u16::try_from(descriptors.len() * 16).unwrap();
    let mut list = Vec::new();
    list.extend_from_slice(&(bytes + 6).to_be_bytes());
    list.extend_from_slice(&bytes.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for (lba, blocks) in descriptors {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

fn run(disk: &mut Disk, list: &[u8]) -> Verdict {
    disk.run(&mut Unmap::new(length(list), 8, 1000), list)
}

/// What was unmapped: `(first block, blocks)`.
fn unmapped(disk: &Disk) -> Vec<(u64, u64)> {
    let unmaps = disk.log.iter().filter(|ask| ask.verb == Verb::Unmap);
    unmaps.map(|ask| (ask.offset / 512, ask.length / 512)).collect()
}

#[test]
fn each_descriptor_is_unmapped_and_those_of_no_blocks_are_skipped() {
    let mut disk = Disk::new(unit());
    let descriptors = [(0, 8), (5, 0), (8, 8), (4, 8), (2040, 8), (2048, 0)];
    assert_eq!(run(&mut disk, &list(&descriptors)), Verdict::Good);
    assert_eq!(unmapped(&disk), [(0, 8), (8, 8), (4, 8), (2040, 8)]);
    assert_eq!(disk.medium.read(0, 16 * 512), vec![0; 16 * 512]);
}

#[test]
fn an_empty_list_is_no_error() {
    let mut disk = Disk::new(unit());
    assert_eq!(run(&mut disk, &list(&[])), Verdict::Good);
    assert_eq!(run(&mut disk, &list(&[(1, 0)])), Verdict::Good);
    assert!(disk.log.is_empty());
}

#[test]
fn one_wrong_descriptor_leaves_all_others_undone() {
    for (descriptors, sense, field) in [
        (vec![(0, 8), (2048, 1)], Sense::LBA_OUT_OF_RANGE, None),
        (vec![(0, 8), (u64::MAX, 2)], Sense::LBA_OUT_OF_RANGE, None),
        (vec![(0, 8), (1 << 55, 1)], Sense::LBA_OUT_OF_RANGE, None),
        (vec![(0, 8), (2049, 0)], Sense::LBA_OUT_OF_RANGE, None),
        (vec![(0, 500), (0, 501)], Sense::INVALID_FIELD_IN_PARAMETER_LIST, Some(FieldPointer::parameter(32))),
        (vec![(0, 1); 9], Sense::INVALID_FIELD_IN_PARAMETER_LIST, Some(FieldPointer::parameter(2))),
        (vec![(0, u32::MAX); 2], Sense::INVALID_FIELD_IN_PARAMETER_LIST, Some(FieldPointer::parameter(16))),
    ] {
        let mut disk = Disk::new(unit());
        assert_eq!(run(&mut disk, &list(&descriptors)), Verdict::Check(sense, field), "{descriptors:?}");
        assert!(disk.log.is_empty(), "{descriptors:?}");
    }
}

/// tcmu-runner unmapped what it found behind the list it was sent.
#[test]
fn descriptors_behind_the_end_of_the_list_are_not_read() {
    let mut disk = Disk::new(unit());
    let mut sent = list(&[(0, 8), (8, 8)]);
    sent.truncate(24);
    let verdict = disk.run(&mut Unmap::new(40, 8, 1000), &sent);
    assert_eq!(verdict, Verdict::Check(Sense::PARAMETER_LIST_LENGTH_ERROR, None));
    assert!(disk.log.is_empty());
}

/// tcmu-runner forgot every failure but the first.
#[test]
fn a_failure_of_any_descriptor_reaches_the_initiator() {
    let descriptors: Vec<_> = (0..8).map(|at| (at * 16, 8)).collect();
    for at in 0..8 {
        let mut disk = Disk::new(unit());
        let failure = Failure::Check(Sense::WRITE_ERROR.with_information(77));
        disk.fault = Some(Fault::Step { at, times: 1, failure });
        assert_eq!(run(&mut disk, &list(&descriptors)), Verdict::Failed(failure), "{at}");
    }
}

#[test]
fn long_descriptors_are_cut_on_the_handlers_granularity() {
    let mut disk = Disk::new(Facts { unmap: Some(limits(64 * 512, 16 * 512, true)), ..facts(SIZE) });
    assert_eq!(run(&mut disk, &list(&[(5, 200)])), Verdict::Good);
    assert_eq!(unmapped(&disk), [(5, 59), (64, 64), (128, 64), (192, 13)]);
}

#[test]
fn without_a_write_cache_what_was_unmapped_is_made_durable() {
    let mut disk = Disk::new(Facts { write_through: true, ..unit() });
    assert_eq!(run(&mut disk, &list(&[(0, 8), (64, 8)])), Verdict::Good);
    assert!(!disk.volatile);
    assert_eq!(disk.log.last().map(|ask| ask.verb), Some(Verb::Flush));
    // Nothing unmapped, nothing to flush.
    disk.log.clear();
    assert_eq!(run(&mut disk, &list(&[(0, 0)])), Verdict::Good);
    assert!(disk.log.is_empty());
}

#[test]
fn a_unit_that_can_not_unmap_says_so() {
    let mut disk = Disk::new(facts(SIZE));
    let verdict = run(&mut disk, &list(&[(0, 8)]));
    assert_eq!(verdict, Verdict::Check(Sense::INVALID_COMMAND_OPERATION_CODE, None));
}
