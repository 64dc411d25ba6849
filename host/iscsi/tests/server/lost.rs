//! Initiators that vanish: their session ends, their commands run to their end, nothing leaks.

use crate::support::pdu::{answer, data_out, scsi, write_10};
use crate::support::{Bench, Login, pattern};

#[test]
fn a_client_killed_in_the_middle_of_a_write_leaves_nothing() {
    let bench = Bench::new();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    for _ in 0..20 {
        let mut initiator = bench.login_as(&Login::generous());
        let tag = initiator.command("Fw", 16384, &write_10(0, 32));
        let r2t = initiator.expect(answer::R2T);
        initiator.send(data_out(tag, r2t.transfer_tag(), 0, 0, false, &pattern(1024, 9)));
        let wire = data_out(tag, r2t.transfer_tag(), 1, 1024, false, &[9; 2048]).encode(false, false);
        initiator.send_bytes(&wire[..700]);
        drop(initiator);
    }
    bench.wait("only the other is left", |status| status.connections == 1 && status.sessions == 1);
    assert!(bench.script.begun().is_empty(), "half a write is no write");
    assert_eq!(other.write(0, &pattern(8192, 1)).status(), 0);
    assert_eq!(bench.script.disk(0, 16), pattern(8192, 1));
}

#[test]
fn running_commands_of_a_lost_session_run_to_their_end_unanswered() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    for _ in 0..10 {
        initiator.command("F", 0, &[0; 6]);
    }
    bench.script.wait_begun(10);
    drop(initiator);
    bench.wait("the session's end", |status| status.sessions == 0 && status.connections == 0);
    bench.script.wait_abort();
    assert_eq!((bench.script.running(), bench.server.status().luns[0].in_flight), (10, 10));
    let mut next = bench.bystander();
    next.expect_silence();
    bench.script.release();
    bench.script.wait_idle();
    bench.wait("all counted as ended", |status| status.luns[0].in_flight == 0 && status.luns[0].other == 10);
    assert_eq!(next.execute("F", 0, &[0; 6]).1.status(), 0);
    next.expect_silence();
}

#[test]
fn a_lost_connection_ends_its_whole_session() {
    let bench = Bench::new();
    let mut first = bench.login_as(&Login::generous());
    let join = Login { tsih: first.tsih, cid: 1, ..Login::generous() };
    let second = bench.login_as(&join);
    drop(second);
    first.expect_end();
    bench.wait("the session's end", |status| status.sessions == 0 && status.connections == 0);
}

#[test]
fn commands_that_wait_for_room_vanish_with_their_session() {
    let bench = Bench::new();
    bench.script.set_capacity(1);
    bench.script.hold();
    let mut initiator = bench.login_as(&Login::generous());
    for lba in 0..5 {
        let tag = initiator.tag();
        initiator.send(scsi(tag, "Fw", 512, &write_10(lba, 1)).data(&[7; 512]));
    }
    bench.script.wait_begun(1);
    initiator.expect_silence();
    drop(initiator);
    bench.wait("the session's end", |status| status.sessions == 0);
    bench.script.release();
    bench.script.wait_idle();
    assert_eq!(bench.login().execute("F", 0, &[0; 6]).1.status(), 0);
    assert_eq!(bench.script.begun().len(), 2, "the first write and the ready test");
}
