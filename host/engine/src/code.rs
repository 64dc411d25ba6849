//! A component's machine code, linked to the imports, ready to be instantiated.

use std::sync::Arc;

use wasmtime::component::{Component as Compiled, HasSelf, InstancePre, Linker};

use crate::bindings::Everything;
use crate::context::Context;
use crate::engine::Runtime;
use crate::exports::ExportIndices;
use crate::instance::{Inquire, Instance, InstanceError};
use crate::load::LoadError;
use crate::wasi::{self, WasiContext, WasiGrants, WasiInstance};
use crate::{Abilities, Limits, SharedBuffers, probe};

/// Shared by all instances of a component.
pub(crate) struct Code {
    linked: Linked,
    pub(crate) abilities: Abilities,
    /// Keeps the epoch going.
    pub(crate) runtime: Arc<Runtime>,
}

/// By what the component imports.
enum Linked {
    /// The contract, as nearly all handlers do.
    Plain { pre: InstancePre<Context>, indices: Box<ExportIndices> },
    /// WASI, too.
    Wasi(InstancePre<WasiContext>),
}

impl Code {
    /// Links a component after looking at what it wants and offers.
    pub(crate) fn link(runtime: &Arc<Runtime>, compiled: &Compiled) -> Result<Self, LoadError> {
        let abilities = probe::abilities(compiled)?;
        let linked = if probe::imports_wasi(compiled) {
            wasi::linker(compiled.engine())
                .and_then(|linker| linker.instantiate_pre(compiled))
                .map(Linked::Wasi)
        } else {
            plain(compiled, abilities)
        };
        let linked = linked.map_err(|error| LoadError::wrong_type(&error))?;
        Ok(Self { linked, abilities, runtime: Arc::clone(runtime) })
    }

    /// Whether the component imports WASI.
    pub(crate) const fn wasi(&self) -> bool {
        matches!(self.linked, Linked::Wasi(_))
    }

    /// Makes an instance. `grants` means something to components that import WASI.
    pub(crate) fn instance(
        self: &Arc<Self>,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
        grants: &WasiGrants,
    ) -> Result<Box<dyn Inquire>, InstanceError> {
        Ok(match &self.linked {
            Linked::Plain { pre, indices } => {
                Box::new(Instance::new(self, pre, indices, device, buffers, limits)?)
            }
            Linked::Wasi(pre) => Box::new(WasiInstance::new(self, pre, device, buffers, limits, grants)?),
        })
    }
}

fn plain(compiled: &Compiled, abilities: Abilities) -> wasmtime::Result<Linked> {
    let mut linker = Linker::new(compiled.engine());
    Everything::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)?;
    let pre = linker.instantiate_pre(compiled)?;
    let indices = Box::new(ExportIndices::find(&pre, abilities)?);
    Ok(Linked::Plain { pre, indices })
}
