//! What a handler is configured with.

use std::marker::PhantomData;

use lunbox_sdk::{DeviceConfig, Field, FieldKind, Handler, Options};

use crate::plan::Storage;
use crate::{Harness, MemStore, StartError, Violation};

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

impl<H: Options> Setup<H> {
    /// The same as [`Self::start`], but stores ([`MemStore::for_option`]) and options must be what a host could have
    /// made of a cfgstring by the handler's schema.
    ///
    /// # Errors
    /// As from [`Self::start`]; [`Violation::Schema`] for a schema that no host takes, [`StartError::Misuse`] for
    /// stores and options that do not fit it.
    pub fn start_declared(self) -> Result<Harness<H>, StartError> {
        let schema = H::declare();
        schema.check().map_err(Violation::Schema)?;
        let stores: Vec<_> = self.storage.stores.iter().map(MemStore::info).collect();
        let granted = stores.iter().map(|store| (store.option.as_str(), None));
        let valued = self.config.options.iter().map(|(name, value)| (name.as_str(), Some(value.as_str())));
        let mut seen = Vec::new();
        for (name, value) in granted.chain(valued) {
            let field = schema.fields.iter().find(|field| field.name == name);
            let problem = match field {
                None => Some("the schema has no such field".to_owned()),
                Some(_) if seen.contains(&name) => Some("it is there twice".to_owned()),
                Some(field) => unfit(field, value),
            };
            if let Some(problem) = problem {
                return Err(StartError::Misuse(format!("option {name:?}: {problem}")));
            }
            seen.push(name);
        }
        let there = |field: &Field| seen.contains(&field.name.as_str());
        if let Some(missing) = schema.fields.iter().find(|field| field.required && !there(field)) {
            return Err(StartError::Misuse(format!("option {:?} is required and missing", missing.name)));
        }
        self.start()
    }
}

/// Why a host would not pass this on: a value, or a store where there is none.
fn unfit(field: &Field, value: Option<&str>) -> Option<String> {
    match (&field.kind, value) {
        (FieldKind::Path { .. } | FieldKind::Store { .. }, None) | (FieldKind::Text, Some(_)) => None,
        (FieldKind::Path { .. } | FieldKind::Store { .. }, Some(_)) => Some("it is a store".to_owned()),
        (_, None) => Some("it is no store".to_owned()),
        (FieldKind::Flag, Some(value)) => (value != "true").then(|| "a flag's value is \"true\"".to_owned()),
        (FieldKind::Choice(words), Some(value)) => {
            (!words.iter().any(|word| word == value)).then(|| format!("{value:?} is none of {words:?}"))
        }
        (FieldKind::Number { min, max }, Some(value)) => match value.parse::<u64>() {
            Ok(number) if (*min..=*max).contains(&number) => None,
            _ => Some(format!("{value:?} is no number from {min} to {max}")),
        },
    }
}
