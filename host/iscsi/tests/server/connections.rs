//! Several connections of one session (RFC 7143 4.2.2.1: one numbering for all; 4.2.2: a command keeps to its own).

use crate::support::pdu::{answer, data_out, scsi, write_10};
use crate::support::{Bench, Initiator, Login, pattern};

fn pair(bench: &Bench) -> (Initiator, Initiator) {
    let first = bench.login_as(&Login::generous());
    let second = bench.login_as(&Login { tsih: first.tsih, cid: 1, ..Login::generous() });
    (first, second)
}

#[test]
fn numbers_are_shared_and_order_is_kept_across_connections() {
    let bench = Bench::new();
    let (mut first, mut second) = pair(&bench);
    second.send_as_is(&scsi(2, "F", 0, &[0; 6]).put32(24, 101));
    second.cmd_sn = 102;
    second.expect_silence();
    assert!(bench.script.begun().is_empty(), "number 100 is missing");
    first.send_as_is(&scsi(1, "F", 0, &[0; 6]).put32(24, 100));
    let end = first.expect(answer::SCSI_RESPONSE);
    assert_eq!(end.task_tag(), 1);
    let end = second.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.exp_cmd_sn()), (2, 102), "answered where it came from");
}

#[test]
fn data_on_the_wrong_connection_is_rejected() {
    let bench = Bench::new();
    let (mut first, mut second) = pair(&bench);
    let tag = first.command("Fw", 512, &write_10(0, 1));
    let r2t = first.expect(answer::R2T);
    let data = pattern(512, 1);
    second.send(data_out(tag, r2t.transfer_tag(), 0, 0, true, &data));
    assert_eq!(second.expect(answer::REJECT).response(), 0x04);
    first.answer_r2t(&r2t, &data);
    assert_eq!(first.finish_write(tag, &data).status(), 0, "the command was not harmed");
}

#[test]
fn no_more_connections_than_were_agreed() {
    let bench = Bench::new();
    let first = bench.login_as(&Login::generous().key("MaxConnections", "1"));
    let mut second = bench.connect();
    let reply = second.try_login(&Login { tsih: first.tsih, cid: 1, ..Login::generous() });
    assert_eq!(reply.get16(36), 0x0206);
    second.expect_end();
}

#[test]
fn a_session_that_does_not_exist_can_not_be_joined() {
    let bench = Bench::new();
    let mut initiator = bench.connect();
    let reply = initiator.try_login(&Login { tsih: 0x7777, ..Login::default() });
    assert_eq!(reply.get16(36), 0x020a);
    initiator.expect_end();
}
