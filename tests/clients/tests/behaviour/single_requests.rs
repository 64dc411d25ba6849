use lunbox_clients::qemu;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB, all, io};

#[test]
fn what_is_written_is_read_and_is_in_the_file_after_a_flush() {
    let disk = Disk::new(16 * MIB, Options::new());
    io(disk.url(), &["write -P 0x5a 0 64k", "flush", "read -P 0x5a 0 64k", "read -P 0 64k 64k"]);
    let file = std::fs::read(&disk.file).unwrap();
    assert!(all(&file[..65536], 0x5a) && all(&file[65536..], 0));
}

#[test]
fn requests_that_are_not_aligned_to_blocks_change_only_their_bytes() {
    let disk = Disk::new(MIB, Options::new().arg("--block-size").arg("4096"));
    io(
        disk.url(),
        &[
            "write -P 0x11 0 16k",
            "write -P 0x22 4000 1001",
            "read -P 0x11 0 4000",
            "read -P 0x22 4000 1001",
            "read -P 0x11 5001 11383",
        ],
    );
    let file = std::fs::read(&disk.file).unwrap();
    assert!(all(&file[..4000], 0x11) && all(&file[4000..5001], 0x22) && all(&file[5001..16384], 0x11));
}

#[test]
fn requests_of_many_megabytes_go_through_whole() {
    let disk = Disk::new(64 * MIB, Options::new());
    io(disk.url(), &["write -P 0x77 512 33553920", "read -P 0x77 512 33553920", "read -P 0 33554432 1M"]);
    let file = std::fs::read(&disk.file).unwrap();
    assert!(all(&file[512..33_554_432], 0x77) && all(&file[33_554_432..], 0) && all(&file[..512], 0));
}

#[test]
fn the_last_block_can_be_used_and_what_is_behind_it_can_not() {
    let disk = Disk::new(MIB, Options::new());
    io(disk.url(), &["write -P 9 1048064 512", "read -P 9 1048064 512"]);
    let beyond = qemu::io(disk.url(), &["read 1048064 1024"], LIMIT).unwrap();
    beyond.refusal("qemu-io beyond the end").unwrap();
}

#[test]
fn several_asynchronous_requests_of_one_client_all_arrive() {
    let disk = Disk::new(32 * MIB, Options::new());
    let writes: Vec<String> =
        (1..=32).map(|n| format!("aio_write -q -P {n} {}k 512k", (n - 1) * 512)).collect();
    let mut commands: Vec<&str> = writes.iter().map(String::as_str).collect();
    commands.push("aio_flush");
    io(disk.url(), &commands);
    let file = std::fs::read(&disk.file).unwrap();
    for (n, part) in (1_u8..=32).zip(file.chunks(512 << 10)) {
        assert!(all(part, n), "part {n}");
    }
}
