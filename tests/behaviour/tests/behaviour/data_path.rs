//! READ, WRITE and SYNCHRONIZE CACHE through the Wasm `file` handler.

use std::os::unix::fs::FileExt;

use lunbox_behaviour::{Lun, native_file};
use lunbox_emulator::initiator::cdb;
use lunbox_emulator::{Data, Options, Placement};
use lunbox_store::{Backend, FileOptions, Store};

use crate::{good, pattern, sense};

fn file_store(bytes: u64) -> (std::fs::File, Store) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    let store = Store::file(file.try_clone().unwrap().into(), FileOptions { read_only: false }).unwrap();
    (file, store)
}

fn round_trips(lun: &Lun) {
    for (lba, blocks) in [(0, 1), (7, 9), (100, 128), (1000, 2048), (32767, 1)] {
        let data = pattern(lba, blocks * 512);
        good(&lun.initiator.write(lba, &data).unwrap());
        let read = lun.initiator.read(lba, u32::try_from(blocks).unwrap()).unwrap();
        good(&read);
        assert!(read.data == data, "{blocks} blocks at {lba} came back changed");
    }
    good(&lun.initiator.flush().unwrap());
    lun.assert_clean();
}

#[test]
fn what_was_written_is_read_back_from_memory() {
    round_trips(&Lun::builder().start().unwrap());
}

#[test]
fn what_was_written_is_read_back_with_scattered_buffers() {
    let kernel = Options { placement: Placement::Scattered, ..Options::default() };
    round_trips(&Lun::builder().kernel(kernel).start().unwrap());
}

#[test]
fn what_was_written_is_in_the_file_with_io_uring_and_with_threads() {
    for backend in [Backend::Uring, Backend::Threads] {
        let (file, store) = file_store(16 << 20);
        let lun = Lun::builder().store(store).backend(backend).start().unwrap();
        round_trips(&lun);
        let mut bytes = vec![0; 9 * 512];
        file.read_exact_at(&mut bytes, 7 * 512).unwrap();
        assert_eq!(bytes, pattern(7, 9 * 512));
    }
}

#[test]
fn the_native_handler_behaves_the_same() {
    round_trips(&Lun::builder().handler(native_file()).start().unwrap());
}

#[test]
fn four_kibibyte_blocks_work() {
    let lun = Lun::builder().block_size(4096).start().unwrap();
    let data = pattern(3, 8192);
    good(&lun.initiator.write(5, &data).unwrap());
    assert_eq!(lun.initiator.read(5, 2).unwrap().data, data);
    sense(&lun.initiator.read(4096, 1).unwrap(), (5, 0x21, 0));
}

#[test]
fn holes_and_what_lies_beyond_the_end_of_the_file_read_as_zeros() {
    let (_, store) = file_store(5000);
    let lun = Lun::builder().store(store).start().unwrap();
    let read = lun.initiator.read(8, 64).unwrap();
    good(&read);
    assert!(read.data.iter().all(|&byte| byte == 0));
    let data = pattern(1, 512);
    good(&lun.initiator.write(20_000, &data).unwrap());
    assert_eq!(lun.initiator.read(20_000, 1).unwrap().data, data);
}

#[test]
fn ranges_beyond_the_last_block_are_refused() {
    let lun = Lun::builder().start().unwrap();
    for (lba, blocks) in [(32768, 1), (32767, 2), (u64::MAX, 1), (u64::MAX - 1, u32::MAX / 512)] {
        let cdb = cdb::read_16(lba, blocks);
        sense(&lun.initiator.execute(&cdb, Data::In(512)).unwrap(), (5, 0x21, 0));
    }
    good(&lun.initiator.execute(&cdb::read_16(32768, 0), Data::None).unwrap());
}

#[test]
fn a_buffer_shorter_than_the_transfer_is_refused_and_a_longer_one_leaks_nothing() {
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.write(0, &pattern(1, 4096)).unwrap());
    sense(&lun.initiator.execute(&cdb::read_16(0, 8), Data::In(2048)).unwrap(), (5, 0x0e, 3));
    let long = lun.initiator.execute(&cdb::read_16(0, 1), Data::In(4096)).unwrap();
    good(&long);
    assert_eq!(long.data[..512], pattern(1, 4096)[..512]);
    assert_eq!((long.data.len(), long.residual), (512, 3584));
    lun.assert_clean();
}

#[test]
fn a_read_only_lun_refuses_writes() {
    let lun = Lun::builder().read_only().start().unwrap();
    sense(&lun.initiator.write(0, &[1; 512]).unwrap(), (7, 0x27, 0));
    assert!(lun.initiator.read(0, 1).unwrap().data.iter().all(|&byte| byte == 0));
}

#[test]
fn forced_unit_access_writes_are_good_and_readable() {
    let (_, store) = file_store(1 << 20);
    let lun = Lun::builder().size(1 << 20).store(store).start().unwrap();
    let mut write = cdb::write_16(3, 1);
    write[1] |= 0x08;
    let data = pattern(9, 512);
    good(&lun.initiator.execute(&write, Data::Out(&data)).unwrap());
    let mut read = cdb::read_16(3, 1);
    read[1] |= 0x08;
    assert_eq!(lun.initiator.execute(&read, Data::In(512)).unwrap().data, data);
}

#[test]
fn an_immediate_flush_is_answered_and_done() {
    let lun = Lun::builder().start().unwrap();
    let mut flush = cdb::synchronize_cache_10(0, 0);
    flush[1] |= 0x02;
    good(&lun.initiator.execute(&flush, Data::None).unwrap());
    good(&lun.initiator.test_unit_ready().unwrap());
}

#[test]
fn many_commands_in_flight_end_each_with_its_own_data() {
    let (_, store) = file_store(16 << 20);
    let kernel = Options { placement: Placement::RoundRobin, ..Options::default() };
    let lun = Lun::builder().store(store).kernel(kernel).start().unwrap();
    let payloads: Vec<Vec<u8>> = (0..256).map(|place| pattern(place, 4096)).collect();
    let writes: Vec<[u8; 16]> = (0..256).map(|place| cdb::write_16(place * 8, 8)).collect();
    let commands: Vec<(&[u8], Data<'_>)> =
        writes.iter().zip(&payloads).map(|(cdb, data)| (&cdb[..], Data::Out(data))).collect();
    let mut pending = Vec::new();
    lun.initiator.start_all(&commands, &mut pending).unwrap();
    for command in pending {
        good(&command.wait().unwrap());
    }
    let reads: Vec<_> = (0..256)
        .map(|place| lun.initiator.start(&cdb::read_16(place * 8, 8), Data::In(4096)).unwrap())
        .collect();
    for (place, read) in reads.into_iter().enumerate() {
        let read = read.wait().unwrap();
        good(&read);
        assert!(read.data == payloads[place], "place {place} came back changed");
    }
    lun.assert_clean();
    let status = lun.status();
    assert_eq!((status.bytes_written, status.bytes_read), (1 << 20, 1 << 20));
}
