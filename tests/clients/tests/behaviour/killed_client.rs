use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lunbox_clients::process::Running;
use lunbox_clients::programs::QEMU_IMG;
use lunbox_clients::serve::Options;
use lunbox_clients::wait;

use crate::support::{Disk, LIMIT, MIB, io};

#[test]
fn a_client_killed_in_the_middle_of_big_writes_disturbs_nobody_and_leaves_nothing() {
    let mut disk = Disk::new(128 * MIB, Options::new().arg("--tmr"));
    let started = disk.server.started().clone();
    let url = disk.url().to_owned();
    // It writes to the first half only.
    let half = format!(
        "driver=raw,offset=0,size=64M,file.driver=iscsi,file.transport=tcp,file.portal={},file.target={},file.lun=0",
        started.address, started.target
    );
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Another client works in the second half all the time, and verifies what it does.
        let other = scope.spawn(|| {
            let mut commands = Vec::new();
            for n in 1..=20 {
                commands.push(format!("write -q -P {n} {}k 128k", 64 * 1024 + n * 128));
            }
            for n in 1..=20 {
                commands.push(format!("read -q -P {n} {}k 128k", 64 * 1024 + n * 128));
            }
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            while !stop.load(Ordering::Relaxed) {
                io(&url, &commands);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Whatever fails here must not keep the other client going.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..5 {
                let written = disk.server.status().unwrap().luns[0].bytes_written;
                let mut writer = QEMU_IMG.command().unwrap();
                writer.args(["bench", "-w", "--image-opts", "-d", "16", "-s", "1M", "-c", "10000000", &half]);
                let writer = Running::start(writer).unwrap();
                let busy = |status: &lunbox_clients::serve::Status| {
                    status.luns[0].bytes_written >= written + 32 * MIB
                };
                disk.server.status_when(LIMIT, "32 MiB written", busy).unwrap();
                let before = rounds.load(Ordering::Relaxed);
                writer.kill().unwrap();
                disk.server
                    .status_when(LIMIT, "its connection gone", |status| status.connections <= 1)
                    .unwrap();
                wait::until(LIMIT, "two rounds of the other client", || {
                    let done = rounds.load(Ordering::Relaxed) >= before + 2;
                    Ok((done || other.is_finished()).then_some(()))
                })
                .unwrap();
            }
        }));
        stop.store(true, Ordering::Relaxed);
        other.join().unwrap();
        result.unwrap();
    });
    disk.must_become_idle();
    io(&url, &["write -P 0x31 0 1M", "read -P 0x31 0 1M"]);
    disk.must_become_idle();
    disk.server.end_cleanly().unwrap();
}
