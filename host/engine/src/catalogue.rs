//! The handlers that there are: every `handler_*.wasm` and `handler_*.cwasm` of some directories.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunbox_contract::Description;

use crate::load::LoadError;
use crate::{Engine, HandlerFactory};

/// Handlers by subtype. Does not change once it is loaded.
#[derive(Default)]
pub struct Catalogue {
    by_subtype: BTreeMap<String, Listed>,
    refused: Vec<(PathBuf, LoadError)>,
}

/// A handler of a [`Catalogue`].
pub struct Listed {
    /// Makes its instances.
    pub handler: Arc<dyn HandlerFactory>,
    /// Where it was loaded from.
    pub path: PathBuf,
}

/// The directory can not be read.
#[derive(Debug, thiserror::Error)]
#[error("handler directory {}: {source}; create it, or name another with --handler-path", path.display())]
pub struct DirectoryError {
    /// Which directory.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl Catalogue {
    /// Loads every handler of a directory: [`Self::add_directory`] to an empty catalogue.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn load(directory: &Path, engine: &Engine) -> Result<Self, DirectoryError> {
        let mut catalogue = Self::default();
        catalogue.add_directory(directory, engine)?;
        Ok(catalogue)
    }

    /// Adds every handler of a directory, in alphabetical order. What can not be loaded is logged, remembered in
    /// [`Self::refused`] and left out, and so is a handler whose subtype is taken. Blocks while components are
    /// compiled.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn add_directory(&mut self, directory: &Path, engine: &Engine) -> Result<(), DirectoryError> {
        for path in handler_files(directory)? {
            match engine.load(&path) {
                Ok(component) => self.add(&path, Arc::new(component)),
                Err(error) => {
                    tracing::error!(path = %path.display(), "handler not loaded: {error}");
                    self.refused.push((path, error));
                }
            }
        }
        Ok(())
    }

    /// Adds a handler unless its subtype is taken. `path` is where it came from; the same file twice is no mistake.
    pub fn add(&mut self, path: &Path, handler: Arc<dyn HandlerFactory>) {
        let Description { subtype, name, version, .. } = handler.description().clone();
        match self.by_subtype.entry(subtype) {
            // A directory, or a file of it, was named twice.
            Entry::Occupied(taken) if same_file(&taken.get().path, path) => {}
            // Directories that are searched first may replace handlers of later ones; two in one are a mistake.
            Entry::Occupied(taken) if taken.get().path.parent() != path.parent() => tracing::info!(
                path = %path.display(),
                "handler not used: subtype {:?} was found before in {}",
                taken.key(),
                taken.get().path.display(),
            ),
            Entry::Occupied(taken) => tracing::error!(
                path = %path.display(),
                "handler not used: subtype {:?} is taken by {:?}; remove one of the two",
                taken.key(),
                taken.get().handler.description().name,
            ),
            Entry::Vacant(free) => {
                tracing::info!(path = %path.display(), subtype = free.key(), version, "loaded {name:?}");
                free.insert(Listed { handler, path: path.to_owned() });
            }
        }
    }

    /// The handler of exactly this subtype.
    #[must_use]
    pub fn get(&self, subtype: &str) -> Option<&Arc<dyn HandlerFactory>> {
        self.by_subtype.get(subtype).map(|listed| &listed.handler)
    }

    /// All handlers, in the order of their subtypes.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.by_subtype.values()
    }

    /// Files that look like handlers and could not be loaded, and why.
    #[must_use]
    pub fn refused(&self) -> &[(PathBuf, LoadError)] {
        &self.refused
    }

    /// The subtypes that there are, or "none"; for messages.
    #[must_use]
    pub fn subtypes(&self) -> String {
        if self.by_subtype.is_empty() {
            return "none".to_owned();
        }
        self.by_subtype.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// What the handlers say about themselves, in the order of their subtypes.
    pub fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.iter().map(|listed| listed.handler.description())
    }
}

/// The files of a directory that look like handlers, by their names, in alphabetical order.
///
/// # Errors
/// See [`DirectoryError`].
pub fn handler_files(directory: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let unreadable = |source| DirectoryError { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_handler(&path) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Whether two paths lead to one file, as far as that can be found out.
fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn is_handler(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("handler_") && (name.ends_with(".wasm") || name.ends_with(".cwasm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;

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
        let catalogue = Catalogue::load(directory.path(), &engine).unwrap();
        assert_eq!(catalogue.descriptions().count(), 0);
        assert_eq!(catalogue.refused().len(), 3);
        assert!(catalogue.refused()[1].0.ends_with("handler_module.wasm"));
        assert_eq!(catalogue.subtypes(), "none");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_says_what_to_do() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let error = Catalogue::load(Path::new("/no/such/place"), &engine).err().unwrap();
        assert!(error.to_string().contains("/no/such/place"), "{error}");
        assert!(error.to_string().contains("--handler-path"), "{error}");
    }

    #[test]
    fn the_subtype_must_match_exactly_and_the_first_of_two_wins() {
        use crate::native::NativeFactory;
        let mut catalogue = Catalogue::default();
        catalogue.add(Path::new("a"), Arc::new(NativeFactory::<lunbox_handler_file::File>::new()));
        let first = Arc::clone(catalogue.get("file").unwrap());
        catalogue.add(Path::new("b"), Arc::new(NativeFactory::<lunbox_handler_file::File>::new()));
        assert!(Arc::ptr_eq(catalogue.get("file").unwrap(), &first));
        assert_eq!(catalogue.iter().next().unwrap().path, Path::new("a"));
        for subtype in ["", "f", "fil", "file2", "FILE", "file/"] {
            assert!(catalogue.get(subtype).is_none(), "{subtype:?}");
        }
        assert_eq!(catalogue.subtypes(), "file");
    }

    #[test]
    fn one_file_is_one_handler_however_it_is_named() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = first.path().join("handler_file.wasm");
        fs::write(&file, "").unwrap();
        let link = second.path().join("linked");
        std::os::unix::fs::symlink(first.path(), &link).unwrap();
        for other in [file.clone(), first.path().join("./handler_file.wasm"), link.join("handler_file.wasm")]
        {
            assert!(same_file(&file, &other), "{}", other.display());
        }
        let other = second.path().join("handler_file.wasm");
        assert!(!same_file(&file, &other), "one of them is not there");
        fs::write(&other, "").unwrap();
        assert!(!same_file(&file, &other), "the same contents are not the same file");
    }

    #[test]
    fn of_two_directories_the_first_one_wins() {
        use crate::native::NativeFactory;
        let mut catalogue = Catalogue::default();
        for path in ["/first/handler_file.wasm", "/second/handler_file.wasm", "/first/handler_file.wasm"] {
            catalogue.add(Path::new(path), Arc::new(NativeFactory::<lunbox_handler_file::File>::new()));
        }
        let listed: Vec<_> = catalogue.iter().map(|listed| listed.path.as_path()).collect();
        assert_eq!(listed, [Path::new("/first/handler_file.wasm")]);
    }
}
