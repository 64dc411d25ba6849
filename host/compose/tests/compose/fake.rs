//! A disk of bytes that runs composites: the steps of one round end in any order, the nth may fail, and the memory of
//! the command may go away. It checks that nothing is asked that the contract of [`Io`] does not permit.

use std::collections::BTreeMap;

use lunbox_compose::{
    Ask, Composite, DATA_GONE, Facts, Failure, Gone, Io, MAX_ASKS, MAX_WORK, Next, Scope, Verb, Verdict,
    Where,
};
use lunbox_contract::UnmapLimits;
use lunbox_scsi::Sense;

const PAGE: u64 = 4096;

/// What reads as nobody wrote it.
const NEVER_WRITTEN: u8 = 0x5e;

/// A medium of any size: pages that were never touched read as [`NEVER_WRITTEN`].
#[derive(Clone, Debug, Default)]
pub struct Medium {
    pages: BTreeMap<u64, Vec<u8>>,
    /// Ranges of whole pages that read as zeros.
    zeros: Vec<(u64, u64)>,
}

impl Medium {
    fn page(&self, index: u64) -> Vec<u8> {
        let blank = if self.zeros.iter().any(|(start, end)| (*start..*end).contains(&index)) {
            0
        } else {
            NEVER_WRITTEN
        };
        self.pages.get(&index).cloned().unwrap_or_else(|| vec![blank; usize::try_from(PAGE).unwrap()])
    }

    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < offset + length {
            let page = self.page(at / PAGE);
            let end = (offset + length).min((at / PAGE + 1) * PAGE);
            let from = usize::try_from(at % PAGE).unwrap();
            bytes.extend_from_slice(&page[from..from + usize::try_from(end - at).unwrap()]);
            at = end;
        }
        bytes
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut page = self.page(at / PAGE);
            let from = usize::try_from(at % PAGE).unwrap();
            let length = rest.len().min(page.len() - from);
            page[from..from + length].copy_from_slice(&rest[..length]);
            self.pages.insert(at / PAGE, page);
            rest = &rest[length..];
            at += u64::try_from(length).unwrap();
        }
    }

    /// Zeros, in pages and not in bytes: a terabyte is one step.
    pub fn zero(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        let (first, last) = (offset.div_ceil(PAGE), end / PAGE);
        if first >= last {
            self.write(offset, &vec![0; usize::try_from(length).unwrap()]);
            return;
        }
        self.write(offset, &vec![0; usize::try_from(first * PAGE - offset).unwrap()]);
        self.write(last * PAGE, &vec![0; usize::try_from(end - last * PAGE).unwrap()]);
        let inside: Vec<u64> = self.pages.range(first..last).map(|(index, _)| *index).collect();
        for index in inside {
            self.pages.remove(&index);
        }
        match self.zeros.last_mut() {
            Some((_, end)) if *end == first => *end = last,
            _ => self.zeros.push((first, last)),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// This step, counted from 0, fails; it has done half of its work. So do the next ones, `times` in all.
    Step { at: usize, times: usize, failure: Failure },
    /// This copy of bytes, counted from 0, finds the memory gone.
    Copy { at: usize },
}

/// The unit, and one command's memory.
#[derive(Debug)]
pub struct Disk {
    pub facts: Facts,
    pub medium: Medium,
    /// What the handler says of its extents, from the asked offset on: `(offset, length, allocated)`.
    pub extents: Vec<(u64, u64, bool)>,
    /// The same, answered as it stands, whatever was asked.
    pub raw_extents: Option<Vec<(u64, u64, bool)>>,
    pub fault: Option<Fault>,
    /// Seed of the order in which steps end.
    pub order: u64,
    /// All that was asked.
    pub log: Vec<Ask>,
    /// What was told of the progress.
    pub progress: Vec<u16>,
    /// Copies of bytes so far.
    pub copies: usize,
    /// Something was written and is not durable.
    pub volatile: bool,
    pub data: Vec<u8>,
    work: Vec<u8>,
    asked: Vec<Ask>,
}

pub fn facts(size: u64) -> Facts {
    Facts {
        block_size: 512,
        size,
        max_transfer: 4096,
        unmap: None,
        write_zeroes: false,
        compare_and_write: false,
        lba_status: false,
        write_through: false,
    }
}

pub const fn limits(max_length: u64, granularity: u64, reads_zeroes: bool) -> UnmapLimits {
    UnmapLimits { max_length, granularity, reads_zeroes }
}

pub fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

/// Bytes in which each differs from its neighbours, other ones for each seed.
pub fn pattern(seed: u8, length: u64) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + at / 251 + u64::from(seed) * 31) % 256).unwrap()).collect()
}

