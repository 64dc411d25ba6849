//! Data of writes: immediate, unsolicited, and what R2Ts ask for (RFC 7143 4.2.5.2).

use proptest::prelude::*;

use crate::support::pdu::{NONE, Pdu, answer, data_out, scsi, write_10};
use crate::support::{Bench, Login, pattern};

#[test]
fn immediate_data_needs_no_r2t() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let data = pattern(4096, 1);
    let tag = initiator.tag();
    initiator.send(scsi(tag, "Fw", 4096, &write_10(0, 8)).data(&data));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.status(), end.residual(), end.get32(36)), (0, (0, 0), 0));
    assert_eq!(bench.script.disk(0, 8), data);
}

#[test]
fn unsolicited_data_follows_immediate_data_up_to_the_first_burst() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let data = pattern(8192, 2);
    let tag = initiator.tag();
    initiator.send(scsi(tag, "w", 8192, &write_10(8, 16)).data(&data[..1024]));
    initiator.send(data_out(tag, u32::MAX, 0, 1024, false, &data[1024..2048]));
    initiator.send(data_out(tag, u32::MAX, 1, 2048, true, &data[2048..4096]));
    let r2t = initiator.expect(answer::R2T);
    assert_eq!((r2t.data_sn(), r2t.get32(40), r2t.get32(44)), (0, 4096, 4096), "the rest is asked for");
    initiator.answer_r2t(&r2t, &data);
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.status(), end.get32(36)), (0, 1), "one R2T was sent");
    assert_eq!(bench.script.disk(8, 16), data);
}

#[test]
fn all_data_is_asked_for_when_nothing_came() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let data = pattern(512 * 1024, 3);
    let end = initiator.write(100, &data);
    assert_eq!(end.status(), 0);
    assert_eq!(bench.script.disk(100, 1024), data);
}

#[test]
fn several_r2ts_are_outstanding_and_answered_in_any_order() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous().key("MaxOutstandingR2T", "3"));
    let data = pattern(5 * 8192, 4);
    let tag = initiator.command("Fw", 5 * 8192, &write_10(0, 80));
    let mut open: Vec<Pdu> = (0..3).map(|_| initiator.expect(answer::R2T)).collect();
    assert_eq!(open.iter().map(|r2t| r2t.get32(40)).collect::<Vec<_>>(), [0, 8192, 16384]);
    assert_eq!(open.iter().map(Pdu::data_sn).collect::<Vec<_>>(), [0, 1, 2]);
    initiator.expect_silence();
    initiator.answer_r2t(&open.remove(2), &data);
    open.push(initiator.expect(answer::R2T));
    initiator.answer_r2t(&open.remove(0), &data);
    open.push(initiator.expect(answer::R2T));
    for r2t in open {
        initiator.answer_r2t(&r2t, &data);
    }
    let end = initiator.finish_write(tag, &data);
    assert_eq!((end.status(), end.get32(36)), (0, 5));
    assert_eq!(bench.script.disk(0, 80), data);
}

#[test]
fn a_long_cdb_arrives_whole() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    // A service action that no command has.
    let mut cdb = vec![0x7f, 0, 0, 0, 0, 0, 0, 24, 0xff, 9];
    cdb.extend(10..32u8);
    let (_, end) = initiator.execute("F", 0, &cdb);
    assert_eq!(end.sense(), (5, 0x20, 0));
    assert_eq!(bench.script.begun()[0].cdb, cdb);
}

#[test]
fn commands_wait_for_room_in_the_lun_and_keep_their_order() {
    let bench = Bench::new();
    bench.script.set_capacity(2);
    bench.script.hold();
    let mut initiator = bench.login_as(&Login::generous());
    for lba in 0..6u8 {
        let tag = initiator.tag();
        initiator.send(scsi(tag, "Fw", 512, &write_10(u32::from(lba), 1)).data(&[lba + 1; 512]));
    }
    bench.script.wait_begun(2);
    initiator.expect_silence();
    assert_eq!(bench.script.begun().len(), 2, "there is no room for more");
    bench.script.release();
    for _ in 0..6 {
        assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0);
    }
    let order: Vec<u8> = bench.script.begun().iter().map(|command| command.cdb[5]).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    for lba in 0..6u8 {
        assert_eq!(bench.script.disk(usize::from(lba), 1), [lba + 1; 512]);
    }
}

/// One step of an interleaving: which of the open sequences goes on, and by how many 512-byte blocks.
fn steps() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0usize..64, 1usize..6), 0..400)
}

