//! Mode parameters: what MODE SELECT changes, and what follows from it.

use super::*;
use lunbox_scsi::mode;

/// A MODE SELECT (6) list with these pages, as MODE SENSE showed them but for `change`.
fn select(disk: &mut Disk, code: u8, change: impl FnOnce(&mut [u8])) -> Job {
    let mut page = mode::current_page(code, 0, &disk.unit).unwrap();
    change(&mut page);
    let list = [&[0; 4][..], &page].concat();
    let length = u8::try_from(list.len()).unwrap();
    with_list(disk, &[0x15, 0x10, 0, 0, length, 0], &list)
}

fn caching(on: bool) -> impl FnOnce(&mut [u8]) {
    move |page| page[2] = page[2] & !0x04 | if on { 0x04 } else { 0 }
}

/// Whether the handler is asked for a durable transfer.
fn is_forced(disk: &mut Disk, opcode: u8, flags: u8) -> bool {
    match run(disk, &ten(opcode, flags, 0, 1), 512, None) {
        Job::Block { fua, .. } => fua,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_write_cache_each_write_is_durable_and_no_read_is() {
    const READ: u8 = 0x28;
    const WRITE: u8 = 0x2a;
    for (holds_back, wanted, forced) in [
        (true, None, false),
        (true, Some(true), false),
        (true, Some(false), true),
        // Its writes are durable without being asked.
        (false, None, false),
        (false, Some(false), false),
        (false, Some(true), false),
    ] {
        let settings = Settings { write_cache: wanted, ..settings() };
        let mut disk = Disk::new(&settings, &info(holds_back), all(), Some(LIMITS)).unwrap();
        assert_eq!(is_forced(&mut disk, WRITE, 0), forced, "{holds_back} {wanted:?}");
        assert!(!is_forced(&mut disk, READ, 0));
        assert_eq!(disk.write_cache(), holds_back && wanted != Some(false));
        assert_eq!(disk.facts().write_through, forced);
        // FUA is always passed on, DPO asks for nothing.
        assert!(is_forced(&mut disk, WRITE, 0x08) && is_forced(&mut disk, READ, 0x08));
        assert_eq!(is_forced(&mut disk, WRITE, 0x10), forced);
    }
}

#[test]
fn a_write_cache_is_switched_by_its_page_and_nobody_hears_of_an_initiators_own_change() {
    let mut disk = disk();
    let (name, direction, length, _) = composite(select(&mut disk, 0x08, caching(false)));
    assert_eq!((name.as_str(), direction, length), ("SetModes", Direction::None, 0));
    // Nothing changes before the composite has ended.
    assert!(disk.write_cache());
    assert!(disk.apply_modes(false, false, false));
    assert!(!disk.write_cache() && is_forced(&mut disk, 0x2a, 0));
    assert_eq!(news(&mut disk), None);
    assert!(!disk.apply_modes(false, false, false));
    // As it is.
    assert!(matches!(select(&mut disk, 0x08, caching(false)), Job::Good));
}

#[test]
fn a_write_cache_can_not_be_made_up() {
    let mut disk = Disk::new(&settings(), &info(false), all(), Some(LIMITS)).unwrap();
    check(&select(&mut disk, 0x08, caching(true)), 5, 0x26, 0);
    assert!(!disk.apply_modes(true, false, false));
    assert!(!disk.write_cache());
}

#[test]
fn software_write_protection_refuses_every_kind_of_write() {
    let mut disk = named(disk());
    let job = select(&mut disk, 0x0a, |page| page[4] |= 0x08);
    assert_eq!(composite(job).0, "SetModes");
    disk.apply_modes(true, true, false);
    let writes: [(&[u8], u64); 9] = [
        (&ten(0x2a, 0, 0, 1), 512),
        (&sixteen(0x8e, 0, 0, 1), 512),
        (&sixteen(0x8b, 0, 0, 1), 512),
        (&ten(0x41, 0, 0, 1), 512),
        (&sixteen(0x93, 1, 0, 1), 0),
        (&compare_and_write(0, 1), 1024),
        (&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24),
        (&[4, 0, 0, 0, 0, 0], 0),
        (&[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], 16),
    ];
    for (cdb, room) in writes {
        check(&run(&mut disk, cdb, room, None), 7, 0x27, 2);
    }
    for (cdb, room) in [(ten(0x28, 0, 0, 1), 512), (ten(0x2f, 0, 0, 1), 0), (ten(0x35, 0, 0, 0), 0)] {
        let job = run(&mut disk, &cdb, room, None);
        assert!(matches!(job, Job::Block { .. } | Job::Compose { .. }), "{job:?}");
    }
    // What the administrator forbids comes first.
    let read_only = Settings { read_only: true, ..settings() };
    let mut disk = named(Disk::new(&read_only, &info(true), all(), Some(LIMITS)).unwrap());
    for software in [false, true] {
        disk.apply_modes(true, software, false);
        for (cdb, room) in writes {
            check(&run(&mut disk, cdb, room, None), 7, 0x27, 0);
        }
    }
}

#[test]
fn descriptor_sense_is_asked_for_in_the_control_page() {
    let mut disk = disk();
    assert_eq!(disk.sense_format(), SenseFormat::Fixed);
    assert_eq!(composite(select(&mut disk, 0x0a, |page| page[2] |= 0x04)).0, "SetModes");
    disk.apply_modes(true, false, true);
    assert_eq!(disk.sense_format(), SenseFormat::Descriptor);
}

#[test]
fn a_loop_goes_on_with_the_modes_of_the_one_before() {
    let modes = Modes { software_write_protect: true, descriptor_sense: true };
    let mut disk = Disk::new(&Settings { modes, ..settings() }, &info(true), all(), Some(LIMITS)).unwrap();
    check(&run(&mut disk, &ten(0x2a, 0, 0, 1), 512, None), 7, 0x27, 2);
    assert_eq!((disk.sense_format(), disk.modes()), (SenseFormat::Descriptor, modes));
}

#[test]
fn what_can_not_be_changed_is_refused_with_the_field_to_blame() {
    let mut disk = disk();
    let pointer = check(&select(&mut disk, 0x08, |page| page[12] ^= 0x20), 5, 0x26, 0);
    // Behind the header of 4 bytes.
    assert_eq!(pointer.map(|field| (field.in_cdb, field.byte)), Some((false, 16)));
    check(&with_list(&mut disk, &[0x15, 0x10, 0, 0, 3, 0], &[0; 3]), 5, 0x1a, 0);
    // Fewer bytes came than were promised.
    check(&with_list(&mut disk, &[0x15, 0x10, 0, 0, 24, 0], &[0; 12]), 5, 0x1a, 0);
    // SP: nothing is saved. PF=0: vendor specific pages.
    check(&with_list(&mut disk, &[0x15, 0x11, 0, 0, 4, 0], &[0; 4]), 5, 0x24, 0);
    check(&with_list(&mut disk, &[0x15, 0, 0, 0, 4, 0], &[0; 4]), 5, 0x24, 0);
    assert!(matches!(run(&mut disk, &[0x15, 0x10, 0, 0, 0, 0], 0, None), Job::Good));
}
