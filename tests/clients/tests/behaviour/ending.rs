use std::time::Duration;

use lunbox_clients::process::Running;
use lunbox_clients::programs::QEMU_IMG;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB};

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
    let (ended, took) = disk.server.terminate().unwrap();
    assert!(ended.success(), "{ended}\n{}", disk.server.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(writer);
    let file = std::fs::read(&disk.file).unwrap();
    assert_eq!(u64::try_from(file.len()).unwrap(), size);
    let written = u64::try_from(file.iter().filter(|byte| **byte == 0x5a).count()).unwrap();
    let acknowledged = status.luns[0].bytes_written;
    assert!(written >= acknowledged, "{written} bytes in the file, {acknowledged} acknowledged");
}

#[test]
fn sigterm_ends_a_server_that_nobody_uses() {
    let mut disk = Disk::new(MIB, Options::new());
    let (ended, took) = disk.server.terminate().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
