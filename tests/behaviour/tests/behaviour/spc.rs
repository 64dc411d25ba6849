//! What any disk must answer.

use lunbox_behaviour::Lun;
use lunbox_device::Event;
use lunbox_emulator::Data;
use lunbox_scsi::Bytes;
use std::time::Duration;

use crate::{good, pattern, sense};

#[test]
fn inquiry_and_capacity_describe_the_lun() {
    let lun = Lun::builder().start().unwrap();
    let inquiry = lun.initiator.inquiry().unwrap();
    good(&inquiry);
    assert_eq!(&inquiry.data[8..16], b"LIO-ORG ");
    assert_eq!(&inquiry.data[16..32], b"TCMU device     ");
    let capacity = lun.initiator.read_capacity().unwrap().capacity().unwrap();
    assert_eq!((capacity.blocks, capacity.block_bytes), (32768, 512));
    lun.assert_clean();
}

#[test]
fn the_serial_is_asked_for_when_an_inquiry_needs_it() {
    let lun = Lun::builder().start().unwrap();
    let serial = lun.initiator.inquiry_page(0x80).unwrap();
    good(&serial);
    assert!(serial.data[4..].starts_with(b"0123456789abcdef"), "{:02x?}", &serial.data[..24]);
    let identification = lun.initiator.inquiry_page(0x83).unwrap();
    good(&identification);
    assert!(identification.data.windows(8).any(|window| window == b"LIO-ORG "));
    assert_eq!(lun.events().iter().filter(|event| **event == Event::IdentityWanted).count(), 2);
}

#[test]
fn a_resize_answers_an_inquiry_with_the_last_names_instead_of_waiting_for_new_ones() {
    let lun = Lun::builder().names(1).start().unwrap();
    good(&lun.initiator.inquiry_page(0x80).unwrap());
    let cdb = lunbox_emulator::initiator::cdb::inquiry_page(0x80, 252);
    let waiting = lun.initiator.start(&cdb, Data::In(252)).unwrap();
    let asked = || lun.events().iter().filter(|event| **event == Event::IdentityWanted).count();
    lun.wait_until("the names are asked for again", |_| asked() == 2);
    lun.device(|device| device.resize(Bytes(8 << 20), Duration::from_secs(5))).unwrap();
    let answer = waiting.wait().unwrap();
    good(&answer);
    assert!(answer.data[4..].starts_with(b"0123456789abcdef"));
}

#[test]
fn vital_product_data_lists_exactly_the_pages_that_are_answered() {
    let lun = Lun::builder().start().unwrap();
    let list = lun.initiator.inquiry_page(0).unwrap().data;
    let listed: Vec<u8> = list[4..4 + usize::from(list[3])].to_vec();
    for page in 0..=255 {
        let answer = lun.initiator.inquiry_page(page).unwrap();
        assert_eq!(answer.is_good(), listed.contains(&page), "page {page:#04x}");
        if answer.is_good() {
            assert_eq!(answer.data[1], page);
        } else {
            sense(&answer, (5, 0x24, 0));
        }
    }
}

#[test]
fn every_operation_code_is_answered_at_once() {
    let lun = Lun::builder().start().unwrap();
    for opcode in 0..=255_u8 {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        let answer = lun.initiator.execute(&cdb, Data::In(512)).unwrap();
        assert!(matches!(answer.status, 0 | 2), "opcode {opcode:#04x}: status {:#04x}", answer.status);
        if opcode >= 0xc0 || (0x60..0x7f).contains(&opcode) {
            sense(&answer, (5, 0x20, 0));
        }
    }
    lun.assert_clean();
}

#[test]
fn reservations_are_refused() {
    let lun = Lun::builder().start().unwrap();
    // RESERVE and RELEASE (6) and (10), PERSISTENT RESERVE IN and OUT.
    for opcode in [0x16, 0x17, 0x56, 0x57, 0x5e, 0x5f] {
        let mut cdb = [0; 10];
        cdb[0] = opcode;
        for data in [Data::None, Data::In(512), Data::Out(&[0; 24])] {
            sense(&lun.initiator.execute(&cdb, data).unwrap(), (5, 0x20, 0));
        }
    }
    lun.assert_clean();
}

#[test]
fn a_bidirectional_command_is_refused() {
    let lun = Lun::builder().start().unwrap();
    let both = Data::Both { out: &[7; 512], input: 512 };
    let answer = lun.initiator.execute(&lunbox_emulator::initiator::cdb::read_16(0, 1), both).unwrap();
    sense(&answer, (5, 0x20, 0));
    lun.assert_clean();
}

#[test]
fn random_cdbs_end_and_leak_nothing() {
    let lun = Lun::builder().start().unwrap();
    for seed in 0..2000 {
        let bytes = pattern(seed, 1 + usize::try_from(seed % 64).unwrap());
        let data = if seed % 3 == 0 { Data::Out(&[0xee; 1024]) } else { Data::In(1024) };
        let answer = lun.initiator.execute(&bytes, data).unwrap();
        assert!(matches!(answer.status, 0 | 2), "{bytes:02x?}: status {:#04x}", answer.status);
    }
    lun.assert_clean();
}

#[test]
fn parameter_data_shorter_than_the_buffer_is_reported_as_a_residual() {
    let lun = Lun::builder().start().unwrap();
    let answer = lun.initiator.execute(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(252)).unwrap();
    good(&answer);
    assert_eq!((answer.data.len(), answer.residual), (8, 244));
}

#[test]
fn sense_data_holds_nothing_but_the_sense() {
    let lun = Lun::builder().start().unwrap();
    let answer = lun.initiator.execute(&[0xff; 16], Data::None).unwrap();
    sense(&answer, (5, 0x20, 0));
    assert!(answer.raw_sense[18..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_resize_is_reported_once_and_moves_the_end() {
    let lun = Lun::builder().start().unwrap();
    lun.device(|device| device.resize(Bytes(8 << 20), Duration::from_secs(5))).unwrap();
    good(&lun.initiator.inquiry().unwrap());
    sense(&lun.initiator.test_unit_ready().unwrap(), (6, 0x2a, 9));
    good(&lun.initiator.test_unit_ready().unwrap());
    assert_eq!(lun.initiator.read_capacity().unwrap().capacity().unwrap().blocks, 16384);
    sense(&lun.initiator.read(16384, 1).unwrap(), (5, 0x21, 0));
    let error = lun.device(|device| device.resize(Bytes(1000), Duration::from_secs(5))).unwrap_err();
    assert!(error.to_string().contains("1000"), "{error}");
}
