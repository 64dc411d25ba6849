//! Every PDU of an initiator against its figure in RFC 7143 clause 11, and everything that one alone can get wrong.

use crate::bytes::{hex, pdu};
use lunbox_iscsi::pdu::codes::{LogoutReason, RejectReason, SnackKind, TaskAttribute, TaskFunction};
use lunbox_iscsi::pdu::frame::{DigestCheck, Frame};
use lunbox_iscsi::pdu::header::{BHS_LENGTH, Bhs, Lun};
use lunbox_iscsi::pdu::request::{Malformed, Request, parse};
use proptest::prelude::*;

/// Cuts one whole PDU by hand.
fn with<R>(bytes: &[u8], look: impl FnOnce(Result<Request<'_>, Malformed>) -> R) -> R {
    let bhs = Bhs::new(bytes[..BHS_LENGTH].try_into().unwrap());
    let ahs_end = BHS_LENGTH + usize::from(bytes[4]) * 4;
    let length = usize::try_from(u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]])).unwrap();
    let ahs = &bytes[BHS_LENGTH..ahs_end];
    let frame = Frame { bhs, ahs, data: &bytes[ahs_end..ahs_end + length], data_digest: DigestCheck::Off };
    look(parse(&frame))
}

/// The request that these bytes are, or a panic; takes it apart with a pattern.
macro_rules! request {
    ($bytes:expr, $kind:ident, $look:expr) => {
        with(&$bytes, |request| match request {
            Ok(Request::$kind(request)) => $look(request),
            other => panic!("{other:?}"),
        })
    };
}

fn refused(bytes: &[u8]) -> RejectReason {
    with(bytes, |request| request.expect_err("must be refused").reason)
}

#[test]
fn nop_out_ping_and_answer() {
    let ping =
        hex("40800000 00000002 00000000 00000000 00000011 ffffffff 00000021 00000031 00000000 00000000
        00000000 00000000 68690000");
    request!(ping, NopOut, |ping: lunbox_iscsi::pdu::request::NopOut<'_>| {
        assert!(ping.immediate);
        assert_eq!((ping.initiator_task_tag, ping.target_transfer_tag), (Some(0x11), None));
        assert_eq!((ping.cmd_sn, ping.exp_stat_sn, ping.data), (0x21, 0x31, &b"hi"[..]));
    });
    let answer =
        hex("40800000 00000000 40070000 00000000 ffffffff 00000051 00000021 00000031 00000000 00000000
        00000000 00000000");
    request!(answer, NopOut, |answer: lunbox_iscsi::pdu::request::NopOut<'_>| {
        assert_eq!((answer.initiator_task_tag, answer.target_transfer_tag), (None, Some(0x51)));
        assert_eq!(answer.lun.number(), Some(7));
    });
    let numbered = [&[0x00], &answer[1..]].concat();
    assert_eq!(refused(&numbered), RejectReason::ProtocolError);
    let not_final = [&[0x40, 0x00], &answer[2..]].concat();
    assert_eq!(refused(&not_final), RejectReason::InvalidPduField);
}

/// WRITE(10) of eight blocks with four bytes of immediate data, more to come.
const WRITE: &str = "01220000 00000004 40070000 00000000 00000011 00001000 00000021 00000031
    2a000000 00100000 08000000 00000000 deadbeef";

#[test]
fn scsi_command_with_immediate_data() {
    request!(hex(WRITE), ScsiCommand, |write: lunbox_iscsi::pdu::request::ScsiCommand<'_>| {
        assert!(!write.immediate && !write.is_final && !write.read && write.write);
        assert_eq!(write.attribute, TaskAttribute::Ordered);
        assert_eq!((write.lun.number(), write.initiator_task_tag), (Some(7), 0x11));
        assert_eq!((write.expected_length, write.bidi_read_length), (0x1000, None));
        assert_eq!((write.cmd_sn, write.exp_stat_sn), (0x21, 0x31));
        assert_eq!(write.cdb.as_slice(), hex("2a000000 00100000 08000000 00000000"));
        assert_eq!(write.data, hex("deadbeef"));
    });
}

fn changed(text: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut pdu = hex(text);
    pdu[at..at + bytes.len()].copy_from_slice(bytes);
    pdu
}

