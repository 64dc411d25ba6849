//! Initiators that ask for much and read nothing.

use std::time::Duration;

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{answer, nop_out, read_10};
use crate::support::{Bench, Login};

/// 512 KiB per read.
const BLOCKS: u16 = 1024;

#[test]
fn a_slow_reader_gets_everything_and_others_do_not_wait() {
    let bench = Bench::with(ServerLimits { output_bytes: 64 * 1024, ..ServerLimits::default() });
    bench.script.fill(|at| (at / 512).to_le_bytes()[0]);
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    let mut read = |count: usize| -> Vec<u32> {
        (0..count).map(|_| initiator.command("Fr", u32::from(BLOCKS) * 512, &read_10(0, BLOCKS))).collect()
    };
    // All of them are taken before the first answer is there.
    bench.script.hold();
    let mut tags = read(60);
    bench.script.wait_begun(60);
    bench.script.release();
    bench.wait("30 MiB of answers", |status| status.luns[0].reads == 60);
    tags.extend(read(40));
    for _ in 0..20 {
        other.expect_silence();
    }
    assert_eq!(bench.script.begun().len(), 60, "commands are not read while answers can not be sent");
    let disk = bench.script.disk(0, usize::from(BLOCKS));
    for tag in tags {
        let (data, end) = initiator.finish_read(tag);
        assert!(end.status() == 0 && data == disk);
    }
    initiator.expect_silence();
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    let limits = ServerLimits {
        output_bytes: 64 * 1024,
        output_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    };
    let bench = Bench::with(limits);
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    for _ in 0..100 {
        initiator.command("Fr", u32::from(BLOCKS) * 512, &read_10(0, BLOCKS));
    }
    bench.wait("the greedy one is gone", |status| status.sessions == 1 && status.connections == 1);
    initiator.expect_end();
    other.expect_silence();
}

#[test]
fn requests_that_came_together_are_answered_although_each_answer_must_be_sent_first() {
    let bench = Bench::with(ServerLimits { output_bytes: 0, ..ServerLimits::default() });
    let mut initiator = bench.login();
    let pings = (0..50).flat_map(|tag| {
        let ping = nop_out(tag, &[7; 1000]).immediate().put32(24, 100);
        ping.encode(false, false)
    });
    initiator.send_bytes(&pings.collect::<Vec<u8>>());
    for tag in 0..50 {
        assert_eq!(initiator.expect(answer::NOP_IN).task_tag(), tag);
    }
}
