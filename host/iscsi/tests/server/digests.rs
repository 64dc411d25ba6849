//! CRC32C digests, right and wrong (RFC 7143 7.7 and 7.8).

use crate::support::pdu::{answer, data_out, nop_out, read_10, scsi, write_10};
use crate::support::{Bench, Login, pattern};

const CRC_ERROR: (u8, u8, u8) = (0x0b, 0x47, 0x05);

fn with_digests() -> Login {
    Login::generous().key("HeaderDigest", "CRC32C").key("DataDigest", "CRC32C")
}

#[test]
fn everything_works_with_digests() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&with_digests());
    let data = pattern(20_480, 1);
    assert_eq!(initiator.write(0, &data).status(), 0);
    let (read, end) = initiator.execute("Fr", 20_480, &read_10(0, 40));
    assert_eq!((end.status(), read), (0, data));
    initiator.send(nop_out(9, b"odd").immediate());
    assert_eq!(initiator.expect(answer::NOP_IN).data, b"odd");
}

#[test]
fn a_wrong_header_digest_closes_the_connection() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&with_digests());
    let mut wire = nop_out(9, b"").immediate().encode(true, true);
    wire[20] ^= 1;
    initiator.send_bytes(&wire);
    initiator.expect_end();
    bench.wait("the session's end", |status| status.sessions == 0);
}

#[test]
fn a_wrong_digest_of_immediate_data_ends_the_command() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&with_digests());
    let mut wire =
        scsi(5, "Fw", 512, &write_10(0, 1)).data(&[1; 512]).put32(24, initiator.cmd_sn).encode(true, true);
    initiator.cmd_sn += 1;
    wire[60] ^= 1;
    initiator.send_bytes(&wire);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x02);
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).sense(), CRC_ERROR);
    assert!(bench.script.begun().is_empty());
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0);
}

#[test]
fn a_wrong_digest_of_data_out_ends_the_command_when_its_sequence_is_over() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&with_digests());
    let tag = initiator.command("Fw", 8192, &write_10(0, 16));
    let r2t = initiator.expect(answer::R2T);
    let mut wire = data_out(tag, r2t.transfer_tag(), 0, 0, false, &[1; 4096]).encode(true, true);
    wire[100] ^= 1;
    initiator.send_bytes(&wire);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x02);
    initiator.expect_silence();
    initiator.send(data_out(tag, r2t.transfer_tag(), 1, 4096, true, &[1; 4096]));
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.sense()), (tag, CRC_ERROR));
    assert!(bench.script.begun().is_empty());
}

#[test]
fn a_ping_with_a_wrong_digest_is_rejected() {
    let bench = Bench::new();
    let mut initiator = bench.login_as(&with_digests());
    let mut wire = nop_out(9, b"data").immediate().put32(24, initiator.cmd_sn).encode(true, true);
    *wire.last_mut().unwrap() ^= 1;
    initiator.send_bytes(&wire);
    assert_eq!(initiator.expect(answer::REJECT).response(), 0x02);
    initiator.expect_silence();
}
