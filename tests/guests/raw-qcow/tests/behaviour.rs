//! A raw image under the subtype `qcow`.

use lunbox_harness::{Harness, MemStore, StartError};
use lunbox_sdk::Handler;
use lunbox_test_raw_qcow::RawQcow;

const MIB: u64 = 1 << 20;

#[test]
fn the_cfgstring_begins_with_the_subtype() {
    assert_eq!(RawQcow::describe().subtype, "qcow");
}

#[test]
fn byte_n_of_the_lun_is_byte_n_of_the_image() {
    let mut disk = Harness::<RawQcow>::setup(MIB).store(MemStore::growing(0)).start().unwrap();
    disk.write(8192, &[0xa5; 1024]).unwrap().good().unwrap();
    disk.flush().unwrap().good().unwrap();
    let around = disk.read(8192 - 512, 2048).unwrap().good().unwrap();
    assert_eq!(around, [vec![0; 512], vec![0xa5; 1024], vec![0; 512]].concat());
    assert_eq!(disk.stores()[0].contents().len(), 8192 + 1024);
    disk.resize(2 * MIB).unwrap().unwrap();
    disk.read(2 * MIB - 512, 512).unwrap().good().unwrap();
}

#[test]
fn without_an_image_there_is_no_device() {
    match Harness::<RawQcow>::setup(MIB).start() {
        Err(StartError::Refused(error)) => assert!(error.message.contains("no file"), "{error}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
