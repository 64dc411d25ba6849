//! Addressing of LUNs, REPORT LUNS, and LUNs that are not there.

use crate::support::Bench;
use crate::support::pdu::{UNDERFLOW, answer, read_10, scsi};

const REPORT_LUNS: [u8; 12] = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0];

#[test]
fn every_way_to_name_a_lun_reaches_it() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    for address in [[0, 1], [0x40, 1]] {
        let mut pdu = scsi(1, "F", 0, &[0; 6]);
        pdu.bhs[8..10].copy_from_slice(&address);
        initiator.send(pdu);
        assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0);
    }
    assert_eq!((bench.script.begun().len(), bench.second.begun().len()), (0, 2));
}

#[test]
fn luns_are_listed() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let (data, end) = initiator.execute("Fr", 64, &REPORT_LUNS);
    assert_eq!(data, [&[0, 0, 0, 16, 0, 0, 0, 0][..], &[0; 8], &[0, 1, 0, 0, 0, 0, 0, 0]].concat());
    assert_eq!((end.status(), end.residual()), (0, (UNDERFLOW, 40)));
    let mut pdu = scsi(1, "Fr", 64, &REPORT_LUNS);
    pdu.bhs[8..10].copy_from_slice(&[0xc1, 1]);
    initiator.send(pdu);
    assert_eq!(initiator.finish_read(1).0, data, "the well known LUN says the same");
    assert!(bench.script.begun().is_empty(), "no LUN was asked");
}

#[test]
fn a_short_allocation_length_cuts_the_list() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let (data, end) = initiator.execute("Fr", 64, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    assert_eq!(
        (&data[..], end.status(), end.residual()),
        (&[0, 0, 0, 16, 0, 0, 0, 0][..], 0, (UNDERFLOW, 56))
    );
}

#[test]
fn a_lun_that_is_not_there_says_so_in_the_way_of_each_command() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let mut ask = |flags: &str, expected, cdb: &[u8]| {
        initiator.send(scsi(1, flags, expected, cdb).lun(2));
        initiator.finish_read(1)
    };
    let (data, end) = ask("Fr", 36, &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!((data[0], end.status()), (0x7f, 0));
    let (data, end) = ask("Fr", 18, &[0x03, 0, 0, 0, 18, 0]);
    assert_eq!((end.status(), data[2], data[12], data[13]), (0, 5, 0x25, 0));
    assert_eq!(ask("Fr", 512, &read_10(0, 1)).1.sense(), (5, 0x25, 0));
    assert_eq!(ask("Fr", 64, &REPORT_LUNS).1.sense(), (5, 0x25, 0));
}

#[test]
fn a_write_to_a_lun_that_is_not_there_ends_without_its_data() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    initiator.send(scsi(1, "Fw", 512, &crate::support::pdu::write_10(0, 1)).lun(7));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.sense(), end.residual()), ((5, 0x25, 0), (UNDERFLOW, 512)));
}

#[test]
fn what_a_lun_refuses_becomes_a_status() {
    use lunbox_iscsi::lun::Refusal;
    let bench = Bench::new();
    let mut initiator = bench.login();
    bench.script.refuse(Some(Refusal::Blocked));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 8);
    bench.script.refuse(Some(Refusal::Full));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 8, "nothing runs that could make room");
    bench.script.refuse(Some(Refusal::Broken));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.sense(), (2, 0x08, 0));
    bench.script.refuse(Some(Refusal::TooBig));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.sense(), (5, 0x24, 0));
    bench.script.refuse(None);
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0);
}
