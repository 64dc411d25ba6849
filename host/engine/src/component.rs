//! A loaded handler.

use std::sync::Arc;

use lunbox_contract::{Description, Schema};

use crate::code::Code;
use crate::handler::{Handler, HandlerFactory};
use crate::instance::InstanceError;
use crate::{Abilities, Digest, Fault, Limits, Manifest, SharedBuffers, WasiGrants};

/// A handler that [`crate::Engine`] accepted; makes instances. Cheap to clone and to send to other threads.
#[derive(Clone)]
pub struct Component {
    code: Arc<Code>,
    manifest: Arc<Manifest>,
    digest: Digest,
    grants: WasiGrants,
}

impl Component {
    pub(crate) fn new(code: Arc<Code>, manifest: Manifest, digest: Digest) -> Self {
        Self { code, manifest: Arc::new(manifest), digest, grants: WasiGrants::default() }
    }

    /// The digest of the component's bytes: two of the same digest are the same handler.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its instances get `grants`; without a call of this they get nothing. No effect unless the handler imports WASI
    /// ([`HandlerFactory::wasi`]).
    #[must_use]
    pub fn with_grants(self, grants: WasiGrants) -> Self {
        Self { grants, ..self }
    }
}

impl HandlerFactory for Component {
    fn description(&self) -> &Description {
        &self.manifest.description
    }

    fn abilities(&self) -> Abilities {
        self.code.abilities
    }

    fn schema(&self) -> Option<&Schema> {
        self.manifest.schema.as_ref()
    }

    fn wasi(&self) -> bool {
        self.code.wasi()
    }

    fn instantiate(
        &self,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
    ) -> Result<Box<dyn Handler>, Fault> {
        match self.code.instance(device, buffers, limits, &self.grants) {
            Ok(instance) => Ok(instance),
            Err(InstanceError::Fault(fault)) => Err(fault),
            // `load` made an instance already, with the same types.
            Err(InstanceError::WrongType(error)) => Err(Fault::Host(crate::fault::describe(&error))),
        }
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("description", &self.manifest.description)
            .field("abilities", &self.code.abilities)
            .finish_non_exhaustive()
    }
}
