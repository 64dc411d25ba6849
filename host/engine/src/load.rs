//! From a file to a component.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use lunbox_contract::{BufferError, BufferId, Buffers, Tag};
use tracing::warn;
use wasmtime::component::Component as Compiled;

use crate::code::Code;
use crate::component::Component;
use crate::container::{self, Digest};
use crate::engine::Runtime;
use crate::instance::{Instance, InstanceError};
use crate::source::Source;
use crate::{Engine, Fault, Limits, description, fault, precompiled};

/// Why a file is no handler that could be run. Messages do not repeat the path.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can not be read.
    #[error("the file can not be read: {0}")]
    Read(#[source] std::io::Error),
    /// The file is too large.
    #[error(
        "the file has {size} bytes, at most {limit} are read; strip its debug information (strip = \"debuginfo\")"
    )]
    TooLarge {
        /// Bytes.
        size: u64,
        /// Bytes.
        limit: u64,
    },
    /// The file is something else.
    #[error("not a WebAssembly component but {found}; name a .wasm file built for wasm32-unknown-unknown")]
    NotWasm {
        /// What it looks like.
        found: String,
    },
    /// The file is a core module.
    #[error(
        "a core Wasm module, not a component; link it with wasm-component-ld (linker of the target in .cargo/config.toml)"
    )]
    CoreModule,
    /// The file begins like a component and is none.
    #[error("not a valid component, perhaps a damaged or cut copy: {problem}; build or copy it again")]
    Invalid {
        /// What the compiler says.
        problem: String,
    },
    /// A precompiled file can not be used.
    #[error("precompiled handler: {problem}; {remedy}")]
    Precompiled {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The component wants what no handler gets.
    #[error("imports {import}, which is not granted; {remedy}")]
    UngrantedImport {
        /// Name of the import.
        import: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The component is no handler.
    #[error("does not export {export}; implement it, and name it in export_handler!")]
    MissingExport {
        /// What is missing.
        export: &'static str,
    },
    /// The component was built for another contract.
    #[error("built for contract version {built_for:?}, this host has {supported}; {remedy}")]
    ContractVersion {
        /// The component's version.
        built_for: String,
        /// The host's version.
        supported: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// An import or export has another type than the contract says.
    #[error("differs from the contract: {problem}; rebuild it with the SDK of this release")]
    WrongType {
        /// Which, and how.
        problem: String,
    },
    /// What the handler says about itself can not be used.
    #[error("describe: {field}: {problem}; correct it in the handler")]
    Description {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The handler failed before it could say who it is.
    #[error("describe: {0}")]
    Fault(#[source] Fault),
}

impl LoadError {
    pub(crate) fn wrong_type(error: &wasmtime::Error) -> Self {
        Self::WrongType { problem: fault::describe(error) }
    }
}

impl Engine {
    /// Loads a handler: a component (`.wasm`; compiled, or taken from the cache) or one that [`Engine::precompile`]
    /// made. The contents decide, not the name. Blocks for the compilation (tens of milliseconds for the project's
    /// handlers, on all CPUs) unless it was cached (well below one). Runs `describe` in a throw-away instance with
    /// default limits.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the file, and what to do.
    pub fn load(&self, path: &Path) -> Result<Component, LoadError> {
        let compiled = match Source::read(path)? {
            Source::Component(wasm) => self.runtime.compiled(&wasm)?,
            Source::Precompiled(file) => self.runtime.precompiled(&file)?,
        };
        let code = Arc::new(Code::link(&self.runtime, &compiled)?);
        let description = describe(&code)?;
        Ok(Component::new(code, description::check(description)?))
    }

    /// Compiles a component for [`Engine::load`] on this kind of machine with this version of Lunbox. The result
    /// contains machine code: only root or the user who loads it may be able to write the file.
    ///
    /// # Errors
    /// [`LoadError`]; a file that is precompiled already is refused.
    pub fn precompile(&self, path: &Path) -> Result<Vec<u8>, LoadError> {
        let Source::Component(wasm) = Source::read(path)? else {
            return Err(LoadError::Precompiled {
                problem: "it is precompiled already".to_owned(),
                remedy: "name the .wasm file that it was made from",
            });
        };
        let compiled = self.runtime.compile(&wasm)?;
        // What would not load is not worth a file.
        Code::link(&self.runtime, &compiled)?;
        self.runtime.wrap(&compiled, &container::digest(&wasm))
    }
}

impl Runtime {
    /// Compiled code of a component, from the cache if it is there.
    fn compiled(&self, wasm: &[u8]) -> Result<Compiled, LoadError> {
        let Some(cache) = &self.cache else { return self.compile(wasm) };
        let component = container::digest(wasm);
        if let Some(compiled) = cache.get(&component).and_then(|file| self.cached(&file, &component)) {
            return Ok(compiled);
        }
        let compiled = self.compile(wasm)?;
        cache.put(&component, &self.wrap(&compiled, &component)?);
        Ok(compiled)
    }

    fn cached(&self, file: &[u8], component: &Digest) -> Option<Compiled> {
        let problem = match container::parse(file, &self.digest, Some(component)) {
            Ok(code) => match precompiled::component(&self.wasmtime, &code) {
                Ok(compiled) => return Some(compiled),
                Err(error) => fault::describe(&error),
            },
            Err(unusable) => unusable.to_string(),
        };
        warn!("a cached handler is not used, and compiled again: {problem}");
        None
    }

    fn precompiled(&self, file: &[u8]) -> Result<Compiled, LoadError> {
        let remedy = "precompile it again from the .wasm file, or load that";
        let code = container::parse(file, &self.digest, None)
            .map_err(|unusable| LoadError::Precompiled { problem: unusable.to_string(), remedy })?;
        precompiled::component(&self.wasmtime, &code)
            .map_err(|error| LoadError::Precompiled { problem: fault::describe(&error), remedy })
    }

    fn compile(&self, wasm: &[u8]) -> Result<Compiled, LoadError> {
        Compiled::from_binary(&self.wasmtime, wasm)
            .map_err(|error| LoadError::Invalid { problem: fault::describe(&error) })
    }

    fn wrap(&self, compiled: &Compiled, component: &Digest) -> Result<Vec<u8>, LoadError> {
        let code =
            compiled.serialize().map_err(|error| LoadError::Invalid { problem: fault::describe(&error) })?;
        Ok(container::wrap(&self.digest, component, &code))
    }
}

fn describe(code: &Arc<Code>) -> Result<lunbox_contract::Description, LoadError> {
    let buffers = Rc::new(RefCell::new(NoBuffers));
    let mut instance =
        Instance::new(code, "(describe)", buffers, &Limits::default()).map_err(|error| match error {
            InstanceError::Fault(fault) => LoadError::Fault(fault),
            InstanceError::WrongType(error) => LoadError::wrong_type(&error),
        })?;
    instance.describe().map_err(LoadError::Fault)
}

/// The buffers of an instance that has no commands.
struct NoBuffers;

impl Buffers for NoBuffers {
    fn take(&mut self, _: Tag, _: BufferId, _: u32, _: &mut [u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }

    fn put(&mut self, _: Tag, _: BufferId, _: u32, _: &[u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }
}
