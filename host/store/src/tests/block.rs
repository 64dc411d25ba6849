//! Block devices, where the tests may have a loop device (as root).

use std::path::{Path, PathBuf};
use std::process::Command;

use lunbox_contract::ExtentRecord;

use super::*;

on_both_backends! { a_loop_device_is_a_store }

/// A loop device on a file of 1 MiB; detached on drop.
struct Loop {
    device: PathBuf,
    _backing: tempfile::NamedTempFile,
}

impl Loop {
    fn new() -> Option<Self> {
        let backing = tempfile::NamedTempFile::new().unwrap();
        backing.as_file().set_len(1 << 20).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(backing.path()).output();
        match output {
            Ok(output) if output.status.success() => {
                let device = String::from_utf8(output.stdout).unwrap();
                Some(Self { device: Path::new(device.trim_end()).to_owned(), _backing: backing })
            }
            _ => {
                eprintln!("skipped: loop devices need root and the loop module");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.device).status();
        assert!(detached.is_ok_and(|status| status.success()));
    }
}

fn a_loop_device_is_a_store(backend: Backend) {
    let Some(device) = Loop::new() else { return };
    let mut rig = Rig::new(backend);
    let file = File::options().read(true).write(true).open(&device.device).unwrap();
    let store = rig.file(&file);
    {
        let store = rig.executor.store(store).unwrap();
        assert_eq!((store.size(), store.discard_zeroes()), (1 << 20, false));
        let physical = store.physical_block_size();
        assert!(physical.is_power_of_two() && physical >= 512, "{physical}");
        assert_eq!(store.discard_granularity(), physical, "a loop device on a file discards");
    }
    let data = Numbers(5).bytes(1 << 20);
    assert_eq!(rig.write(store, 0, &data), Ok(1 << 20));
    assert_eq!(rig.read(store, READ, 1000, 5000), Ok(data[1000..6000].to_vec()));
    assert_eq!(rig.read(store, READ, (1 << 20) - 4, 8), Err(StoreError::EndOfStore));
    let mut tail = data[data.len() - 4..].to_vec();
    tail.extend([0; 4]);
    assert_eq!(rig.read(store, READ_ZERO, (1 << 20) - 4, 8), Ok(tail));
    assert_eq!(rig.write(store, (1 << 20) - 4, b"too long"), Err(StoreError::EndOfStore));
    assert_eq!(rig.bare(store, Kind::Flush, 0, 0), Ok(0));
    // Zeroes: whole blocks by the device, others by writing; both stay inside of their range.
    for (may_unmap, offset, length) in [(false, 4096, 8192), (true, 65536, 4096), (false, 20_001, 3000)] {
        let zeroes = Kind::WriteZeroes { durable: true, may_unmap };
        assert_eq!(rig.bare(store, zeroes, offset, length), Ok(length));
        let start = usize::try_from(offset).unwrap() - 1;
        let length = usize::try_from(length).unwrap();
        let mut expected = data[start..start + length + 2].to_vec();
        expected[1..=length].fill(0);
        assert_eq!(rig.read(store, READ, offset - 1, length + 2), Ok(expected));
    }
    // What is allocated can not be asked.
    let target = Target::Owned { buffer: vec![0; 48], skip: 0 };
    let done = rig.run(Request { store, kind: Kind::Extents, offset: 4096, length: 8192, target });
    let records: Vec<_> = ExtentRecord::list(&done.buffer.unwrap()).collect();
    assert_eq!(records, [ExtentRecord { offset: 4096, length: 8192, allocated: true }]);
    assert_eq!(rig.read(store, Kind::Space, 0, 16), Err(StoreError::Unsupported));
    // A discard leaves what is outside of its whole blocks alone, and one inside of a block does nothing.
    assert_eq!(rig.bare(store, Kind::Discard { durable: true }, 130_000, 40_000), Ok(40_000));
    assert_eq!(rig.bare(store, Kind::Discard { durable: false }, 300_001, 100), Ok(100));
    assert_eq!(rig.read(store, READ, 129_000, 1000), Ok(data[129_000..130_000].to_vec()));
    assert_eq!(rig.read(store, READ, 170_000, 200_000), Ok(data[170_000..370_000].to_vec()));
    // Discarded blocks of a loop device on a file are a hole of the file.
    assert_eq!(rig.read(store, READ, 131_072, 32_768), Ok(vec![0; 32_768]));
}
