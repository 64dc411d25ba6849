//! Commands of every kind with what they have to do, for tests that go through all of them.

use lunbox_compose::{
    CompareAndWrite, Composite, ExtendedCopy, Facts, FormatUnit, OrWrite, Span, Unmap, Verdict, Verify,
    WriteAndVerify, WriteSame,
};
use lunbox_scsi::list::extended_copy::Segment;
use lunbox_scsi::{Blocks, Lba, Sense};

use crate::fake::{Disk, length, pattern};
use crate::unmap::list;

/// Bytes of the medium.
pub const SIZE: u64 = 96 << 10;

/// What a test asks for; ranges are in blocks and on the medium.
#[derive(Clone, Debug)]
pub enum Kind {
    Unmap(Vec<(u64, u64)>),
    WriteSame { lba: u64, blocks: u64, zeros: bool, ndob: bool, unmap: bool },
    CompareAndWrite { lba: u64, blocks: u64, wrong: Option<u64>, fua: bool },
    OrWrite { lba: u64, blocks: u64, fua: bool },
    WriteAndVerify { lba: u64, blocks: u64, compare: bool },
    VerifyMedium { lba: u64, blocks: u64 },
    VerifyWhole { lba: u64, blocks: u64, wrong: Option<u64> },
    VerifyOneBlock { lba: u64, blocks: u64 },
    Format { pattern: Vec<u8> },
    Copy { segments: Vec<(u64, u64, u64)> },
}

/// One of them, ready to run.
#[derive(Debug)]
pub struct Case {
    pub composite: Box<dyn Composite>,
    pub data: Vec<u8>,
    /// How it ends if nothing fails.
    pub wanted: Verdict,
    /// What the medium holds then. Unmapped bytes may be as before, too.
    pub model: Vec<u8>,
    /// Nothing else may change, ever.
    pub touched: Vec<Span>,
    pub unmaps: bool,
}

/// The medium before.
pub fn before() -> Vec<u8> {
    pattern(1, SIZE)
}

pub fn disk(facts: Facts) -> Disk {
    let mut disk = Disk::new(facts);
    disk.medium.write(0, &before());
    disk
}

fn miscompare(byte: u64) -> Verdict {
    Verdict::Check(Sense::MISCOMPARE.with_information(byte), None)
}

