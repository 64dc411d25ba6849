//! Every PDU of a target against its figure in RFC 7143 clause 11.

use crate::bytes::{digest, hex};
use lunbox_iscsi::digest::Digests;
use lunbox_iscsi::pdu::codes::{AsyncEvent, LoginStatus, LogoutResult, RejectReason, TaskManagementResult};
use lunbox_iscsi::pdu::header::{Bhs, Lun, RESERVED_TAG};
use lunbox_iscsi::pdu::response::{
    AsyncMessage, DataIn, DataInStatus, LoginResponse, LogoutResponse, NopIn, R2t, Reject, Residual,
    ScsiResponse, SequenceNumbers, TaskManagementResponse, TextResponse,
};

const OFF: Digests = Digests { header: false, data: false };
const NUMBERS: SequenceNumbers =
    SequenceNumbers { stat_sn: 0x0102_0304, exp_cmd_sn: 0x1112_1314, max_cmd_sn: 0x2122_2324 };
const TAG: u32 = 0xa1a2_a3a4;
const LUN: Lun = Lun([0x40, 0x07, 0, 0, 0, 0, 0, 0]);

/// Encodes behind bytes that are there already, which must stay.
fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0xee; 3];
    encode(&mut out);
    assert_eq!(out[..3], [0xee; 3]);
    out.split_off(3)
}

