//! The handlers that there are: every `handler_*.wasm` and `handler_*.cwasm` of a directory.
//!
//! Nothing of a handler runs in this process. A component is compiled, and asked who it is, in a jailed child; what
//! comes back is stored by digest and passed to workers as a descriptor. The machine code in it is never looked at
//! here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use lunbox_engine::{
    Artifact, Digest, DirectoryError, Expected, HandlerFile, Manifest, Shelf, Shelved, handler_files,
};

use crate::compiler::{CompileError, Compiler};

/// A handler that can be passed to workers.
#[derive(Debug)]
pub struct Installed {
    /// What it said of itself.
    pub manifest: Manifest,
    /// SHA-256 of its component.
    pub digest: Digest,
    /// Its machine code, for workers of this build. Read-only.
    pub container: Arc<File>,
    /// Where it was found.
    pub path: PathBuf,
}

/// Handlers by subtype. Clones are the same: what [`Handlers::reload`] brings is seen by all at once. A handler that
/// was taken out before stays usable.
#[derive(Clone, Debug, Default)]
pub struct Handlers(Arc<RwLock<Set>>);

/// What there is at one moment.
#[derive(Clone, Debug, Default)]
struct Set {
    by_subtype: BTreeMap<String, Arc<Installed>>,
    refused: Vec<(PathBuf, String)>,
}

/// What [`Handlers::reload`] found, by subtype.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// There was none of this subtype.
    pub appeared: Vec<String>,
    /// There is none of this subtype any more.
    pub vanished: Vec<String>,
    /// Another component, which devices get that are started from now on.
    pub changed: Vec<String>,
    /// Files that can not be used, and why, as far as that was not known before.
    pub refused: Vec<(PathBuf, String)>,
}

impl Changes {
    /// Everything is as it was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why one file is no handler.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The file.
    #[error(transparent)]
    File(#[from] lunbox_engine::LoadError),
    /// Its compilation.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// No memory for it.
    #[error("its code can not be kept in memory: {0}; name a --cache-dir that can be written to")]
    Memory(std::io::Error),
    /// It was tried a short while ago.
    #[error("compiling it took too long at an earlier start; it is tried again at a start that is some minutes later; now: rm {} and restart", .0.display())]
    TooLongBefore(PathBuf),
}

/// What handlers are loaded with.
#[derive(Debug)]
pub struct Loader {
    /// Compiles components.
    pub compiler: Compiler,
    /// Names the engine of this build ([`lunbox_engine::engine_digest`]).
    pub engine: Digest,
    /// Keeps what was compiled; without it each start compiles.
    pub shelf: Option<Shelf>,
    /// Remembers what took too long to be compiled; without it each start waits for that again.
    pub overlong: Option<Overlong>,
}

/// Components whose compilation was given up: one such file in the handler directory must not hold up everybody's
/// devices at each start. A file for each, in a directory that only our own user can write to.
#[derive(Debug)]
pub struct Overlong {
    /// Made when it is needed.
    pub directory: PathBuf,
    /// After so long it is tried again: the machine may have been busy with other things.
    pub memory: Duration,
}

impl Overlong {
    fn path(&self, component: &Digest, engine: &Digest) -> PathBuf {
        self.directory.join(format!("{component}-{engine}"))
    }

    fn knows(&self, component: &Digest, engine: &Digest) -> Option<PathBuf> {
        let path = self.path(component, engine);
        let noted = std::fs::symlink_metadata(&path).and_then(|found| found.modified()).ok()?;
        // A time in the future is of a clock that was wrong.
        (noted.elapsed().ok()? < self.memory).then_some(path)
    }

    fn note(&self, component: &Digest, engine: &Digest, handler: &Path) {
        let path = self.path(component, engine);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        if let Err(error) = made.and_then(|()| std::fs::write(&path, format!("{}\n", handler.display()))) {
            tracing::warn!(
                "{}: {error}; the next start waits for {} again",
                path.display(),
                handler.display()
            );
        }
    }
}

impl Handlers {
    /// Loads every handler of a directory, several at a time. What can not be loaded is logged, remembered in
    /// [`Self::refused`] and left out, and so is a handler whose subtype is taken. Blocks while components are compiled.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn load(directory: &Path, loader: &Loader) -> Result<Self, DirectoryError> {
        Self::load_unless(directory, loader, &|| false)
    }

    /// The same, but as soon as `stop` says so no further handler is begun.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn load_unless(
        directory: &Path,
        loader: &Loader,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, DirectoryError> {
        Ok(Self(Arc::new(RwLock::new(Set::load(directory, loader, stop, &Set::default())?))))
    }

