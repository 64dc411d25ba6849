//! The counters, and how often a LUN is woken.

use crate::support::pdu::{answer, read_10, scsi, write_10};
use crate::support::{Bench, Login};

#[test]
fn commands_are_counted_by_lun_and_kind() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    initiator.execute("Fr", 1024, &read_10(0, 2));
    initiator.execute("F", 0, &[0; 6]);
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 512, &write_10(0, 1)).data(&[1; 512]).lun(1));
    initiator.expect(answer::SCSI_RESPONSE);
    initiator.execute("F", 0, &[0xc7; 10]);
    let status = bench.server.status();
    let [first, second] = &status.luns[..] else { panic!("two LUNs") };
    assert_eq!((first.reads, first.bytes_read, first.writes, first.other, first.errors), (1, 1024, 0, 2, 1));
    assert_eq!((second.reads, second.writes, second.bytes_written, second.errors), (0, 1, 512, 0));
    assert_eq!((first.latency.iter().sum::<u64>(), second.latency.iter().sum::<u64>()), (3, 1));
    assert!(first.latency_ns_sum > 0 && first.in_flight == 0);
    assert_eq!(bench.server.luns(), ["first", "second"]);
}

#[test]
fn commands_that_come_together_wake_the_lun_once() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let mut wire = Vec::new();
    for tag in 0..32 {
        let pdu = scsi(tag, "F", 0, &[0; 6]).put32(24, initiator.cmd_sn);
        initiator.cmd_sn += 1;
        wire.extend(pdu.encode(false, false));
    }
    initiator.send_bytes(&wire);
    bench.script.wait_begun(32);
    initiator.expect_silence();
    // One write of the client may be split by TCP, but never into as many pieces as it has commands.
    assert!(bench.script.signals() <= 4, "{} signals", bench.script.signals());
}
