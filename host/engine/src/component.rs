//! A loaded handler.

use std::sync::Arc;

use lunbox_contract::Description;

use crate::code::Code;
use crate::handler::{Handler, HandlerFactory};
use crate::instance::{Instance, InstanceError};
use crate::{Abilities, Fault, Limits, SharedBuffers};

/// A handler that [`crate::Engine::load`] accepted; makes instances. Cheap to clone and to send to other threads.
#[derive(Clone)]
pub struct Component {
    code: Arc<Code>,
    description: Arc<Description>,
}

impl Component {
    pub(crate) fn new(code: Arc<Code>, description: Description) -> Self {
        Self { code, description: Arc::new(description) }
    }
}

impl HandlerFactory for Component {
    fn description(&self) -> &Description {
        &self.description
    }

    fn abilities(&self) -> Abilities {
        self.code.abilities
    }

    fn instantiate(
        &self,
        device: &str,
        buffers: SharedBuffers,
        limits: &Limits,
    ) -> Result<Box<dyn Handler>, Fault> {
        match Instance::new(&self.code, device, buffers, limits) {
            Ok(instance) => Ok(Box::new(instance)),
            Err(InstanceError::Fault(fault)) => Err(fault),
            // `load` made an instance already, with the same types.
            Err(InstanceError::WrongType(error)) => Err(Fault::Host(crate::fault::describe(&error))),
        }
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("description", &self.description)
            .field("abilities", &self.code.abilities)
            .finish_non_exhaustive()
    }
}
