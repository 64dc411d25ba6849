//! Hostile byte streams: whatever comes, in whichever pieces, the framer does not panic, holds no more than it says,
//! hands out the same frames, and no accepted request breaks the promises of its type.

use lunbox_iscsi::digest::{Digests, crc32c};
use lunbox_iscsi::pdu::ahs;
use lunbox_iscsi::pdu::frame::{DigestCheck, FIRST_BUFFER, Frame, FrameError, FrameLimits, Framer};
use lunbox_iscsi::pdu::header::{Lun, RESERVED_TAG};
use lunbox_iscsi::pdu::request::{Request, parse};

const LIMIT: u32 = 2048;
const BATCH: usize = 4096;
/// Longest PDU: header, segments, data, two digests.
const LONGEST: usize = 48 + 1020 + 2048 + 8;

/// The fuzzer's bytes, zero when used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// What came out of a stream.
#[derive(Debug, PartialEq)]
struct Seen {
    frames: Vec<(Vec<u8>, DigestCheck)>,
    error: Option<FrameError>,
    mid_pdu: bool,
}

/// One stream, cut in two ways. How many frames it had.
pub fn drive(bytes: &[u8]) -> usize {
    let mut input = Input(bytes);
    let flags = input.byte();
    let digests = Digests { header: flags & 1 != 0, data: flags & 2 != 0 };
    let piece = usize::from(input.byte()) + 1;
    let stream = if flags & 4 != 0 { input.0.to_vec() } else { stream(&mut input, digests) };
    let whole = run(&stream, usize::MAX, digests);
    let cut = run(&stream, piece, digests);
    assert_eq!(whole, cut, "pieces of {piece} bytes");
    whole.frames.len()
}

/// PDUs whose lengths and digests are right, or nearly so.
fn stream(input: &mut Input<'_>, digests: Digests) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.0.is_empty() {
        let control = input.byte();
        let words = if control & 1 != 0 { input.byte() % 8 } else { 0 };
        let length = if control & 2 != 0 { u16::from(input.byte()) * 9 } else { 0 };
        let mut header = [0; 48];
        let taken = input.take(48);
        header[..taken.len()].copy_from_slice(taken);
        if control & 0x70 != 0 {
            header[0] = (header[0] & 0x40) | (header[0] % 7);
        }
        header[4] = words;
        header[5..8].copy_from_slice(&u32::from(length).to_be_bytes()[1..]);
        let start = stream.len();
        stream.extend_from_slice(&header);
        let segments = input.take(usize::from(words) * 4);
        stream.extend_from_slice(segments);
        stream.resize(start + 48 + usize::from(words) * 4, 0);
        if digests.header {
            let digest = crc32c(&stream[start..]);
            stream.extend_from_slice(&digest);
        }
        let data = stream.len();
        let length = usize::from(length);
        // Little of it from the input, which is spent better on headers.
        stream.extend_from_slice(input.take(length.min(16)));
        stream.resize(data + length.next_multiple_of(4), control);
        if digests.data && length > 0 {
            let digest = crc32c(&stream[data..]);
            stream.extend_from_slice(&digest);
        }
        if control & 0x8c == 0x8c {
            let at = usize::from(input.byte()) % (stream.len() - start);
            stream[start + at] ^= 1 << (control >> 4 & 7);
        }
    }
    stream
}

fn run(mut stream: &[u8], piece: usize, digests: Digests) -> Seen {
    let mut framer = Framer::new(FrameLimits { max_data_segment: LIMIT, batch: BATCH });
    framer.set_digests(digests);
    let mut seen = Seen { frames: Vec::new(), error: None, mid_pdu: false };
    loop {
        match framer.next_frame() {
            Ok(Some(frame)) => {
                check(&frame, digests);
                let bytes = [frame.bhs.as_bytes(), frame.ahs, frame.data].concat();
                seen.frames.push((bytes, frame.data_digest));
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                assert_eq!(framer.next_frame().map(drop), Err(error), "an error stays");
                seen.error = Some(error);
                return seen;
            }
        }
        if stream.is_empty() {
            seen.mid_pdu = framer.is_mid_pdu();
            return seen;
        }
        let space = framer.space();
        assert!(!space.is_empty());
        let taken = stream.len().min(piece).min(space.len());
        space[..taken].copy_from_slice(&stream[..taken]);
        framer.filled(taken);
        stream = &stream[taken..];
        assert!(framer.held() <= FIRST_BUFFER.max(LONGEST + BATCH));
    }
}

fn check(frame: &Frame<'_>, digests: Digests) {
    assert_eq!(frame.data.len(), usize::try_from(frame.bhs.data_segment_length()).expect("24 bits"));
    assert_eq!(frame.ahs.len(), frame.bhs.total_ahs_length());
    assert!(frame.bhs.data_segment_length() <= LIMIT);
    let checked = digests.data && !frame.data.is_empty();
    assert_eq!(frame.data_digest != DigestCheck::Off, checked);
    let segments: usize = ahs::segments(frame.ahs).flatten().map(|segment| segment.bytes.len() + 4).sum();
    assert!(segments <= frame.ahs.len());

    let number = frame.bhs.lun().number();
    if let Some(canonical) = number.and_then(Lun::from_number) {
        assert_eq!(canonical.number(), number);
    }
    match parse(frame) {
        Ok(Request::ScsiCommand(command)) => {
            assert_ne!(command.initiator_task_tag, RESERVED_TAG);
            assert!(command.write || (command.is_final && command.data.is_empty()));
            assert!(command.read || command.write || command.expected_length == 0);
            assert_eq!(command.bidi_read_length.is_some(), command.read && command.write);
            assert!(frame.bhs.data_segment_length() <= command.expected_length);
            assert!((16..=260).contains(&command.cdb.as_slice().len()));
        }
        Ok(Request::DataOut(data)) => {
            assert_ne!(data.initiator_task_tag, RESERVED_TAG);
            assert!(data.buffer_offset.checked_add(frame.bhs.data_segment_length()).is_some());
        }
        Ok(Request::NopOut(nop)) => assert!(nop.immediate || nop.initiator_task_tag.is_some()),
        Ok(Request::Text(text)) => {
            assert!(!(text.is_final && text.continues));
            assert_ne!(text.initiator_task_tag, RESERVED_TAG);
        }
        Ok(Request::TaskManagement(task)) => assert_ne!(task.initiator_task_tag, RESERVED_TAG),
        Ok(Request::Login(login)) => assert!(login.current_stage < 4 && login.next_stage < 4),
        Ok(Request::Logout(logout)) => assert_ne!(logout.initiator_task_tag, RESERVED_TAG),
        Ok(Request::Snack(_)) => {}
        Err(malformed) => assert!(!malformed.what.is_empty()),
    }
}
