//! WRITE SAME and FORMAT UNIT.

use lunbox_compose::{Composite, Facts, Failure, FormatUnit, Scope, Span, Verb, Verdict, WriteSame};
use lunbox_contract::Status;
use lunbox_scsi::Sense;

use crate::fake::{Disk, Fault, facts, limits, pattern};

const SIZE: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

const fn span(lba: u64, blocks: u64) -> Span {
    Span { offset: lba * 512, length: blocks * 512 }
}

fn write_same(disk: &mut Disk, span: Span, block: Option<&[u8]>, unmap: bool) -> Verdict {
    let mut command = WriteSame::new(&disk.facts, span, block.is_none(), unmap);
    disk.run(&mut command, block.unwrap_or_default())
}

fn verbs(disk: &Disk) -> Vec<Verb> {
    disk.log.iter().map(|ask| ask.verb).collect()
}

#[test]
fn a_block_is_written_again_and_again() {
    for unmap in [false, true] {
        let mut disk =
            Disk::new(Facts { write_zeroes: true, unmap: Some(limits(0, 0, true)), ..facts(SIZE) });
        let block = pattern(3, 512);
        // More than one round of writes, with a rest.
        assert_eq!(write_same(&mut disk, span(7, 101), Some(&block), unmap), Verdict::Good);
        assert_eq!(disk.medium.read(7 * 512, 101 * 512), block.repeat(101));
        assert_eq!(disk.medium.read(0, 7 * 512), vec![0x5e; 7 * 512]);
        assert_eq!(disk.medium.read(108 * 512, 512), vec![0x5e; 512]);
        assert!(verbs(&disk).iter().all(|verb| *verb == Verb::Write));
    }
}

#[test]
fn zeros_are_left_to_the_handler_and_only_unmapped_when_that_is_wanted() {
    for unmap in [false, true] {
        for block in [None, Some([0; 512])] {
            let mut disk = Disk::new(Facts { write_zeroes: true, write_through: true, ..facts(SIZE) });
            assert_eq!(
                write_same(&mut disk, span(1, 99), block.as_ref().map(|block| &block[..]), unmap),
                Verdict::Good
            );
            assert_eq!(verbs(&disk), [Verb::WriteZeroes { may_unmap: unmap }]);
            assert!(!disk.volatile);
        }
    }
}

#[test]
fn without_zeroing_the_inside_is_unmapped_and_the_edges_are_written() {
    let mut disk = Disk::new(Facts { unmap: Some(limits(0, 8 * 512, true)), ..facts(SIZE) });
    assert_eq!(write_same(&mut disk, span(3, 30), None, true), Verdict::Good);
    assert_eq!(disk.medium.read(3 * 512, 30 * 512), vec![0; 30 * 512]);
    assert_eq!(disk.medium.read(2 * 512, 512), vec![0x5e; 512]);
    assert_eq!(disk.medium.read(33 * 512, 512), vec![0x5e; 512]);
    assert_eq!(verbs(&disk), [Verb::Write, Verb::Unmap, Verb::Write]);
    // Not asked for, or not zeros afterwards: written.
    for (unmap, reads_zeroes) in [(false, true), (true, false)] {
        let mut disk = Disk::new(Facts { unmap: Some(limits(0, 0, reads_zeroes)), ..facts(SIZE) });
        assert_eq!(write_same(&mut disk, span(3, 30), None, unmap), Verdict::Good);
        assert_eq!(disk.medium.read(3 * 512, 30 * 512), vec![0; 30 * 512]);
        assert!(verbs(&disk).iter().all(|verb| *verb == Verb::Write));
    }
}

/// tcmu-runner died of a division by zero with handlers that name no alignment (#702).
#[test]
fn write_same_with_unmap_and_no_alignment_is_unmapped() {
    let mut disk = Disk::new(Facts { unmap: Some(limits(0, 0, true)), ..facts(SIZE) });
    assert_eq!(write_same(&mut disk, span(3, 30), Some(&[0; 512]), true), Verdict::Good);
    assert_eq!(verbs(&disk), [Verb::Unmap]);
}

#[test]
fn no_blocks_are_refused() {
    let mut disk = Disk::new(facts(SIZE));
    let verdict = write_same(&mut disk, span(3, 0), None, false);
    assert_eq!(verdict, Verdict::Check(Sense::INVALID_FIELD_IN_CDB, None));
}

#[test]
fn a_tebibyte_of_zeros_is_a_few_steps() {
    for facts in [
        Facts { write_zeroes: true, ..facts(TIB) },
        Facts { unmap: Some(limits(0, 4096, true)), ..facts(TIB) },
    ] {
        let mut disk = Disk::new(facts);
        assert_eq!(write_same(&mut disk, span(1, TIB / 512 - 2), None, true), Verdict::Good);
        assert!(disk.log.len() <= 1024, "{} steps", disk.log.len());
        for (offset, byte) in [(0, 0x5e), (512, 0), (TIB / 2, 0), (TIB - 1024, 0), (TIB - 512, 0x5e)] {
            assert_eq!(disk.medium.read(offset, 512), vec![byte; 512], "{offset}");
        }
    }
}