#[test]
fn contradictions_in_a_scsi_command() {
    let read = changed(WRITE, 1, &[0xc1]);
    assert_eq!(refused(&read), RejectReason::InvalidPduField, "immediate data without W");
    assert_eq!(refused(&changed(WRITE, 1, &[0x41])), RejectReason::InvalidPduField, "neither F nor W");
    for attribute in 5..8 {
        assert_eq!(refused(&changed(WRITE, 1, &[0xa0 | attribute])), RejectReason::InvalidPduField);
    }
    assert_eq!(refused(&changed(WRITE, 20, &[0, 0, 0, 3])), RejectReason::InvalidPduField, "too much data");
    assert_eq!(refused(&changed(WRITE, 16, &[0xff; 4])), RejectReason::InvalidPduField, "reserved tag");
    assert_eq!(
        refused(&changed(WRITE, 1, &[0xe1])),
        RejectReason::InvalidPduField,
        "bidirectional without length"
    );
    let neither = hex("01810000 00000000 00000000 00000000 00000011 00000200 00000000 00000000
        00000000 00000000 00000000 00000000");
    assert_eq!(refused(&neither), RejectReason::InvalidPduField, "a length, but neither R nor W");
}

#[test]
fn both_directions_without_any_length_need_no_segment() {
    let both = hex("01e10000 00000000 00000000 00000000 00000011 00000000 00000000 00000000
        00000000 00000000 00000000 00000000");
    request!(both, ScsiCommand, |both: lunbox_iscsi::pdu::request::ScsiCommand<'_>| {
        assert_eq!((both.read, both.write, both.bidi_read_length), (true, true, Some(0)));
    });
}

fn command(flags: u8, expected: u32, ahs: &[u8]) -> Vec<u8> {
    let mut header = [0; 48];
    header[..2].copy_from_slice(&[0x01, flags]);
    header[20..24].copy_from_slice(&expected.to_be_bytes());
    header[32..].copy_from_slice(&[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 9, 0, 0, 0, 0, 0, 0]);
    pdu(header, ahs, &[], false, false)
}

#[test]
fn cdbs_beyond_sixteen_bytes_come_from_the_segment() {
    // 32-byte CDB: 16 more bytes, AHSLength 17.
    let mut ahs = vec![0, 17, 1, 0];
    ahs.extend(16..32);
    request!(command(0xc0, 512, &ahs), ScsiCommand, |long: lunbox_iscsi::pdu::request::ScsiCommand<'_>| {
        assert_eq!(long.cdb.as_slice().len(), 32);
        assert_eq!(long.cdb.as_slice()[..10], [0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 9]);
        assert_eq!(long.cdb.as_slice()[16..], (16..32).collect::<Vec<u8>>());
    });
    let segment = |bytes: usize| {
        let [high, low] = u16::try_from(bytes + 1).unwrap().to_be_bytes();
        let mut ahs = vec![high, low, 1, 0];
        ahs.resize(4 + bytes.next_multiple_of(4), 0xcd);
        ahs
    };
    request!(
        command(0xc0, 512, &segment(244)),
        ScsiCommand,
        |longest: lunbox_iscsi::pdu::request::ScsiCommand<'_>| {
            assert_eq!(longest.cdb.as_slice().len(), 260);
        }
    );
    request!(command(0xc0, 512, &segment(5)), ScsiCommand, |odd: lunbox_iscsi::pdu::request::ScsiCommand<
        '_,
    >| {
        assert_eq!(odd.cdb.as_slice().len(), 21, "padding is no part of the CDB");
    });
    assert_eq!(refused(&command(0xc0, 512, &segment(245))), RejectReason::InvalidPduField);
    assert_eq!(
        refused(&command(0xc0, 512, &[segment(4), segment(4)].concat())),
        RejectReason::InvalidPduField
    );
}

#[test]
fn bidirectional_commands_name_their_read_length() {
    let read_length = [0, 5, 2, 0, 0, 0, 2, 0];
    request!(
        command(0xe0, 4096, &read_length),
        ScsiCommand,
        |bidi: lunbox_iscsi::pdu::request::ScsiCommand<'_>| {
            assert_eq!((bidi.expected_length, bidi.bidi_read_length), (4096, Some(512)));
            assert_eq!(bidi.cdb.as_slice().len(), 16);
        }
    );
    for (flags, ahs, what) in [
        (0xc0, &read_length[..], "read only"),
        (0xe0, &[read_length, read_length].concat(), "twice"),
        (0xe0, &[0, 4, 2, 0, 0, 0, 2, 0], "three bytes"),
        (0xe0, &[0, 5, 3, 0, 0, 0, 2, 0], "unknown type"),
        (0xe0, &[0, 0, 2, 0], "AHSLength 0"),
        (0xe0, &[0, 9, 2, 0, 0, 0, 2, 0], "AHSLength beyond the end"),
    ] {
        assert_eq!(refused(&command(flags, 4096, ahs)), RejectReason::InvalidPduField, "{what}");
    }
}

