//! A disk that is nothing but bytes, and a second reading of the standard: it decodes CDBs and parameter lists by
//! itself and says what each command must answer. What the product answers is compared with it.

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// What must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// GOOD with so much data.
    Good(Vec<u8>),
    /// CHECK CONDITION: sense key and codes, and INFORMATION where it is defined.
    Check(u8, u8, u8, Option<u64>),
    /// GOOD, and the data is what GET LBA STATUS says from this block on: the store decides what is allocated.
    LbaStatus(u64),
}

/// The data buffer that a command comes with.
#[derive(Clone, Debug)]
pub enum Buffer {
    None,
    In(usize),
    Out(Vec<u8>),
}

impl Buffer {
    fn room(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(bytes) => *bytes,
            Self::Out(bytes) => bytes.len(),
        }
    }

    fn out(&self) -> &[u8] {
        if let Self::Out(bytes) = self { bytes } else { &[] }
    }
}

const RANGE: Answer = Answer::Check(5, 0x21, 0, None);
const FIELD: Answer = Answer::Check(5, 0x24, 0, None);
const LENGTH: Answer = Answer::Check(5, 0x1a, 0, None);
const SHORT: Answer = Answer::Check(5, 0x0e, 3, None);

fn good() -> Answer {
    Answer::Good(Vec::new())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// What the CDBs of one command have in common, whatever their length.
struct Fields {
    /// The 16-byte form's opcode stands for all forms.
    command: u8,
    lba: u64,
    blocks: u64,
    flags: u8,
}

/// Where 6, 10, 12, 16 and 32 byte CDBs keep their fields.
fn fields(cdb: &[u8]) -> Fields {
    let flags = cdb[1];
    match cdb[0] {
        0x08 | 0x0a => {
            let blocks = if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) };
            let lba = number(&cdb[1..4]) & 0x1f_ffff;
            Fields { command: cdb[0] + 0x80, lba, blocks, flags: 0 }
        }
        0x7f => {
            let command = match cdb[9] {
                0x09 => 0x88,
                0x0a => 0x8f,
                0x0b => 0x8a,
                0x0c => 0x8e,
                _ => 0x93,
            };
            Fields { command, lba: number(&cdb[12..20]), blocks: number(&cdb[28..32]), flags: cdb[10] }
        }
        opcode @ 0x20..=0x5f => {
            let command = match opcode {
                0x34 => 0x90,
                0x35 => 0x91,
                0x41 => 0x93,
                other => other + 0x60,
            };
            Fields { command, lba: number(&cdb[2..6]), blocks: number(&cdb[7..9]), flags }
        }
        opcode @ 0xa0..=0xbf => {
            Fields { command: opcode - 0x20, lba: number(&cdb[2..6]), blocks: number(&cdb[6..10]), flags }
        }
        0x89 => Fields { command: 0x89, lba: number(&cdb[2..10]), blocks: u64::from(cdb[13]), flags },
        opcode => Fields { command: opcode, lba: number(&cdb[2..10]), blocks: number(&cdb[10..14]), flags },
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub struct Model {
    pub bytes: Vec<u8>,
    /// The name by which EXTENDED COPY calls it.
    pub name: [u8; 16],
    /// Most descriptors of an UNMAP, as VPD page B0h says.
    pub most_descriptors: usize,
}

impl Model {
    fn blocks(&self) -> u64 {
        (self.bytes.len() / BLOCK) as u64
    }

    /// Byte range of blocks, if they lie on the disk.
    fn range(&self, lba: u64, blocks: u64) -> Option<std::ops::Range<usize>> {
        let end = lba.checked_add(blocks).filter(|end| *end <= self.blocks())?;
        Some(usize::try_from(lba).ok()? * BLOCK..usize::try_from(end).ok()? * BLOCK)
    }

    /// Does the command.
    pub fn run(&mut self, cdb: &[u8], buffer: &Buffer) -> Answer {
        match cdb[0] {
            0x04 => {
                self.bytes.fill(0);
                good()
            }
            0x42 => self.unmap(cdb, buffer),
            0x83 => self.copy(cdb, buffer),
            0x9e if cdb[1] & 0x1f == 0x12 => {
                let lba = number(&cdb[2..10]);
                if lba >= self.blocks() { RANGE } else { Answer::LbaStatus(lba) }
            }
            _ => self.transfer(&fields(cdb), buffer),
        }
    }

    fn transfer(&mut self, fields: &Fields, buffer: &Buffer) -> Answer {
        let Fields { command, lba, blocks, flags } = *fields;
        // RDPROTECT, WRPROTECT, VRPROTECT; PRE-FETCH and SYNCHRONIZE CACHE have none.
        if flags & 0xe0 != 0 && !matches!(command, 0x90 | 0x91) {
            return FIELD;
        }
        let check = flags >> 1 & 3;
        let is_bad_check = match command {
            0x8e => check > 1,
            0x8f => check == 2,
            0x93 => flags & 0x10 != 0 || blocks == 0,
            _ => false,
        };
        if is_bad_check {
            return FIELD;
        }
        let Some(range) = self.range(lba, blocks) else { return RANGE };
        if command == 0x93 {
            return self.write_same(range, flags & 0x01 != 0, buffer);
        }
        let needed = match (command, check) {
            (0x90 | 0x91, _) | (0x8f, 0) => 0,
            (0x8f, 3) => range.len().min(BLOCK),
            (0x89, _) => range.len() * 2,
            _ => range.len(),
        };
        // COMPARE AND WRITE must come with exactly its blocks.
        if buffer.room() < needed || (command == 0x89 && needed > 0 && buffer.room() > needed) {
            return SHORT;
        }
        let sent = buffer.out().get(..needed).unwrap_or_default();
        let place = &mut self.bytes[range];
        match command {
            0x88 => return Answer::Good(place.to_vec()),
            0x8a | 0x8e => place.copy_from_slice(sent),
            0x8b => place.iter_mut().zip(sent).for_each(|(byte, sent)| *byte |= sent),
            0x89 => {
                let (expected, new) = sent.split_at(place.len());
                if let Some(at) = place.iter().zip(expected).position(|(one, other)| one != other) {
                    return Answer::Check(0xe, 0x1d, 0, Some(at as u64));
                }
                place.copy_from_slice(new);
            }
            0x8f if check > 0 && !place.is_empty() => {
                let differs = place.iter().zip(sent.iter().cycle()).position(|(one, other)| one != other);
                if let Some(at) = differs {
                    return Answer::Check(0xe, 0x1d, 0, Some((at % needed) as u64));
                }
            }
            _ => {}
        }
        good()
    }

    fn write_same(&mut self, range: std::ops::Range<usize>, no_data: bool, buffer: &Buffer) -> Answer {
        if no_data {
            self.bytes[range].fill(0);
            return good();
        }
        if buffer.room() != BLOCK {
            return SHORT;
        }
        self.bytes[range].chunks_exact_mut(BLOCK).for_each(|block| block.copy_from_slice(buffer.out()));
        good()
    }

    fn unmap(&mut self, cdb: &[u8], buffer: &Buffer) -> Answer {
        let promised = usize::try_from(number(&cdb[7..9])).unwrap();
        if promised == 0 {
            return good();
        }
        let Some(list) = buffer.out().get(..promised) else { return LENGTH };
        if list.len() < 8 {
            return LENGTH;
        }
        let length = usize::try_from(number(&list[2..4])).unwrap() / 16 * 16;
        let Some(descriptors) = list[8..].get(..length) else { return LENGTH };
        if length / 16 > self.most_descriptors {
            return Answer::Check(5, 0x26, 0, None);
        }
        let ranges: Option<Vec<_>> = descriptors
            .chunks_exact(16)
            .map(|one| self.range(number(&one[..8]), number(&one[8..12])))
            .collect();
        // All of them are looked at before anything is done.
        let Some(ranges) = ranges else { return RANGE };
        for range in ranges {
            self.bytes[range].fill(0);
        }
        good()
    }

    /// EXTENDED COPY of one segment, well-formed but for its names and ranges.
    fn copy(&mut self, cdb: &[u8], buffer: &Buffer) -> Answer {
        if number(&cdb[10..14]) == 0 {
            return good();
        }
        let list = buffer.out();
        let named = |at: usize| list[at + 8..at + 24] == self.name;
        if !named(16) || !named(48) {
            return Answer::Check(0xa, 0x0d, 2, None);
        }
        let segment = &list[80..];
        let blocks = number(&segment[10..12]);
        let ranges =
            (self.range(number(&segment[12..20]), blocks), self.range(number(&segment[20..28]), blocks));
        // What is wrong with a segment is COPY ABORTED, not ILLEGAL REQUEST.
        let (Some(from), Some(to)) = ranges else { return Answer::Check(0xa, 0, 0, None) };
        self.bytes.copy_within(from, to.start);
        good()
    }
}
