use lunbox_clients::programs::{ISCSI_PERF, ISCSI_READCAPACITY16};
use lunbox_clients::qemu;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB, all, says};

// libiscsi and so qemu know header digests only; data digests are tested in host/iscsi.

#[test]
fn libiscsi_reads_with_header_digests() {
    let disk = Disk::new(8 * MIB, Options::new());
    let url = format!("{}?header_digest=crc32c", disk.url());
    assert!(says(ISCSI_READCAPACITY16, &[&url]).contains(&format!("Total size:{}", 8 * MIB)));
    assert!(says(ISCSI_PERF, &["-r", "-m", "8", "-b", "8", "-t", "1", &url]).contains("finished."));
}

#[test]
fn qemu_writes_and_reads_with_header_digests() {
    let disk = Disk::new(8 * MIB, Options::new());
    let started = disk.server.started();
    for digest in ["crc32c", "crc32c-none", "none-crc32c", "none"] {
        let image = format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun=0,header-digest={digest}",
            started.address, started.target
        );
        let commands = ["write -P 0x21 0 3M", "read -P 0x21 0 3M", "write -P 0 0 3M"];
        qemu::io_with(&["--image-opts", &image], &commands[..2], LIMIT).unwrap().success(digest).unwrap();
        assert!(all(&std::fs::read(&disk.file).unwrap()[..3 << 20], 0x21), "{digest}");
        qemu::io_with(&["--image-opts", &image], &commands[2..], LIMIT).unwrap().success(digest).unwrap();
    }
}