#[test]
fn nop_in_echoes_data_with_padding() {
    let pdu = NopIn {
        lun: Lun::default(),
        initiator_task_tag: TAG,
        target_transfer_tag: RESERVED_TAG,
        numbers: NUMBERS,
        data: b"hello",
    };
    let expected = hex("20800000 00000005 00000000 00000000 a1a2a3a4 ffffffff 01020304 11121314 21222324 00000000 00000000 00000000
        68656c6c 6f000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn scsi_response_with_both_residuals_and_sense_data() {
    let pdu = ScsiResponse {
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        target_failure: false,
        status: 0x02,
        exp_data_sn: 0x31,
        residual: Residual::Overflow(0x0000_0200),
        bidi_residual: Residual::Underflow(0x0000_0010),
        sense: &[0x70, 0, 5],
    };
    // u (0x08) for the read part, O (0x04) for the write part; SenseLength 3.
    let expected = hex("218c0002 00000005 00000000 00000000 a1a2a3a4 00000000 01020304 11121314 21222324
        00000031 00000010 00000200 | ExpDataSN, bidirectional residual, residual
        0003 700005 000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn scsi_response_flags_one_by_one() {
    let pdu = |residual, bidi_residual, target_failure| {
        let pdu = ScsiResponse {
            initiator_task_tag: TAG,
            numbers: NUMBERS,
            target_failure,
            status: 0,
            exp_data_sn: 0,
            residual,
            bidi_residual,
            sense: &[],
        };
        let bytes = encoded(|out| pdu.encode(OFF, out));
        assert_eq!(bytes.len(), 48);
        (bytes[1], bytes[2], bytes[40..].to_vec())
    };
    let none = Residual::None;
    assert_eq!(pdu(none, none, false), (0x80, 0, vec![0; 8]));
    assert_eq!(pdu(none, none, true), (0x80, 1, vec![0; 8]));
    assert_eq!(pdu(Residual::Underflow(1), none, false), (0x82, 0, vec![0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(pdu(Residual::Overflow(1), none, false), (0x84, 0, vec![0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(pdu(none, Residual::Underflow(1), false), (0x88, 0, vec![0, 0, 0, 1, 0, 0, 0, 0]));
    assert_eq!(pdu(none, Residual::Overflow(1), false), (0x90, 0, vec![0, 0, 0, 1, 0, 0, 0, 0]));
}

#[test]
fn task_management_response() {
    let pdu = TaskManagementResponse {
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        result: TaskManagementResult::LunDoesNotExist,
    };
    let expected = hex("22800200 00000000 00000000 00000000 a1a2a3a4 00000000 01020304 11121314 21222324
        00000000 00000000 00000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn login_response_has_stages_session_and_status() {
    let pdu = LoginResponse {
        transit: true,
        continues: false,
        current_stage: 1,
        next_stage: 3,
        version_max: 0,
        version_active: 0,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 0x0607,
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        status: LoginStatus::AuthenticationFailure,
        text: b"A=1\0",
    };
    let expected = hex("23870000 00000004 80010203 04050607 a1a2a3a4 00000000 01020304 11121314 21222324
        02010000 00000000 00000000 413d3100");
    assert_eq!(encoded(|out| pdu.encode(out)), expected);
    let more = LoginResponse { transit: false, continues: true, current_stage: 0, next_stage: 0, ..pdu };
    assert_eq!(encoded(|out| more.encode(out))[1], 0x40);
}

#[test]
fn text_response_with_and_without_an_end() {
    let pdu = TextResponse {
        is_final: true,
        continues: false,
        lun: LUN,
        initiator_task_tag: TAG,
        target_transfer_tag: RESERVED_TAG,
        numbers: NUMBERS,
        text: b"A=12\0",
    };
    let expected = hex("24800000 00000005 40070000 00000000 a1a2a3a4 ffffffff 01020304 11121314 21222324
        00000000 00000000 00000000 413d3132 00000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
    let more = TextResponse { is_final: false, continues: true, target_transfer_tag: 5, ..pdu };
    let bytes = encoded(|out| more.encode(OFF, out));
    assert_eq!((bytes[1], &bytes[20..24]), (0x40, &[0, 0, 0, 5][..]));
}

#[test]
fn data_in_without_status_has_no_stat_sn() {
    let pdu = DataIn {
        is_final: false,
        status: None,
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        data_sn: 2,
        buffer_offset: 0x2000,
        data: &[0xda; 6],
    };
    let expected = hex("25000000 00000006 00000000 00000000 a1a2a3a4 ffffffff 00000000 11121314 21222324
        00000002 00002000 00000000 dadadada dada0000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
    let last = DataIn { is_final: true, ..pdu };
    assert_eq!(encoded(|out| last.encode(OFF, out))[1], 0x80);
}

#[test]
fn data_in_with_status_carries_the_residual() {
    let data_in = |residual| DataIn {
        is_final: true,
        status: Some(DataInStatus { status: 0x04, residual }),
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        data_sn: 0,
        buffer_offset: 0,
        data: &[1, 2, 3, 4],
    };
    let expected = hex("25830004 00000004 00000000 00000000 a1a2a3a4 ffffffff 01020304 11121314 21222324
        00000000 00000000 00001000 01020304");
    assert_eq!(encoded(|out| data_in(Residual::Underflow(0x1000)).encode(OFF, out)), expected);
    assert_eq!(encoded(|out| data_in(Residual::Overflow(1)).encode(OFF, out))[1], 0x85);
    assert_eq!(encoded(|out| data_in(Residual::None).encode(OFF, out))[1], 0x81);
}

#[test]
fn logout_response() {
    let pdu = LogoutResponse {
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        result: LogoutResult::RecoveryNotSupported,
        time2wait: 2,
        time2retain: 0x14,
    };
    let expected = hex("26800200 00000000 00000000 00000000 a1a2a3a4 00000000 01020304 11121314 21222324
        00000000 00020014 00000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn r2t() {
    let pdu = R2t {
        lun: LUN,
        initiator_task_tag: TAG,
        target_transfer_tag: 0x51,
        numbers: NUMBERS,
        r2t_sn: 3,
        buffer_offset: 0x1_0000,
        desired_length: 0x4_0000,
    };
    let expected = hex("31800000 00000000 40070000 00000000 a1a2a3a4 00000051 01020304 11121314 21222324
        00000003 00010000 00040000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn asynchronous_messages_with_parameters_and_with_sense_data() {
    let pdu = AsyncMessage {
        lun: Lun::default(),
        numbers: NUMBERS,
        event: AsyncEvent::LogoutRequest,
        vendor_code: 0,
        parameters: [1, 2, 10],
        sense: &[],
    };
    let expected = hex("32800000 00000000 00000000 00000000 ffffffff 00000000 01020304 11121314 21222324
        01000001 0002000a 00000000");
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
    let event = AsyncMessage { event: AsyncEvent::ScsiEvent, lun: LUN, sense: &[0x70, 0, 6, 0, 0, 0], ..pdu };
    let bytes = encoded(|out| event.encode(OFF, out));
    assert_eq!(bytes[8..10], [0x40, 0x07]);
    assert_eq!(bytes[48..], [0, 6, 0x70, 0, 6, 0, 0, 0]);
}

#[test]
fn reject_quotes_the_header() {
    let offender: [u8; 48] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let pdu = Reject {
        reason: RejectReason::InvalidPduField,
        numbers: NUMBERS,
        data_sn: 0,
        offender: Bhs::new(offender),
    };
    let mut expected = hex("3f800900 00000030 00000000 00000000 ffffffff 00000000 01020304 11121314 21222324
        00000000 00000000 00000000");
    expected.extend_from_slice(&offender);
    assert_eq!(encoded(|out| pdu.encode(OFF, out)), expected);
}

#[test]
fn digests_follow_header_and_padded_data() {
    let pdu = DataIn {
        is_final: true,
        status: None,
        initiator_task_tag: TAG,
        numbers: NUMBERS,
        data_sn: 0,
        buffer_offset: 0,
        data: &[7; 5],
    };
    let plain = encoded(|out| pdu.encode(OFF, out));
    let (header, data) = plain.split_at(48);
    let both = [header, &digest(header), data, &digest(data)].concat();
    let header_only = [header, &digest(header), data].concat();
    let data_only = [header, data, &digest(data)].concat();
    assert_eq!(encoded(|out| pdu.encode(Digests { header: true, data: true }, out)), both);
    assert_eq!(encoded(|out| pdu.encode(Digests { header: true, data: false }, out)), header_only);
    assert_eq!(encoded(|out| pdu.encode(Digests { header: false, data: true }, out)), data_only);
    let empty = DataIn { data: &[], ..pdu };
    assert_eq!(encoded(|out| empty.encode(Digests { header: false, data: true }, out)).len(), 48);
}
