//! Frames come out of a byte stream whichever way it is cut.

use crate::bytes::pdu;
use lunbox_iscsi::digest::Digests;
use lunbox_iscsi::pdu::frame::{DigestCheck, FIRST_BUFFER, FrameError, FrameLimits, Framer};
use lunbox_iscsi::pdu::response::{DataIn, SequenceNumbers};
use proptest::prelude::*;

const LIMIT: u32 = 4096;
const BATCH: usize = 8192;

#[derive(Clone, Debug, PartialEq)]
struct Piece {
    header: [u8; 48],
    ahs: Vec<u8>,
    data: Vec<u8>,
}

fn framer(digests: Digests) -> Framer {
    let mut framer = Framer::new(FrameLimits { max_data_segment: LIMIT, batch: BATCH });
    framer.set_digests(digests);
    framer
}

/// Puts as much of `bytes` into the framer as there is room for, at most `most`; how much that was.
fn feed(framer: &mut Framer, bytes: &[u8], most: usize) -> usize {
    let space = framer.space();
    let take = bytes.len().min(most).min(space.len());
    space[..take].copy_from_slice(&bytes[..take]);
    framer.filled(take);
    take
}

/// Everything that comes out when the bytes arrive in pieces of these lengths, over and over.
fn frames(framer: &mut Framer, mut bytes: &[u8], lengths: &[usize], check: DigestCheck) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        while let Some(frame) = framer.next_frame().unwrap() {
            let expected = if frame.data.is_empty() { DigestCheck::Off } else { check };
            assert_eq!(frame.data_digest, expected);
            let mut header = *frame.bhs.as_bytes();
            header[4..8].fill(0);
            pieces.push(Piece { header, ahs: frame.ahs.to_vec(), data: frame.data.to_vec() });
        }
        if bytes.is_empty() {
            return pieces;
        }
        let taken = feed(framer, bytes, *length);
        assert_ne!(taken, 0, "a framer that has handed out everything has room");
        bytes = &bytes[taken..];
    }
    pieces
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let data = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..10),
        1 => prop::collection::vec(any::<u8>(), 0..=4096),
    ];
    let ahs = prop_oneof![4 => Just(0), 1 => 1..8_usize, 1 => Just(255)];
    let piece = (any::<[u8; 48]>(), ahs, data).prop_map(|(mut header, words, data)| {
        header[4..8].fill(0);
        Piece { header, ahs: vec![0xa5; words * 4], data }
    });
    prop::collection::vec(piece, 1..24)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_frames(
        pieces in pieces(),
        lengths in prop::collection::vec(prop_oneof![1..4_usize, 1..100_usize, 1..20_000_usize], 1..6),
        header in any::<bool>(),
        data in any::<bool>(),
    ) {
        let stream: Vec<u8> =
            pieces.iter().flat_map(|p| pdu(p.header, &p.ahs, &p.data, header, data)).collect();
        let mut framer = framer(Digests { header, data });
        let check = if data { DigestCheck::Good } else { DigestCheck::Off };
        prop_assert_eq!(frames(&mut framer, &stream, &lengths, check), pieces);
        prop_assert!(!framer.is_mid_pdu());
        // Longest PDU: header, segments, data, two digests.
        prop_assert!(framer.held() <= 48 + 1020 + 4096 + 8 + BATCH.max(FIRST_BUFFER));
    }

    #[test]
    fn what_is_encoded_comes_out_again(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..20),
        header in any::<bool>(),
        data in any::<bool>(),
    ) {
        let digests = Digests { header, data };
        let mut stream = Vec::new();
        let numbers = SequenceNumbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        for (data_sn, data) in (0..).zip(&segments) {
            let pdu = DataIn {
                is_final: false,
                status: None,
                initiator_task_tag: 7,
                numbers,
                data_sn,
                buffer_offset: 0,
                data,
            };
            pdu.encode(digests, &mut stream);
        }
        let check = if data { DigestCheck::Good } else { DigestCheck::Off };
        let read = frames(&mut framer(digests), &stream, &[1000], check);
        let read: Vec<_> = read.into_iter().map(|piece| piece.data).collect();
        prop_assert_eq!(read, segments);
    }

    #[test]
    fn one_wrong_bit_is_found(
        at in 0..(48 + 8 + 4 + 12 + 4_usize),
        bit in 0..8_u8,
    ) {
        let good = pdu([0; 48], &[0; 8], &[7; 10], true, true);
        prop_assert_eq!(good.len(), 48 + 8 + 4 + 12 + 4);
        let mut bad = good;
        bad[at] ^= 1 << bit;
        let mut framer = framer(Digests { header: true, data: true });
        prop_assert_eq!(feed(&mut framer, &bad, usize::MAX), bad.len());
        let result = framer.next_frame().map(|frame| frame.map(|frame| frame.data_digest));
        match at {
            // A longer TotalAHSLength only moves the digest away: more bytes must come before anything is known.
            4 if result == Ok(None) => {}
            ..60 => prop_assert_eq!(result, Err(FrameError::HeaderDigest)),
            _ => prop_assert_eq!(result, Ok(Some(DigestCheck::Bad))),
        }
    }
}

