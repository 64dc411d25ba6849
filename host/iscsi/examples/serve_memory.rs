//! Serves one LUN of memory on the loopback interface, without a ring, a device loop or a handler: what the front
//! alone does, for trying clients against it and for measuring it.
//!
//! ```sh
//! cargo run -p lunbox-iscsi --example serve_memory -- 127.0.0.1:3260 64
//! iscsi-inq iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:memory/0
//! ```
//!
//! Arguments: address (port 0 takes a free one), size in MiB. It ends with its standard input.

use std::error::Error;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use lunbox_iscsi::lun::{CommandId, Data, Ended, LogicalUnit, Refusal, TaskManagement};
use lunbox_iscsi::{LunConfig, Server, ServerLimits, ServerOptions};
use lunbox_scsi::{
    BlockSize, Bytes, Command, Geometry, Identity, LogicalUnit as Unit, Sense, decode_for, parameter_data,
};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A disk in memory that does every command at once.
struct Memory {
    unit: Unit,
    bytes: Vec<u8>,
    done: Vec<Done>,
    /// Those of `done` that are filled.
    ended: usize,
    doorbell: EventFd,
}

/// An ended command; kept for its buffer.
#[derive(Default)]
struct Done {
    token: u64,
    sense: Option<Sense>,
    data: Vec<u8>,
}

impl Memory {
    fn new(size: u64) -> Result<Self, Box<dyn Error>> {
        let geometry = Geometry::new(Bytes(size), BlockSize::B512)?;
        Ok(Self {
            unit: Unit::new(Identity::tcmu("memory"), geometry),
            bytes: vec![0; usize::try_from(size)?],
            done: Vec::new(),
            ended: 0,
            doorbell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    fn execute(&mut self, cdb: &[u8], data: Data<'_>, into: &mut Vec<u8>) -> Result<(), Sense> {
        let command = decode_for(&self.unit, cdb)?;
        if let Some(answer) = parameter_data(&command, &self.unit, into) {
            return answer;
        }
        let range = |lba, blocks| {
            self.unit.geometry.check_range(lba, blocks)?;
            let size = self.unit.geometry.block_size();
            let start = size.offset(lba).and_then(|bytes| usize::try_from(bytes.0).ok());
            let length = size.bytes(blocks).and_then(|bytes| usize::try_from(bytes.0).ok());
            start.zip(length).map(|(start, length)| start..start + length).ok_or(Sense::LBA_OUT_OF_RANGE)
        };
        match command {
            Command::Read { lba, blocks, .. } => into.extend_from_slice(&self.bytes[range(lba, blocks)?]),
            Command::Write { lba, blocks, .. } => {
                let range = range(lba, blocks)?;
                if let Data::Out(out) = data {
                    self.bytes[range].copy_from_slice(out);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl LogicalUnit for Memory {
    fn block_size(&self) -> BlockSize {
        self.unit.geometry.block_size()
    }

    fn max_data(&self) -> u32 {
        4 << 20
    }

    fn start(&mut self, token: u64, cdb: &[u8], data: Data<'_>) -> Result<CommandId, Refusal> {
        if self.ended == self.done.len() {
            self.done.push(Done::default());
        }
        let mut buffer = std::mem::take(&mut self.done[self.ended].data);
        buffer.clear();
        let sense = self.execute(cdb, data, &mut buffer).err();
        self.done[self.ended] = Done { token, sense, data: buffer };
        self.ended += 1;
        Ok(CommandId(0))
    }

    fn flush_signal(&mut self) -> nix::Result<()> {
        self.doorbell.write(1).map(drop)
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    fn collect(&mut self, ended: &mut dyn FnMut(Ended<'_>)) {
        for Done { token, sense, data } in &self.done[..self.ended] {
            let fixed = sense.unwrap_or(Sense::NO_SENSE).fixed();
            let status = if sense.is_some() { 2 } else { 0 };
            ended(Ended { token: *token, status, sense: &fixed, data_in: data });
        }
        self.ended = 0;
    }

    fn abort(&mut self, _: TaskManagement, _: &[CommandId]) -> Result<(), Refusal> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:3260".to_owned()).parse()?;
    let mebibytes: u64 = arguments.next().map_or(Ok(64), |size| size.parse())?;
    let server = Server::start(ServerOptions {
        listen,
        target_name: "iqn.2026-11.org.lunbox:memory".to_owned(),
        alias: None,
        credentials: None,
        luns: vec![LunConfig { lun: Box::new(Memory::new(mebibytes << 20)?), name: "memory".to_owned() }],
        limits: ServerLimits::default(),
    })?;
    println!("iscsi://{}/{}/0", server.address(), server.target_name());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let status = server.status();
    server.stop(Duration::from_secs(5))?;
    println!("{status:?}");
    Ok(())
}
