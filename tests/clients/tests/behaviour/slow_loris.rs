use std::io::Write;
use std::net::TcpStream;

use lunbox_clients::process::Running;
use lunbox_clients::programs::{ISCSI_INQ, ISCSI_PERF};
use lunbox_clients::serve::Options;
use lunbox_clients::{raw, wait};

use crate::support::{Disk, LIMIT, MIB, client};

#[test]
fn hundreds_of_half_open_connections_do_not_stop_a_client_and_are_closed_in_time() {
    let mut disk = Disk::new(16 * MIB, Options::new());
    let address = disk.server.started().address.clone();
    let login = raw::login_request(1, &disk.server.started().target);
    let mut reader = ISCSI_PERF.command().unwrap();
    // For longer than this test may take: it is killed when it has been seen to go on.
    reader.args(["-r", "-m", "4", "-b", "8", "-t", "3600", disk.url()]);
    let reader = Running::start(reader).unwrap();
    disk.server.status_when(LIMIT, "a client that reads", |status| status.luns[0].reads > 100).unwrap();
    let mut half_open: Vec<TcpStream> = (0..300_usize)
        .filter_map(|n| {
            let mut stream = raw::connect(&address).ok()?;
            // Some have sent nothing, some a part of a header, some all but the last byte. Beyond its limit the server
            // has closed the connection before.
            let _ = stream.write_all(&login[..n % login.len()]);
            Some(stream)
        })
        .collect();
    let status = disk.server.status_when(LIMIT, "a full house", |status| status.connections >= 32).unwrap();
    assert!(status.connections <= 128, "{} connections: there is no limit", status.connections);
    let reads = status.luns[0].reads;
    disk.server
        .status_when(LIMIT, "a client that goes on", |status| status.luns[0].reads > reads + 100)
        .unwrap();
    // Fails if it has given up meanwhile.
    reader.kill().unwrap();
    // The half-open ones keep others out, but not for longer than a login may take.
    wait::until(LIMIT, "a new client", || {
        Ok(client(ISCSI_INQ, &[disk.url()]).status.success().then_some(()))
    })
    .unwrap();
    for stream in &mut half_open {
        raw::read_to_close(stream).unwrap();
    }
    disk.must_become_idle();
    disk.server.end_cleanly().unwrap();
}
