//! A daemon of one's own on the ring crate alone: no Wasm, no netlink. It serves one device as a disk that reads as
//! zeros and forgets writes.
//!
//! ```text
//! D=/sys/kernel/config/target/core/user_0/zeros; mkdir -p $D
//! echo -n dev_config=consumer/zeros > $D/control; echo -n dev_size=1073741824 > $D/control
//! echo -n nl_reply_supported=-1 > $D/control      # nobody answers netlink for it
//! echo 1 > $D/enable
//! lunbox-example-consumer 0                       # the N of /dev/uioN
//! ```

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lunbox_memory::{Extent, Mapping};
use lunbox_scsi::{
    BlockSize, Bytes, Command, Geometry, Identity, LogicalUnit, Sense, decode_for, parameter_data,
};
use lunbox_tcmu::{Configfs, Doorbell, Minor, Next, Request, Response, Ring, Uio};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const CHECK_CONDITION: u8 = 0x02;

fn main() -> Result<()> {
    let Some(minor) = std::env::args().nth(1).and_then(|text| text.parse().ok()) else {
        bail!("usage: lunbox-example-consumer N, the number of a TCM-User device's /dev/uioN");
    };
    let uio = Uio::default();
    let node = uio.node(Minor(minor))?;
    let directory = Configfs::default().device(&node.name);
    let geometry = Geometry::new(Bytes(directory.size()?), BlockSize::new(directory.block_size()?)?)?;
    let unit = LogicalUnit::new(Identity::tcmu(&directory.serial().unwrap_or_default()), geometry);

    let fd = uio.open(Minor(minor))?;
    let map =
        Arc::new(Mapping::shared(fd.as_fd(), usize::try_from(node.map_bytes)?).context("mapping the ring")?);
    let mut ring = Ring::attach(Arc::clone(&map), Doorbell::Uio(fd))?;
    println!("serving {} ({} bytes); Ctrl-C ends it", node.name, geometry.size().0);

    let (mut request, mut answer) = (Request::default(), Vec::new());
    loop {
        // The order matters: acknowledge before draining, or a command that comes in between is missed.
        ring.acknowledge()?;
        while let Some(next) = ring.next(&mut request)? {
            let Next::Command(command) = next else { continue };
            let outcome = serve(&request, &unit, &map, &mut answer);
            let encoded = outcome.err().map(Sense::fixed);
            let response = Response {
                status: if encoded.is_some() { CHECK_CONDITION } else { 0 },
                sense: encoded.as_ref().map(|bytes| &bytes[..]),
                ..Response::default()
            };
            ring.complete(command, &response).context("the ring was reset; start again")?;
        }
        // One doorbell for everything that was completed.
        ring.notify()?;
        let mut wait = [PollFd::new(ring.doorbell(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::NONE)?;
    }
}

/// What the command's initiator is told; its data-in buffer is filled on success.
fn serve(request: &Request, unit: &LogicalUnit, map: &Mapping, answer: &mut Vec<u8>) -> Result<(), Sense> {
    let command = decode_for(unit, request.cdb.as_bytes())?;
    match command {
        Command::Write { lba, blocks, .. } => return unit.geometry.check_range(lba, blocks),
        Command::Read { lba, blocks, .. } => {
            unit.geometry.check_range(lba, blocks)?;
            answer.clear();
        }
        other => match parameter_data(&other, unit, answer) {
            Some(outcome) => outcome?,
            None => answer.clear(),
        },
    }
    fill(&request.data, map, answer).map_err(|_| Sense::INTERNAL_TARGET_FAILURE)
}

/// Copies `bytes` into the buffer and zeroes the rest of it: it may hold an earlier command's data.
fn fill(buffer: &[Extent], map: &Mapping, mut bytes: &[u8]) -> Result<(), lunbox_memory::AccessError> {
    for extent in buffer {
        let room = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at(bytes.len().min(room));
        map.copy_in(extent.offset, now)?;
        map.zero(extent.offset + now.len() as u64, extent.length - now.len() as u64)?;
        bytes = later;
    }
    Ok(())
}
