use lunbox_clients::image;
use lunbox_clients::programs::ISCSI_INQ;
use lunbox_clients::serve::{Options, Server};

use crate::support::{MIB, says};

/// VPD page 80h as libiscsi prints it.
fn serial(url: &str) -> String {
    let said = says(ISCSI_INQ, &["-e", "1", "-c", "128", url]);
    let line = said.lines().find_map(|line| line.strip_prefix("Unit Serial Number:"));
    line.unwrap_or_else(|| panic!("no serial number in\n{said}")).trim().to_owned()
}

#[test]
fn a_lun_keeps_its_serial_number_when_it_is_served_again_and_shares_it_with_no_other() {
    let folder = image::scratch().unwrap();
    let files = ["a", "b"].map(|name| image::hole(folder.path(), name, MIB).unwrap());
    let serve = || Server::start(&Options::new().file(&files[0]).file(&files[1])).unwrap();
    let mut server = serve();
    let first = [serial(server.url(0)), serial(server.url(1))];
    server.end_cleanly().unwrap();
    let server = serve();
    assert_eq!([serial(server.url(0)), serial(server.url(1))], first);
    assert!(!first[0].is_empty());
    assert_ne!(first[0], first[1]);
}