pub fn make(kind: &Kind, facts: &Facts) -> Case {
    let block = u64::from(facts.block_size);
    let span = |lba: u64, blocks: u64| Span { offset: lba * block, length: blocks * block };
    let at = |byte: u64| usize::try_from(byte).unwrap();
    let cut = |bytes: &[u8], span: Span| bytes[at(span.offset)..at(span.end())].to_vec();
    let held = before();
    let mut model = before();
    let mut put = |span: Span, bytes: &[u8]| model[at(span.offset)..at(span.end())].copy_from_slice(bytes);
    let spoil = |bytes: &mut [u8], wrong: Option<u64>| {
        let byte = wrong.map(|wrong| wrong % length(bytes));
        if let Some(byte) = byte {
            bytes[at(byte)] ^= 0x21;
        }
        byte.map(miscompare)
    };
    let mut wanted = Verdict::Good;
    let mut unmaps = false;
    let (composite, data, touched): (Box<dyn Composite>, Vec<u8>, Vec<Span>) = match kind {
        Kind::Unmap(ranges) => {
            unmaps = true;
            let short: Vec<_> =
                ranges.iter().map(|(lba, blocks)| (*lba, u32::try_from(*blocks).unwrap())).collect();
            let data = list(&short);
            let touched: Vec<Span> = ranges.iter().map(|(lba, blocks)| span(*lba, *blocks)).collect();
            for range in &touched {
                put(*range, &vec![0; at(range.length)]);
            }
            (Box::new(Unmap::new(length(&data), 64, u32::MAX)), data, touched)
        }
        Kind::WriteSame { lba, blocks, zeros, ndob, unmap } => {
            let range = span(*lba, *blocks);
            let data = if *zeros || *ndob { vec![0; at(block)] } else { pattern(7, block) };
            put(range, &data.repeat(at(*blocks)));
            let data = if *ndob { vec![] } else { data };
            (Box::new(WriteSame::new(facts, range, *ndob, *unmap)), data, vec![range])
        }
        Kind::CompareAndWrite { lba, blocks, wrong, fua } => {
            let range = span(*lba, *blocks);
            let (mut compare, write) = (cut(&held, range), pattern(8, range.length));
            match spoil(&mut compare, *wrong) {
                Some(miscompare) => wanted = miscompare,
                None => put(range, &write),
            }
            let data = [compare, write].concat();
            (Box::new(CompareAndWrite::new(facts, range, *fua)), data, vec![range])
        }
        Kind::OrWrite { lba, blocks, fua } => {
            let range = span(*lba, *blocks);
            let data = pattern(9, range.length);
            let bits: Vec<u8> = cut(&held, range).iter().zip(&data).map(|(held, set)| held | set).collect();
            put(range, &bits);
            (Box::new(OrWrite::new(facts, range, *fua)), data, vec![range])
        }
        Kind::WriteAndVerify { lba, blocks, compare } => {
            let range = span(*lba, *blocks);
            let data = pattern(10, range.length);
            put(range, &data);
            (Box::new(WriteAndVerify::new(facts, range, *compare)), data, vec![range])
        }
        Kind::VerifyMedium { lba, blocks } => {
            (Box::new(Verify::medium(facts, span(*lba, *blocks))), vec![], vec![])
        }
        Kind::VerifyWhole { lba, blocks, wrong } => {
            let range = span(*lba, *blocks);
            let mut data = cut(&held, range);
            wanted = spoil(&mut data, *wrong).unwrap_or(Verdict::Good);
            (Box::new(Verify::whole(facts, range)), data, vec![])
        }
        Kind::VerifyOneBlock { lba, blocks } => {
            let range = span(*lba, *blocks);
            let data = cut(&held, span(*lba, 1));
            let bytes = cut(&held, range);
            let differs = |bytes: &[u8]| bytes.iter().zip(&data).position(|(held, wanted)| held != wanted);
            if let Some(byte) = bytes.chunks_exact(data.len()).find_map(differs) {
                wanted = miscompare(u64::try_from(byte).unwrap());
            }
            (Box::new(Verify::one_block(facts, range)), data, vec![])
        }
        Kind::Format { pattern } => {
            let range = Span { offset: 0, length: SIZE };
            let given = if pattern.is_empty() { vec![0] } else { pattern.clone() };
            let filled: Vec<u8> = given.into_iter().cycle().take(at(block)).collect();
            put(range, &filled.repeat(at(SIZE / block)));
            (Box::new(FormatUnit::new(facts, pattern.clone(), false)), vec![], vec![range])
        }
        Kind::Copy { segments } => {
            let mut touched = Vec::new();
            for (source, destination, blocks) in segments {
                let bytes = cut(&model, span(*source, *blocks));
                let range = span(*destination, *blocks);
                model[at(range.offset)..at(range.end())].copy_from_slice(&bytes);
                touched.push(range);
            }
            let segments: Vec<Segment> = segments
                .iter()
                .map(|(source, destination, blocks)| Segment {
                    source: Lba(*source),
                    destination: Lba(*destination),
                    blocks: Blocks(*blocks),
                })
                .collect();
            (Box::new(ExtendedCopy::new(facts, &segments).unwrap()), vec![], touched)
        }
    };
    Case { composite, data, wanted, model, touched, unmaps }
}

impl Case {
    /// Whether the medium may hold this after a command that ended `good` or not.
    pub fn check(&self, good: bool, reads_zeroes: bool, after: &[u8]) {
        let before = before();
        for (index, byte) in after.iter().enumerate() {
            let at = u64::try_from(index).unwrap();
            let inside = self.touched.iter().any(|span| span.offset <= at && at < span.end());
            assert!(inside || *byte == before[index], "byte {index} is none of the command's");
            if self.unmaps {
                assert!(
                    *byte == before[index] || (reads_zeroes && *byte == 0),
                    "byte {index} of an unmapped range"
                );
            } else {
                assert!(!good || *byte == self.model[index], "byte {index} is not what it has to be");
            }
        }
    }
}
