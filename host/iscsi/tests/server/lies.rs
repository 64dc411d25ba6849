//! Initiators that do not keep to what was agreed: their command fails, everything else goes on.

use crate::support::pdu::{Pdu, answer, data_out, nop_out, scsi, write_10};
use crate::support::{Bench, Initiator, Login};

/// Sense data for each kind of lie.
const UNEXPECTED_UNSOLICITED: (u8, u8, u8) = (0x0b, 0x0c, 0x0c);
const INCORRECT_AMOUNT: (u8, u8, u8) = (0x0b, 0x0c, 0x0d);
const DATA_PHASE_ERROR: (u8, u8, u8) = (0x0b, 0x4b, 0x00);
const INVALID_TAG: (u8, u8, u8) = (0x0b, 0x4b, 0x01);
const TOO_MUCH: (u8, u8, u8) = (0x0b, 0x4b, 0x02);
const OFFSET: (u8, u8, u8) = (0x0b, 0x4b, 0x05);

/// The PDU is rejected and its command ends with this sense data; the next command works.
fn caught(initiator: &mut Initiator, bench: &Bench, tag: u32, sense: (u8, u8, u8)) {
    let reject = initiator.expect(answer::REJECT);
    assert_eq!((reject.response(), reject.data.len(), reject.task_tag()), (0x04, 48, u32::MAX));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.sense()), (tag, sense));
    assert!(bench.script.begun().is_empty(), "the LUN did not see it");
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!(end.status(), 0);
}

#[test]
fn answers_to_r2ts_are_checked() {
    type Lie = fn(&Pdu) -> Pdu;
    let lies: [(&str, Lie, (u8, u8, u8)); 7] = [
        ("tag", |r2t| data_out(r2t.task_tag(), r2t.transfer_tag() + 1, 0, 0, true, &[0; 8192]), INVALID_TAG),
        (
            "DataSN",
            |r2t| data_out(r2t.task_tag(), r2t.transfer_tag(), 1, 0, true, &[0; 8192]),
            DATA_PHASE_ERROR,
        ),
        // Were it allowed, such a sequence would go on for ever.
        ("nothing", |r2t| data_out(r2t.task_tag(), r2t.transfer_tag(), 0, 0, false, &[]), DATA_PHASE_ERROR),
        ("offset", |r2t| data_out(r2t.task_tag(), r2t.transfer_tag(), 0, 4, true, &[0; 8188]), OFFSET),
        ("too much", |r2t| data_out(r2t.task_tag(), r2t.transfer_tag(), 0, 0, true, &[0; 8196]), TOO_MUCH),
        (
            "too little",
            |r2t| data_out(r2t.task_tag(), r2t.transfer_tag(), 0, 0, true, &[0; 8188]),
            INCORRECT_AMOUNT,
        ),
        ("no tag", |r2t| data_out(r2t.task_tag(), u32::MAX, 0, 0, true, &[0; 8192]), UNEXPECTED_UNSOLICITED),
    ];
    for (what, lie, sense) in lies {
        let bench = Bench::new();
        let mut initiator = bench.login_as(&Login::generous().key("MaxOutstandingR2T", "1"));
        let tag = initiator.command("Fw", 16384, &write_10(0, 32));
        let r2t = initiator.expect(answer::R2T);
        println!("{what}");
        initiator.send(lie(&r2t));
        caught(&mut initiator, &bench, tag, sense);
    }
}

#[test]
fn unsolicited_data_must_be_agreed_on() {
    let bench = Bench::new();
    // The defaults of the standard: InitialR2T=Yes.
    let mut initiator = bench.login_as(&Login::default().key("ImmediateData", "No"));
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 512, &write_10(0, 1)).data(&[1; 512]));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).sense(), UNEXPECTED_UNSOLICITED);
    initiator.send(scsi(tag, "w", 512, &write_10(0, 1)));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).sense(), UNEXPECTED_UNSOLICITED);
    // What had been sent on top is dropped.
    initiator.send(data_out(tag, u32::MAX, 0, 0, true, &[1; 512]));
    initiator.expect_silence();
    assert!(bench.script.begun().is_empty());
}

#[test]
fn immediate_data_is_bounded_by_the_first_burst() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 8192, &write_10(0, 16)).data(&[1; 4608]));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).sense(), INCORRECT_AMOUNT);
    assert!(bench.script.begun().is_empty());
}

#[test]
fn unsolicited_data_that_stops_short_is_noticed() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let tag = initiator.tag();
    initiator.send(scsi(tag, "w", 8192, &write_10(0, 16)));
    initiator.send(data_out(tag, u32::MAX, 0, 0, true, &[1; 512]));
    caught(&mut initiator, &bench, tag, INCORRECT_AMOUNT);
}

#[test]
fn data_for_no_command_is_dropped() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    initiator.send(data_out(77, 1, 0, 0, true, &[1; 512]));
    initiator.send(data_out(78, u32::MAX, 0, 0, true, &[1; 512]));
    initiator.expect_silence();
}

#[test]
fn data_for_a_command_that_has_all_its_data_is_rejected() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login_as(&Login::generous());
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 512, &write_10(0, 1)).data(&[1; 512]));
    bench.script.wait_begun(1);
    initiator.send(data_out(tag, u32::MAX, 0, 0, true, &[2; 512]));
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x04);
    bench.script.release();
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0);
    assert_eq!(bench.script.disk(0, 1), [1; 512]);
}

#[test]
fn a_tag_in_use_is_rejected_and_its_command_goes_on() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    initiator.send(scsi(5, "F", 0, &[0; 6]));
    bench.script.wait_begun(1);
    initiator.send(scsi(5, "F", 0, &[0; 6]));
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x07);
    bench.script.release();
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), 5);
    initiator.expect_silence();
    assert_eq!(bench.script.begun().len(), 1);
}

#[test]
fn a_pdu_longer_than_agreed_closes_the_connection() {
    let bench = Bench::new();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    let mut header = nop_out(1, b"").bhs;
    header[5..8].copy_from_slice(&[0x04, 0x00, 0x01]); // 256 KiB and a byte
    initiator.send_bytes(&header);
    initiator.expect_end();
    bench.wait("the session's end", |status| status.sessions == 1);
    other.expect_silence();
}

#[test]
fn what_can_not_be_parsed_is_rejected() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let snack = Pdu::new(0x10, 0x80).put32(16, 1);
    let unknown = Pdu::new(0x1c, 0x80).put32(16, 1);
    for (pdu, reason) in [(snack, 0x03), (unknown, 0x05)] {
        initiator.send_as_is(&pdu);
        assert_eq!(initiator.expect(answer::REJECT).response(), reason);
    }
    initiator.expect_silence();
}
