//! A handler with options and two stores: `mirror//disks/a.img;copy=/other/b.img;read=second`.
//!
//! Every write goes to both files and is GOOD when both have it, so either of them answers reads: the one that
//! `read` names, and if that fails the other one.
//!
//! What a product would need on top: a write that fails on one file is an error here and not the end of that file's
//! service, and files that a crash left different are not made equal again.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use lunbox_sdk::{
    Block, BlockCommand, BlockKind, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Buffers, ConfigError,
    Description, DeviceConfig, DeviceInfo, Field, FieldKind, Grammar, Handler, Op, OpError, OpKind,
    OpsResult, Options, Outcome, Schema, StoreId, StoreInfo, Tag, UnmapLimits, export_handler, log,
};

/// One device.
#[derive(Debug)]
pub struct Mirror {
    /// The file that reads ask, then the other one.
    stores: [StoreId; 2],
    /// What may be unmapped, if both files can.
    unmap: Option<UnmapLimits>,
    /// Commands whose operations are under way.
    running: HashMap<Tag, Step>,
}

/// How far a command is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The preferred file was asked.
    Reading { offset: u64, length: u64 },
    /// The other file was asked, because the preferred one failed.
    ReadingAgain,
    /// Both files were given an operation of this kind.
    Both(OpKind),
}

// What stands in the cfgstring, as data: the host divides and checks the text, opens the files, and refuses a device
// whose text does not fit. `configure` sees values.
impl Options for Mirror {
    fn declare() -> Schema {
        let file = FieldKind::Path { read_only: false, create: true };
        let field = |name: &str, kind, required, help: &str| Field {
            name: name.to_owned(),
            kind,
            required,
            help: help.to_owned(),
        };
        Schema {
            grammar: Grammar::Semicolon,
            fields: vec![
                // The first field has no key: it is what stands before the first `;`.
                field("path", file.clone(), true, "the first file or block device"),
                field("copy", file, true, "the second one, with the same contents"),
                field(
                    "read",
                    FieldKind::Choice(vec!["first".to_owned(), "second".to_owned()]),
                    false,
                    "which of the two answers reads while it can; first if it is missing",
                ),
            ],
        }
    }
}

impl Handler for Mirror {
    fn describe() -> Description {
        Description {
            subtype: "mirror".to_owned(),
            name: "Mirror of two files".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_help: "path of a file;copy=path of another file[;read=first|second]".to_owned(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        // Stores are found by the field that asked for them, not by their place.
        let (first, first_info) = store(config, "path")?;
        let (second, second_info) = store(config, "copy")?;
        for (option, info) in [("path", first_info), ("copy", second_info)] {
            check_store(config, option, info)?;
        }
        check_alike(first_info, second_info)?;
        let read = config.options.iter().find(|(name, _)| name == "read");
        let stores =
            if read.is_some_and(|(_, value)| value == "second") { [second, first] } else { [first, second] };
        let info =
            DeviceInfo { size: config.size, write_cache: true, solid_state: false, physical_block_size: 0 };
        let unmap = unmap_limits(first_info, second_info);
        Ok((Self { stores, unmap, running: HashMap::new() }, info))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult, _buffers: &mut dyn Buffers) -> Outcome {
        let Some(step) = self.running.remove(&tag) else { return Outcome::INTERNAL };
        let Some(failure) = result.first_error else { return Outcome::GOOD };
        match step {
            Step::Reading { offset, length } if another_may_answer(failure.error) => {
                let [preferred, other] = self.stores;
                log::warn!(
                    "reading {length} bytes at {offset}: store {} failed, asking the other",
                    preferred.0
                );
                self.running.insert(tag, Step::ReadingAgain);
                Outcome::More(vec![Op::read(other, offset, length).zero_at_eof()])
            }
            Step::Reading { .. } | Step::ReadingAgain => Outcome::of_failure(OpKind::Read, failure.error),
            Step::Both(kind) => Outcome::of_failure(kind, failure.error),
        }
    }

    fn cancel(&mut self, tag: Tag) {
        self.running.remove(&tag);
    }
}

impl Block for Mirror {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        let BlockCommand { tag, kind, fua, offset, length } = *command;
        let [preferred, _] = self.stores;
        let (step, ops) = match kind {
            BlockKind::Read => {
                (Step::Reading { offset, length }, vec![Op::read(preferred, offset, length).zero_at_eof()])
            }
            BlockKind::Write => {
                (Step::Both(OpKind::Write), self.both(|store| Op::write(store, offset, length).durable(fua)))
            }
            BlockKind::Flush => (Step::Both(OpKind::Flush), self.both(Op::flush)),
        };
        self.running.insert(tag, step);
        Outcome::More(ops)
    }
}

// Abilities: what both files can do is done to both.
impl BlockUnmap for Mirror {
    fn limits(&mut self) -> Option<UnmapLimits> {
        self.unmap
    }

