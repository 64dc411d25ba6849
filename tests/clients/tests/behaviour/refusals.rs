use std::net::TcpListener;

use lunbox_clients::image;
use lunbox_clients::serve::Options;

use crate::support::MIB;

#[test]
fn an_address_that_others_can_reach_needs_chap() {
    let folder = image::scratch().unwrap();
    let file = image::hole(folder.path(), "lun", MIB).unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let said = Options::bare().arg("--listen").arg(address).file(&file).refused().unwrap();
        assert!(said.contains("--chap-user") && said.contains("--chap-secret-file"), "{said}");
    }
}

#[test]
fn a_port_that_is_in_use_is_named_with_a_remedy() {
    let folder = image::scratch().unwrap();
    let file = image::hole(folder.path(), "lun", MIB).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let said = Options::bare().arg("--listen").arg(&address).file(&file).refused().unwrap();
    assert!(said.contains(&address) && said.contains("in use") && said.contains("127.0.0.1:0"), "{said}");
}

#[test]
fn a_file_that_is_served_already_is_refused() {
    let disk = crate::support::Disk::new(MIB, Options::new());
    let said = Options::new().file(&disk.file).refused().unwrap();
    assert!(said.contains(disk.file.to_str().unwrap()), "{said}");
}