/// A sequence that an R2T has asked for, as the initiator knows it.
struct Open {
    task: usize,
    r2t: Pdu,
    sent: u32,
    data_sn: u32,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// However the Data-Out PDUs of many writes are interleaved, every byte lands where it belongs.
    #[test]
    fn any_interleaving_gives_the_right_bytes(
        blocks in prop::collection::vec(1u16..60, 1..8),
        steps in steps(),
    ) {
        let bench = Bench::new();
        let mut initiator = bench.login_as(&Login::generous().key("MaxOutstandingR2T", "4"));
        let data: Vec<Vec<u8>> =
            (1u8..).zip(&blocks).map(|(seed, &blocks)| pattern(usize::from(blocks) * 512, seed)).collect();
        let lba = |task: usize| u32::try_from(task * 64).unwrap();
        let mut open: Vec<Open> = Vec::new();
        let tags: Vec<u32> = (0..blocks.len())
            .map(|task| {
                let length = u32::from(blocks[task]) * 512;
                initiator.command("Fw", length, &write_10(lba(task), blocks[task]))
            })
            .collect();
        let mut ended = 0;
        let mut steps = steps.into_iter().chain(std::iter::repeat((0, 5)));
        while ended < tags.len() {
            // As many R2Ts as are certain to have been sent: none is open, so at least one must come.
            if open.is_empty() {
                let pdu = initiator.receive();
                if pdu.opcode() == answer::SCSI_RESPONSE {
                    prop_assert_eq!(pdu.status(), 0);
                    ended += 1;
                } else {
                    let task = tags.iter().position(|&tag| tag == pdu.task_tag()).unwrap();
                    open.push(Open { task, r2t: pdu, sent: 0, data_sn: 0 });
                    // Those that came with it.
                    let tag = initiator.tag();
                    initiator.send(crate::support::pdu::nop_out(tag, b"").immediate());
                    loop {
                        let pdu = initiator.receive();
                        match pdu.opcode() {
                            answer::NOP_IN => break,
                            answer::SCSI_RESPONSE => ended += 1,
                            _ => {
                                let task = tags.iter().position(|&tag| tag == pdu.task_tag()).unwrap();
                                open.push(Open { task, r2t: pdu, sent: 0, data_sn: 0 });
                            }
                        }
                    }
                }
                continue;
            }
            let (which, blocks) = steps.next().unwrap();
            let at = which % open.len();
            let Open { task, r2t, sent, data_sn } = &mut open[at];
            let (offset, length) = (r2t.get32(40) + *sent, r2t.get32(44));
            let part = (length - *sent).min(u32::try_from(blocks * 512).unwrap());
            let is_final = *sent + part == length;
            let bytes = &data[*task][offset as usize..(offset + part) as usize];
            initiator.send(data_out(r2t.task_tag(), r2t.transfer_tag(), *data_sn, offset, is_final, bytes));
            *sent += part;
            *data_sn += 1;
            if is_final {
                open.swap_remove(at);
            }
        }
        for (task, data) in data.iter().enumerate() {
            prop_assert_eq!(&bench.script.disk(task * 64, data.len() / 512), data);
        }
    }
}

#[test]
fn unsolicited_data_of_a_command_that_takes_none_is_dropped() {
    const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login_as(&Login::generous());
    // Not final: data follows, whatever the CDB says.
    let tag = initiator.command("w", 512, &SYNCHRONIZE_CACHE);
    bench.script.wait_begun(1);
    initiator.send(data_out(tag, NONE, 0, 0, true, &[1; 512]));
    initiator.expect_silence();
    bench.script.finish(0, 0);
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.status()), (tag, 0));
    // What nobody has asked for is no part of it.
    bench.script.hold();
    let tag = initiator.command("w", 512, &SYNCHRONIZE_CACHE);
    bench.script.wait_begun(2);
    initiator.send(data_out(tag, 7, 0, 0, true, &[1; 512]));
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x04);
}

#[test]
fn unsolicited_data_of_a_command_that_will_fail_in_its_turn_is_dropped() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&Login::generous());
    let number = initiator.cmd_sn;
    // Two blocks, of which one is offered; and the command before it is missing.
    initiator.send_as_is(&scsi(21, "w", 512, &write_10(0, 2)).put32(24, number + 1));
    initiator.send(data_out(21, NONE, 0, 0, true, &[1; 512]));
    initiator.expect_silence();
    initiator.send_as_is(&scsi(20, "F", 0, &[0; 6]).put32(24, number));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.sense()), (21, (5, 0x0e, 0x03)));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).task_tag(), 20);
}
