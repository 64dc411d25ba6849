//! A component's machine code, linked to the imports, ready to be instantiated.

use std::sync::Arc;

use wasmtime::component::{Component as Compiled, HasSelf, InstancePre, Linker};

use crate::Abilities;
use crate::bindings::Everything;
use crate::context::Context;
use crate::engine::Runtime;
use crate::exports::ExportIndices;
use crate::load::LoadError;
use crate::probe;

/// Shared by all instances of a component.
pub(crate) struct Code {
    pub(crate) pre: InstancePre<Context>,
    pub(crate) indices: ExportIndices,
    pub(crate) abilities: Abilities,
    /// Keeps the epoch going.
    pub(crate) runtime: Arc<Runtime>,
}

impl Code {
    /// Links a component after looking at what it wants and offers.
    pub(crate) fn link(runtime: &Arc<Runtime>, compiled: &Compiled) -> Result<Self, LoadError> {
        let abilities = probe::abilities(compiled)?;
        let wrong_type = |error: wasmtime::Error| LoadError::wrong_type(&error);
        let mut linker = Linker::new(compiled.engine());
        Everything::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)
            .map_err(wrong_type)?;
        let pre = linker.instantiate_pre(compiled).map_err(wrong_type)?;
        let indices = ExportIndices::find(&pre, abilities).map_err(wrong_type)?;
        Ok(Self { pre, indices, abilities, runtime: Arc::clone(runtime) })
    }
}