#[test]
fn task_management_functions() {
    let abort =
        hex("42810000 00000000 40070000 00000000 00000011 00000061 00000021 00000031 00000071 00000081
        00000000 00000000");
    request!(abort, TaskManagement, |abort: lunbox_iscsi::pdu::request::TaskManagement| {
        assert!(abort.immediate);
        assert_eq!(abort.function, Ok(TaskFunction::AbortTask));
        assert_eq!((abort.initiator_task_tag, abort.referenced_task_tag), (0x11, 0x61));
        assert_eq!((abort.cmd_sn, abort.exp_stat_sn), (0x21, 0x31));
        assert_eq!((abort.ref_cmd_sn, abort.exp_data_sn, abort.lun.number()), (0x71, 0x81, Some(7)));
    });
    for code in 0..=0x7f {
        let mut pdu = abort.clone();
        pdu[1] = 0x80 | code;
        let expected = (1..=8).contains(&code);
        request!(pdu, TaskManagement, |request: lunbox_iscsi::pdu::request::TaskManagement| {
            assert_eq!(request.function.is_ok(), expected);
            assert_eq!(request.function.map_or_else(|code| code, TaskFunction::code), code);
        });
    }
    let mut not_final = abort.clone();
    not_final[1] = 0x01;
    assert_eq!(refused(&not_final), RejectReason::InvalidPduField);
    let mut header: [u8; 48] = abort[..48].try_into().unwrap();
    assert_eq!(refused(&pdu(header, &[], &[1], false, false)), RejectReason::InvalidPduField, "data");
    header[16..20].fill(0xff);
    assert_eq!(refused(&header), RejectReason::InvalidPduField, "reserved tag");
}

#[test]
fn login_request_is_taken_as_it_is() {
    let login =
        hex("43870102 00000004 80010203 04050607 00000011 00090000 00000021 00000031 00000000 00000000
        00000000 00000000 413d3100");
    request!(login, Login, |login: lunbox_iscsi::pdu::request::LoginRequest<'_>| {
        assert!(login.immediate && login.transit && !login.continues);
        assert_eq!((login.current_stage, login.next_stage), (1, 3));
        assert_eq!((login.version_max, login.version_min), (1, 2));
        assert_eq!((login.isid, login.tsih, login.cid), ([0x80, 1, 2, 3, 4, 5], 0x0607, 9));
        assert_eq!((login.initiator_task_tag, login.cmd_sn, login.exp_stat_sn), (0x11, 0x21, 0x31));
        assert_eq!(login.text, b"A=1\0");
    });
}

#[test]
fn text_request_and_its_continuation() {
    let text =
        hex("04800000 00000004 00000000 00000000 00000011 ffffffff 00000021 00000031 00000000 00000000
        00000000 00000000 413d3100");
    request!(text, Text, |text: lunbox_iscsi::pdu::request::TextRequest<'_>| {
        assert!(!text.immediate && text.is_final && !text.continues);
        assert_eq!((text.initiator_task_tag, text.target_transfer_tag), (0x11, None));
        assert_eq!((text.cmd_sn, text.exp_stat_sn, text.text), (0x21, 0x31, &b"A=1\0"[..]));
    });
    let mut more = text.clone();
    more[1] = 0x40;
    more[20..24].copy_from_slice(&[0, 0, 0, 5]);
    request!(more, Text, |more: lunbox_iscsi::pdu::request::TextRequest<'_>| {
        assert!(more.continues && !more.is_final);
        assert_eq!(more.target_transfer_tag, Some(5));
    });
    more[1] = 0xc0;
    assert_eq!(refused(&more), RejectReason::InvalidPduField);
}

#[test]
fn data_out_solicited_and_not() {
    let data =
        hex("05800000 00000004 40070000 00000000 00000011 00000051 00000000 00000031 00000000 00000003
        00010000 00000000 deadbeef");
    request!(data, DataOut, |data: lunbox_iscsi::pdu::request::DataOut<'_>| {
        assert!(data.is_final);
        assert_eq!((data.initiator_task_tag, data.target_transfer_tag), (0x11, Some(0x51)));
        assert_eq!((data.exp_stat_sn, data.data_sn, data.buffer_offset), (0x31, 3, 0x1_0000));
        assert_eq!((data.data, data.lun.number()), (&hex("deadbeef")[..], Some(7)));
    });
    let mut unsolicited = data.clone();
    unsolicited[1] = 0;
    unsolicited[20..24].fill(0xff);
    request!(unsolicited, DataOut, |data: lunbox_iscsi::pdu::request::DataOut<'_>| {
        assert_eq!((data.is_final, data.target_transfer_tag), (false, None));
    });
    let mut beyond = data.clone();
    beyond[40..44].copy_from_slice(&[0xff, 0xff, 0xff, 0xfd]);
    assert_eq!(refused(&beyond), RejectReason::InvalidPduField);
    beyond[43] = 0xfb;
    request!(beyond, DataOut, |data: lunbox_iscsi::pdu::request::DataOut<'_>| {
        assert_eq!(data.buffer_offset, u32::MAX - 4);
    });
}

