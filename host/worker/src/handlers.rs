//! Compiled handlers, shared by the devices that use them.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lunbox_engine::{Component, Digest, Engine, LoadError, NoDigest, read_container};

/// Why there is no handler.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    #[error("handler.digest: {0}")]
    Digest(#[from] NoDigest),
    #[error("the compiled handler: {0}")]
    Load(#[from] LoadError),
}

/// Handlers by the digest of their component. One that no device uses any more is unloaded.
pub(crate) struct Handlers {
    engine: Engine,
    loaded: Mutex<HashMap<String, Weak<Component>>>,
}

impl Handlers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, loaded: Mutex::default() }
    }

    /// The handler of that digest, loaded from `container` unless a device has it already. The lock is held while it
    /// is loaded (less than a millisecond), so that devices which start together load it once.
    pub(crate) fn get(&self, digest: &str, container: &File) -> Result<Arc<Component>, HandlerError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handler) = loaded.get(digest).and_then(Weak::upgrade) {
            return Ok(handler);
        }
        let component: Digest = digest.parse()?;
        let bytes = read_container(container)?;
        let handler = Arc::new(self.engine.load_container(&bytes, &component)?);
        loaded.retain(|_, handler| handler.strong_count() > 0);
        loaded.insert(digest.to_owned(), Arc::downgrade(&handler));
        Ok(handler)
    }
}
