//! The handlers that there are: every `handler_*.wasm` and `handler_*.cwasm` of a directory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunbox_contract::Description;
use lunbox_engine::{Engine, HandlerFactory};

/// Handlers by subtype. Does not change once it is loaded.
#[derive(Default)]
pub struct Handlers {
    by_subtype: BTreeMap<String, Arc<dyn HandlerFactory>>,
}

/// The directory can not be read.
#[derive(Debug, thiserror::Error)]
#[error("handler directory {}: {source}; create it, or name another with --handler-path", path.display())]
pub struct DirectoryError {
    /// Which directory.
    path: PathBuf,
    /// The system's answer.
    source: io::Error,
}

impl Handlers {
    /// Loads every handler of a directory, in alphabetical order. What can not be loaded is logged and left out,
    /// and so is a second handler of the same subtype. Blocks while components are compiled.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn load(directory: &Path, engine: &Engine) -> Result<Self, DirectoryError> {
        let unreadable = |source| DirectoryError { path: directory.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if is_handler(&path) {
                paths.push(path);
            }
        }
        paths.sort_unstable();
        let mut handlers = Self::default();
        for path in paths {
            match engine.load(&path) {
                Ok(component) => handlers.add(&path, Arc::new(component)),
                Err(error) => tracing::error!(path = %path.display(), "handler not loaded: {error}"),
            }
        }
        Ok(handlers)
    }

    /// Adds a handler unless its subtype is taken. `path` is for the log.
    pub fn add(&mut self, path: &Path, handler: Arc<dyn HandlerFactory>) {
        let Description { subtype, name, version, .. } = handler.description().clone();
        match self.by_subtype.entry(subtype) {
            Entry::Occupied(taken) => tracing::error!(
                path = %path.display(),
                "handler not used: subtype {:?} is taken by {:?}; remove one of the two",
                taken.key(),
                taken.get().description().name,
            ),
            Entry::Vacant(free) => {
                tracing::info!(path = %path.display(), subtype = free.key(), version, "loaded {name:?}");
                free.insert(handler);
            }
        }
    }

    /// The handler of exactly this subtype.
    pub fn get(&self, subtype: &str) -> Option<&Arc<dyn HandlerFactory>> {
        self.by_subtype.get(subtype)
    }

    /// The subtypes that there are, for messages.
    pub fn subtypes(&self) -> String {
        if self.by_subtype.is_empty() {
            return "none; is --handler-path right?".to_owned();
        }
        self.by_subtype.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// What the handlers say about themselves, in the order of their subtypes.
    pub fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.by_subtype.values().map(|handler| handler.description())
    }
}

fn is_handler(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("handler_") && (name.ends_with(".wasm") || name.ends_with(".cwasm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunbox_engine::EngineOptions;

    #[test]
    fn only_names_of_handlers_are_looked_at() {
        for name in ["handler_file.wasm", "handler_.cwasm", "/x/handler_a.b.wasm"] {
            assert!(is_handler(Path::new(name)), "{name}");
        }
        for name in ["file.wasm", "handler_file.so", "handler_file.wasm.bak", "my_handler_x.wasm", ""] {
            assert!(!is_handler(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_is_no_component_is_left_out_and_no_reason_to_fail() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("handler_text.wasm"), "no component").unwrap();
        fs::write(directory.path().join("handler_module.wasm"), b"\0asm\x01\0\0\0").unwrap();
        fs::write(directory.path().join("handler_code.cwasm"), [0; 64]).unwrap();
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let handlers = Handlers::load(directory.path(), &engine).unwrap();
        assert_eq!(handlers.descriptions().count(), 0);
        assert!(handlers.subtypes().contains("--handler-path"));
    }

    #[test]
    fn a_missing_directory_is_an_error_that_says_what_to_do() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let error = Handlers::load(Path::new("/no/such/place"), &engine).err().unwrap();
        assert!(error.to_string().contains("/no/such/place"), "{error}");
        assert!(error.to_string().contains("--handler-path"), "{error}");
    }

    #[test]
    fn the_subtype_must_match_exactly_and_the_first_of_two_wins() {
        use lunbox_engine::native::NativeFactory;
        let mut handlers = Handlers::default();
        handlers.add(Path::new("a"), Arc::new(NativeFactory::<lunbox_handler_file::File>::new()));
        let first = Arc::clone(handlers.get("file").unwrap());
        handlers.add(Path::new("b"), Arc::new(NativeFactory::<lunbox_handler_file::File>::new()));
        assert!(Arc::ptr_eq(handlers.get("file").unwrap(), &first));
        for subtype in ["", "f", "fil", "file2", "FILE", "file/"] {
            assert!(handlers.get(subtype).is_none(), "{subtype:?}");
        }
        assert_eq!(handlers.subtypes(), "file");
    }
}
