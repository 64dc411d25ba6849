//! Ten thousand operations that look random, against a vector that does the same.

use super::*;

on_both_backends! { files_do_what_the_model_does memory_does_what_the_model_does }

const SIZE: usize = 1 << 18;

fn files_do_what_the_model_does(backend: Backend) {
    let mut rig = Rig::new(backend);
    let file = scratch(b"");
    let store = rig.file(&file);
    let model = compare(&mut rig, store, Vec::new());
    assert_eq!(content(&file), model);
}

fn memory_does_what_the_model_does(backend: Backend) {
    let mut rig = Rig::new(backend);
    let store = rig.executor.add(Store::memory(SIZE as u64).unwrap());
    let model = compare(&mut rig, store, vec![0; SIZE]);
    assert_eq!(rig.read(store, READ, 0, SIZE), Ok(model));
}

/// Pieces of the region, apart from each other, with `length` bytes together.
fn pieces(numbers: &mut Numbers, length: usize) -> Vec<Extent> {
    let mut left = length as u64;
    let mut at = numbers.below(5000);
    let mut pieces = Vec::new();
    while left > 0 {
        let step = if numbers.below(4) == 0 { left } else { 1 + numbers.below(left) };
        pieces.push(extent(at, step));
        at += step + numbers.below(200);
        left -= step;
    }
    pieces
}

/// Does random operations on store and model at once. Batches run concurrently on ranges that do not overlap.
fn compare(rig: &mut Rig, store: StoreIndex, mut model: Vec<u8>) -> Vec<u8> {
    let mut numbers = Numbers(0x1ee7);
    for n in 0..10_000 {
        let start = usize::try_from(numbers.below(SIZE as u64 - 1)).unwrap();
        let most = (SIZE - start).min(if numbers.below(20) == 0 { 100_000 } else { 3000 });
        let length = 1 + usize::try_from(numbers.below(most as u64)).unwrap();
        let (offset, end) = (start as u64, start + length);
        match numbers.below(10) {
            0..4 => {
                let pieces = pieces(&mut numbers, length);
                let mut expected = vec![0; length];
                let here = model.len().clamp(start, end) - start;
                expected[..here].copy_from_slice(&model[start.min(model.len())..][..here]);
                let zero_at_eof = numbers.below(2) == 0;
                let result = rig.scattered(store, Kind::Read { zero_at_eof }, offset, &pieces);
                if here < length && !zero_at_eof {
                    assert_eq!(result, Err(StoreError::EndOfStore), "operation {n}");
                    continue;
                }
                assert_eq!(result, Ok(length as u64), "operation {n}");
                let mut at = 0;
                for piece in &pieces {
                    let length = usize::try_from(piece.length).unwrap();
                    assert_eq!(rig.bytes(piece.offset, length), expected[at..at + length], "operation {n}");
                    at += length;
                }
            }
            4..8 => {
                let data = numbers.bytes(length);
                let pieces = pieces(&mut numbers, length);
                let mut at = 0;
                for piece in &pieces {
                    let length = usize::try_from(piece.length).unwrap();
                    rig.memory.copy_in(piece.offset, &data[at..at + length]).unwrap();
                    at += length;
                }
                model.resize(model.len().max(end), 0);
                model[start..end].copy_from_slice(&data);
                let durable = numbers.below(200) == 0;
                let result = rig.scattered(store, Kind::Write { durable }, offset, &pieces);
                assert_eq!(result, Ok(length as u64), "operation {n}");
            }
            8 => {
                let may_unmap = numbers.below(2) == 0;
                model.resize(model.len().max(end), 0);
                model[start..end].fill(0);
                let kind = Kind::WriteZeroes { durable: false, may_unmap };
                assert_eq!(rig.bare(store, kind, offset, length as u64), Ok(length as u64), "operation {n}");
            }
            _ => {
                let here = end.min(model.len());
                if start < here {
                    model[start..here].fill(0);
                }
                let result = rig.bare(store, Kind::Discard { durable: false }, offset, length as u64);
                assert_eq!(result, Ok(length as u64), "operation {n}");
            }
        }
    }
    model
}
