use std::fs::File;
use std::io::Read;

use lunbox_clients::process::Running;
use lunbox_clients::programs::QEMU_IMG;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB};

/// How many bytes are `wanted`, counted a piece at a time: other tests want memory, too.
fn count(from: &mut impl Read, wanted: u8) -> u64 {
    let mut piece = vec![0; 1 << 20];
    let mut count = 0;
    loop {
        let length = from.read(&mut piece).unwrap();
        if length == 0 {
            return count;
        }
        count += u64::try_from(piece[..length].iter().filter(|byte| **byte == wanted).count()).unwrap();
    }
}

#[test]
fn sigterm_under_load_ends_soon_with_status_0_and_keeps_what_was_acknowledged() {
    let size = 1024 * MIB;
    let mut disk = Disk::new(size, Options::new());
    let mut writer = QEMU_IMG.command().unwrap();
    // Each write goes to a place of its own, so that the bytes in the file can be counted; the number keeps it writing
    // for longer than this test takes.
    writer.args([
        "bench",
        "-w",
        "--pattern=0x5a",
        "-f",
        "raw",
        "-d",
        "32",
        "-s",
        "4096",
        "-c",
        "262144",
        disk.url(),
    ]);
    let mut writer = Running::start(writer).unwrap();
    let status = disk
        .server
        .status_when(LIMIT, "4 MiB written", |status| status.luns[0].bytes_written >= 4 * MIB)
        .unwrap();
    assert!(writer.is_running().unwrap(), "the load has ended before the server was asked to");
    disk.server.end_cleanly().unwrap();
    drop(writer);
    let mut file = File::open(&disk.file).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size);
    let written = count(&mut file, 0x5a);
    let acknowledged = status.luns[0].bytes_written;
    assert!(written >= acknowledged, "{written} bytes in the file, {acknowledged} acknowledged");
}

#[test]
fn sigterm_ends_a_server_that_nobody_uses() {
    let mut disk = Disk::new(MIB, Options::new());
    disk.server.end_cleanly().unwrap();
}
