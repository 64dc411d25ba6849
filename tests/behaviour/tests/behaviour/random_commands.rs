//! Random commands and parameter lists against a model disk: status, sense, data and residue agree, and so does the
//! medium.

use lunbox_behaviour::Lun;
use lunbox_emulator::initiator::Response;
use lunbox_emulator::{Data, Options, Placement};
use lunbox_scsi::vpd;
use proptest::prelude::*;

use crate::good;
use crate::model::{Answer, BLOCK, Buffer, Model};

const BLOCKS: u64 = 64;

/// A command that is not yet bytes: some of it depends on what the disk holds when its turn comes.
#[derive(Clone, Debug)]
struct Wish {
    what: What,
    /// Which form of it: 6, 10, 12, 16, 32 bytes, as far as there is one.
    form: usize,
    lba: u64,
    blocks: u64,
    /// RDPROTECT and its like: seldom.
    protect: bool,
    fua: bool,
    /// Data of the command.
    fill: Fill,
    /// Bytes that the buffer is longer or shorter than it should be.
    excess: i64,
}

#[derive(Clone, Debug)]
enum What {
    Read,
    Write,
    WriteAndVerify(u8),
    Verify(u8),
    WriteSame { unmap: bool, no_data: bool },
    CompareAndWrite,
    OrWrite,
    PreFetch,
    Synchronize,
    Unmap { ranges: Vec<(u64, u64)>, cut: usize },
    Copy { to: u64, is_foreign: bool },
    LbaStatus,
    Format,
}

#[derive(Clone, Debug)]
enum Fill {
    /// As the disk has it.
    AsIs,
    /// As the disk has it but for one byte.
    Almost(usize),
    Byte(u8),
}

fn lba() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => 0..BLOCKS,
        3 => BLOCKS - 2..BLOCKS + 3,
        1 => prop_oneof![Just(u64::MAX), Just(1 << 32), Just(u64::MAX / 512), Just((1 << 55) + 1)],
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        3 => Just(What::Read),
        4 => Just(What::Write),
        2 => (0..4_u8).prop_map(What::WriteAndVerify),
        3 => (0..4_u8).prop_map(What::Verify),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(unmap, no_data)| What::WriteSame { unmap, no_data }),
        3 => Just(What::CompareAndWrite),
        2 => Just(What::OrWrite),
        1 => Just(What::PreFetch),
        1 => Just(What::Synchronize),
        3 => (
            prop::collection::vec((lba(), 0..9_u64), 0..5),
            prop_oneof![9 => Just(0_usize), 1 => 1..60_usize],
        )
            .prop_map(|(ranges, cut)| What::Unmap { ranges, cut }),
        2 => (lba(), prop::bool::weighted(0.2)).prop_map(|(to, is_foreign)| What::Copy { to, is_foreign }),
        1 => Just(What::LbaStatus),
        1 => Just(What::Format),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        what(),
        0..5_usize,
        lba(),
        0..12_u64,
        prop::bool::weighted(0.05),
        any::<bool>(),
        prop_oneof![
            3 => Just(Fill::AsIs),
            1 => (0..4096_usize).prop_map(Fill::Almost),
            3 => (0..4_u8).prop_map(Fill::Byte),
        ],
        prop_oneof![8 => Just(0_i64), 1 => Just(512), 1 => Just(-1)],
    )
        .prop_map(|(what, form, lba, blocks, protect, fua, fill, excess)| Wish {
            what,
            form,
            lba,
            blocks,
            protect,
            fua,
            fill,
            excess,
        })
}