#[test]
fn byte_by_byte() {
    let all: Vec<Piece> = (0..40_u8)
        .map(|n| {
            let header = std::array::from_fn(|at| if (4..8).contains(&at) { 0 } else { n });
            Piece { header, ahs: vec![n; usize::from(n % 3) * 4], data: vec![n; n.into()] }
        })
        .collect();
    let stream: Vec<u8> = all.iter().flat_map(|p| pdu(p.header, &p.ahs, &p.data, true, true)).collect();
    let mut framer = framer(Digests { header: true, data: true });
    assert_eq!(frames(&mut framer, &stream, &[1], DigestCheck::Good), all);
}

#[test]
fn half_a_pdu_is_waited_for() {
    let whole = pdu([0; 48], &[], &[1, 2, 3], false, false);
    let mut framer = framer(Digests::default());
    assert!(!framer.is_mid_pdu());
    for (at, byte) in whole.iter().enumerate() {
        assert!(framer.next_frame().unwrap().is_none(), "{at}");
        feed(&mut framer, &[*byte], 1);
        assert!(framer.is_mid_pdu());
    }
    assert_eq!(framer.next_frame().unwrap().unwrap().data, [1, 2, 3]);
    assert!(framer.next_frame().unwrap().is_none());
    assert!(!framer.is_mid_pdu());
}

#[test]
fn a_data_segment_beyond_the_limit_is_refused_before_it_comes() {
    let mut framer = framer(Digests::default());
    let mut header = [0; 48];
    header[5..8].copy_from_slice(&(LIMIT + 1).to_be_bytes()[1..]);
    feed(&mut framer, &header, 48);
    let error = FrameError::TooLong { length: LIMIT + 1, limit: LIMIT };
    assert_eq!(framer.next_frame().map(drop), Err(error));
    assert_eq!(framer.next_frame().map(drop), Err(error), "there is no way on");
    framer.set_max_data_segment(LIMIT + 1);
    assert!(framer.next_frame().unwrap().is_none(), "a higher limit lets it in");
}

#[test]
fn digests_begin_with_the_pdu_after_the_login() {
    // Both are in the buffer when the first is taken out.
    let stream =
        [pdu([0; 48], &[], b"login", false, false), pdu([0; 48], &[], b"after", true, true)].concat();
    let mut framer = framer(Digests::default());
    feed(&mut framer, &stream, stream.len());
    assert_eq!(framer.next_frame().unwrap().unwrap().data_digest, DigestCheck::Off);
    framer.set_digests(Digests { header: true, data: true });
    let after = framer.next_frame().unwrap().unwrap();
    assert_eq!((after.data, after.data_digest), (&b"after"[..], DigestCheck::Good));
}

#[test]
fn the_buffer_stays_bounded_when_frames_are_not_taken_out() {
    let mut framer = framer(Digests::default());
    let pdu = pdu([0; 48], &[], &[], false, false);
    let mut sent = 0;
    while feed(&mut framer, &pdu, pdu.len()) == pdu.len() {
        sent += 1;
        assert!(sent < 10_000, "endless");
    }
    assert!(framer.held() <= FIRST_BUFFER.max(48 + 1020 + 4096 + 8 + BATCH));
    let mut received = 0;
    while framer.next_frame().unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, sent);
}
