//! A handler with every ability. It does nothing but answer with what it was asked, so that a test sees whether each
//! argument arrives where it belongs.

use lunbox_sdk::{
    Block, BlockCommand, BlockCompareAndWrite, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Buffers, Cdb,
    CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, Events, Field, FieldKind, Grammar,
    Handler, Op, Options, Outcome, Resize, Schema, State, StoreId, Tag, UnmapLimits, export_handler, log,
};

/// What it remembers.
pub struct Abilities {
    state: Vec<u8>,
    size: u64,
}

impl Handler for Abilities {
    fn describe() -> Description {
        Description {
            subtype: "abilities".to_owned(),
            name: "Every ability".to_owned(),
            version: "1".to_owned(),
            config_help: String::new(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        for (name, value) in &config.options {
            log::info!("{name}={value}");
        }
        let info =
            DeviceInfo { size: config.size, write_cache: false, solid_state: true, physical_block_size: 0 };
        Ok((Self { state: Vec::new(), size: config.size }, info))
    }
}

/// Tag in the store offset's place, and so on.
fn echo(tag: Tag, offset: u64, length: u64) -> Op {
    Op::read(StoreId(7), offset, length)
        .in_buffer(lunbox_sdk::BufferId(0), u32::try_from(tag.0).unwrap_or(u32::MAX))
}

impl Block for Abilities {
    fn submit(&mut self, command: &BlockCommand, _: &mut dyn Buffers) -> Outcome {
        Outcome::Io(echo(command.tag, command.offset, self.size))
    }
}

impl Cdb for Abilities {
    /// The sum of the CDB's bytes, each weighted with its place; opcode 0 is left to the host.
    fn submit(&mut self, command: &CdbCommand<'_>, _: &mut dyn Buffers) -> Outcome {
        if command.cdb[0] == 0 {
            return Outcome::NotHandled;
        }
        let sum = (1..).zip(command.cdb).map(|(place, byte)| place * u64::from(*byte)).sum();
        let mut op = echo(command.tag, sum, u64::from(command.data_in));
        op.store = StoreId(command.data_out);
        Outcome::More(vec![op; command.cdb.len().min(64)])
    }
}

impl Resize for Abilities {
    fn resize(&mut self, size: u64) -> Result<(), ConfigError> {
        if size > 1 << 40 {
            return Err(ConfigError { field: "size".to_owned(), message: format!("{size} is\ntoo much") });
        }
        self.size = size;
        Ok(())
    }
}

impl BlockUnmap for Abilities {
    fn limits(&mut self) -> Option<UnmapLimits> {
        Some(UnmapLimits { max_length: 1 << 30, granularity: 4096, reads_zeroes: true })
    }

    fn unmap(&mut self, tag: Tag, offset: u64, length: u64, _: &mut dyn Buffers) -> Outcome {
        Outcome::Io(echo(tag, offset, length))
    }
}

impl BlockWriteZeroes for Abilities {
    fn write_zeroes(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
        _: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::Io(echo(tag, offset, length).durable(fua).may_unmap(may_unmap))
    }
}

impl BlockCompareAndWrite for Abilities {
    fn compare_and_write(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        fua: bool,
        _: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::Io(echo(tag, offset, length).durable(fua))
    }
}

impl BlockLbaStatus for Abilities {
    fn lba_status(&mut self, _: Tag, offset: u64, length: u64, _: &mut dyn Buffers) -> Outcome {
        Outcome::Io(Op::extents(StoreId(7), offset, length))
    }
}

impl State for Abilities {
    /// An empty state stands for one that is too large.
    fn save(&mut self) -> Result<Vec<u8>, String> {
        if self.state.is_empty() {
            return Ok(vec![1; (16 << 20) + 1]);
        }
        Ok(std::mem::take(&mut self.state))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state == b"bad" {
            return Err("no state of\nmine".to_owned());
        }
        self.state = state.to_vec();
        Ok(())
    }
}

impl Events for Abilities {
    fn notify(&mut self, event: Event, store: StoreId) {
        log::warn!("{event:?} of store {}", store.0);
    }
}

impl Options for Abilities {
    /// One field of each kind, with different values.
    fn declare() -> Schema {
        let field = |name: &str, kind, required| Field {
            name: name.to_owned(),
            kind,
            required,
            help: format!("the {name}"),
        };
        Schema {
            grammar: Grammar::Semicolon,
            fields: vec![
                field("path", FieldKind::Path { read_only: false, create: true }, true),
                field("base", FieldKind::Store { read_only: true, create: false }, false),
                field("count", FieldKind::Number { min: 3, max: u64::MAX }, false),
                field("mode", FieldKind::Choice(vec!["slow".to_owned(), "fast".to_owned()]), true),
                field("label", FieldKind::Text, false),
                field("lazy", FieldKind::Flag, false),
            ],
        }
    }
}

export_handler!(
    Abilities: block, cdb, resize, block_unmap, block_write_zeroes, block_compare_and_write,
        block_lba_status, state, events, options
);