/// A CDB with an address and a count, in one of the forms that the command has. Opcodes of 0 are forms that it has not.
fn cdb(wish: &Wish, opcodes: [u8; 4], action: u8, flags: u8) -> Vec<u8> {
    let fits = |bits: u32| wish.lba >> bits == 0;
    let [six, ten, twelve, sixteen] = opcodes;
    let (lba, blocks) = (wish.lba.to_be_bytes(), wish.blocks.to_be_bytes());
    match wish.form {
        0 if six != 0 && fits(21) && wish.blocks > 0 => {
            vec![six, lba[5], lba[6], lba[7], blocks[7], 0]
        }
        1 if ten != 0 && fits(32) => {
            let mut cdb = vec![ten, flags, 0, 0, 0, 0, 0, blocks[6], blocks[7], 0];
            cdb[2..6].copy_from_slice(&lba[4..]);
            cdb
        }
        2 if twelve != 0 && fits(32) => {
            let mut cdb = vec![0; 12];
            (cdb[0], cdb[1]) = (twelve, flags);
            cdb[2..6].copy_from_slice(&lba[4..]);
            cdb[6..10].copy_from_slice(&blocks[4..]);
            cdb
        }
        3 if action != 0 => {
            let mut cdb = vec![0; 32];
            (cdb[0], cdb[7], cdb[9], cdb[10]) = (0x7f, 0x18, action, flags);
            cdb[12..20].copy_from_slice(&lba);
            cdb[28..32].copy_from_slice(&blocks[4..]);
            cdb
        }
        _ => {
            let mut cdb = vec![0; 16];
            (cdb[0], cdb[1]) = (sixteen, flags);
            cdb[2..10].copy_from_slice(&lba);
            cdb[10..14].copy_from_slice(&blocks[4..]);
            cdb
        }
    }
}

impl Wish {
    fn bytes(&self, model: &Model, length: usize) -> Vec<u8> {
        let as_is = || {
            let start = usize::try_from(self.lba.min(BLOCKS)).unwrap() * BLOCK;
            model.bytes[start..].iter().copied().chain(std::iter::repeat(0)).take(length).collect::<Vec<_>>()
        };
        match self.fill {
            Fill::Byte(byte) => vec![byte; length],
            Fill::AsIs => as_is(),
            Fill::Almost(at) => {
                let mut bytes = as_is();
                if length > 0 {
                    bytes[at % length] ^= 0x40;
                }
                bytes
            }
        }
    }

    fn buffer_length(&self, blocks: u64) -> usize {
        let exact = i64::try_from(blocks).unwrap() * 512;
        usize::try_from((exact + self.excess).max(0)).unwrap()
    }

    fn out(&self, model: &Model, blocks: u64) -> Buffer {
        Buffer::Out(self.bytes(model, self.buffer_length(blocks)))
    }

    /// The command as it is sent.
    fn command(&self, model: &Model) -> (Vec<u8>, Buffer) {
        let protect = if self.protect { 0x20 } else { 0 };
        let flags = protect | if self.fua { 0x18 } else { 0 };
        match &self.what {
            What::Read => (
                cdb(self, [0x08, 0x28, 0xa8, 0x88], 0x09, flags),
                Buffer::In(self.buffer_length(self.blocks)),
            ),
            What::Write => (cdb(self, [0x0a, 0x2a, 0xaa, 0x8a], 0x0b, flags), self.out(model, self.blocks)),
            What::WriteAndVerify(check) => {
                (cdb(self, [0, 0x2e, 0xae, 0x8e], 0x0c, protect | check << 1), self.out(model, self.blocks))
            }
            What::Verify(check) => {
                let cdb = cdb(self, [0, 0x2f, 0xaf, 0x8f], 0x0a, protect | check << 1);
                let blocks = match check {
                    0 => return (cdb, Buffer::None),
                    3 => self.blocks.min(1),
                    _ => self.blocks,
                };
                (cdb, self.out(model, blocks))
            }
            What::WriteSame { unmap, no_data } => {
                // The 10-byte form always sends a block.
                let form = if *no_data && self.form == 1 { 4 } else { self.form };
                let flags = protect | u8::from(*unmap) << 3 | u8::from(*no_data);
                let cdb = cdb(&Self { form, ..self.clone() }, [0, 0x41, 0, 0x93], 0x0d, flags);
                (cdb, if *no_data { Buffer::None } else { self.out(model, 1) })
            }
            What::CompareAndWrite => {
                let mut cdb = vec![0; 16];
                (cdb[0], cdb[1]) = (0x89, flags);
                cdb[2..10].copy_from_slice(&self.lba.to_be_bytes());
                cdb[13] = u8::try_from(self.blocks).unwrap();
                let mut bytes = self.bytes(model, self.buffer_length(self.blocks));
                bytes.resize(self.buffer_length(self.blocks * 2), 0x5c);
                (cdb, Buffer::Out(bytes))
            }
            What::OrWrite => (cdb(self, [0, 0, 0, 0x8b], 0, flags), self.out(model, self.blocks)),
            What::PreFetch => (cdb(self, [0, 0x34, 0, 0x90], 0, 0), Buffer::None),
            What::Synchronize => (cdb(self, [0, 0x35, 0, 0x91], 0, 0), Buffer::None),
            What::Unmap { ranges, cut } => unmap(ranges, *cut),
            What::Copy { to, is_foreign } => self.copy(model, *to, *is_foreign),
            What::LbaStatus => {
                let mut cdb = vec![0; 16];
                (cdb[0], cdb[1], cdb[12]) = (0x9e, 0x12, 4);
                cdb[2..10].copy_from_slice(&self.lba.to_be_bytes());
                (cdb, Buffer::In(1024))
            }
            What::Format => (vec![4, 0, 0, 0, 0, 0], Buffer::None),
        }
    }

