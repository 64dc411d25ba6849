//! Where handlers are looked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use lunbox_engine::{Catalogue, Engine};

/// Handlers of the system.
const SYSTEM: &str = "/usr/lib/lunbox/handlers";

/// Loads `files`, then the handlers of the directories. If no directory is named, those of [`defaults`] are searched
/// unless `files` names what is wanted; a default directory that is missing is no error. Blocks while components are
/// compiled.
///
/// # Errors
/// A file that can not be loaded, or a named directory that can not be read.
pub fn catalogue(files: &[PathBuf], directories: &[PathBuf], engine: &Engine) -> anyhow::Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    for file in files {
        let component = engine.load(file).with_context(|| format!("handler {}", file.display()))?;
        catalogue.add(file, Arc::new(component));
    }
    for directory in directories {
        catalogue.add_directory(directory, engine)?;
    }
    if directories.is_empty() && files.is_empty() {
        for directory in defaults(std::env::current_exe().ok().as_deref()) {
            if directory.is_dir() {
                catalogue.add_directory(&directory, engine)?;
            }
        }
    }
    Ok(catalogue)
}

/// Directories that are searched unless others are named. A program that was built and not installed finds the
/// handlers that were built with it.
#[must_use]
pub fn defaults(program: Option<&Path>) -> Vec<PathBuf> {
    let built = program.and_then(Path::parent).and_then(Path::parent).map(|target| target.join("handlers"));
    built.into_iter().chain([PathBuf::from(SYSTEM)]).collect()
}

/// Where [`catalogue`] looks, for messages when nothing was found.
#[must_use]
pub fn places(files: &[PathBuf], directories: &[PathBuf]) -> String {
    let mut places = [files, directories].concat();
    if places.is_empty() {
        places = defaults(std::env::current_exe().ok().as_deref());
    }
    places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use lunbox_engine::EngineOptions;

    use super::*;

    #[test]
    fn a_program_finds_what_was_built_with_it_first() {
        assert_eq!(
            defaults(Some(Path::new("/src/target/debug/lunbox"))),
            [PathBuf::from("/src/target/handlers"), PathBuf::from(SYSTEM)]
        );
        assert_eq!(defaults(None), [PathBuf::from(SYSTEM)]);
        assert_eq!(places(&[], &["/a".into(), "/b".into()]), "/a, /b");
        assert_eq!(places(&["/x.wasm".into()], &["/a".into()]), "/x.wasm, /a");
        assert!(places(&[], &[]).ends_with(SYSTEM));
    }

    #[test]
    fn what_was_named_must_be_there() {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let error = catalogue(&["/no/handler.wasm".into()], &[], &engine).err().unwrap();
        assert!(
            format!("{error:#}").contains("handler /no/handler.wasm: the file can not be read"),
            "{error:#}"
        );
        let error = catalogue(&[], &["/no/such".into()], &engine).err().unwrap();
        assert!(error.to_string().contains("--handler-path"), "{error}");
    }
}
