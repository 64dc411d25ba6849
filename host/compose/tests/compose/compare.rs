//! COMPARE AND WRITE, ORWRITE, VERIFY, WRITE AND VERIFY.

use lunbox_compose::{
    CompareAndWrite, Composite, Facts, Failure, OrWrite, Scope, Span, Verb, Verdict, Verify, WriteAndVerify,
};
use lunbox_scsi::Sense;

use crate::fake::{Disk, Fault, facts, length, pattern};

const SIZE: u64 = 1 << 20;

const fn span(lba: u64, blocks: u64) -> Span {
    Span { offset: lba * 512, length: blocks * 512 }
}

const fn alone(span: Span) -> Scope {
    Scope::Alone { offset: span.offset, length: span.length }
}

fn miscompare(byte: u64) -> Verdict {
    Verdict::Check(Sense::MISCOMPARE.with_information(byte), None)
}

/// A disk that holds `pattern(1)` in `span`.
fn disk(facts: Facts, span: Span) -> Disk {
    let mut disk = Disk::new(facts);
    disk.medium.write(span.offset, &pattern(1, span.length));
    disk
}

fn spoilt(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x10;
    bytes
}

/// tcmu-runner lost the second half when both halves came in buffers of their own: which bytes are written is
/// looked at here, that the pieces of a buffer are one, in the device loop.
#[test]
fn the_second_half_is_written_if_the_first_is_what_the_medium_holds() {
    for (compare_and_write, blocks) in [(false, 1), (false, 5), (false, 100), (true, 1), (true, 8), (true, 9)]
    {
        let span = span(3, blocks);
        let mut disk = disk(Facts { compare_and_write, ..facts(SIZE) }, span);
        let data = [pattern(1, span.length), pattern(2, span.length)].concat();
        let mut command = CompareAndWrite::new(&disk.facts, span, false);
        assert_eq!(command.scope(), alone(span));
        assert_eq!(disk.run(&mut command, &data), Verdict::Good);
        assert_eq!(disk.medium.read(span.offset, span.length), pattern(2, span.length));
        assert_eq!(disk.medium.read(0, 3 * 512), vec![0x5e; 3 * 512]);
        assert_eq!(disk.medium.read(span.end(), 512), vec![0x5e; 512]);
        // Up to the longest transfer the handler does it by itself.
        let native = compare_and_write && blocks <= 8;
        assert_eq!(disk.log.iter().any(|ask| ask.verb == Verb::CompareAndWrite), native);
    }
}

#[test]
fn a_difference_is_told_by_its_byte_and_nothing_is_written() {
    for compare_and_write in [false, true] {
        for (blocks, byte) in [(1, 0), (1, 511), (8, 4095), (100, 40_000)] {
            let span = span(3, blocks);
            let mut disk = disk(Facts { compare_and_write, ..facts(SIZE) }, span);
            let first = spoilt(pattern(1, span.length), byte);
            let data = [first, pattern(2, span.length)].concat();
            let verdict = disk.run(&mut CompareAndWrite::new(&disk.facts, span, false), &data);
            let wanted = miscompare(u64::try_from(byte).unwrap());
            match verdict {
                Verdict::Failed(Failure::Check(sense)) => assert_eq!(Verdict::Check(sense, None), wanted),
                other => assert_eq!(other, wanted),
            }
            assert_eq!(disk.medium.read(span.offset, span.length), pattern(1, span.length));
            assert!(disk.log.iter().all(|ask| ask.verb != Verb::Write));
        }
    }
}

#[test]
fn what_has_to_be_durable_is() {
    for (fua, write_through) in [(true, false), (false, true)] {
        for compare_and_write in [false, true] {
            let span = span(8, 100);
            let facts = Facts { write_through, compare_and_write, ..facts(SIZE) };
            let mut disk = disk(facts, span);
            let data = [pattern(1, span.length), pattern(2, span.length)].concat();
            assert_eq!(disk.run(&mut CompareAndWrite::new(&facts, span, fua), &data), Verdict::Good);
            assert!(!disk.volatile);
            assert_eq!(disk.run(&mut OrWrite::new(&facts, span, fua), &data[..51_200]), Verdict::Good);
            assert!(!disk.volatile);
        }
    }
    let span = span(8, 100);
    let mut disk = disk(facts(SIZE), span);
    let data = pattern(3, span.length);
    assert_eq!(disk.run(&mut OrWrite::new(&disk.facts, span, false), &data), Verdict::Good);
    assert!(disk.volatile, "the fake would not notice");
    let compare = WriteAndVerify::new(&disk.facts, span, true);
    disk.volatile = false;
    assert_eq!(disk.run(&mut { compare }, &data), Verdict::Good);
    assert!(!disk.volatile, "WRITE AND VERIFY is about the medium");
}

#[test]
fn bits_are_set_and_none_is_cleared() {
    for blocks in [1, 8, 33, 700] {
        let span = span(5, blocks);
        let mut disk = disk(facts(SIZE), span);
        let data = pattern(9, span.length);
        let mut command = OrWrite::new(&disk.facts, span, false);
        assert_eq!(command.scope(), alone(span));
        assert_eq!(disk.run(&mut command, &data), Verdict::Good);
        let wanted: Vec<u8> =
            pattern(1, span.length).iter().zip(&data).map(|(held, bits)| held | bits).collect();
        assert_eq!(disk.medium.read(span.offset, span.length), wanted);
    }
}

