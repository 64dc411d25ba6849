//! From a file to a component.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use lunbox_contract::{BufferError, BufferId, Buffers, SchemaError, Tag};
use tracing::warn;
use wasmtime::component::Component as Compiled;

use crate::artifact::Artifact;
use crate::code::Code;
use crate::component::Component;
use crate::instance::InstanceError;
use crate::source::{self, HandlerFile};
use crate::{Digest, Engine, Fault, Limits, Manifest, WasiGrants, container, fault, precompiled};

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
    /// The option schema of the handler can not be used.
    #[error("options: {0}; correct it in the handler")]
    Schema(#[source] SchemaError),
    /// The handler failed before it could say who it is.
    #[error("describe: {0}")]
    Fault(#[source] Fault),
    /// The handler failed before it could declare its options.
    #[error("options: {0}")]
    Declare(#[source] Fault),
}

impl LoadError {
    pub(crate) fn wrong_type(error: &wasmtime::Error) -> Self {
        Self::WrongType { problem: fault::describe(error) }
    }

    pub(crate) fn container(problem: &impl std::fmt::Display) -> Self {
        let remedy = "precompile it again from the .wasm file, or load that";
        Self::Precompiled { problem: problem.to_string(), remedy }
    }
}

impl Engine {
    /// Loads a handler: a component (`.wasm`; compiled, or taken from the cache) or one that [`Engine::precompile`]
    /// made. The contents decide, not the name. Blocks for the compilation (tens of milliseconds for the project's
    /// handlers, on all CPUs) unless it was cached (well below one). Runs `describe` and `declare` of what it compiles
    /// in a throw-away instance with default limits.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the file, and what to do.
    pub fn load(&self, path: &Path) -> Result<Component, LoadError> {
        let wasm = match HandlerFile::read(path)? {
            HandlerFile::Precompiled(container) => return self.run(&container, None),
            HandlerFile::Component(wasm) => wasm,
        };
        let digest = Digest::of(&wasm);
        let cache = self.runtime.cache.as_ref();
        if let Some((_, artifact)) = cache.and_then(|cache| cache.read(&digest)) {
            match self.run(&artifact.container, Some(&digest)) {
                Ok(component) => return Ok(component),
                Err(error) => warn!("a cached handler is not used, and compiled again: {error}"),
            }
        }
        let fresh = self.fresh(&wasm)?;
        if let Some(cache) = cache
            && let Err(error) = cache.put(&fresh.artifact(self, digest)?)
        {
            warn!("the handler will be compiled again at the next start: {error}");
        }
        Ok(Component::new(fresh.code, fresh.manifest, digest))
    }

    /// Compiles a component for [`Engine::load`] on this kind of machine with this version of Lunbox. The result
    /// contains machine code: only root or the user who loads it may be able to write the file.
    ///
    /// # Errors
    /// [`LoadError`]; a file that is precompiled already is refused.
    pub fn precompile(&self, path: &Path) -> Result<Vec<u8>, LoadError> {
        match HandlerFile::read(path)? {
            HandlerFile::Component(wasm) => Ok(self.compile(&wasm)?.container),
            HandlerFile::Precompiled(_) => Err(LoadError::Precompiled {
                problem: "it is precompiled already".to_owned(),
                remedy: "name the .wasm file that it was made from",
            }),
        }
    }

    /// Compiles the bytes of a component for [`Engine::load_container`], here or in another process. Blocks as
    /// [`Engine::load`] does without a cache, and runs what that runs: what would not load is not worth an artifact.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn compile(&self, component: &[u8]) -> Result<Artifact, LoadError> {
        self.fresh(component)?.artifact(self, Digest::of(component))
    }

    /// Loads a container that somebody else compiled and handed over ([`crate::read_container`]). Takes well below a
    /// millisecond; makes no instance: what the handler said when it was compiled holds.
    ///
    /// The machine code in it is *not* verified, it can not be: the container must come from a supervisor that is
    /// trusted at least as much as this process, and that took it from a compiler which was confined.
    ///
    /// # Errors
    /// [`LoadError`]: it is damaged, was made by another version or from another component than `component`.
    pub fn load_container(&self, container: &[u8], component: &Digest) -> Result<Component, LoadError> {
        self.run(container, Some(component))
    }

    fn run(&self, container: &[u8], component: Option<&Digest>) -> Result<Component, LoadError> {
        let parsed = container::parse(container, &self.runtime.digest, component)
            .map_err(|unusable| LoadError::container(&unusable))?;
        let compiled = precompiled::component(&self.runtime.wasmtime, &parsed.code)
            .map_err(|error| LoadError::container(&fault::describe(&error)))?;
        let code = Arc::new(Code::link(&self.runtime, &compiled)?);
        let manifest = parsed.manifest;
        if (code.abilities.options, code.wasi()) != (manifest.abilities.options, manifest.wasi) {
            return Err(LoadError::container(&"its manifest does not fit its code"));
        }
        Ok(Component::new(code, manifest, parsed.component))
    }

    fn fresh(&self, wasm: &[u8]) -> Result<Fresh, LoadError> {
        source::check_format(wasm)?;
        let compiled = Compiled::from_binary(&self.runtime.wasmtime, wasm)
            .map_err(|error| LoadError::Invalid { problem: fault::describe(&error) })?;
        let code = Arc::new(Code::link(&self.runtime, &compiled)?);
        let manifest = ask(&code)?.checked()?;
        Ok(Fresh { compiled, code, manifest })
    }
}

/// A component that was compiled just now.
struct Fresh {
    compiled: Compiled,
    code: Arc<Code>,
    manifest: Manifest,
}

impl Fresh {
    fn artifact(&self, engine: &Engine, component: Digest) -> Result<Artifact, LoadError> {
        let code = self
            .compiled
            .serialize()
            .map_err(|error| LoadError::Invalid { problem: fault::describe(&error) })?;
        let container = container::wrap(&engine.runtime.digest, &component, &self.manifest, &code)
            .map_err(|unusable| LoadError::container(&unusable))?;
        Ok(Artifact { component, manifest: self.manifest.clone(), container })
    }
}

/// Asks a throw-away instance who the handler is. The answers are unchecked.
fn ask(code: &Arc<Code>) -> Result<Manifest, LoadError> {
    let buffers = Rc::new(RefCell::new(NoBuffers));
    let mut instance = code
        .instance("(describe)", buffers, &Limits::default(), &WasiGrants::default())
        .map_err(|error| match error {
            InstanceError::Fault(fault) => LoadError::Fault(fault),
            InstanceError::WrongType(error) => LoadError::wrong_type(&error),
        })?;
    let description = instance.describe().map_err(LoadError::Fault)?;
    let schema = instance.declare().map_err(LoadError::Declare)?;
    Ok(Manifest { description, abilities: code.abilities, schema, wasi: code.wasi() })
}

/// The buffers of an instance that has no commands.
pub(crate) struct NoBuffers;

impl Buffers for NoBuffers {
    fn take(&mut self, _: Tag, _: BufferId, _: u32, _: &mut [u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }

    fn put(&mut self, _: Tag, _: BufferId, _: u32, _: &[u8]) -> Result<(), BufferError> {
        Err(BufferError::UnknownTag)
    }
}
