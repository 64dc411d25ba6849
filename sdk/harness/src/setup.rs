//! What a handler is configured with.

use std::marker::PhantomData;

use lunbox_sdk::{DeviceConfig, Handler};

use crate::plan::Storage;
use crate::{Harness, MemStore, StartError};

/// A device to be: the values of `device-config`, passed on unchecked, so that tests can ask for nonsense.
#[derive(Debug)]
pub struct Setup<H> {
    config: DeviceConfig,
    storage: Storage,
    handler: PhantomData<H>,
}

impl<H: Handler> Setup<H> {
    pub(crate) fn new(size: u64) -> Self {
        let config = DeviceConfig {
            name: "harness".to_owned(),
            size,
            block_size: 512,
            read_only: false,
            max_transfer: 1 << 20,
            stores: Vec::new(),
            options: Vec::new(),
        };
        Self { config, storage: Storage::default(), handler: PhantomData }
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.config.block_size = bytes;
        self
    }

    /// Bytes of the longest transfer.
    #[must_use]
    pub fn max_transfer(mut self, bytes: u32) -> Self {
        self.config.max_transfer = bytes;
        self
    }

    /// The device refuses writes.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.config.read_only = true;
        self
    }

    /// Adds an option's value.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.config.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Grants a store; the first has id 0.
    #[must_use]
    pub fn store(mut self, store: MemStore) -> Self {
        self.storage.stores.push(store);
        self
    }

    /// Operations that may run at the same time run last to first: a plan that misses a barrier shows.
    #[must_use]
    pub fn reverse_order(mut self) -> Self {
        self.storage.reversed = true;
        self
    }

    /// Configures the handler.
    ///
    /// # Errors
    /// [`StartError::Refused`] with the handler's words, or [`StartError::Violation`].
    pub fn start(self) -> Result<Harness<H>, StartError> {
        Harness::start(self.config, self.storage)
    }
}
