//! Initiators that ask for much and read nothing.

use std::time::{Duration, Instant};

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{answer, nop_out, read_10, scsi, task_management};
use crate::support::{Bench, Initiator, Login};

/// 512 KiB per read.
const BLOCKS: u16 = 1024;

#[test]
fn a_slow_reader_gets_everything_and_others_do_not_wait() {
    let bench = Bench::with(ServerLimits { output_bytes: 64 * 1024, ..ServerLimits::default() });
    bench.script.fill(|at| (at / 512).to_le_bytes()[0]);
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    let tags: Vec<u32> = (0..100).map(|_| read(&mut initiator)).collect();
    for _ in 0..20 {
        other.expect_silence();
    }
    assert!(bench.script.begun().len() < 100, "50 MiB do not fit into two socket buffers");
    let disk = bench.script.disk(0, usize::from(BLOCKS));
    for tag in tags {
        let (data, end) = initiator.finish_read(tag);
        assert!(end.status() == 0 && data == disk);
    }
    initiator.expect_silence();
}

fn read(initiator: &mut Initiator) -> u32 {
    initiator.command("Fr", u32::from(BLOCKS) * 512, &read_10(0, BLOCKS))
}

#[test]
fn what_reads_may_return_counts_as_output() {
    let bench = Bench::with(ServerLimits { output_bytes: 1 << 20, ..ServerLimits::default() });
    bench.script.hold();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login();
    let tags: Vec<u32> = (0..50).map(|_| read(&mut initiator)).collect();
    // One that returns nothing, and one of somebody else, do not wait for them.
    let ready = initiator.command("F", 0, &[0; 6]);
    initiator.expect_silence();
    let foreign = read(&mut other);
    other.expect_silence();
    let begun = |opcode: u8| bench.script.begun().iter().filter(|command| command.cdb[0] == opcode).count();
    assert_eq!((begun(0x28), begun(0x00)), (3 + 1, 1), "two fill the output, the third is the one above it");
    let at = bench.script.begun().iter().position(|command| command.cdb[0] == 0).unwrap();
    bench.script.finish(at, 0);
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), ready);
    // Aborted while it waits, and while it runs.
    for tag in [tags[10], tags[0]] {
        initiator.send(task_management(1, 5000 + tag, tag, 0).immediate());
    }
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    initiator.expect_silence();
    bench.script.finish(0, 0);
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    initiator.expect_silence();
    assert_eq!(begun(0x28), 4 + 1, "the aborted one made room");
    bench.script.release();
    for tag in tags.into_iter().enumerate().filter(|(nth, _)| ![0, 10].contains(nth)).map(|(_, tag)| tag) {
        assert_eq!(initiator.finish_read(tag).1.status(), 0);
    }
    assert_eq!(other.finish_read(foreign).1.status(), 0);
    initiator.expect_silence();
}

#[test]
fn a_slow_reader_is_not_taken_for_a_dead_one() {
    let limits = ServerLimits {
        output_bytes: 64 * 1024,
        ping_after: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(200),
        pdu_timeout: Duration::from_millis(200),
        ..ServerLimits::default()
    };
    let bench = Bench::with(limits);
    let mut initiator = bench.login();
    let tags: Vec<u32> = (0..100).map(|_| read(&mut initiator)).collect();
    let ping = nop_out(7, b"").immediate().put32(24, initiator.cmd_sn).encode(false, false);
    let begin = Instant::now();
    let mut cut = Some(&ping[20..]);
    initiator.send_bytes(&ping[..20]);
    while begin.elapsed() < Duration::from_millis(1000) {
        if begin.elapsed() > Duration::from_millis(100)
            && let Some(rest) = cut.take()
        {
            // By now nothing more can be sent to it, and nothing is read from it.
            initiator.send_bytes(rest);
        }
        std::thread::yield_now();
    }
    assert!(bench.script.begun().len() < 100, "it has fallen behind");
    assert_eq!(bench.server.status().sessions, 1);
    for tag in tags {
        assert_eq!(initiator.finish_read_among_pings(tag).1.status(), 0);
    }
}

#[test]
fn an_initiator_that_sends_very_much_leaves_the_others_their_turn() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let numbered = |tag, number| scsi(tag, "F", 0, &[0; 6]).put32(24, number).encode(false, false);
    let ping = nop_out(u32::MAX, b"").immediate().put32(24, 100).encode(false, false);
    let flood = ping.repeat(300);
    let pieces = [numbered(1, 100), flood.clone(), numbered(2, 101), flood, numbered(3, 102)];
    initiator.send_bytes(&pieces.concat());
    bench.script.wait_begun(3);
    initiator.cmd_sn = 103;
    initiator.expect_silence();
    assert_eq!(bench.script.signals(), 3, "no two of the commands were begun in one round");
    bench.script.release();
    for tag in 1..=3 {
        assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), tag);
    }
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
        read(&mut initiator);
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
