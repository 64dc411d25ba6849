//! One LUN: what it stands on is opened, an emulated ring made, and a device loop started on it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lunbox_device::{DeviceHandle, DeviceParts, Event, Identity, Settings, StopError};
use lunbox_emulator::{BLOCK_BYTES, Features, Kernel, Options as RingOptions};
use lunbox_engine::{Catalogue, Limits};
use lunbox_grant::{
    Access, Cfgstring, Claim, Claims, Geometry, GrantError, OpenGrantError, Opened, Parsed, Wording,
    open_grant, open_requests, parse,
};
use lunbox_iscsi::{LunConfig, RingLimits, RingLun};
use lunbox_memory::Mapping;
use lunbox_store::Backend;
use lunbox_tcmu::{Doorbell, Ring};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{LunSpec, TargetName, port};
use crate::output::Output;
use crate::size::Size;

/// Room for commands: 256 KiB less the mailbox in front of it.
const RING_BYTES: u32 = 256 * 1024 - 128;

/// Room for the data of commands: 64 MiB.
const DATA_BLOCKS: u32 = (64 << 20) / BLOCK_BYTES;

/// Longest transfer of one command in bytes, as VPD B0 tells initiators. With sixteen of them the data area is full;
/// scattered over single blocks one of them still fits into half of the ring.
pub(super) const MAX_TRANSFER: u32 = 4 << 20;

/// What a LUN is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) number: usize,
    pub(super) spec: &'a LunSpec,
    /// Absent: the size of what is there.
    pub(super) size: Option<Size>,
    pub(super) block_size: u32,
    pub(super) read_only: bool,
    /// Aborts and resets reach the device loop.
    pub(super) task_management: bool,
}

/// What a LUN is, for whoever uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Facts {
    pub(super) lun: usize,
    /// Absent until the server knows its address.
    pub(super) url: String,
    /// As on the command line.
    pub(super) config: String,
    /// Bytes.
    pub(super) size: u64,
    /// Bytes.
    pub(super) block_size: u32,
    pub(super) read_only: bool,
    pub(super) subtype: String,
    /// The handler's name.
    pub(super) handler: String,
    pub(super) handler_version: String,
    /// Where it was loaded from.
    pub(super) handler_path: PathBuf,
    /// Unit serial number (VPD 80h).
    pub(super) serial: String,
    /// A file was made for it.
    pub(super) created: bool,
}

/// A LUN whose device loop runs.
pub(super) struct Lun {
    pub(super) facts: Facts,
    /// Who it is for initiators; nothing of it changes.
    identity: Identity,
    device: DeviceHandle,
    claim: Option<Claim>,
}

/// Where events of a device go, with the LUN's number.
pub(super) type Events = Arc<dyn Fn(usize, Event) + Send + Sync>;

/// What all LUNs share.
pub(super) struct Surroundings<'a> {
    pub(super) catalogue: &'a Catalogue,
    /// Where its handlers were looked for, for messages.
    pub(super) places: String,
    pub(super) claims: Arc<Claims>,
    pub(super) target: &'a TargetName,
    pub(super) events: Events,
    pub(super) output: &'a Output,
    /// Files that were made, for the message when something fails later.
    pub(super) created: Vec<String>,
}

