//! Calls on buffers that a host must refuse.

use lunbox_sdk::{
    BlockCommand, BufferError, BufferId, Buffers, MAX_SCRATCH_BUFFERS, MAX_SCRATCH_BYTES, Outcome, Tag, log,
};

const SCRATCH: BufferId = BufferId(2);
const NEVER_FILLED: BufferId = BufferId(3);
const NO_SUCH: BufferId = BufferId(MAX_SCRATCH_BUFFERS + 1);

/// Tries what is forbidden to a READ; GOOD if every call got its error and one that is allowed succeeded.
pub(crate) fn forbidden(command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
    let tag = command.tag;
    let stranger = Tag(tag.0.wrapping_add(1_000_000));
    let end = u32::try_from(command.length).unwrap_or(u32::MAX);
    let mut byte = [0];
    let mut too_much = vec![0; usize::try_from(MAX_SCRATCH_BYTES).unwrap_or(0) + 1];

    let mut calls = Calls { all_right: true };
    let none = Ok(());
    calls.expect("put into scratch", buffers.put(tag, SCRATCH, 0, &[1, 2, 3]), none);
    calls.expect("take of a stranger", buffers.take(stranger, BufferId::DATA, 0, &mut byte), UNKNOWN_TAG);
    calls.expect("put to a stranger", buffers.put(stranger, BufferId::DATA, 0, &byte), UNKNOWN_TAG);
    calls.expect("take of no buffer", buffers.take(tag, NO_SUCH, 0, &mut byte), UNKNOWN_BUFFER);
    calls.expect("put into no buffer", buffers.put(tag, NO_SUCH, 0, &byte), UNKNOWN_BUFFER);
    calls.expect(
        "take of buffer u32::MAX",
        buffers.take(tag, BufferId(u32::MAX), 0, &mut byte),
        UNKNOWN_BUFFER,
    );
    calls.expect("take of what nobody filled", buffers.take(tag, NEVER_FILLED, 0, &mut byte), UNKNOWN_BUFFER);
    calls.expect("take of data-in", buffers.take(tag, BufferId::DATA, 0, &mut byte), WRONG_DIRECTION);
    calls.expect("put behind the data", buffers.put(tag, BufferId::DATA, end, &byte), OUT_OF_RANGE);
    calls.expect("put at u32::MAX", buffers.put(tag, BufferId::DATA, u32::MAX, &byte), OUT_OF_RANGE);
    calls.expect("put of too much", buffers.put(tag, SCRATCH, 0, &too_much), OUT_OF_RANGE);
    calls.expect("put behind the limit", buffers.put(tag, SCRATCH, MAX_SCRATCH_BYTES, &byte), OUT_OF_RANGE);
    calls.expect("take behind the scratch", buffers.take(tag, SCRATCH, 3, &mut byte), OUT_OF_RANGE);
    calls.expect("take of too much", buffers.take(tag, SCRATCH, 0, &mut too_much), OUT_OF_RANGE);
    let mut kept = [0; 3];
    calls.expect("take of scratch", buffers.take(tag, SCRATCH, 0, &mut kept), none);
    if calls.all_right && kept == [1, 2, 3] { Outcome::GOOD } else { Outcome::INTERNAL }
}

type Answer = Result<(), BufferError>;

const UNKNOWN_TAG: Answer = Err(BufferError::UnknownTag);
const UNKNOWN_BUFFER: Answer = Err(BufferError::UnknownBuffer);
const OUT_OF_RANGE: Answer = Err(BufferError::OutOfRange);
const WRONG_DIRECTION: Answer = Err(BufferError::WrongDirection);

/// Remembers whether every call was answered as it should be.
struct Calls {
    all_right: bool,
}

impl Calls {
    fn expect(&mut self, call: &str, answer: Answer, expected: Answer) {
        if answer != expected {
            log::error!("{call}: expected {expected:?}, the host answered {answer:?}");
            self.all_right = false;
        }
    }
}
