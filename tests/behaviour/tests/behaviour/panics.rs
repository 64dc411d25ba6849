//! Native code is trusted, and its panics are the host's: the device ends, and somebody hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunbox_behaviour::Lun;
use lunbox_device::{Event, Health, StopError};
use lunbox_emulator::initiator::cdb;
use lunbox_emulator::{Data, ResetMode};
use lunbox_engine::native::NativeFactory;
use lunbox_sdk::{
    Block, BlockCommand, BlockKind, Buffers, ConfigError, Description, DeviceConfig, DeviceInfo, Handler, Op,
    Outcome, StoreId,
};
use lunbox_store::{GateHandle, OnCancel, Store};

use crate::{pattern, sense};

const SIZE: u64 = 1 << 20;

/// A read is about to panic.
static PANICS: AtomicBool = AtomicBool::new(false);

/// Writes, and panics when it is to read.
struct WriteOnly;

impl Handler for WriteOnly {
    fn describe() -> Description {
        Description {
            subtype: "write-only".into(),
            name: "Write only".into(),
            version: "1".into(),
            config_help: "nothing".into(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        Ok((
            Self,
            DeviceInfo { size: config.size, write_cache: false, solid_state: false, physical_block_size: 0 },
        ))
    }
}

impl Block for WriteOnly {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        match command.kind {
            BlockKind::Write => Outcome::Io(Op::write(StoreId(0), command.offset, command.length)),
            BlockKind::Flush => Outcome::Io(Op::flush(StoreId(0))),
            BlockKind::Read => {
                PANICS.store(true, Ordering::Release);
                panic!("asked to read");
            }
        }
    }
}

#[test]
fn a_panic_of_the_device_s_thread_is_told_when_its_operations_have_ended() {
    let gate = GateHandle::new(OnCancel::Ignore);
    let lun = Lun::builder()
        .handler(Arc::new(NativeFactory::<WriteOnly>::new()))
        .size(SIZE)
        .store(Store::gated(Store::memory(SIZE).unwrap(), gate.clone()))
        .start()
        .unwrap();
    let write = lun.initiator.start(&cdb::write_16(0, 8), Data::Out(&pattern(1, 4096))).unwrap();
    assert!(gate.wait_for_waiters(1, Duration::from_secs(10)), "the store has the write");
    let read = lun.initiator.start(&cdb::read_16(8, 8), Data::In(4096)).unwrap();
    lun.wait_until("the read panics", |_| PANICS.load(Ordering::Acquire));
    assert_eq!(lun.events(), [], "the store still uses the buffer of the write");
    gate.open();
    lun.wait_until("its end is told", |_| {
        lun.events().iter().any(|event| matches!(event, Event::Ended(why) if why.contains("asked to read")))
    });
    assert_eq!(lun.status().health, Health::Stopped);

    // What whoever hears of it does for the initiators.
    lun.initiator.with_kernel(|kernel| kernel.reset_ring(ResetMode::Check));
    for command in [write, read] {
        sense(&command.wait().unwrap(), (2, 0x08, 0));
    }
    lun.assert_clean();
    let error = lun.stop(Duration::from_secs(10)).unwrap_err();
    assert!(matches!(error.downcast(), Ok(StopError::Panicked)));
}
