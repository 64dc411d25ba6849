//! Discards and zeroes of files.

use std::os::unix::fs::MetadataExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;

on_both_backends! {
    zeroes_read_as_zeros_however_they_are_made
    zeroes_beyond_the_end_grow_the_file
    a_discard_gives_space_back_and_keeps_the_size
    zeroes_where_the_file_system_has_no_zero_range
}

const SIZE: u64 = 5 << 20;

fn zeroes(may_unmap: bool, durable: bool) -> Kind {
    Kind::WriteZeroes { durable, may_unmap }
}

fn zeroes_read_as_zeros_however_they_are_made(backend: Backend) {
    let mut rig = Rig::new(backend);
    for (may_unmap, durable) in [(false, false), (true, false), (false, true), (true, true)] {
        let file = scratch(&vec![9; usize::try_from(SIZE).unwrap()]);
        let store = rig.file(&file);
        assert_eq!(rig.bare(store, zeroes(may_unmap, durable), 1001, 3 << 20), Ok(3 << 20));
        let all = content(&file);
        let end = 1001 + (3 << 20);
        assert_eq!(all.len() as u64, SIZE);
        assert!(all[..1001].iter().chain(&all[end..]).all(|&byte| byte == 9));
        assert!(all[1001..end].iter().all(|&byte| byte == 0));
    }
}

fn zeroes_beyond_the_end_grow_the_file(backend: Backend) {
    let mut rig = Rig::new(backend);
    for may_unmap in [false, true] {
        let file = scratch(b"start");
        let store = rig.file(&file);
        assert_eq!(rig.bare(store, zeroes(may_unmap, false), 3, 100_000), Ok(100_000));
        let all = content(&file);
        assert_eq!(all.len(), 100_003);
        assert_eq!(all[..4], *b"sta\0");
        assert!(all[3..].iter().all(|&byte| byte == 0));
    }
}

fn a_discard_gives_space_back_and_keeps_the_size(backend: Backend) {
    let mut rig = Rig::new(backend);
    for durable in [false, true] {
        let file = scratch(&vec![9; usize::try_from(SIZE).unwrap()]);
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        let store = rig.file(&file);
        assert!(rig.executor.store(store).unwrap().discard_zeroes());
        let length = SIZE - 4096 + (1 << 20);
        assert_eq!(rig.bare(store, Kind::Discard { durable }, 4096, length), Ok(length));
        let after = file.metadata().unwrap();
        assert!(after.blocks() < before / 2, "{} of {before} blocks are left", after.blocks());
        assert_eq!(after.len(), SIZE);
        let all = content(&file);
        assert!(all[..4096].iter().all(|&byte| byte == 9));
        assert!(all[4096..].iter().all(|&byte| byte == 0));
    }
}

fn zeroes_where_the_file_system_has_no_zero_range(backend: Backend) {
    let mut rig = Rig::new(backend);
    // Memory files are on tmpfs, which knows holes but no FALLOC_FL_ZERO_RANGE.
    let file = File::from(memfd_create("store", MFdFlags::MFD_CLOEXEC).unwrap());
    let write_at = std::os::unix::fs::FileExt::write_all_at;
    write_at(&file, &vec![9; usize::try_from(SIZE).unwrap()], 0).unwrap();
    let store = rig.file(&file);
    for (may_unmap, durable) in [(false, false), (false, true), (true, false)] {
        write_at(&file, &[9; 10_000], 0).unwrap();
        assert_eq!(rig.bare(store, zeroes(may_unmap, durable), 100, SIZE), Ok(SIZE));
        let all = content(&file);
        assert_eq!(all.len() as u64, SIZE + 100);
        assert_eq!(all[..100], [9; 100]);
        assert!(all[100..].iter().all(|&byte| byte == 0));
    }
    // An owned buffer that came along without need comes back.
    let target = Target::Owned { buffer: vec![1, 2], skip: 0 };
    let done = rig.run(Request { store, kind: zeroes(false, false), offset: 0, length: 10, target });
    assert_eq!((done.result, done.buffer), (Ok(10), Some(vec![1, 2])));
}
