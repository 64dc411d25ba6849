//! What a device writes into the log. In a process of its own: a log belongs to a process.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunbox_behaviour::Lun;
use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{good, pattern, sense};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.text().contains(what) {
            assert!(Instant::now() < deadline, "{what:?} is not in the log:\n{}", self.text());
            std::thread::yield_now();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// True in the process that is to do it, for which the log is started at this level.
fn alone(test: &str, level: tracing::Level) -> Option<Lines> {
    if std::env::var_os("LUNBOX_LOG_TEST").is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("LUNBOX_LOG_TEST", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        // None of that name would be no failure.
        let ran = child.status.success() && said.contains("1 passed");
        assert!(ran, "{test}: {said}{}", String::from_utf8_lossy(&child.stderr));
        return None;
    }
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .init();
    Some(lines)
}

#[test]
fn every_cdb_is_dumped_at_the_last_level() {
    let Some(lines) = alone("logging::every_cdb_is_dumped_at_the_last_level", tracing::Level::TRACE) else {
        return;
    };
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.write(0x0a0b, &pattern(1, 4096)).unwrap());
    good(&lun.initiator.execute(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap());
    lines.wait_for("2a 0 0 0 a b 0 0 8 0");
    lines.wait_for("12 0 0 0 24 0");
}

#[test]
fn an_unknown_command_is_named_for_those_who_look_and_no_other_is_dumped() {
    let name = "logging::an_unknown_command_is_named_for_those_who_look_and_no_other_is_dumped";
    let Some(lines) = alone(name, tracing::Level::DEBUG) else { return };
    let lun = Lun::builder().start().unwrap();
    good(&lun.initiator.execute(&[0x12, 0, 0, 0, 36, 0], Data::In(36)).unwrap());
    sense(&lun.initiator.execute(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], Data::In(8)).unwrap(), (5, 0x20, 0));
    lines.wait_for("5e 0 0 0 0 0 0 0 8 0 is not supported");
    assert!(!lines.text().contains("12 0 0 0 24 0"), "{}", lines.text());
}

#[test]
fn a_late_command_is_named_once_and_its_end_tells_how_long_it_took() {
    let name = "logging::a_late_command_is_named_once_and_its_end_tells_how_long_it_took";
    let Some(lines) = alone(name, tracing::Level::INFO) else { return };
    let gate = GateHandle::new(OnCancel::Ignore);
    let store = Store::gated(Store::memory(16 << 20).unwrap(), gate.clone());
    let lun = Lun::builder().store(store).command_timeout(Duration::from_millis(20)).start().unwrap();
    let read = lun.initiator.start(&cdb::read_16(72, 8), Data::In(4096)).unwrap();
    lun.wait_until("it is late", |status| status.timeouts == 1);
    lines.wait_for("READ(16) has not ended in time");
    lines.wait_for("lba=72 blocks=8");
    gate.open();
    good(&read.wait().unwrap());
    lines.wait_for("a command that was late has ended");
    lines.wait_for("elapsed_ms=");
    assert_eq!(lines.text().matches("has not ended in time").count(), 1);
    assert_eq!(lines.text().matches("was late has ended").count(), 1);
}