    /// Looks at the directory anew. What devices run is not touched: they go on with the handler that they have. Where
    /// a file that was loaded is there and can not be used now, perhaps because somebody is just writing it, the
    /// handler that it was stays. Blocks while components are compiled; if `stop` says so nothing changes.
    ///
    /// # Errors
    /// See [`DirectoryError`]; nothing has changed.
    pub fn reload(
        &self,
        directory: &Path,
        loader: &Loader,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Changes, DirectoryError> {
        let before = self.set().clone();
        let after = Set::load(directory, loader, stop, &before)?;
        if stop() {
            return Ok(Changes::default());
        }
        let changes = before.changes(&after);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(changes)
    }

    fn set(&self) -> RwLockReadGuard<'_, Set> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a handler unless its subtype is taken.
    pub fn add(&mut self, handler: Installed) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).add(Arc::new(handler), &Set::default());
    }

    /// The handler of exactly this subtype.
    pub fn get(&self, subtype: &str) -> Option<Arc<Installed>> {
        self.set().by_subtype.get(subtype).cloned()
    }

    /// All handlers, in the order of their subtypes, as they are now.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Installed>> + use<> {
        let all: Vec<_> = self.set().by_subtype.values().cloned().collect();
        all.into_iter()
    }

    /// Subtypes and what to write behind them, for those who ask at the bus.
    pub fn descriptions(&self) -> Vec<(String, String)> {
        let described = |handler: Arc<Installed>| {
            let description = &handler.manifest.description;
            (description.subtype.clone(), description.config_help.clone())
        };
        self.iter().map(described).collect()
    }

    /// Files that look like handlers and are not used, and why.
    pub fn refused(&self) -> Vec<(PathBuf, String)> {
        self.set().refused.clone()
    }

    /// The subtypes that there are, or "none"; for messages.
    pub fn subtypes(&self) -> String {
        let set = self.set();
        if set.by_subtype.is_empty() {
            return "none".to_owned();
        }
        set.by_subtype.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Set {
    /// All of a directory. What is in `before` and has not changed is not told again.
    fn load(
        directory: &Path,
        loader: &Loader,
        stop: &(dyn Fn() -> bool + Sync),
        before: &Self,
    ) -> Result<Self, DirectoryError> {
        let paths = handler_files(directory)?;
        let loaded: Mutex<Vec<Option<Result<Installed, HandlerError>>>> =
            Mutex::new(paths.iter().map(|_| None).collect());
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !stop() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = paths.get(index) else { return };
                        let result = loader.load_unless_known(path, before.at(path).map(Arc::as_ref));
                        loaded.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                    }
                });
            }
        });
        let mut set = Self::default();
        let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (path, result) in paths.into_iter().zip(loaded) {
            let known = before.at(&path);
            match (result, known) {
                // Devices are started with the same file as before.
                (Some(Ok(handler)), Some(known)) if handler.digest == known.digest => {
                    set.take_over(Arc::clone(known), before);
                }
                (Some(Ok(handler)), _) => set.add(Arc::new(handler), before),
                (Some(Err(error)), known) => {
                    let refused = (path, error.to_string());
                    if !before.refused.contains(&refused) {
                        let kept =
                            if known.is_some() { "; the one that was loaded before stays" } else { "" };
                        tracing::error!(path = %refused.0.display(), "handler not loaded: {error}{kept}");
                    }
                    set.refused.push(refused);
                    if let Some(known) = known {
                        set.take_over(Arc::clone(known), before);
                    }
                }
                (None, _) => {}
            }
        }
        Ok(set)
    }

    /// The handler that was loaded from a file.
    fn at(&self, path: &Path) -> Option<&Arc<Installed>> {
        self.by_subtype.values().find(|handler| handler.path == path)
    }

    /// Puts a handler in its place, and tells of it.
    fn add(&mut self, handler: Arc<Installed>, before: &Self) {
        if let Some(handler) = self.take_over(handler, before) {
            let description = &handler.manifest.description;
            tracing::info!(
                path = %handler.path.display(),
                subtype = description.subtype,
                version = description.version,
                "loaded {:?}",
                description.name
            );
        }
    }

    /// Puts a handler in its place unless its subtype is taken.
    fn take_over(&mut self, handler: Arc<Installed>, before: &Self) -> Option<&Installed> {
        match self.by_subtype.entry(handler.manifest.description.subtype.clone()) {
            Entry::Occupied(taken) => {
                let refused = (handler.path.clone(), format!("subtype {:?} is taken", taken.key()));
                if !before.refused.contains(&refused) {
                    tracing::error!(
                        path = %handler.path.display(),
                        "handler not used: subtype {:?} is taken by {}; remove one of the two",
                        taken.key(),
                        taken.get().path.display(),
                    );
                }
                self.refused.push(refused);
                None
            }
            Entry::Vacant(free) => Some(free.insert(handler)),
        }
    }

    /// What has become of it.
    fn changes(&self, after: &Self) -> Changes {
        let new = |subtype: &&String| !self.by_subtype.contains_key(*subtype);
        let gone = |subtype: &&String| !after.by_subtype.contains_key(*subtype);
        let other = |(subtype, handler): (&String, &Arc<Installed>)| {
            let before = self.by_subtype.get(subtype)?;
            (before.digest != handler.digest).then(|| subtype.clone())
        };
        Changes {
            appeared: after.by_subtype.keys().filter(new).cloned().collect(),
            vanished: self.by_subtype.keys().filter(gone).cloned().collect(),
            changed: after.by_subtype.iter().filter_map(other).collect(),
            refused: after
                .refused
                .iter()
                .filter(|refused| !self.refused.contains(refused))
                .cloned()
                .collect(),
        }
    }
}

