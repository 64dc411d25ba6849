//! What initiators and operators see of the mirror.

use lunbox_example_mirror::Mirror;
use lunbox_harness::{CancelPoint, Harness, MemStore, Setup, StartError};
use lunbox_sdk::{ConfigError, OpError, OpKind, Options as _, Sense};

const MIB: u64 = 1 << 20;

fn setup(path: MemStore, copy: MemStore) -> Setup<Mirror> {
    Harness::setup(MIB).store(path.for_option("path")).store(copy.for_option("copy"))
}

fn mirror() -> Harness<Mirror> {
    setup(MemStore::growing(0), MemStore::growing(0)).start_declared().expect("a plain configuration starts")
}

fn refusal(setup: Setup<Mirror>) -> ConfigError {
    match setup.start_declared() {
        Err(StartError::Refused(error)) => error,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn the_schema_follows_the_contract() {
    assert_eq!(Mirror::declare().check(), Ok(()));
}

#[test]
fn both_files_have_every_byte() {
    let mut disk = mirror();
    disk.write(4096, &[7; 1024]).unwrap().good().unwrap();
    disk.write_fua(0, &[8; 512]).unwrap().good().unwrap();
    let expected = [vec![8; 512], vec![0; 3584], vec![7; 1024]].concat();
    assert_eq!(disk.read(0, 5120).unwrap().good().unwrap(), expected);
    for store in disk.stores() {
        assert_eq!(store.contents(), expected);
    }
}

#[test]
fn each_file_alone_keeps_what_was_flushed() {
    let mut disk = mirror();
    disk.write(0, &[1; 512]).unwrap().good().unwrap();
    disk.flush().unwrap().good().unwrap();
    disk.write_fua(512, &[2; 512]).unwrap().good().unwrap();
    let disk = disk.power_cut().unwrap();
    for store in disk.stores() {
        assert_eq!(store.contents(), [[1; 512], [2; 512]].concat());
    }
}

#[test]
fn a_read_that_fails_is_answered_by_the_other_file() {
    let mut disk = mirror();
    disk.write(0, &[7; 512]).unwrap().good().unwrap();
    disk.fail_next(OpError::Io);
    assert_eq!(disk.read(0, 512).unwrap().good().unwrap(), vec![7; 512]);
    disk.fail_next(OpError::Io);
    disk.fail_next(OpError::Io);
    assert_eq!(disk.read(0, 512).unwrap().sense(), Some(Sense::UNRECOVERED_READ_ERROR));
}

#[test]
fn the_preferred_file_is_the_one_that_the_operator_names() {
    for (read, expected) in [(None, 1), (Some("first"), 1), (Some("second"), 2)] {
        let files = [1, 2].map(|byte| MemStore::with_contents(vec![byte; 512]));
        let [path, copy] = files;
        let mut setup = setup(path, copy);
        if let Some(read) = read {
            setup = setup.option("read", read);
        }
        let mut disk = setup.start_declared().unwrap();
        assert_eq!(disk.read(0, 512).unwrap().good().unwrap(), vec![expected; 512], "{read:?}");
    }
}

#[test]
fn a_write_is_good_only_if_both_files_have_it() {
    for (kind, asc) in [(OpKind::Write, 0x0c), (OpKind::Flush, 0x0c)] {
        let mut disk = mirror();
        disk.write(0, &[1; 512]).unwrap().good().unwrap();
        disk.fail_next_of(kind, OpError::Io);
        let reply = if kind == OpKind::Write { disk.write(0, &[2; 512]) } else { disk.flush() };
        assert_eq!(reply.unwrap().sense().expect("an error").asc, asc, "{kind:?}");
    }
}

#[test]
fn an_aborted_command_is_forgotten() {
    let mut disk = mirror();
    for point in [CancelPoint::BeforeOperations, CancelPoint::AfterOperations] {
        let tag = disk.start_write(0, &[1; 512], false).unwrap();
        disk.cancel(tag, point).unwrap();
    }
    assert!(format!("{:?}", disk.handler()).contains("running: {}"), "{:?}", disk.handler());
}

#[test]
fn files_that_are_no_mirror_are_refused_with_the_field_at_fault() {
    let full = || MemStore::growing(512);
    assert_eq!(refusal(setup(full(), MemStore::growing(0))).field, "copy");
    assert_eq!(refusal(setup(MemStore::growing(0), full())).field, "copy");
    let small = || MemStore::fixed(512);
    assert_eq!(refusal(setup(small(), full())).field, "path");
    assert_eq!(refusal(setup(full(), small())).field, "copy");
    assert_eq!(refusal(setup(full(), full().read_only())).field, "copy");
    assert!(setup(full().read_only(), full().read_only()).read_only().start_declared().is_ok());
}

#[test]
fn a_device_without_its_second_file_never_reaches_the_handler() {
    let lonely = Harness::<Mirror>::setup(MIB).store(MemStore::growing(0).for_option("path"));
    assert!(matches!(lonely.start_declared(), Err(StartError::Misuse(problem)) if problem.contains("copy")));
}

#[test]
fn both_files_give_up_what_is_unmapped_and_zeroed() {
    let full = || MemStore::with_contents(vec![7; 4096]);
    let mut disk = setup(full(), full()).start_declared().unwrap();
    disk.unmap(0, 1024).unwrap().good().unwrap();
    disk.write_zeroes(2048, 512, false, true).unwrap().good().unwrap();
    let expected = [vec![0; 1024], vec![7; 1024], vec![0; 512], vec![7; 1536]].concat();
    for store in disk.stores() {
        assert_eq!(store.contents(), expected);
    }
    let list = disk.lba_status(0, 4096, 240).unwrap().unwrap();
    let list: Vec<_> = list.into_iter().map(|record| (record.length, record.allocated)).collect();
    assert_eq!(list, [(1024, false), (3072, true)]);
    for kind in [OpKind::Discard, OpKind::WriteZeroes] {
        disk.fail_next_of(kind, OpError::Io);
        let reply =
            if kind == OpKind::Discard { disk.unmap(0, 512) } else { disk.write_zeroes(0, 512, true, false) };
        assert_eq!(reply.unwrap().sense(), Some(Sense::WRITE_ERROR), "{kind:?}");
    }
}

#[test]
fn what_one_file_can_not_discard_is_not_unmapped() {
    let file = || MemStore::growing(0);
    let limits = |path, copy| setup(path, copy).start_declared().unwrap().unmap_limits();
    assert_eq!(limits(file(), file()).map(|limits| limits.reads_zeroes), Some(true));
    assert_eq!(limits(file(), file().without_discard()), None);
    assert_eq!(limits(file().discards_to_anything(), file()), None);
}
