use lunbox_clients::qemu;
use lunbox_clients::serve::Options;

use crate::support::{Disk, LIMIT, MIB, all, io};

/// Rounds of each initiator.
const ROUNDS: u8 = 12;

#[test]
fn two_initiators_at_once_write_their_own_parts_and_read_the_common_one() {
    let mut disk = Disk::new(64 * MIB, Options::new());
    io(disk.url(), &["write -P 0xcc 32M 4M"]);
    let started = disk.server.started();
    let image = |who: u64| {
        format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun=0,initiator-name=iqn.2026-11.org.lunbox:client-{who}",
            started.address, started.target
        )
    };
    std::thread::scope(|scope| {
        for who in 0..2_u64 {
            let image = image(who);
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    // Stripes of 64 KiB: the initiators are each other's neighbours everywhere.
                    let mut commands = vec!["read -P 0xcc 32M 4M".to_owned()];
                    for stripe in 0..24 {
                        let at = (stripe * 2 + who) * 64;
                        commands.push(format!("write -q -P {} {at}k 64k", pattern(who, round)));
                    }
                    for stripe in 0..24 {
                        let at = (stripe * 2 + who) * 64;
                        commands.push(format!("read -q -P {} {at}k 64k", pattern(who, round)));
                    }
                    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
                    let finished = qemu::io_with(&["--image-opts", &image], &commands, LIMIT).unwrap();
                    finished.success("qemu-io").unwrap();
                }
            });
        }
    });
    disk.must_become_idle();
    let file = std::fs::read(&disk.file).unwrap();
    for (stripe, bytes) in file[..48 * 65536].chunks(65536).enumerate() {
        let who = u64::from(stripe % 2 == 1);
        assert!(all(bytes, pattern(who, ROUNDS)), "stripe {stripe}");
    }
}

fn pattern(who: u64, round: u8) -> u8 {
    round + if who == 0 { 0 } else { 100 }
}