impl Disk {
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            medium: Medium::default(),
            extents: Vec::new(),
            raw_extents: None,
            fault: None,
            order: 1,
            log: Vec::new(),
            progress: Vec::new(),
            copies: 0,
            volatile: false,
            data: Vec::new(),
            work: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Runs a command with this data to its end.
    pub fn run(&mut self, composite: &mut dyn Composite, data: &[u8]) -> Verdict {
        self.begin(composite, data);
        let mut last = Ok(());
        loop {
            match composite.next(last, self) {
                Next::Wait => last = self.run_steps(),
                Next::End(verdict) => {
                    assert!(self.asked.is_empty(), "ended while it waits for {:?}", self.asked);
                    return verdict;
                }
            }
        }
    }

    /// Gives a command its memory.
    pub fn begin(&mut self, composite: &dyn Composite, data: &[u8]) {
        let work = composite.work();
        assert!(work <= MAX_WORK, "work buffer of {work} bytes");
        if let Scope::Alone { offset, length } = composite.scope() {
            assert!(offset + length <= self.facts.size);
        }
        self.data = data.to_vec();
        // What earlier commands left there.
        self.work = vec![0xc5; usize::try_from(work).unwrap()];
    }

    /// Runs what was asked for in some order.
    pub fn run_steps(&mut self) -> Result<(), Failure> {
        let asked = std::mem::take(&mut self.asked);
        assert!(!asked.is_empty(), "waits for nothing");
        assert!(length_of(&asked) <= MAX_ASKS);
        let mut order: Vec<usize> = (0..asked.len()).collect();
        for at in (1..order.len()).rev() {
            self.order =
                self.order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, usize::try_from((self.order >> 33) % (u64::try_from(at).unwrap() + 1)).unwrap());
        }
        let first = self.log.len();
        self.log.extend(&asked);
        let mut results = vec![Ok(()); asked.len()];
        for index in order {
            results[index] = match self.fault {
                Some(Fault::Step { at, times, failure }) if (at..at + times).contains(&(first + index)) => {
                    self.run_half(asked[index]);
                    Err(failure)
                }
                _ => self.run_step(asked[index]),
            };
        }
        results.into_iter().collect()
    }

    /// A step that fails has done something.
    fn run_half(&mut self, ask: Ask) {
        let block = u64::from(self.facts.block_size);
        let half = ask.length / block / 2 * block;
        if half > 0 && matches!(ask.verb, Verb::Write | Verb::Unmap | Verb::WriteZeroes { .. }) {
            let _ = self.run_step(Ask { length: half, ..ask });
        }
    }

    fn run_step(&mut self, ask: Ask) -> Result<(), Failure> {
        let Ask { offset, length, .. } = ask;
        let writes =
            matches!(ask.verb, Verb::Write | Verb::Unmap | Verb::WriteZeroes { .. } | Verb::CompareAndWrite);
        self.volatile |= writes && !(ask.fua && ask.verb != Verb::Unmap);
        match ask.verb {
            Verb::Read => {
                let bytes = self.medium.read(offset, length);
                let slot = self.slot(ask.buffer, length);
                slot.copy_from_slice(&bytes);
            }
            Verb::Write => {
                let bytes = self.slot(ask.buffer, length).to_vec();
                self.medium.write(offset, &bytes);
            }
            Verb::Flush => self.volatile = false,
            Verb::Unmap => {
                let limits = self.facts.unmap.unwrap();
                let grid = limits.granularity.max(1);
                // Only whole units are unmapped; others keep their bytes.
                let (start, end) = (offset.next_multiple_of(grid), (offset + length) / grid * grid);
                if limits.reads_zeroes && start < end {
                    self.medium.zero(start, end - start);
                }
            }
            Verb::WriteZeroes { .. } => self.medium.zero(offset, length),
            Verb::CompareAndWrite => {
                let bytes = self.slot(ask.buffer, 2 * length).to_vec();
                let (compare, write) = bytes.split_at(bytes.len() / 2);
                let held = self.medium.read(offset, length);
                if let Some(at) = held.iter().zip(compare).position(|(held, wanted)| held != wanted) {
                    let sense = Sense::MISCOMPARE.with_information(u64::try_from(at).unwrap());
                    return Err(Failure::Check(sense));
                }
                self.medium.write(offset, write);
            }
            Verb::Status { room } => {
                let told = self.raw_extents.clone().unwrap_or_else(|| {
                    let cut = self.extents.iter().map(|(start, size, allocated)| {
                        let end = (start + size).min(offset + length);
                        (*start.max(&offset), end.saturating_sub(*start.max(&offset)), *allocated)
                    });
                    cut.filter(|(_, length, _)| *length > 0).collect()
                });
                let records: Vec<u8> = told
                    .iter()
                    .take(usize::try_from(room / 24).unwrap())
                    .flat_map(|(offset, length, allocated)| {
                        [*offset, *length, u64::from(!*allocated)].map(u64::to_le_bytes).concat()
                    })
                    .collect();
                let slot = self.slot(ask.buffer, u64::from(room));
                slot[..records.len()].copy_from_slice(&records);
            }
        }
        Ok(())
    }

    fn slot(&mut self, place: Where, length: u64) -> &mut [u8] {
        let (buffer, at) = match place {
            Where::Data(at) => (&mut self.data, at),
            Where::Work(at) => (&mut self.work, at),
            Where::Nothing => panic!("a step without a buffer"),
        };
        let at = usize::try_from(at).unwrap();
        &mut buffer[at..at + usize::try_from(length).unwrap()]
    }

    fn count_copy(&mut self) -> Result<(), Gone> {
        assert!(self.asked.is_empty(), "bytes are looked at while steps use them");
        self.copies += 1;
        match self.fault {
            Some(Fault::Copy { at }) if at < self.copies => Err(Gone),
            _ => Ok(()),
        }
    }
}

