//! The memory for data of writes: bounded, shared fairly, and not to be kept for nothing.

use std::time::{Duration, Instant};

use lunbox_iscsi::ServerLimits;

use crate::support::pdu::{answer, data_out, nop_out, task_management, write_10};
use crate::support::{Bench, Initiator, Login, pattern};

#[test]
fn writes_beyond_the_memory_for_writes_take_turns() {
    let limits = ServerLimits { write_memory: 10_000, ..Default::default() };
    let bench = Bench::with(limits);
    let mut initiator = bench.login_as(&Login::generous());
    let data = [pattern(8192, 1), pattern(8192, 2), pattern(16384, 3)];
    let tags = [
        initiator.command("Fw", 8192, &write_10(0, 16)),
        initiator.command("Fw", 8192, &write_10(16, 16)),
        initiator.command("Fw", 16384, &write_10(32, 32)),
    ];
    let first = initiator.expect(answer::R2T);
    initiator.expect_silence();
    initiator.answer_r2t(&first, &data[0]);
    let (mut asked, mut ended) = (vec![first.task_tag()], Vec::new());
    while ended.len() < tags.len() {
        let pdu = initiator.receive();
        if pdu.opcode() == answer::SCSI_RESPONSE {
            assert_eq!(pdu.status(), 0);
            ended.push(pdu.task_tag());
            continue;
        }
        if asked.last() != Some(&pdu.task_tag()) {
            asked.push(pdu.task_tag());
        }
        let task = tags.iter().position(|&tag| tag == pdu.task_tag()).unwrap();
        initiator.answer_r2t(&pdu, &data[task]);
    }
    assert_eq!((&asked[..], &ended[..]), (&tags[..], &tags[..]), "first come, first served");
    assert_eq!(bench.script.disk(0, 64), data.concat());
}

#[test]
fn memory_for_writes_comes_back_from_writes_that_never_end() {
    let limits = ServerLimits { write_memory: 10_000, ..Default::default() };
    let bench = Bench::with(limits);
    let mut initiator = bench.login_as(&Login { isid: 2, ..Login::generous() });
    let aborted = initiator.command("Fw", 8192, &write_10(0, 16));
    initiator.expect(answer::R2T);
    initiator.send(task_management(1, 50, aborted, 0).immediate());
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    // One that lies, and one that vanishes.
    let tag = initiator.command("Fw", 8192, &write_10(0, 16));
    let r2t = initiator.expect(answer::R2T);
    initiator.send(data_out(tag, r2t.transfer_tag(), 7, 0, true, &[0; 8192]));
    initiator.expect(answer::REJECT);
    initiator.expect(answer::SCSI_RESPONSE);
    initiator.command("Fw", 8192, &write_10(0, 16));
    initiator.expect(answer::R2T);
    drop(initiator);
    bench.wait("the session's end", |status| status.sessions == 0);
    let mut next = bench.login();
    let data = pattern(8192, 1);
    assert_eq!(next.write(0, &data).status(), 0);
    // Were any of it still counted, a second write beside this one would have to wait.
    let tags = [next.command("Fw", 4096, &write_10(0, 8)), next.command("Fw", 4096, &write_10(8, 8))];
    let r2ts = [next.expect(answer::R2T), next.expect(answer::R2T)];
    assert_eq!(r2ts.map(|r2t| r2t.task_tag()), tags);
}

#[test]
fn each_session_gets_one_write_whatever_the_others_keep() {
    let bench = Bench::with(ServerLimits { write_memory: 10_000, ..ServerLimits::default() });
    let mut greedy = bench.login_as(&Login { isid: 2, ..Login::generous() });
    for _ in 0..20 {
        greedy.command("Fw", 8192, &write_10(0, 16));
    }
    greedy.expect(answer::R2T);
    greedy.expect_silence();
    let mut other = bench.login_as(&Login::generous());
    let data = [pattern(8192, 1), pattern(16384, 2)];
    // The second one waits for the first, not for the greedy one.
    let tags = [other.command("Fw", 8192, &write_10(0, 16)), other.command("Fw", 16384, &write_10(16, 32))];
    let r2t = other.expect(answer::R2T);
    assert_eq!(r2t.task_tag(), tags[0]);
    other.expect_silence();
    other.answer_r2t(&r2t, &data[0]);
    // It is asked for in two bursts, before the end of the first one is told.
    let r2ts = [other.expect(answer::R2T), other.expect(answer::R2T)];
    assert_eq!(other.expect(answer::SCSI_RESPONSE).task_tag(), tags[0]);
    for r2t in r2ts {
        other.answer_r2t(&r2t, &data[1]);
    }
    assert_eq!(other.finish_write(tags[1], &data[1]).status(), 0);
    assert_eq!(bench.script.disk(0, 48), data.concat());
}

