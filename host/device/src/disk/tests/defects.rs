//! What tcmu-runner got wrong must not come back: each test is named after the defect.

use super::*;
use lunbox_scsi::vpd;

/// EXTENDED COPY with one segment; both devices are given by their NAA names.
fn extended_copy(id: u8, source: &[u8; 16], destination: &[u8; 16], ranges: (u64, u64, u16)) -> Vec<u8> {
    let mut list = vec![id, if id == 0 { 0x18 } else { 0 }, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    for name in [source, destination] {
        let mut cscd = [0; 32];
        (cscd[0], cscd[4], cscd[5], cscd[7]) = (0xe4, 1, 3, 16);
        cscd[8..24].copy_from_slice(name);
        cscd[29..32].copy_from_slice(&[0, 2, 0]);
        list.extend_from_slice(&cscd);
    }
    let mut segment = [0; 28];
    (segment[0], segment[3], segment[7]) = (2, 0x18, 1);
    let (from, to, blocks) = ranges;
    segment[10..12].copy_from_slice(&blocks.to_be_bytes());
    segment[12..20].copy_from_slice(&from.to_be_bytes());
    segment[20..28].copy_from_slice(&to.to_be_bytes());
    list.extend_from_slice(&segment);
    list
}

fn copy(disk: &mut Disk, list: &[u8]) -> Job {
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
    with_list(disk, &cdb, list)
}

/// COPY STATUS of a list identifier: the byte that says how it stands, or none if it is not known.
fn copy_status(disk: &mut Disk, id: u8) -> Option<u8> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[2], cdb[13]) = (0x84, id, 12);
    let mut data = Vec::new();
    match disk.classify(&cdb, &[Extent { offset: 0, length: 12 }], &List(None), &mut data) {
        Job::Answer { .. } => Some(data[4] & 0x7f),
        other => {
            check(&other, 5, 0x24, 0);
            None
        }
    }
}

#[test]
fn extended_copy_reaches_no_other_unit_cve_2020_28374() {
    let mut disk = named(disk());
    let own = vpd::naa_designator("0123456789abcdef");
    let mut other = own;
    other[15] ^= 1;
    assert_eq!(composite(copy(&mut disk, &extended_copy(0, &own, &own, (0, 8, 4)))).0, "ExtendedCopy");
    for (source, destination) in [(&own, &other), (&other, &own), (&other, &other)] {
        check(&copy(&mut disk, &extended_copy(0, source, destination, (0, 8, 4))), 0xa, 0x0d, 2);
    }
}

#[test]
fn extended_copy_ranges_do_not_wrap() {
    let mut disk = named(disk());
    let own = vpd::naa_designator("0123456789abcdef");
    for ranges in [(2048, 0, 1), (0, 2048, 1), (u64::MAX, 0, 2), (0, u64::MAX - 1, 8), (1 << 55, 0, 1)] {
        check(&copy(&mut disk, &extended_copy(0, &own, &own, ranges)), 0xa, 0, 0);
    }
}

#[test]
fn extended_copy_lifetime_its_result_outlives_it() {
    let mut disk = named(disk());
    let own = vpd::naa_designator("0123456789abcdef");
    assert_eq!(copy_status(&mut disk, 7), None);
    let job = copy(&mut disk, &extended_copy(7, &own, &own, (0, 8, 4)));
    assert_eq!(copy_status(&mut disk, 7), Some(0), "it runs");
    // Aborted: it will never end.
    drop(job);
    assert_eq!(copy_status(&mut disk, 7), Some(2), "it failed");
    // No more than a few are remembered, the youngest ones.
    for id in 1..=100 {
        drop(copy(&mut disk, &extended_copy(id, &own, &own, (0, 8, 4))));
    }
    assert_eq!((copy_status(&mut disk, 7), copy_status(&mut disk, 84)), (None, None));
    assert!((85..=100).all(|id| copy_status(&mut disk, id) == Some(2)));
}

#[test]
fn vendor_and_reserved_opcodes_leak_no_slot() {
    let mut disk = disk();
    for opcode in (0x60..=0x7e).chain(0xc0..=0xff) {
        check(&run(&mut disk, &[opcode; 16], 512, None), 5, 0x20, 0);
        check(&run(&mut disk, &[opcode], 0, None), 5, 0x20, 0);
    }
}

#[test]
fn variable_length_cdbs_of_any_length_are_answered() {
    let mut disk = disk();
    for length in 1..=260 {
        for fill in [0, 0x18, 0xff] {
            let mut cdb = vec![fill; length];
            cdb[0] = 0x7f;
            assert!(matches!(run(&mut disk, &cdb, 0, None), Job::Check(..)), "{length} {fill:#x}");
        }
    }
    let mut read = [0; 32];
    (read[0], read[7], read[9], read[31]) = (0x7f, 0x18, 0x09, 2);
    assert!(matches!(run(&mut disk, &read, 1024, None), Job::Block { length: 1024, .. }));
}

#[test]
fn set_target_port_groups_does_not_over_read() {
    let mut disk = named(disk());
    for length in [1_u8, 2, 3, 5, 6, 7, 9] {
        let list = vec![0; length.into()];
        let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
        check(&with_list(&mut disk, &cdb, &list), 5, 0x1a, 0);
    }
    // A longer list is promised than came.
    check(&with_list(&mut disk, &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], &[0; 8]), 5, 0x1a, 0);
}

#[test]
fn unmap_alignment_of_0_divides_nothing() {
    for granularity in [0, 1, 512, 513, u64::MAX] {
        let limits = UnmapLimits { granularity, ..LIMITS };
        let mut disk = Disk::new(&settings(), &info(true), all(), Some(limits)).unwrap();
        let job = run(&mut disk, &sixteen(0x93, 0x08, 3, 5), 512, None);
        assert_eq!(composite(job).0, "WriteSame");
        let b0 = [0x12, 1, 0xb0, 0, 64, 0];
        assert!(matches!(run(&mut disk, &b0, 64, None), Job::Answer { .. }));
    }
    // A handler that takes less than a block at a time is asked for whole blocks all the same.
    let limits = UnmapLimits { max_length: 1, ..LIMITS };
    let disk = Disk::new(&settings(), &info(true), all(), Some(limits)).unwrap();
    assert_eq!(disk.unit.characteristics.unmap.unwrap().max_blocks, 1);
}

#[test]
fn format_counts_in_64_bits() {
    let size = (1 << 41) + (1 << 40);
    let big = Settings { size: Bytes(size), ..settings() };
    let info = DeviceInfo { size, ..info(true) };
    let mut disk = Disk::new(&big, &info, all(), Some(LIMITS)).unwrap();
    let (_, _, _, format) = composite(run(&mut disk, &[4, 0, 0, 0, 0, 0], 0, None));
    assert!(format.occupies_unit());
    assert_eq!(disk.facts().size, size);
}

#[test]
fn a_parameter_list_longer_than_the_buffer_is_a_wrong_length() {
    let mut disk = named(disk());
    for cdb in [
        &[0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0][..],
        &[0x15, 0x10, 0, 0, 0xff, 0],
        &[0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
        &[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        &[0xa4, 0x0a, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    ] {
        check(&with_list(&mut disk, cdb, &[0; 128]), 5, 0x1a, 0);
    }
    // FORMAT UNIT does not say how long its list is: what came is all there is.
    check(&with_list(&mut disk, &[4, 0x10, 0, 0, 0, 0], &[0; 3]), 5, 0x1a, 0);
    check(&with_list(&mut disk, &[4, 0x10, 0, 0, 0, 0], &[]), 5, 0x1a, 0);
}