#[test]
fn logout_reasons() {
    let logout =
        hex("46810000 00000000 00000000 00000000 00000011 00090000 00000021 00000031 00000000 00000000
        00000000 00000000");
    request!(logout, Logout, |logout: lunbox_iscsi::pdu::request::LogoutRequest| {
        assert!(logout.immediate);
        assert_eq!((logout.reason, logout.cid), (LogoutReason::CloseConnection, 9));
        assert_eq!((logout.initiator_task_tag, logout.cmd_sn, logout.exp_stat_sn), (0x11, 0x21, 0x31));
    });
    for code in 3..=0x7f {
        let mut pdu = logout.clone();
        pdu[1] = 0x80 | code;
        assert_eq!(refused(&pdu), RejectReason::InvalidPduField);
    }
}

#[test]
fn snack_kinds() {
    let snack =
        hex("10820000 00000000 40070000 00000000 ffffffff 00000051 00000000 00000031 00000000 00000000
        00000005 00000006");
    request!(snack, Snack, |snack: lunbox_iscsi::pdu::request::Snack| {
        assert_eq!((snack.kind, snack.lun.number()), (SnackKind::DataAck, Some(7)));
        assert_eq!((snack.initiator_task_tag, snack.target_transfer_tag), (0xffff_ffff, 0x51));
        assert_eq!((snack.exp_stat_sn, snack.beg_run, snack.run_length), (0x31, 5, 6));
    });
    let mut unknown = snack.clone();
    unknown[1] = 0x84;
    assert_eq!(refused(&unknown), RejectReason::InvalidPduField);
}

#[test]
fn every_other_opcode_is_not_supported() {
    for opcode in 0..=0x3f {
        let mut header = [0; 48];
        header[..2].copy_from_slice(&[opcode, 0x80]);
        let known = matches!(opcode, 0..=6 | 0x10);
        with(&header, |request| {
            assert_eq!(
                request.is_err_and(|e| e.reason == RejectReason::CommandNotSupported),
                !known,
                "{opcode:#x}"
            );
        });
    }
}

#[test]
fn segments_belong_to_commands_only() {
    for opcode in [0x40, 0x42, 0x43, 0x44, 0x05, 0x46, 0x10] {
        let mut header = [0; 48];
        header[..2].copy_from_slice(&[opcode, 0x80]);
        assert_eq!(refused(&pdu(header, &[0, 1, 1, 0], &[], false, false)), RejectReason::InvalidPduField);
    }
}

proptest! {
    /// Whatever the bytes are, there is an answer, and what is accepted keeps its promises.
    #[test]
    fn accepted_commands_keep_their_promises(
        header in any::<[u8; 48]>(),
        ahs in prop::collection::vec(any::<u8>(), 0..16),
        data in prop::collection::vec(any::<u8>(), 0..8),
        opcode in 0..8_u8,
    ) {
        let mut header = header;
        header[0] = header[0] & 0xc0 | opcode;
        let ahs = &ahs[..ahs.len() / 4 * 4];
        let bytes = pdu(header, ahs, &data, false, false);
        with(&bytes, |request| {
            match request {
                Ok(Request::ScsiCommand(command)) => {
                    assert!(command.write || command.is_final && command.data.is_empty());
                    assert_eq!(command.bidi_read_length.is_some(), command.read && command.write);
                    assert!(u64::try_from(command.data.len()).unwrap() <= command.expected_length.into());
                    assert!((16..=260).contains(&command.cdb.as_slice().len()));
                    assert_eq!(command.lun, Lun(header[8..16].try_into().unwrap()));
                }
                Ok(Request::DataOut(out)) => {
                    let length = u32::try_from(out.data.len()).unwrap();
                    assert!(out.buffer_offset.checked_add(length).is_some());
                }
                Ok(_) => assert!(ahs.is_empty()),
                Err(malformed) => assert!(!malformed.what.is_empty()),
            }
        });
    }
}
