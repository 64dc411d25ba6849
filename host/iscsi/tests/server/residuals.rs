//! What initiators expect against what commands move (RFC 7143 11.4.5).

use crate::support::pdu::{OVERFLOW, UNDERFLOW, answer, read_10, scsi, write_10};
use crate::support::{Bench, Login, pattern};

#[test]
fn reads_return_what_was_expected_at_most() {
    let bench = Bench::new();
    bench.script.fill(|at| (at % 251).to_le_bytes()[0]);
    let disk = bench.script.disk(0, 2);
    let mut initiator = bench.login();
    for (expected, length, residual) in [
        (1024, 1024, (0, 0)),
        (10_000, 1024, (UNDERFLOW, 8976)),
        (200, 200, (OVERFLOW, 824)),
        (512, 512, (OVERFLOW, 512)),
        (0, 0, (OVERFLOW, 1024)),
    ] {
        let flags = if expected == 0 { "F" } else { "Fr" };
        let (data, end) = initiator.execute(flags, expected, &read_10(0, 2));
        assert_eq!((end.status(), end.residual()), (0, residual), "{expected}");
        assert_eq!(data, disk[..length]);
    }
}

#[test]
fn short_parameter_data_is_an_underflow() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let (data, end) = initiator.execute("Fr", 255, &[0x12, 0, 0, 0, 255, 0]);
    assert_eq!((data.len(), end.status(), end.residual()), (36, 0, (UNDERFLOW, 219)));
    let (data, end) = initiator.execute("Fr", 8, &[0x12, 0, 0, 0, 255, 0]);
    assert_eq!((data.len(), end.status(), end.residual()), (8, 0, (OVERFLOW, 28)));
}

#[test]
fn a_write_takes_what_its_cdb_says() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let data = pattern(1024, 5);
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 1024, &write_10(7, 1)).data(&data));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.status(), end.residual()), (0, (UNDERFLOW, 512)));
    assert_eq!(bench.script.begun()[0].out, data[..512]);
    assert_eq!(bench.script.disk(8, 1), [0; 512], "the block behind it was not touched");
}

#[test]
fn only_what_the_cdb_takes_is_asked_for() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let tag = initiator.command("Fw", 4096, &write_10(0, 1));
    let r2t = initiator.expect(answer::R2T);
    assert_eq!((r2t.get32(40), r2t.get32(44)), (0, 512));
    let data = pattern(4096, 6);
    initiator.answer_r2t(&r2t, &data);
    let end = initiator.finish_write(tag, &data);
    assert_eq!((end.status(), end.residual()), (0, (UNDERFLOW, 3584)));
}

#[test]
fn a_write_of_more_than_was_offered_is_refused() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 512, &write_10(0, 2)).data(&[1; 512]));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.sense(), end.residual()), ((5, 0x0e, 0x03), (OVERFLOW, 512)));
    assert!(bench.script.begun().is_empty());
}

#[test]
fn directions_that_do_not_fit_move_nothing() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let (data, end) = initiator.execute("Fr", 512, &write_10(0, 1));
    assert_eq!((data.len(), end.sense(), end.residual()), (0, (5, 0x24, 0), (UNDERFLOW, 512)));
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 512, &read_10(0, 1)).data(&[1; 512]));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.status(), end.residual()), (0, (UNDERFLOW, 512)));
}

#[test]
fn unknown_commands_reach_the_lun_with_their_data() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 100, &[0xc7; 10]).data(&[3; 100]));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!(end.sense(), (5, 0x20, 0));
    assert_eq!(bench.script.begun()[0].out, [3; 100]);
    let (_, end) = initiator.execute("Fr", u32::MAX, &[0xc7; 10]);
    assert_eq!((end.sense(), end.residual()), ((5, 0x20, 0), (UNDERFLOW, u32::MAX)));
}

#[test]
fn a_bidirectional_command_is_refused_with_both_residuals() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let mut pdu = scsi(4, "Frw", 512, &[0x53, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    pdu.ahs = vec![0, 5, 2, 0, 0, 0, 2, 0];
    initiator.send(pdu);
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.sense(), end.residual()), ((5, 0x20, 0), (UNDERFLOW, 512)));
    assert_eq!((end.flags() & 0x18, end.get32(40)), (0x08, 512), "residual of the read");
}

#[test]
fn what_ends_neither_good_nor_in_check_condition_moves_nothing() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("Fr", 1024, &read_10(0, 2));
    bench.script.wait_begun(1);
    bench.script.finish(0, 8);
    let (data, end) = initiator.finish_read(tag);
    assert_eq!((data.len(), end.status(), end.residual()), (0, 8, (UNDERFLOW, 1024)));
    bench.wait("it is counted", |status| status.luns[0].reads == 1);
    assert_eq!(bench.server.status().luns[0].bytes_read, 0);
}

#[test]
fn the_target_s_own_data_is_not_moved_to_who_wants_to_write() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let report_luns = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
    let (data, end) = initiator.execute("Fw", 16, &report_luns);
    assert_eq!((data.len(), end.status(), end.residual()), (0, 0, (UNDERFLOW, 16)));
}