#[test]
fn without_a_write_cache_a_fill_is_durable() {
    for facts in [
        facts(SIZE),
        Facts { write_zeroes: true, ..facts(SIZE) },
        Facts { unmap: Some(limits(0, 4096, true)), ..facts(SIZE) },
    ] {
        for blocks in [1, 8, 100] {
            let mut disk = Disk::new(Facts { write_through: true, ..facts });
            assert_eq!(write_same(&mut disk, span(3, blocks), None, true), Verdict::Good);
            assert!(!disk.volatile, "{facts:?} {blocks}");
        }
    }
}

#[test]
fn a_resize_in_between_is_noticed() {
    let mut disk = Disk::new(facts(SIZE));
    let mut command = WriteSame::new(&disk.facts, span(2040, 8), true, false);
    disk.facts.size = SIZE - 512;
    assert_eq!(disk.run(&mut command, &[]), Verdict::Check(Sense::LBA_OUT_OF_RANGE, None));
    assert!(disk.log.is_empty());
}

#[test]
fn a_unit_that_has_become_another_one_in_between_is_busy() {
    let mut disk = Disk::new(Facts { write_zeroes: true, ..facts(SIZE) });
    let mut command = WriteSame::new(&disk.facts, span(0, 8), true, false);
    assert_eq!(command.work(), 0);
    disk.facts.write_zeroes = false;
    assert_eq!(disk.run(&mut command, &[]), Verdict::Failed(Failure::Status(Status::Busy)));
    // The switch of the write cache is only looked at when the command begins.
    let mut command = WriteSame::new(&disk.facts, span(0, 8), true, false);
    disk.facts.write_through = true;
    assert_eq!(disk.run(&mut command, &[]), Verdict::Good);
    assert!(!disk.volatile && disk.log.len() == 1);
}

#[test]
fn blocks_that_do_not_fit_the_work_buffer_are_an_error_of_the_target() {
    let mut disk = Disk::new(Facts { block_size: 2 << 20, max_transfer: 4 << 20, ..facts(16 << 20) });
    assert!(!disk.facts.can_compose());
    let mut command = WriteSame::new(&disk.facts, Span { offset: 0, length: 4 << 20 }, true, false);
    let verdict = command.next(Ok(()), &mut disk);
    let internal = Verdict::Check(Sense::INTERNAL_TARGET_FAILURE, None);
    assert_eq!(verdict, lunbox_compose::Next::End(internal));
}

#[test]
fn format_makes_the_medium_zero_or_the_pattern() {
    for (given, wanted) in [
        (vec![], vec![0; 512]),
        (vec![0; 4], vec![0; 512]),
        (vec![1, 2, 3], [1, 2, 3].into_iter().cycle().take(512).collect::<Vec<u8>>()),
        (pattern(1, 600), pattern(1, 512)),
    ] {
        for write_zeroes in [false, true] {
            let mut disk = Disk::new(Facts { write_zeroes, ..facts(SIZE) });
            let mut command = FormatUnit::new(&disk.facts, given.clone(), false);
            assert!(command.occupies_unit() && !command.is_immediate());
            assert_eq!(command.scope(), Scope::Alone { offset: 0, length: SIZE });
            assert_eq!(disk.run(&mut command, &[]), Verdict::Good);
            assert_eq!(disk.medium.read(0, SIZE), wanted.repeat(2048));
            assert!(!disk.volatile);
        }
    }
}

/// tcmu-runner counted blocks in 32 bits and never ended.
#[test]
fn format_of_more_than_2_to_the_32_blocks_ends() {
    let size = (1 << 33) * 512;
    let mut disk = Disk::new(Facts { write_zeroes: true, ..facts(size) });
    let mut command = FormatUnit::new(&disk.facts, vec![], true);
    assert!(command.is_immediate());
    assert_eq!(disk.run(&mut command, &[]), Verdict::Good);
    for offset in [0, (1 << 32) * 512, size - 512] {
        assert_eq!(disk.medium.read(offset, 512), vec![0; 512]);
    }
    assert!(disk.progress.is_sorted());
    assert_eq!((disk.progress.first(), disk.progress.last()), (Some(&0), Some(&u16::MAX)));
    assert!(disk.progress.len() > 1000);
}

/// tcmu-runner looked at the last chunk only.
#[test]
fn format_ends_with_the_failure_of_any_chunk() {
    let failure = Failure::Check(Sense::WRITE_ERROR);
    let steps = 1 + SIZE.div_ceil(4096);
    for at in [0, 1, 5, steps - 1] {
        let mut disk = Disk::new(facts(SIZE));
        disk.fault = Some(Fault::Step { at: usize::try_from(at).unwrap(), times: 1, failure });
        let mut command = FormatUnit::new(&disk.facts, vec![], false);
        assert_eq!(disk.run(&mut command, &[]), Verdict::Failed(failure), "{at}");
    }
}

#[test]
fn only_a_format_that_nobody_can_repeat_outlasts_busy() {
    let busy = Failure::Status(Status::Busy);
    for (immediate, times, good) in [(true, 6, true), (true, usize::MAX / 2, false), (false, 1, false)] {
        let mut disk = Disk::new(facts(SIZE));
        disk.fault = Some(Fault::Step { at: 9, times, failure: busy });
        let mut command = FormatUnit::new(&disk.facts, vec![7], immediate);
        let verdict = disk.run(&mut command, &[]);
        if good {
            assert_eq!(verdict, Verdict::Good);
            assert_eq!(disk.medium.read(0, SIZE), vec![7; usize::try_from(SIZE).unwrap()]);
        } else {
            assert_eq!(verdict, Verdict::Failed(busy));
        }
    }
}
