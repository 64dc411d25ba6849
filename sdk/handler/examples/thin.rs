//! A handler with every ability that the contract knows: a thin LUN over one store. Not the smallest that works but
//! the one to look things up in.

use std::collections::HashMap;

use lunbox_sdk::{
    Block, BlockCommand, BlockCompareAndWrite, BlockKind, BlockLbaStatus, BlockUnmap, BlockWriteZeroes,
    BufferId, Buffers, Cdb, CdbCommand, ConfigError, Description, DeviceConfig, DeviceInfo, Event, Events,
    Field, FieldKind, Grammar, Handler, Op, OpKind, OpsResult, Options, Outcome, Resize, Schema, Sense,
    State, StoreId, Tag, UnmapLimits, export_handler, log,
};

const STORE: StoreId = StoreId(0);
const FOUND: BufferId = BufferId(1);

/// Vendor specific: how many ranges were unmapped, as 8 bytes, big-endian.
pub const UNMAPS: u8 = 0xc1;

/// One device.
pub struct Thin {
    discard_zeroes: bool,
    unmaps: u64,
    compares: HashMap<Tag, Compare>,
}

/// A COMPARE AND WRITE between two steps.
#[derive(Clone, Copy)]
struct Compare {
    offset: u64,
    length: u64,
    fua: bool,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Reading,
    Writing,
}

impl Handler for Thin {
    fn describe() -> Description {
        Description {
            subtype: "thin".into(),
            name: "Thin LUN".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            config_help: "path of a file".into(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let Some(store) = config.stores.first() else {
            let message = "no file was granted; write its path after `thin/`".into();
            return Err(ConfigError { field: String::new(), message });
        };
        let thin = Self { discard_zeroes: store.discard_zeroes, unmaps: 0, compares: HashMap::new() };
        Ok((
            thin,
            DeviceInfo { size: config.size, write_cache: true, solid_state: true, physical_block_size: 0 },
        ))
    }

    fn resume(&mut self, tag: Tag, result: &OpsResult, buffers: &mut dyn Buffers) -> Outcome {
        let Some(compare) = self.compares.remove(&tag) else { return Outcome::INTERNAL };
        match (compare.step, result.first_error) {
            (Step::Reading, Some(failure)) => Outcome::of_failure(OpKind::Read, failure.error),
            (Step::Writing, Some(failure)) => Outcome::of_failure(OpKind::Write, failure.error),
            (Step::Reading, None) => self.compare(tag, compare, buffers),
            (Step::Writing, None) => Outcome::GOOD,
        }
    }

    fn cancel(&mut self, tag: Tag) {
        self.compares.remove(&tag);
    }
}

impl Block for Thin {
    fn submit(&mut self, command: &BlockCommand, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(match command.kind {
            BlockKind::Read => Op::read(STORE, command.offset, command.length).zero_at_eof(),
            BlockKind::Write => Op::write(STORE, command.offset, command.length).durable(command.fua),
            BlockKind::Flush => Op::flush(STORE),
        })
    }
}

impl Cdb for Thin {
    fn submit(&mut self, command: &CdbCommand<'_>, buffers: &mut dyn Buffers) -> Outcome {
        if command.cdb.first() != Some(&UNMAPS) {
            return Outcome::NotHandled;
        }
        let answer = self.unmaps.to_be_bytes();
        let wanted = usize::try_from(command.data_in).unwrap_or(usize::MAX).min(answer.len());
        match buffers.put(command.tag, BufferId::DATA, 0, &answer[..wanted]) {
            Ok(()) => Outcome::GOOD,
            Err(error) => {
                log::error!("answering with {wanted} bytes: {error}");
                Outcome::INTERNAL
            }
        }
    }
}

impl Resize for Thin {
    fn resize(&mut self, _size: u64) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl BlockUnmap for Thin {
    fn limits(&mut self) -> Option<UnmapLimits> {
        Some(UnmapLimits { max_length: 0, granularity: 4096, reads_zeroes: self.discard_zeroes })
    }

    fn unmap(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        self.unmaps += 1;
        Outcome::Io(Op::discard(STORE, offset, length))
    }
}

impl BlockWriteZeroes for Thin {
    fn write_zeroes(
        &mut self,
        _tag: Tag,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        Outcome::Io(Op::write_zeroes(STORE, offset, length).may_unmap(may_unmap).durable(fua))
    }
}

impl BlockLbaStatus for Thin {
    fn lba_status(&mut self, _tag: Tag, offset: u64, length: u64, _buffers: &mut dyn Buffers) -> Outcome {
        Outcome::Io(Op::extents(STORE, offset, length))
    }
}

impl BlockCompareAndWrite for Thin {
    fn compare_and_write(
        &mut self,
        tag: Tag,
        offset: u64,
        length: u64,
        fua: bool,
        _buffers: &mut dyn Buffers,
    ) -> Outcome {
        self.compares.insert(tag, Compare { offset, length, fua, step: Step::Reading });
        Outcome::More(vec![Op::read(STORE, offset, length).in_buffer(FOUND, 0).zero_at_eof()])
    }
}

impl Thin {
    /// What was read against the first half of buffer 0; then the second half is written.
    fn compare(&mut self, tag: Tag, compare: Compare, buffers: &mut dyn Buffers) -> Outcome {
        let (Ok(length), Ok(half)) = (usize::try_from(compare.length), u32::try_from(compare.length)) else {
            return Outcome::INTERNAL;
        };
        let (mut found, mut expected) = (vec![0; length], vec![0; length]);
        let taken = buffers
            .take(tag, FOUND, 0, &mut found)
            .and_then(|()| buffers.take(tag, BufferId::DATA, 0, &mut expected));
        if let Err(error) = taken {
            log::error!("comparing {length} bytes: {error}");
            return Outcome::INTERNAL;
        }
        if let Some((place, _)) =
            (0..).zip(found.iter().zip(&expected)).find(|(_, (is, expected))| is != expected)
        {
            return Outcome::Check(Sense::MISCOMPARE.with_information(place));
        }
        self.compares.insert(tag, Compare { step: Step::Writing, ..compare });
        let write = Op::write(STORE, compare.offset, compare.length).in_buffer(BufferId::DATA, half);
        Outcome::More(vec![write.durable(compare.fua)])
    }
}

impl State for Thin {
    fn save(&mut self) -> Result<Vec<u8>, String> {
        Ok(self.unmaps.to_le_bytes().to_vec())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let bytes =
            state.try_into().map_err(|_| format!("state of {} bytes; 8 were expected", state.len()))?;
        self.unmaps = u64::from_le_bytes(bytes);
        Ok(())
    }
}

impl Events for Thin {
    fn notify(&mut self, event: Event, store: StoreId) {
        match event {
            Event::StoreReconnected => log::info!("store {} is back", store.0),
            Event::Idle => {}
        }
    }
}

impl Options for Thin {
    // The same as no schema at all, but for `create`: a missing file is an error.
    fn declare() -> Schema {
        let path = Field {
            name: String::new(),
            kind: FieldKind::Path { read_only: false, create: false },
            required: true,
            help: "path of a file".into(),
        };
        Schema { grammar: Grammar::Whole, fields: vec![path] }
    }
}

export_handler!(
    Thin: block, cdb, resize, block_unmap, block_write_zeroes, block_compare_and_write, block_lba_status, state, events, options
);