fn length_of(asked: &[Ask]) -> u64 {
    u64::try_from(asked.len()).unwrap()
}

impl Io for Disk {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn data_length(&self) -> u64 {
        length(&self.data)
    }

    fn take(&mut self, from: Where, out: &mut [u8]) -> Result<(), Gone> {
        self.count_copy()?;
        let bytes = self.slot(from, length(out)).to_vec();
        out.copy_from_slice(&bytes);
        Ok(())
    }

    fn put(&mut self, to: Where, bytes: &[u8]) -> Result<(), Gone> {
        self.count_copy()?;
        self.slot(to, length(bytes)).copy_from_slice(bytes);
        Ok(())
    }

    fn ask(&mut self, ask: Ask) {
        let Facts { block_size, size, max_transfer, .. } = self.facts;
        let block = u64::from(block_size);
        if ask.verb == Verb::Flush {
            assert_eq!((ask.offset, ask.length, ask.buffer), (0, 0, Where::Nothing));
        } else {
            assert!(
                ask.length > 0 && ask.length.is_multiple_of(block) && ask.offset.is_multiple_of(block),
                "{ask:?}"
            );
            assert!(ask.offset.checked_add(ask.length).is_some_and(|end| end <= size), "{ask:?}");
        }
        match ask.verb {
            Verb::Flush => {}
            Verb::Read | Verb::Write => {
                assert!(ask.length <= max_transfer, "{ask:?}");
                if ask.verb == Verb::Read {
                    assert!(matches!(ask.buffer, Where::Work(_)), "data-out is never filled: {ask:?}");
                }
                self.slot(ask.buffer, ask.length);
            }
            Verb::CompareAndWrite => {
                assert!(self.facts.compare_and_write && ask.length <= max_transfer);
                self.slot(ask.buffer, 2 * ask.length);
            }
            Verb::Unmap => {
                let limits = self.facts.unmap.unwrap();
                let longest = if limits.max_length == 0 { u64::MAX } else { limits.max_length.max(block) };
                assert!(ask.length <= longest, "{ask:?}");
                assert_eq!(ask.buffer, Where::Nothing);
            }
            Verb::WriteZeroes { .. } => {
                assert!(self.facts.write_zeroes);
                assert_eq!(ask.buffer, Where::Nothing);
            }
            Verb::Status { room } => {
                assert!(self.facts.lba_status && room.is_multiple_of(24));
                self.slot(ask.buffer, u64::from(room));
            }
        }
        self.asked.push(ask);
    }

    fn progress(&mut self, parts: u16) {
        self.progress.push(parts);
    }
}

/// Whether a command ended as one does whose memory has gone.
pub fn is_gone(verdict: Verdict) -> bool {
    verdict == DATA_GONE
}
