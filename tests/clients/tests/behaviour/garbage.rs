use std::io::Write;
use std::net::Shutdown;

use lunbox_clients::image::Noise;
use lunbox_clients::raw;
use lunbox_clients::serve::Options;

use crate::support::{Disk, MIB, io};

/// What comes in on a connection that is not a client's.
fn disturb(address: &str, target: &str, round: u8) {
    let mut noise = vec![0; 64 << 10];
    Noise::new(u64::from(round)).fill(&mut noise);
    let login = raw::login_request(round, target);
    let half = login.len() / 2;
    let parts: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &noise, &login[..half], &login[..20], &[0; 4096]];
    for bytes in parts {
        let mut stream = raw::connect(address).unwrap();
        // The server may close as soon as it has seen enough; then the rest can not be sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        raw::read_to_close(&mut stream).unwrap();
    }
    let mut stream = raw::connect(address).unwrap();
    raw::log_in(&mut stream, round, target).unwrap();
    let _ = stream.write_all(&noise);
    let _ = stream.shutdown(Shutdown::Write);
    raw::read_to_close(&mut stream).unwrap();
}

#[test]
fn connections_that_send_garbage_are_closed_and_a_client_beside_them_goes_on() {
    let mut disk = Disk::new(16 * MIB, Options::new());
    let started = disk.server.started().clone();
    let url = disk.url().to_owned();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            for n in 1..=10 {
                io(&url, &[&format!("write -P {n} 0 4M"), &format!("read -P {n} 0 4M")]);
            }
        });
        for round in 1..=10 {
            disturb(&started.address, &started.target, round);
        }
        client.join().unwrap();
    });
    disk.must_become_idle();
    io(&url, &["read -P 10 0 4M"]);
    disk.server.end_cleanly().unwrap();
}
