//! What the tests of the engine share.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod captured_log;
pub mod forge;
pub mod guests;
pub mod scratch;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use lunbox_contract::{
    BlockCommand, BlockKind, BufferError, BufferId, Buffers, DeviceConfig, MAX_SCRATCH_BUFFERS,
    MAX_SCRATCH_BYTES, StoreInfo, Tag,
};
use lunbox_engine::{
    Component, Engine, EngineOptions, Fault, Handler, HandlerFactory as _, Limits, LoadError,
};

/// Size of the devices of these tests in bytes.
pub const SIZE: u64 = 1 << 20;

/// An engine without a cache and with a short tick.
pub fn engine() -> Engine {
    Engine::new(EngineOptions { cache: None, tick: Duration::from_millis(2) }).unwrap()
}

/// An engine with a cache.
pub fn caching_engine(cache: &Path) -> Engine {
    Engine::new(EngineOptions { cache: Some(cache.to_owned()), ..EngineOptions::default() }).unwrap()
}

/// A device over one store.
pub fn config() -> DeviceConfig {
    DeviceConfig {
        name: "disk1".to_owned(),
        size: SIZE,
        block_size: 512,
        read_only: false,
        max_transfer: 1 << 20,
        stores: vec![StoreInfo {
            option: String::new(),
            size: SIZE,
            read_only: false,
            discard_zeroes: true,
            can_grow: true,
            physical_block_size: 4096,
            discard_granularity: 4096,
        }],
        options: vec![],
    }
}

/// Buffers of a READ of 4 KiB with any tag below 1,000; bytes of its data buffer, then of its scratch buffers.
#[derive(Debug)]
pub struct OneRead {
    pub buffers: Vec<Vec<u8>>,
}

impl Buffers for OneRead {
    fn take(&mut self, tag: Tag, buffer: BufferId, offset: u32, out: &mut [u8]) -> Result<(), BufferError> {
        let index = index(tag, buffer)?;
        if index == 0 {
            return Err(BufferError::WrongDirection);
        }
        let offset = usize::try_from(offset).unwrap();
        let bytes =
            self.buffers.get(index).filter(|bytes| !bytes.is_empty()).ok_or(BufferError::UnknownBuffer)?;
        let end = offset.checked_add(out.len()).ok_or(BufferError::OutOfRange)?;
        out.copy_from_slice(bytes.get(offset..end).ok_or(BufferError::OutOfRange)?);
        Ok(())
    }

    fn put(&mut self, tag: Tag, buffer: BufferId, offset: u32, data: &[u8]) -> Result<(), BufferError> {
        let index = index(tag, buffer)?;
        let end = usize::try_from(offset).unwrap() + data.len();
        let limit = if index == 0 { 4096 } else { usize::try_from(MAX_SCRATCH_BYTES).unwrap() };
        if end > limit {
            return Err(BufferError::OutOfRange);
        }
        if self.buffers.len() <= index {
            self.buffers.resize(index + 1, Vec::new());
        }
        let bytes = &mut self.buffers[index];
        bytes.resize(end.max(bytes.len()), 0);
        bytes[end - data.len()..end].copy_from_slice(data);
        Ok(())
    }
}

fn index(tag: Tag, buffer: BufferId) -> Result<usize, BufferError> {
    if tag.0 >= 1000 {
        return Err(BufferError::UnknownTag);
    }
    if buffer.0 > MAX_SCRATCH_BUFFERS {
        return Err(BufferError::UnknownBuffer);
    }
    Ok(usize::try_from(buffer.0).unwrap())
}

/// A handler that was configured for [`config`].
pub fn serving(component: &Component, limits: &Limits) -> Box<dyn Handler> {
    let mut handler = component.instantiate("disk1", fresh_buffers(), limits).unwrap();
    handler.configure(&config()).unwrap().unwrap();
    handler
}

/// The buffers of a READ to which nothing has been put yet.
pub fn fresh_buffers() -> Rc<RefCell<OneRead>> {
    Rc::new(RefCell::new(OneRead { buffers: vec![vec![0; 4096]] }))
}

/// A READ of 4 KiB.
pub fn read(tag: u64, offset: u64) -> BlockCommand {
    BlockCommand { tag: Tag(tag), kind: BlockKind::Read, fua: false, offset, length: 4096 }
}

/// The handler has ended: it answers without running.
pub fn assert_ended(handler: &mut dyn Handler) {
    assert!(matches!(handler.submit_block(&read(900, 0)), Err(Fault::Ended(_))));
    assert!(matches!(handler.cancel(Tag(900)), Err(Fault::Ended(_))));
}

/// A component of a forged handler, loaded.
pub fn load(engine: &Engine, wasm: &[u8]) -> Result<Component, LoadError> {
    let scratch = scratch::Scratch::new();
    engine.load(&scratch.write("handler.wasm", wasm))
}
