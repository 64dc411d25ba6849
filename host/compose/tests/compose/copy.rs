//! EXTENDED COPY.

use lunbox_compose::{Composite, ExtendedCopy, Facts, Failure, Scope, Verdict};
use lunbox_contract::Status;
use lunbox_scsi::list::extended_copy::Segment;
use lunbox_scsi::{Blocks, Lba, Sense, SenseKey};

use crate::fake::{Disk, Fault, facts, pattern};

const SIZE: u64 = 1 << 20;

const fn segment(source: u64, destination: u64, blocks: u64) -> Segment {
    Segment { source: Lba(source), destination: Lba(destination), blocks: Blocks(blocks) }
}

fn disk() -> Disk {
    let mut disk = Disk::new(facts(SIZE));
    disk.medium.write(0, &pattern(1, SIZE));
    disk
}

/// The medium after copies that read all of their source before they write.
fn copied(segments: &[Segment]) -> Vec<u8> {
    let mut bytes = pattern(1, SIZE);
    for Segment { source, destination, blocks } in segments {
        let at = |block: u64| usize::try_from(block * 512).unwrap();
        let source = bytes[at(source.0)..at(source.0 + blocks.0)].to_vec();
        bytes[at(destination.0)..at(destination.0 + blocks.0)].copy_from_slice(&source);
    }
    bytes
}

#[test]
fn segments_are_copied_in_their_order_and_overlaps_are_right() {
    for segments in [
        vec![segment(0, 1000, 1)],
        vec![segment(1000, 0, 777)],
        // The destination begins within the source, and the other way round.
        vec![segment(10, 11, 900)],
        vec![segment(11, 10, 900)],
        vec![segment(10, 200, 900)],
        vec![segment(200, 10, 900)],
        vec![segment(5, 5, 100)],
        vec![segment(0, 100, 100), segment(100, 300, 100), segment(9, 9, 0), segment(300, 2, 50)],
        vec![segment(1024, 0, 1024)],
        vec![segment(0, 2048, 0)],
        vec![],
    ] {
        for write_through in [false, true] {
            let mut disk = disk();
            disk.facts = Facts { write_through, ..disk.facts };
            let mut command = ExtendedCopy::new(&disk.facts, &segments).unwrap();
            assert_eq!(disk.run(&mut command, &[]), Verdict::Good, "{segments:?}");
            assert!(disk.medium.read(0, SIZE) == copied(&segments), "{segments:?}");
            assert!(!(write_through && disk.volatile));
        }
    }
}

/// Each would wait for the range that the other one holds.
#[test]
fn copies_that_read_what_each_other_writes_hold_nothing() {
    for segments in [[segment(0, 100, 8)], [segment(100, 0, 8)]] {
        assert_eq!(ExtendedCopy::new(&facts(SIZE), &segments).unwrap().scope(), Scope::Shared);
    }
}

#[test]
fn a_segment_beyond_the_end_is_refused_before_anything_is_copied() {
    for wrong in [segment(2048, 0, 1), segment(0, 2048, 1), segment(0, u64::MAX, 2), segment(1 << 55, 0, 1)] {
        let error = ExtendedCopy::new(&facts(SIZE), &[segment(0, 100, 8), wrong]).unwrap_err();
        assert_eq!(error, Sense::new(SenseKey::CopyAborted, 0, 0));
    }
    // A resize in between.
    let mut disk = disk();
    let mut command = ExtendedCopy::new(&disk.facts, &[segment(0, 8, 8), segment(2040, 0, 8)]).unwrap();
    disk.facts.size = SIZE / 2;
    assert_eq!(disk.run(&mut command, &[]), Verdict::Check(Sense::new(SenseKey::CopyAborted, 0, 0), None));
    assert!(disk.log.is_empty());
}

#[test]
fn a_failure_tells_what_is_left_of_the_segment() {
    for (at, sense) in [(0, Sense::UNRECOVERED_READ_ERROR), (4, Sense::WRITE_ERROR)] {
        let mut disk = disk();
        // The first segment takes two steps; the second one is read and written in rounds of 32 blocks.
        disk.fault = Some(Fault::Step { at: 2 + 8 + at, times: 1, failure: Failure::Check(sense) });
        let segments = [segment(0, 1000, 1), segment(0, 1000, 100)];
        let verdict = disk.run(&mut ExtendedCopy::new(&disk.facts, &segments).unwrap(), &[]);
        let wanted = Sense::THIRD_PARTY_DEVICE_FAILURE.with_information(68);
        assert_eq!(verdict, Verdict::Check(wanted, None), "{at}");
    }
}

#[test]
fn a_full_or_busy_unit_is_recognised() {
    for failure in [Failure::Check(Sense::SPACE_ALLOCATION_FAILED), Failure::Status(Status::Busy)] {
        let mut disk = disk();
        disk.fault = Some(Fault::Step { at: 1, times: 1, failure });
        let verdict = disk.run(&mut ExtendedCopy::new(&disk.facts, &[segment(0, 100, 8)]).unwrap(), &[]);
        assert_eq!(verdict, Verdict::Failed(failure));
    }
}
