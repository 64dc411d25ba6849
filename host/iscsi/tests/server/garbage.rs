//! Bytes that are no iSCSI.

use proptest::prelude::*;

use crate::support::{Bench, Login};

#[test]
fn another_protocol_is_turned_away() {
    let bench = Bench::new();
    let mut session = bench.login();
    for request in [&b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"[..], &[0xff; 200], &[0; 48]]
    {
        let mut client = bench.connect();
        client.send_bytes(request);
        client.expect_end();
    }
    session.expect_silence();
    bench.wait("only the session is left", |status| status.connections == 1 && status.logins_failed == 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever follows a login, the server lives and other sessions do not notice.
    #[test]
    fn random_bytes_after_a_login_harm_nobody(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..6)) {
        let bench = Bench::new();
        let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
        let mut initiator = bench.login();
        for piece in pieces {
            if !initiator.send_if_possible(&piece) {
                break;
            }
        }
        drop(initiator);
        other.expect_silence();
        bench.wait("the other is alone", |status| status.connections == 1);
        other.expect_silence();
    }

    /// Well-formed headers with random contents reach every parser.
    #[test]
    fn random_pdus_harm_nobody(
        opcode in prop_oneof![Just(0u8), Just(1), Just(2), Just(4), Just(5), Just(6), Just(0x10)],
        immediate: bool,
        mut bhs in any::<[u8; 32]>(),
        tag in 0u32..4,
        length in 0u8..64,
    ) {
        let bench = Bench::new();
        bench.script.hold();
        let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
        let mut initiator = bench.login_as(&Login::generous());
        initiator.command("Fw", 1024, &crate::support::pdu::write_10(0, 2));
        bhs[0] &= 0xf0;
        let mut pdu = crate::support::pdu::Pdu::new(opcode | u8::from(immediate) << 6, bhs[1]);
        pdu.bhs[16..48].copy_from_slice(&bhs);
        let pdu = pdu.put32(16, tag).put32(24, initiator.cmd_sn).data(&vec![1; usize::from(length)]);
        initiator.send_bytes(&pdu.encode(false, false));
        other.expect_silence();
        drop(initiator);
        bench.script.release();
        bench.wait("the other is alone", |status| status.connections == 1);
        other.expect_silence();
        bench.script.wait_idle();
    }
}
