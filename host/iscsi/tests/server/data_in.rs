//! How data of reads is cut (RFC 7143 11.7) and how errors look.

use crate::support::pdu::{answer, read_10};
use crate::support::{Bench, Login};

#[test]
fn data_is_cut_at_the_initiators_limit_and_at_the_burst() {
    let bench = Bench::new();
    bench.script.fill(|at| (at % 253).to_le_bytes()[0]);
    let mut initiator = bench
        .login_as(&Login::default().key("MaxRecvDataSegmentLength", "3072").key("MaxBurstLength", "8192"));
    let tag = initiator.command("Fr", 20480, &read_10(0, 40));
    let mut lengths: Vec<(usize, bool)> = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    loop {
        let pdu = initiator.expect(answer::DATA_IN);
        assert_eq!(
            (pdu.task_tag(), pdu.data_sn() as usize, pdu.offset() as usize),
            (tag, lengths.len(), data.len())
        );
        data.extend(&pdu.data);
        lengths.push((pdu.data.len(), pdu.is_final()));
        if pdu.has_status() {
            assert_eq!(pdu.status(), 0);
            break;
        }
    }
    let burst = [(3072, false), (3072, false), (2048, true)];
    let wanted = [&burst[..], &burst, &[(3072, false), (1024, true)]].concat();
    assert_eq!(lengths, wanted);
    assert_eq!(data, bench.script.disk(0, 40));
}

#[test]
fn an_error_comes_in_a_response_with_trimmed_sense_data() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("Fr", 512, &read_10(0, 1));
    bench.script.wait_begun(1);
    bench.script.finish(0, 2);
    let (data, end) = initiator.finish_read(tag);
    assert_eq!((data.len(), end.sense()), (0, (3, 0x11, 0)));
}

#[test]
fn other_statuses_are_passed_on() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let tag = initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    bench.script.finish(0, 0x28);
    let end = initiator.finish_read(tag).1;
    assert_eq!((end.status(), end.data.len()), (0x28, 0));
}