#[test]
fn a_small_write_does_not_pass_a_large_one_that_waits() {
    let bench = Bench::with(ServerLimits { write_memory: 10_000, ..ServerLimits::default() });
    let mut initiator = bench.login_as(&Login::generous());
    let data = pattern(8192, 1);
    let [first, large, small] =
        [8, 16, 1].map(|blocks| initiator.command("Fw", u32::from(blocks) * 512, &write_10(0, blocks)));
    let r2t = initiator.expect(answer::R2T);
    assert_eq!(r2t.task_tag(), first);
    initiator.expect_silence();
    initiator.answer_r2t(&r2t, &data);
    let r2ts = [initiator.expect(answer::R2T), initiator.expect(answer::R2T)];
    assert_eq!(r2ts.map(|r2t| r2t.task_tag()), [large, small]);
}

#[test]
fn sessions_that_wait_take_turns() {
    let bench = Bench::with(ServerLimits { write_memory: 16_384, ..ServerLimits::default() });
    let data = pattern(4096, 1);
    let mut holder = bench.login_as(&Login { isid: 2, ..Login::generous() });
    for _ in 0..4 {
        holder.command("Fw", 4096, &write_10(0, 8));
    }
    let mut held = [(); 4].map(|()| holder.expect(answer::R2T)).into_iter();
    // Each has the right to one; two of each wait.
    let mut waiting = [3, 4].map(|isid| bench.login_as(&Login { isid, ..Login::generous() }));
    for initiator in &mut waiting {
        for _ in 0..3 {
            initiator.command("Fw", 4096, &write_10(0, 8));
        }
        initiator.expect(answer::R2T);
        initiator.expect_silence();
    }
    let mut give_back = || {
        holder.answer_r2t(&held.next().unwrap(), &data);
        holder.expect(answer::SCSI_RESPONSE);
    };
    // The two that are above the limit.
    give_back();
    give_back();
    for first_or_second in [0, 1] {
        waiting.iter_mut().for_each(Initiator::expect_silence);
        give_back();
        waiting[first_or_second].expect(answer::R2T);
    }
    waiting.iter_mut().for_each(Initiator::expect_silence);
}

#[test]
fn a_waiting_write_that_is_aborted_does_not_hold_up_those_behind_it() {
    let bench = Bench::with(ServerLimits { write_memory: 10_000, ..ServerLimits::default() });
    let mut initiator = bench.login_as(&Login::generous());
    let first = initiator.command("Fw", 8192, &write_10(0, 16));
    assert_eq!(initiator.expect(answer::R2T).task_tag(), first);
    let large = initiator.command("Fw", 8192, &write_10(0, 16));
    let small = initiator.command("Fw", 512, &write_10(0, 1));
    initiator.expect_silence();
    initiator.send(task_management(1, 50, large, 0).immediate());
    assert_eq!(initiator.expect(answer::R2T).task_tag(), small);
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
}

#[test]
fn an_initiator_that_does_not_send_what_it_was_asked_for_is_cut_although_it_pings() {
    let limits = ServerLimits {
        write_memory: 10_000,
        pdu_timeout: Duration::from_millis(300),
        ..ServerLimits::default()
    };
    let bench = Bench::with(limits);
    let mut other = bench.login_as(&Login { isid: 2, ..Login::generous() });
    let mut greedy = bench.login_as(&Login::generous());
    greedy.command("Fw", 8192, &write_10(0, 16));
    greedy.expect(answer::R2T);
    let begin = Instant::now();
    let ping = nop_out(u32::MAX, b"").immediate().put32(24, greedy.cmd_sn).encode(false, false);
    while bench.server.status().sessions == 2 {
        assert!(begin.elapsed() < Duration::from_secs(20), "it keeps the memory");
        greedy.send_if_possible(&ping);
        other.expect_silence();
    }
    greedy.expect_end();
    assert_eq!(other.write(0, &pattern(8192, 1)).status(), 0);
}

#[test]
fn a_write_may_wait_for_its_turn_while_data_of_others_comes() {
    let limit = Duration::from_millis(300);
    let bench = Bench::with(ServerLimits { pdu_timeout: limit, ..ServerLimits::default() });
    let mut pacemaker = bench.login_as(&Login { isid: 2, ..Login::default() });
    let mut initiator = bench.login_as(&Login::generous().key("MaxBurstLength", "65536"));
    let data = pattern(65536, 1);
    let tags = [
        initiator.command("Fw", 65536, &write_10(0, 128)),
        initiator.command("Fw", 65536, &write_10(128, 128)),
    ];
    let r2ts = [initiator.expect(answer::R2T), initiator.expect(answer::R2T)];
    // The first one takes three times the limit, in which nothing of the second comes.
    let begin = Instant::now();
    for at in 0..128u32 {
        let (offset, end) = (at * 512, (at + 1) * 512);
        let part = &data[offset as usize..end as usize];
        initiator.send(data_out(tags[0], r2ts[0].transfer_tag(), at, offset, end == 65536, part));
        while begin.elapsed() < limit * 3 / 128 * (at + 1) {
            pacemaker.expect_silence();
        }
    }
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), tags[0]);
    initiator.answer_r2t(&r2ts[1], &data);
    assert_eq!(initiator.finish_write(tags[1], &data).status(), 0);
    assert_eq!(bench.script.disk(0, 256), [&data[..], &data].concat());
}
