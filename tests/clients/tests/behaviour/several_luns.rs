use lunbox_clients::programs::{ISCSI_INQ, ISCSI_LS, ISCSI_READCAPACITY16};
use lunbox_clients::serve::{Options, Server};

use crate::support::{MIB, all, client, io, says};

#[test]
fn several_luns_of_one_target_are_found_and_keep_their_data_apart() {
    // The server makes no files below /dev, and so not in /dev/shm.
    let folder = tempfile::tempdir().unwrap();
    let files = ["a", "b", "c"].map(|name| folder.path().join(name));
    let mut options = Options::new().arg("--size").arg("1M,2M,3M");
    for file in &files {
        options = options.file(file);
    }
    let mut server = Server::start(&options).unwrap();
    let listed = says(ISCSI_LS, &["-s", &server.portal()]);
    let luns: Vec<&str> = listed.lines().filter(|line| line.trim().starts_with("Lun:")).collect();
    assert_eq!(luns.len(), 3, "{listed}");
    for (lun, size) in (0..3).zip([MIB, 2 * MIB, 3 * MIB]) {
        assert_eq!(server.started().luns[lun].lun, u64::try_from(lun).unwrap());
        assert!(says(ISCSI_READCAPACITY16, &[server.url(lun)]).contains(&format!("Total size:{size}\n")));
        io(server.url(lun), &[&format!("write -P {} 0 {size}", lun + 1)]);
    }
    let none = format!("{}7", server.url(0).strip_suffix('0').unwrap());
    client(ISCSI_INQ, &[&none]).refusal("iscsi-inq on a LUN that is not there").unwrap();
    let status = server.status().unwrap();
    assert_eq!(status.luns.iter().map(|lun| lun.bytes_written).collect::<Vec<_>>(), [MIB, 2 * MIB, 3 * MIB]);
    server.end_cleanly().unwrap();
    for (byte, file) in (1..).zip(&files) {
        let bytes = std::fs::read(file).unwrap();
        assert!(
            u64::try_from(bytes.len()).unwrap() == u64::from(byte) * MIB && all(&bytes, byte),
            "{file:?}"
        );
    }
}