    fn unmap(&mut self, tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        self.running.insert(tag, Step::Both(OpKind::Discard));
        Outcome::More(self.both(|store| Op::discard(store, offset, length)))
    }
}

impl BlockWriteZeroes for Mirror {
    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        self.running.insert(tag, Step::Both(OpKind::WriteZeroes));
        let zeroes = |store| Op::write_zeroes(store, offset, length).may_unmap(may_unmap).durable(fua);
        Outcome::More(self.both(zeroes))
    }
}

impl BlockLbaStatus for Mirror {
    // The files have the same holes, near enough: what one of them says is the whole answer.
    fn lba_status(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        let [preferred, _] = self.stores;
        Outcome::Io(Op::extents(preferred, offset, length))
    }
}

impl Mirror {
    /// One operation for each file; they run at the same time.
    fn both(&self, op: impl FnMut(StoreId) -> Op) -> Vec<Op> {
        self.stores.into_iter().map(op).collect()
    }
}

/// The initiator's buffer has gone, or nobody waits any more: another file would not help.
fn another_may_answer(error: OpError) -> bool {
    !matches!(error, OpError::BufferLost | OpError::Cancelled | OpError::Invalid)
}

fn store<'a>(config: &'a DeviceConfig, option: &str) -> Result<(StoreId, &'a StoreInfo), ConfigError> {
    (0..).zip(&config.stores).find(|(_, info)| info.option == option).map_or_else(
        || Err(refused(option, "no file was granted; write its path into the cfgstring".to_owned())),
        |(index, info)| Ok((StoreId(index), info)),
    )
}

fn unmap_limits(first: &StoreInfo, second: &StoreInfo) -> Option<UnmapLimits> {
    let both = first.discard_granularity.min(second.discard_granularity) != 0;
    // Files that read differently after a discard would be no mirror.
    (both && first.discard_zeroes && second.discard_zeroes).then(|| UnmapLimits {
        max_length: 0,
        granularity: first.discard_granularity.max(second.discard_granularity).into(),
        reads_zeroes: true,
    })
}

fn check_store(config: &DeviceConfig, option: &str, info: &StoreInfo) -> Result<(), ConfigError> {
    if info.read_only && !config.read_only {
        let message = "it can not be written; make it writable or the device read-only".to_owned();
        return Err(refused(option, message));
    }
    if !info.can_grow && info.size < config.size {
        let message = format!(
            "it has {} bytes and can not grow, but the device is to have {}; name a larger one",
            info.size, config.size
        );
        return Err(refused(option, message));
    }
    Ok(())
}

/// Sizes are all that is known of contents here.
fn check_alike(first: &StoreInfo, second: &StoreInfo) -> Result<(), ConfigError> {
    if first.can_grow && second.can_grow && first.size != second.size {
        if first.size == 0 || second.size == 0 {
            let message = format!(
                "one file is empty and the other has {} bytes, so they are no mirror of each other; copy the full \
                 one over the empty one, or name two empty files",
                first.size.max(second.size)
            );
            return Err(refused("copy", message));
        }
        log::warn!(
            "the files have {} and {} bytes: were they both closed in order?",
            first.size,
            second.size
        );
    }
    Ok(())
}

fn refused(field: &str, message: String) -> ConfigError {
    ConfigError { field: field.to_owned(), message }
}

export_handler!(Mirror: block, options, block_unmap, block_write_zeroes, block_lba_status);
