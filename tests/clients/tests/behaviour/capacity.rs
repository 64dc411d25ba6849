use lunbox_clients::programs::{ISCSI_INQ, ISCSI_READCAPACITY16};
use lunbox_clients::serve::{Options, Server};

use crate::support::{MIB, io, says};

/// A LUN of 48 MiB with blocks of `block` bytes, in a file that the server makes.
fn capacity_with_blocks_of(block: u64) {
    let size = 48 * MIB;
    // The server makes no files below /dev, and so not in /dev/shm.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new");
    let options = Options::new().arg("--size").arg("48M").arg("--block-size").arg(block.to_string());
    let server = Server::start(&options.file(&file)).unwrap();
    let lun = &server.started().luns[0];
    assert_eq!((lun.size, u64::from(lun.block_size), lun.read_only), (size, block, false));
    let said = says(ISCSI_READCAPACITY16, &[server.url(0)]);
    for line in [
        format!("RETURNED LOGICAL BLOCK ADDRESS:{}", size / block - 1),
        format!("LOGICAL BLOCK LENGTH IN BYTES:{block}"),
        format!("Total size:{size}"),
    ] {
        assert!(said.lines().any(|found| found == line), "{line} in\n{said}");
    }
    // The file grows with what is written; the last block makes it whole.
    let last = size - block;
    // Reads of 32 KiB and more make qemu ask first what is allocated, and with blocks above 512 bytes a check of its own
    // on that question fails (qemu 7.2, on every thin target).
    let read = format!("read -P 0 0 {}", if block == 512 { "48M" } else { "16k" });
    io(server.url(0), &[&read, &format!("read -P 0 {last} {block}"), &format!("write -P 7 {last} {block}")]);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), size);
}

#[test]
fn a_client_reads_the_size_that_was_asked_for_in_blocks_of_512_bytes() {
    capacity_with_blocks_of(512);
}

#[test]
fn a_client_reads_the_size_that_was_asked_for_in_blocks_of_4096_bytes() {
    capacity_with_blocks_of(4096);
}

#[test]
fn without_a_size_the_lun_has_the_files() {
    let disk = crate::support::Disk::new(17 * MIB, Options::new());
    let said = says(ISCSI_READCAPACITY16, &[disk.url()]);
    assert!(said.contains(&format!("Total size:{}", 17 * MIB)), "{said}");
}

#[test]
fn inquiry_says_that_it_is_a_disk() {
    let disk = crate::support::Disk::new(MIB, Options::new());
    let said = says(ISCSI_INQ, &[disk.url()]);
    assert!(said.contains("Peripheral Qualifier:CONNECTED\n"), "{said}");
    assert!(said.contains("Peripheral Device Type:DIRECT_ACCESS\n"), "{said}");
}