impl Loader {
    /// Loads one handler.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn load(&self, path: &Path) -> Result<Installed, HandlerError> {
        self.load_unless_known(path, None)
    }

    /// The same, but one of this digest need not be compiled again: its container is used.
    fn load_unless_known(&self, path: &Path, known: Option<&Installed>) -> Result<Installed, HandlerError> {
        let (component, digest) = match HandlerFile::read(path)? {
            HandlerFile::Precompiled(container) => {
                let artifact = Artifact::of_precompiled(container, &self.engine)?;
                let digest = *artifact.component();
                return installed(&artifact, digest, path);
            }
            HandlerFile::Component(component) => {
                let digest = Digest::of(&component);
                (component, digest)
            }
        };
        if let Some(Installed { manifest, container, .. }) = known.filter(|known| known.digest == digest) {
            let (manifest, container) = (manifest.clone(), Arc::clone(container));
            return Ok(Installed { manifest, digest, container, path: path.to_owned() });
        }
        if let Some(Shelved { file, manifest }) = self.shelf.as_ref().and_then(|shelf| shelf.get(&digest)) {
            return Ok(Installed { manifest, digest, container: Arc::new(file), path: path.to_owned() });
        }
        let expected = Expected { component: digest, engine: self.engine };
        if let Some(path) = self.overlong.as_ref().and_then(|overlong| overlong.knows(&digest, &self.engine))
        {
            return Err(HandlerError::TooLongBefore(path));
        }
        let artifact = self.compiler.compile(&component, &expected).inspect_err(|error| {
            if let (CompileError::TooLong(_), Some(overlong)) = (error, &self.overlong) {
                overlong.note(&digest, &self.engine, path);
            }
        })?;
        if let Some(shelf) = &self.shelf {
            match shelf.put(&artifact) {
                Ok(Shelved { file, manifest }) => {
                    let container = Arc::new(file);
                    return Ok(Installed { manifest, digest, container, path: path.to_owned() });
                }
                Err(error) => tracing::warn!("compiled handlers are not kept: {error}"),
            }
        }
        installed(&artifact, digest, path)
    }
}

fn installed(artifact: &Artifact, digest: Digest, path: &Path) -> Result<Installed, HandlerError> {
    let container = Arc::new(artifact.to_file().map_err(HandlerError::Memory)?);
    Ok(Installed { manifest: artifact.manifest().clone(), digest, container, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_too_long_is_not_waited_for_at_the_next_start_but_is_tried_again_later() {
        let root = tempfile::tempdir().unwrap();
        let handler = root.path().join("handler_slow.wasm");
        std::fs::write(&handler, b"\0asm\x0d\0\x01\0").unwrap();
        // Says nothing and does not end, whatever its arguments are.
        let compiler = root.path().join("compiler");
        std::fs::write(&compiler, "#!/bin/sh\necho x >> \"${0%/*}/tries\"; exec /bin/sleep 1000\n").unwrap();
        std::fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let tries = || std::fs::read_to_string(root.path().join("tries")).unwrap().len() / 2;
        let loader = |memory| Loader {
            compiler: Compiler::new(compiler.clone(), "info".to_owned(), Duration::from_secs(1)),
            engine: Digest::of(b"engine"),
            shelf: None,
            overlong: Some(Overlong { directory: root.path().join("overlong"), memory }),
        };
        let load = |memory| loader(memory).load(&handler).unwrap_err();
        assert!(matches!(load(Duration::MAX), HandlerError::Compile(CompileError::TooLong(_))));
        assert_eq!(tries(), 1);
        let error = load(Duration::MAX);
        assert!(matches!(&error, HandlerError::TooLongBefore(path) if path.exists()), "{error}");
        assert_eq!(tries(), 1, "{error}");
        assert!(matches!(load(Duration::ZERO), HandlerError::Compile(CompileError::TooLong(_))));
        assert_eq!(tries(), 2);
    }
}
