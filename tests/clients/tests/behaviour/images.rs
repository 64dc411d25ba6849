use lunbox_clients::serve::Options;
use lunbox_clients::{image, qemu};

use crate::support::{Disk, LIMIT, MIB};

/// An image of noise and holes goes through the LUN and comes back the same.
fn round_trip(options: Options) {
    let size = 96 * MIB;
    let mut disk = Disk::new(size, options);
    let original = image::noise_and_holes(disk.folder.path(), "original", size, 42).unwrap();
    let original = original.to_str().unwrap();
    let img = |arguments: &[&str]| qemu::img(arguments, LIMIT).unwrap().success("qemu-img");
    img(&["convert", "-n", "-f", "raw", "-O", "raw", original, disk.url()]).unwrap();
    img(&["compare", "-f", "raw", "-F", "raw", original, disk.url()]).unwrap();
    let back = disk.folder.path().join("back");
    img(&["convert", "-f", "raw", "-O", "raw", disk.url(), back.to_str().unwrap()]).unwrap();
    let original = std::fs::read(original).unwrap();
    assert!(original == std::fs::read(&back).unwrap(), "what was read back differs");
    disk.must_become_idle();
    disk.server.end_cleanly().unwrap();
    assert!(original == std::fs::read(&disk.file).unwrap(), "the file behind the LUN differs");
}

#[test]
fn an_image_copied_into_a_lun_of_512_byte_blocks_reads_back_the_same() {
    round_trip(Options::new());
}

#[test]
fn an_image_copied_into_a_lun_of_4096_byte_blocks_reads_back_the_same() {
    round_trip(Options::new().arg("--block-size").arg("4096"));
}

#[test]
fn a_comparison_with_another_image_fails() {
    let disk = Disk::new(4 * MIB, Options::new());
    let other = image::noise_and_holes(disk.folder.path(), "other", 4 * MIB, 7).unwrap();
    let compared =
        qemu::img(&["compare", "-f", "raw", "-F", "raw", other.to_str().unwrap(), disk.url()], LIMIT);
    assert!(compared.unwrap().refusal("qemu-img compare").unwrap().contains("Content mismatch"));
}
