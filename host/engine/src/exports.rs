//! The exported interfaces of a component and of one instance of it.

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{AsContextMut, Store};

use crate::Abilities;
use crate::bindings::exports::lunbox::handler::{
    block, block_batch, block_compare_and_write, block_lba_status, block_unmap, block_write_zeroes, cdb,
    events, handler, options, resize, state,
};
use crate::context::Context;

/// Where a component's exports stand; found once per component.
pub(crate) struct ExportIndices {
    handler: handler::GuestIndices,
    block: Option<block::GuestIndices>,
    batch: Option<block_batch::GuestIndices>,
    cdb: Option<cdb::GuestIndices>,
    resize: Option<resize::GuestIndices>,
    unmap: Option<block_unmap::GuestIndices>,
    write_zeroes: Option<block_write_zeroes::GuestIndices>,
    compare_and_write: Option<block_compare_and_write::GuestIndices>,
    lba_status: Option<block_lba_status::GuestIndices>,
    state: Option<state::GuestIndices>,
    events: Option<events::GuestIndices>,
    options: Option<options::GuestIndices>,
}

impl ExportIndices {
    /// Looks up what `abilities` says is there.
    pub(crate) fn find(pre: &InstancePre<Context>, abilities: Abilities) -> wasmtime::Result<Self> {
        Ok(Self {
            handler: handler::GuestIndices::new(pre)?,
            block: abilities.block.then(|| block::GuestIndices::new(pre)).transpose()?,
            batch: abilities.batch.then(|| block_batch::GuestIndices::new(pre)).transpose()?,
            cdb: abilities.cdb.then(|| cdb::GuestIndices::new(pre)).transpose()?,
            resize: abilities.resize.then(|| resize::GuestIndices::new(pre)).transpose()?,
            unmap: abilities.unmap.then(|| block_unmap::GuestIndices::new(pre)).transpose()?,
            write_zeroes: abilities
                .write_zeroes
                .then(|| block_write_zeroes::GuestIndices::new(pre))
                .transpose()?,
            compare_and_write: abilities
                .compare_and_write
                .then(|| block_compare_and_write::GuestIndices::new(pre))
                .transpose()?,
            lba_status: abilities.lba_status.then(|| block_lba_status::GuestIndices::new(pre)).transpose()?,
            state: abilities.state.then(|| state::GuestIndices::new(pre)).transpose()?,
            events: abilities.events.then(|| events::GuestIndices::new(pre)).transpose()?,
            options: abilities.options.then(|| options::GuestIndices::new(pre)).transpose()?,
        })
    }
}

/// The functions of one instance, their types checked.
pub(crate) struct Exports {
    pub(crate) handler: handler::Guest,
    pub(crate) block: Option<block::Guest>,
    pub(crate) batch: Option<block_batch::Guest>,
    pub(crate) cdb: Option<cdb::Guest>,
    pub(crate) resize: Option<resize::Guest>,
    pub(crate) unmap: Option<block_unmap::Guest>,
    pub(crate) write_zeroes: Option<block_write_zeroes::Guest>,
    pub(crate) compare_and_write: Option<block_compare_and_write::Guest>,
    pub(crate) lba_status: Option<block_lba_status::Guest>,
    pub(crate) state: Option<state::Guest>,
    pub(crate) events: Option<events::Guest>,
    pub(crate) options: Option<options::Guest>,
}

impl Exports {
    /// Fails if a function's type is not the contract's.
    pub(crate) fn load(
        indices: &ExportIndices,
        store: &mut Store<Context>,
        instance: &Instance,
    ) -> wasmtime::Result<Self> {
        let mut store = store.as_context_mut();
        let handler = indices.handler.load(&mut store, instance)?;
        let block = indices.block.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let batch = indices.batch.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let cdb = indices.cdb.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let resize = indices.resize.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let unmap = indices.unmap.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let write_zeroes =
            indices.write_zeroes.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let compare_and_write =
            indices.compare_and_write.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let lba_status =
            indices.lba_status.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let state = indices.state.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let events = indices.events.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        let options = indices.options.as_ref().map(|found| found.load(&mut store, instance)).transpose()?;
        Ok(Self {
            handler,
            block,
            batch,
            cdb,
            resize,
            unmap,
            write_zeroes,
            compare_and_write,
            lba_status,
            state,
            events,
            options,
        })
    }
}
