//! The write cache and write protection, as initiators see them.

use std::time::Duration;

use lunbox_behaviour::Lun;
use lunbox_device::WriteCacheError;
use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_store::{GateHandle, OnCancel, Store, StoreError};

use crate::{good, pattern, sense};

const SIZE: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// The header and the caching page of MODE SENSE(6), without block descriptors.
fn mode_sense(lun: &Lun) -> Vec<u8> {
    let answer = lun.initiator.execute(&[0x1a, 0x08, 0x08, 0, 255, 0], Data::In(255)).unwrap();
    good(&answer);
    assert_eq!(answer.data[4] & 0x3f, 0x08, "{:02x?}", answer.data);
    answer.data
}

/// WCE of the caching page (SBC-4 6.5.6).
fn has_write_cache(lun: &Lun) -> bool {
    mode_sense(lun)[4 + 2] & 0x04 != 0
}

/// WP of both mode parameter headers (SBC-4 6.5.2).
fn is_write_protected(lun: &Lun) -> bool {
    let short = mode_sense(lun)[2] & 0x80 != 0;
    let long = lun.initiator.execute(&[0x5a, 0x08, 0x08, 0, 0, 0, 0, 0, 255, 0], Data::In(255)).unwrap();
    good(&long);
    assert_eq!(long.data[3] & 0x80 != 0, short, "both headers say the same");
    short
}

#[test]
fn a_read_only_lun_says_so_and_refuses_every_kind_of_write() {
    let lun = Lun::builder().read_only().start().unwrap();
    assert!(is_write_protected(&lun));
    let data = pattern(1, 512);
    let mut forced = cdb::write_16(0, 1);
    forced[1] |= 0x08;
    let writes: [&[u8]; 6] = [
        &[0x0a, 0, 0, 0, 1, 0],
        &cdb::write_10(0, 1),
        &[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        &cdb::write_16(0, 1),
        &forced,
        // Also where nothing would be written.
        &cdb::write_16(0, 0),
    ];
    for write in writes {
        sense(&lun.initiator.execute(write, Data::Out(&data)).unwrap(), (7, 0x27, 0));
    }
    // So is everything else that writes: WRITE AND VERIFY, WRITE SAME, UNMAP, COMPARE AND WRITE.
    for code in [0x2e, 0x41, 0x42, 0x8e, 0x93, 0x89, 0xae] {
        let mut cdb = [0; 16];
        cdb[0] = code;
        assert!(!lun.initiator.execute(&cdb, Data::Out(&data)).unwrap().is_good(), "{code:#04x}");
    }
    assert!(lun.initiator.read(0, 8).unwrap().data.iter().all(|byte| *byte == 0));
    assert_eq!(lun.status().bytes_written, 0);
    assert!(!is_write_protected(&Lun::builder().start().unwrap()));
}

#[test]
fn the_caching_page_says_how_the_lun_was_started() {
    assert!(has_write_cache(&Lun::builder().start().unwrap()), "the file handler holds writes back");
    let lun = Lun::builder().write_cache(false).start().unwrap();
    assert!(!has_write_cache(&lun) && !lun.status().write_cache);
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    good(&lun.initiator.flush().unwrap());
    assert_eq!(lun.initiator.read(0, 8).unwrap().data, pattern(1, 4096));
}

#[test]
fn the_write_cache_is_switched_and_initiators_are_told_once() {
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    assert!(lun.status().write_cache);
    for on in [false, true] {
        lun.device(|device| device.set_write_cache(on, PATIENCE)).unwrap();
        assert_eq!(lun.status().write_cache, on);
        sense(&lun.initiator.test_unit_ready().unwrap(), (6, 0x2a, 0x01));
        assert_eq!(has_write_cache(&lun), on);
        // As it is: nothing to tell.
        lun.device(|device| device.set_write_cache(on, PATIENCE)).unwrap();
        good(&lun.initiator.test_unit_ready().unwrap());
    }
    assert_eq!(lun.initiator.read(0, 8).unwrap().data, pattern(1, 4096));
    lun.assert_clean();
}

#[test]
fn what_can_not_be_flushed_keeps_the_write_cache() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let lun = Lun::builder().size(SIZE).store(store).start().unwrap();
    gate.open();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    gate.fail_next(StoreError::Io);
    let refused = lun.device(|device| device.set_write_cache(false, PATIENCE)).unwrap_err();
    assert!(matches!(refused, WriteCacheError::Refused(_)), "{refused}");
    assert!(has_write_cache(&lun) && lun.status().write_cache);

    // A store that does not answer: it stays, too, and the LUN serves.
    gate.close();
    let refused = lun.device(|device| device.set_write_cache(false, Duration::from_millis(50))).unwrap_err();
    assert_eq!(refused, WriteCacheError::TimedOut);
    assert!(has_write_cache(&lun));
    gate.open();
    good(&lun.initiator.read(0, 8).unwrap());
    lun.device(|device| device.set_write_cache(false, PATIENCE)).unwrap();
    sense(&lun.initiator.test_unit_ready().unwrap(), (6, 0x2a, 0x01));
    assert!(!has_write_cache(&lun));
}

#[test]
fn a_switch_waits_for_the_writes_before_it() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(SIZE).unwrap(), gate.clone());
    let lun = Lun::builder().size(SIZE).store(store).start().unwrap();
    let write = lun.initiator.start(&cdb::write_16(0, 8), Data::Out(&pattern(1, 4096))).unwrap();
    assert!(gate.wait_for_waiters(1, PATIENCE));
    std::thread::scope(|scope| {
        let switched = scope.spawn(|| lun.device(|device| device.set_write_cache(false, PATIENCE)));
        gate.release(1);
        good(&write.wait().unwrap());
        // The flush behind it.
        assert!(gate.wait_for_held(2, PATIENCE));
        assert!(!switched.is_finished(), "not before the flush has ended");
        gate.open();
        assert_eq!(switched.join().unwrap(), Ok(()));
    });
    assert!(!lun.status().write_cache);
}
