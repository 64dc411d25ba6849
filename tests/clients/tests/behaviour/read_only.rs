use lunbox_clients::programs::ISCSI_READCAPACITY16;
use lunbox_clients::serve::{Options, Server};
use lunbox_clients::{image, qemu, raw};

use crate::support::{LIMIT, MIB, says};

#[test]
fn a_read_only_lun_is_read_and_refuses_every_write() {
    let folder = image::scratch().unwrap();
    let file = image::noise_and_holes(folder.path(), "lun", 8 * MIB, 5).unwrap();
    let before = std::fs::read(&file).unwrap();
    let server = Server::start(&Options::new().arg("--read-only").file(&file)).unwrap();
    assert!(server.started().luns[0].read_only);
    says(ISCSI_READCAPACITY16, &[server.url(0)]);
    let compared =
        qemu::img(&["compare", "-f", "raw", "-F", "raw", file.to_str().unwrap(), server.url(0)], LIMIT);
    compared.unwrap().success("qemu-img compare").unwrap();
    let said = qemu::io(server.url(0), &["write -P 0x5a 0 1M"], LIMIT).unwrap().refusal("qemu-io").unwrap();
    assert!(said.contains("write protected") || said.contains("read-only"), "{said}");
    // qemu asks first. Who does not ask is told by the command: DATA PROTECT, WRITE PROTECTED (SPC-6 table 53).
    let mut stream = raw::connect(&server.started().address).unwrap();
    raw::log_in(&mut stream, 1, &server.started().target).unwrap();
    let mut answer = raw::write_block(&mut stream, 0, &[0x5a; 512]).unwrap();
    assert_eq!((answer.status, answer.sense), (2, Some((7, 0x27, 0))));
    drop(stream);
    assert!(before == std::fs::read(&file).unwrap(), "the file was changed");
    // The same command on a LUN that may be written succeeds: it is not refused for another reason.
    drop(server);
    let server = Server::start(&Options::new().file(&file)).unwrap();
    let mut stream = raw::connect(&server.started().address).unwrap();
    raw::log_in(&mut stream, 1, &server.started().target).unwrap();
    answer = raw::write_block(&mut stream, 0, &[0x5a; 512]).unwrap();
    assert_eq!((answer.status, answer.sense), (0, None));
}