#[test]
fn verify_reads_all_of_the_range_from_the_medium() {
    let span = span(5, 700);
    let mut disk = disk(facts(SIZE), span);
    assert_eq!(disk.run(&mut Verify::medium(&disk.facts, span), &[]), Verdict::Good);
    assert_eq!(disk.log.iter().map(|ask| ask.length).sum::<u64>(), span.length);
    assert!(disk.log.iter().all(|ask| ask.verb == Verb::Read && ask.fua));
    for at in [0, 1, 9] {
        let failure = Failure::Check(Sense::UNRECOVERED_READ_ERROR.with_information(99));
        disk.fault = Some(Fault::Step { at: disk.log.len() + at, times: 1, failure });
        let verdict = disk.run(&mut Verify::medium(&disk.facts, span), &[]);
        assert_eq!(verdict, Verdict::Failed(failure));
    }
}

#[test]
fn verify_compares_with_the_data() {
    let span = span(5, 700);
    let mut disk = disk(facts(SIZE), span);
    let data = pattern(1, span.length);
    assert_eq!(disk.run(&mut Verify::whole(&disk.facts, span), &data), Verdict::Good);
    for byte in [0, 511, 65_535, 65_536, 300_000, data.len() - 1] {
        let data = spoilt(data.clone(), byte);
        let verdict = disk.run(&mut Verify::whole(&disk.facts, span), &data);
        assert_eq!(verdict, miscompare(u64::try_from(byte).unwrap()));
    }
}

#[test]
fn verify_compares_each_block_with_one() {
    for block_size in [512, 4096] {
        let facts = Facts { block_size, ..facts(SIZE) };
        let span = Span { offset: 8192, length: 600 * 1024 };
        let mut disk = Disk::new(facts);
        let block = pattern(4, u64::from(block_size));
        let blocks = span.length / length(&block);
        disk.medium.write(span.offset, &block.repeat(usize::try_from(blocks).unwrap()));
        assert_eq!(disk.run(&mut Verify::one_block(&facts, span), &block), Verdict::Good);
        for wrong in [0, 1, blocks / 2, blocks - 1] {
            let medium = disk.medium.clone();
            let mut disk = Disk::new(facts);
            disk.medium = medium;
            disk.medium.write(span.offset + wrong * length(&block) + 17, &[block[17] ^ 1]);
            assert_eq!(disk.run(&mut Verify::one_block(&facts, span), &block), miscompare(17), "{wrong}");
        }
    }
}

#[test]
fn what_was_written_is_read_back() {
    for compare in [false, true] {
        let span = span(5, 100);
        let mut disk = Disk::new(facts(SIZE));
        let data = pattern(6, span.length);
        let mut command = WriteAndVerify::new(&disk.facts, span, compare);
        assert_eq!(command.scope(), if compare { alone(span) } else { Scope::Shared });
        assert_eq!(disk.run(&mut command, &data), Verdict::Good);
        assert_eq!(disk.medium.read(span.offset, span.length), data);
        let bytes = |verb| disk.log.iter().filter(|ask| ask.verb == verb).map(|ask| ask.length).sum::<u64>();
        assert_eq!((bytes(Verb::Write), bytes(Verb::Read)), (span.length, span.length));
        let read = disk.log.iter().position(|ask| ask.verb == Verb::Read).unwrap();
        assert!(disk.log[..read].iter().all(|ask| ask.verb == Verb::Write && ask.fua));
        assert!(disk.log[read..].iter().all(|ask| ask.verb == Verb::Read && ask.fua));
    }
}

/// A medium that forgets: the failed comparison can only come from reading back.
#[test]
fn a_medium_that_holds_something_else_is_found_out() {
    struct Forgetful(Disk);
    impl lunbox_compose::Io for Forgetful {
        fn facts(&self) -> Facts {
            self.0.facts()
        }
        fn data_length(&self) -> u64 {
            self.0.data_length()
        }
        fn take(&mut self, from: lunbox_compose::Where, out: &mut [u8]) -> Result<(), lunbox_compose::Gone> {
            let gone = self.0.take(from, out);
            if matches!(from, lunbox_compose::Where::Work(_)) {
                out[100] ^= 0xff;
            }
            gone
        }
        fn put(&mut self, to: lunbox_compose::Where, bytes: &[u8]) -> Result<(), lunbox_compose::Gone> {
            self.0.put(to, bytes)
        }
        fn ask(&mut self, ask: lunbox_compose::Ask) {
            self.0.ask(ask);
        }
        fn progress(&mut self, parts: u16) {
            self.0.progress(parts);
        }
    }
    for compare in [false, true] {
        let mut io = Forgetful(Disk::new(facts(SIZE)));
        let mut command = WriteAndVerify::new(&io.0.facts, span(5, 1), compare);
        let data = pattern(6, 512);
        io.0.begin(&command, &data);
        let mut last = Ok(());
        let verdict = loop {
            match command.next(last, &mut io) {
                lunbox_compose::Next::Wait => last = io.0.run_steps(),
                lunbox_compose::Next::End(verdict) => break verdict,
            }
        };
        assert_eq!(verdict, if compare { miscompare(100) } else { Verdict::Good });
    }
}