impl Surroundings<'_> {
    /// Starts a LUN. Blocks as long as its file system does.
    ///
    /// # Errors
    /// One line that names the LUN and the remedy. Nothing is left behind but a file that was made.
    pub(super) fn start(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<(Lun, LunConfig)> {
        self.try_start(wanted).with_context(|| format!("LUN {} ({})", wanted.number, wanted.spec))
    }

    fn try_start(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<(Lun, LunConfig)> {
        let spec = wanted.spec;
        let mut listed = self.catalogue.iter();
        let Some(listed) = listed.find(|listed| listed.handler.description().subtype == spec.subtype) else {
            bail!(
                "no handler of subtype {:?} in {}; there is: {}; name a directory that has it with --handler-path, or \
                 the file with --handler (in a source tree, `cargo xtask build` makes target/handlers)",
                spec.subtype,
                self.places,
                self.catalogue.subtypes()
            );
        };
        let config = Cfgstring::parse(&spec.config);
        if config.command_timeout.is_some() {
            self.output.warning("tcmur_cmd_time_out is ignored: initiators have time-outs of their own");
        }
        if let Some(size) = wanted.size {
            // Before a file becomes that long.
            geometry(wanted, size.bytes())?;
        }
        let parsed = listed.handler.schema().map(|schema| parse(schema, &config.text)).transpose()?;
        let Opened { claim, stores, created } = self.open(wanted, &config.text, parsed.as_ref())?;
        if created {
            self.created.push(config.text.clone());
        }
        let stores: Vec<_> = stores.into_iter().map(|opened| (opened.store, opened.info)).collect();
        let size = size_of(wanted, &config.text, stores.first().map(|(_, info)| (info.size, info.can_grow)))?;
        self.warn_of_hidden_bytes(wanted, size, stores.first().map(|(_, info)| info.size));
        let geometry = geometry(wanted, size)?;

        let features = Features { tmr: wanted.task_management, ..Features::default() };
        let options = RingOptions {
            ring_bytes: RING_BYTES,
            data_blocks: DATA_BLOCKS,
            features,
            poison: false,
            ..RingOptions::default()
        };
        let (kernel, user) = Kernel::new(options).context("making a ring")?;
        let map = Mapping::shared(user.memory.as_fd(), user.length).with_context(|| {
            format!("mapping {} bytes for a ring; check the limit of address space (ulimit -v)", user.length)
        })?;
        let ring = Ring::attach(Arc::new(map), Doorbell::Event { wait: user.wait, ring: user.ring })?;
        let name = format!("lun{}", wanted.number);
        let limits = RingLimits { max_data: MAX_TRANSFER, task_management: wanted.task_management };
        let front = RingLun::new(name.clone(), kernel, geometry.block_size, limits);
        let closer = front.closer().context("copying the descriptor of a ring")?;
        let (number, events) = (wanted.number, Arc::clone(&self.events));
        let device = lunbox_device::spawn(DeviceParts {
            name: name.clone(),
            ring,
            stores,
            options: parsed.map(|parsed| parsed.options).unwrap_or_default(),
            handler: Arc::clone(&listed.handler),
            settings: Settings {
                size: geometry.size,
                block_size: geometry.block_size,
                read_only: wanted.read_only,
                max_transfer: geometry.max_transfer,
                limits: Limits::default(),
                backend: Backend::Auto,
                command_timeout: None,
                write_cache: None,
                modes: lunbox_device::Modes::default(),
            },
            events: Arc::new(move |event| {
                if matches!(event, Event::Ended(_)) {
                    // Initiators get their answers, whatever the thread that looks after events is doing.
                    closer.close();
                }
                events(number, event);
            }),
        })?;
        let description = listed.handler.description();
        let serial = serial(self.target, wanted.number, spec);
        let identity = port::identity(self.target.as_str(), serial.clone());
        let facts = Facts {
            lun: wanted.number,
            url: String::new(),
            config: spec.to_string(),
            size,
            block_size: wanted.block_size,
            read_only: wanted.read_only,
            subtype: spec.subtype.clone(),
            handler: description.name.clone(),
            handler_version: description.version.clone(),
            handler_path: listed.path.clone(),
            serial,
            created,
        };
        Ok((Lun { facts, identity, device, claim }, LunConfig { lun: Box::new(front), name }))
    }

    /// `parsed`: by the schema of its handler, if that has one.
    fn open(&self, wanted: &Wanted<'_>, text: &str, parsed: Option<&Parsed>) -> anyhow::Result<Opened> {
        let access = match (wanted.read_only, wanted.size) {
            (true, _) => Access::ReadOnly,
            (false, Some(size)) => Access::Sized { bytes: size.bytes() },
            (false, None) => Access::Existing,
        };
        let device = format!("LUN {}", wanted.number);
        let opened = match parsed {
            None => open_grant(text, &device, &self.claims, access),
            Some(parsed) => {
                let memory = wanted.size.map_or(0, Size::bytes);
                open_requests(&parsed.stores, &device, &self.claims, Some(access), memory)
            }
        };
        match opened {
            Err(OpenGrantError::Grant(GrantError::NoMemory)) => {
                bail!("a memory store has the size that you give it; add --size (for example --size 1G)")
            }
            Err(OpenGrantError::Grant(GrantError::Missing { path })) if !wanted.read_only => {
                bail!("{path} does not exist; add --size (for example --size 1G) to have it made")
            }
            // The daemon's words are about devices of the kernel.
            Err(OpenGrantError::Grant(GrantError::Relative { path })) => {
                bail!("{path:?} is not an absolute path; write {}//directory/file", wanted.spec.subtype)
            }
            opened => Ok(opened?),
        }
    }

    fn warn_of_hidden_bytes(&self, wanted: &Wanted<'_>, size: u64, there: Option<u64>) {
        if let Some(there) = there
            && there > size
        {
            let spec = wanted.spec;
            self.output
                .warning(&format!("{spec} has {there} bytes, of which the first {size} are served (--size)"));
        }
    }
}

/// What a LUN of a size looks like, if there can be one.
fn geometry(wanted: &Wanted<'_>, size: u64) -> anyhow::Result<Geometry> {
    Ok(Geometry::check(Wording::CommandLine, size, wanted.block_size, MAX_TRANSFER / wanted.block_size)?)
}

/// The size of a LUN: what was asked for, else what is there. `there`: bytes, and whether it grows when written to.
fn size_of(wanted: &Wanted<'_>, path: &str, there: Option<(u64, bool)>) -> anyhow::Result<u64> {
    match (wanted.size, there) {
        (Some(size), Some((there, false))) if size.bytes() > there => {
            let reason = if wanted.read_only { "is not written to" } else { "can not grow" };
            bail!(
                "--size {size} is {} bytes, but {path} has {there} and {reason}; use --size {there} or less, or leave \
                 --size out",
                size.bytes()
            )
        }
        (Some(size), _) => Ok(size.bytes()),
        (None, None) => bail!("nothing tells its size; add --size (for example --size 1G)"),
        (None, Some((0, true))) => bail!("{path} is empty; add --size (for example --size 1G)"),
        (None, Some((0, false))) => bail!("{path} is empty; there is nothing to serve read-only"),
        (None, Some((there, grows))) => {
            let block = u64::from(wanted.block_size);
            // Whatever is no block size at all is judged later.
            if there.checked_rem(block).is_some_and(|rest| rest > 0) {
                let nearest = if grows { there.next_multiple_of(block) } else { there - there % block };
                bail!(
                    "{path} has {there} bytes, which is no multiple of --block-size {block}; add --size {} or another \
                     --block-size",
                    nearest.max(block)
                );
            }
            Ok(there)
        }
    }
}

/// A serial number that is the same at each start and different for every LUN of every machine: initiators take two
/// LUNs with one serial number for two ways to one disk. The target's name tells machines apart. What has no
/// configuration stands on nothing that could be shared, so the LUN's number tells those apart.
fn serial(target: &TargetName, number: usize, spec: &LunSpec) -> String {
    let number = if spec.config.is_empty() { number.to_string() } else { String::new() };
    let text = [target.as_str(), &spec.subtype, &spec.config, &number].join("\0");
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Lun {
    /// Counters of the device loop.
    pub(super) fn status(&self) -> lunbox_device::Status {
        self.device.status()
    }

    /// Answers [`Event::IdentityWanted`]; never blocks.
    pub(super) fn tell_identity(&self) {
        self.device.set_identity(self.identity.clone());
    }

    /// Answers [`Event::AccessStateWanted`]; never blocks.
    pub(super) fn answer_access_state(&self, call: u64, group: u16, state: u8) {
        self.device.answer_access_state(call, port::answer(group, state));
    }

    /// Finishes what is in the ring, flushes, and ends the device loop. Blocks for about twice `patience` at the
    /// most.
    ///
    /// # Errors
    /// One line that names the LUN.
    pub(super) fn stop(self, patience: Duration) -> Result<(), String> {
        let Self { facts, device, claim, .. } = self;
        device.stop(patience).map_err(|error| {
            if let (StopError::StoreBusy(_), Some(claim)) = (&error, claim) {
                claim.keep_for_good();
            }
            format!("LUN {} ({}) was not flushed: {error}", facts.lun, facts.config)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(spec: &'a LunSpec, size: Option<&str>, read_only: bool) -> Wanted<'a> {
        let size = size.map(|text| text.parse().unwrap());
        Wanted { number: 0, spec, size, block_size: 512, read_only, task_management: false }
    }

    #[test]
    fn the_size_is_what_was_asked_for_or_what_is_there() {
        let spec: LunSpec = "file//x".parse().unwrap();
        let size = |size: Option<&str>, read_only: bool, there: Option<(u64, bool)>| {
            size_of(&wanted(&spec, size, read_only), "/x", there).map_err(|error| error.to_string())
        };
        assert_eq!(size(Some("1M"), false, Some((0, true))), Ok(1 << 20));
        assert_eq!(size(Some("512"), false, Some((4096, true))), Ok(512));
        assert_eq!(size(Some("1M"), false, None), Ok(1 << 20));
        assert_eq!(size(None, false, Some((4096, true))), Ok(4096));
        assert_eq!(size(Some("4096"), true, Some((4096, false))), Ok(4096));
        for (found, parts) in [
            (size(None, false, None), ["--size", "nothing"]),
            (size(None, false, Some((0, true))), ["empty", "--size"]),
            (size(None, true, Some((0, false))), ["empty", "read-only"]),
            (size(Some("8K"), false, Some((4096, false))), ["8192 bytes", "can not grow"]),
            (size(Some("8K"), true, Some((4096, false))), ["has 4096", "not written"]),
            (size(None, false, Some((1000, true))), ["1000 bytes", "--size 1024"]),
            (size(None, true, Some((1000, false))), ["1000 bytes", "--size 512"]),
        ] {
            let error = found.unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn serial_numbers_stay_and_differ() {
        let (here, there) = (TargetName::of_machine("a"), TargetName::of_machine("b"));
        let spec = |text: &str| text.parse::<LunSpec>().unwrap();
        let first = serial(&here, 0, &spec("file//x"));
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(first, serial(&here, 1, &spec("file//x")), "one disk, two ways to it");
        for other in [
            serial(&there, 0, &spec("file//x")),
            serial(&here, 0, &spec("file//y")),
            serial(&here, 0, &spec("null/")),
            serial(&here, 1, &spec("null/")),
        ] {
            assert_ne!(first, other);
        }
        assert_ne!(serial(&here, 0, &spec("null/")), serial(&here, 1, &spec("null/")));
    }
}