    fn copy(&self, model: &Model, to: u64, is_foreign: bool) -> (Vec<u8>, Buffer) {
        let mut list = vec![0, 0x18, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
        for flip in [false, is_foreign] {
            let mut cscd = [0; 32];
            (cscd[0], cscd[4], cscd[5], cscd[7]) = (0xe4, 1, 3, 16);
            cscd[8..24].copy_from_slice(&model.name);
            cscd[23] ^= u8::from(flip);
            cscd[29..32].copy_from_slice(&[0, 2, 0]);
            list.extend_from_slice(&cscd);
        }
        let mut segment = [0; 28];
        (segment[0], segment[3], segment[7]) = (2, 0x18, 1);
        segment[10..12].copy_from_slice(&u16::try_from(self.blocks).unwrap().to_be_bytes());
        segment[12..20].copy_from_slice(&self.lba.to_be_bytes());
        segment[20..28].copy_from_slice(&to.to_be_bytes());
        list.extend_from_slice(&segment);
        let mut cdb = vec![0; 16];
        (cdb[0], cdb[13]) = (0x83, u8::try_from(list.len()).unwrap());
        (cdb, Buffer::Out(list))
    }
}

fn unmap(ranges: &[(u64, u64)], cut: usize) -> (Vec<u8>, Buffer) {
    let length = u16::try_from(ranges.len() * 16).unwrap();
    let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&u32::try_from(*blocks).unwrap().to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list.truncate(list.len().saturating_sub(cut));
    let promised = u8::try_from(list.len()).unwrap();
    (vec![0x42, 0, 0, 0, 0, 0, 0, 0, promised, 0], Buffer::Out(list))
}

fn lun() -> Lun {
    let kernel = Options { placement: Placement::Scattered, ..Options::default() };
    Lun::builder().size(BLOCKS * 512).kernel(kernel).start().unwrap()
}

fn model(lun: &Lun) -> Model {
    let limits = lun.initiator.inquiry_page(0xb0).unwrap().data;
    let most = u32::from_be_bytes([limits[24], limits[25], limits[26], limits[27]]);
    // So that EXTENDED COPY does not wait for the names each time.
    good(&lun.initiator.inquiry_page(0x83).unwrap());
    Model {
        bytes: vec![0; usize::try_from(BLOCKS).unwrap() * BLOCK],
        name: vpd::naa_designator("0123456789abcdef"),
        most_descriptors: usize::try_from(most).unwrap(),
    }
}

fn send(lun: &Lun, cdb: &[u8], buffer: &Buffer) -> Response {
    let data = match buffer {
        Buffer::None | Buffer::In(0) => Data::None,
        Buffer::In(bytes) => Data::In(u32::try_from(*bytes).unwrap()),
        Buffer::Out(bytes) if bytes.is_empty() => Data::None,
        Buffer::Out(bytes) => Data::Out(bytes),
    };
    lun.initiator.execute(cdb, data).unwrap()
}

/// GET LBA STATUS: descriptors follow each other from `first` on, and what is not allocated reads as zeros.
fn check_status(model: &Model, first: u64, data: &[u8]) {
    let length = u32::from_be_bytes(data[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap() + 4, data.len(), "PARAMETER DATA LENGTH");
    let mut next = first;
    for descriptor in data[8..].chunks_exact(16) {
        let lba = u64::from_be_bytes(descriptor[..8].try_into().unwrap());
        let blocks = u64::from(u32::from_be_bytes(descriptor[8..12].try_into().unwrap()));
        assert_eq!(lba, next, "descriptors leave no gap");
        assert!(blocks > 0 && lba + blocks <= BLOCKS);
        if descriptor[12] & 0x0f != 0 {
            let (from, to) = (usize::try_from(lba).unwrap(), usize::try_from(lba + blocks).unwrap());
            assert!(model.bytes[from * BLOCK..to * BLOCK].iter().all(|byte| *byte == 0), "{lba} {blocks}");
        }
        next = lba + blocks;
    }
    assert!(next > first, "at least one descriptor");
}

fn compare(model: &Model, expected: &Answer, answer: &Response, buffer: &Buffer) {
    match expected {
        Answer::Good(data) => {
            good(answer);
            match buffer {
                // The ring can not say that nothing was read: a READ_LEN of 0 counts as none (the kernel's
                // tcmu_handle_completion). The initiator gets zeros.
                Buffer::In(room) if data.is_empty() => {
                    assert!(answer.data.len() <= *room && answer.data.iter().all(|byte| *byte == 0));
                }
                Buffer::In(room) => {
                    assert!(answer.data == *data, "{} bytes instead of {}", answer.data.len(), data.len());
                    assert_eq!(answer.residual as usize, room - data.len());
                }
                Buffer::None | Buffer::Out(_) => assert!(answer.data.is_empty()),
            }
        }
        Answer::LbaStatus(first) => {
            good(answer);
            check_status(model, *first, &answer.data);
        }
        Answer::Check(key, asc, ascq, information) => {
            assert_eq!(answer.sense_code(), Some((*key, *asc, *ascq)), "status {:#04x}", answer.status);
            if information.is_some() {
                assert_eq!(answer.sense.unwrap().information, *information);
            }
            assert!(answer.raw_sense[18..].iter().all(|byte| *byte == 0), "sense is zero behind its end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn commands_agree_with_a_model_disk(wishes in prop::collection::vec(wish(), 1..60)) {
        let lun = lun();
        let mut model = model(&lun);
        for wish in wishes {
            let (cdb, buffer) = wish.command(&model);
            let expected = model.run(&cdb, &buffer);
            let answer = send(&lun, &cdb, &buffer);
            let agreed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                compare(&model, &expected, &answer, &buffer);
            }));
            prop_assert!(agreed.is_ok(), "{wish:?}\n{cdb:02x?}: expected {expected:?}, answered {answer:?}");
        }
        let read = lun.initiator.read(0, u32::try_from(BLOCKS).unwrap()).unwrap();
        good(&read);
        prop_assert!(read.data == model.bytes, "the medium differs");
        lun.assert_clean();
    }

    /// Whatever a list says, the command ends, and what is refused has changed nothing.
    #[test]
    fn a_refused_parameter_list_changes_nothing(
        lists in prop::collection::vec(
            (0..6_usize, prop::collection::vec(prop_oneof![4 => 0..4_u8, 1 => any::<u8>()], 0..120)),
            1..40,
        ),
    ) {
        let lun = lun();
        let mut model = model(&lun);
        let pattern = crate::pattern(7, model.bytes.len());
        good(&lun.initiator.write(0, &pattern).unwrap());
        model.bytes.copy_from_slice(&pattern);
        for (command, list) in lists {
            let length = u8::try_from(list.len()).unwrap();
            let cdb: Vec<u8> = match command {
                0 => vec![0x42, 0, 0, 0, 0, 0, 0, 0, length, 0],
                1 => vec![0x15, 0x10, 0, 0, length, 0],
                2 => vec![0x55, 0x10, 0, 0, 0, 0, 0, 0, length, 0],
                3 => vec![0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0],
                4 => vec![0x04, 0x10, 0, 0, 0, 0],
                _ => vec![0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0],
            };
            let answer = send(&lun, &cdb, &Buffer::Out(list.clone()));
            // A FORMAT UNIT with IMMED may still run.
            while lun.initiator.test_unit_ready().unwrap().sense_code() == Some((2, 4, 4)) {
                std::thread::yield_now();
            }
            let read = lun.initiator.read(0, u32::try_from(BLOCKS).unwrap()).unwrap();
            good(&read);
            if !answer.is_good() {
                prop_assert!(
                    matches!(answer.sense_code(), Some((5 | 7 | 0xa, _, _))),
                    "{cdb:02x?} {list:02x?}: {answer:?}"
                );
                prop_assert!(read.data == model.bytes, "{cdb:02x?} {list:02x?}: the medium has changed");
            }
            model.bytes = read.data;
        }
        lun.assert_clean();
    }
}
