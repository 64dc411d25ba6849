//! The sandbox: one per process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lunbox_contract::CONTRACT_VERSION;
use tracing::warn;
use wasmtime::Config;

use crate::Digest;
use crate::shelf::Shelf;
use crate::ticker::Ticker;

/// Stack of a guest in bytes. Half a MiB holds thousands of frames, and leaves room for the host's own frames on a
/// thread with 1 MiB.
const GUEST_STACK: usize = 512 << 10;

/// How an [`Engine`] works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Directory for compiled components; made with mode 0700 if it is missing. Without it each start compiles
    /// (tens of milliseconds per handler). One that others can write is not used, and a warning says why.
    pub cache: Option<PathBuf>,
    /// How often a running guest's CPU time is looked at: 1 ms to 1 s. Each tick wakes one thread of the process
    /// for microseconds.
    pub tick: Duration,
}

impl Default for EngineOptions {
    /// No cache, and a tick of 10 ms: precise enough for a budget of 50 ms, and no measurable load.
    fn default() -> Self {
        Self { cache: None, tick: Duration::from_millis(10) }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tick is out of range.
    #[error("tick: {0:?} is not between 1 ms and 1 s")]
    Tick(Duration),
    /// This machine can not run the sandbox: an unsupported CPU, or no memory.
    #[error("the Wasm engine can not start on this machine: {0}")]
    Wasmtime(String),
    /// The thread that watches CPU budgets did not start.
    #[error(
        "the thread that watches CPU budgets did not start: {0}; raise the limit on threads (RLIMIT_NPROC, pids.max)"
    )]
    Thread(#[from] std::io::Error),
}

/// Loads handlers. Cheap to clone; components and instances keep it alive, and with it one thread that ends when
/// the last of them is dropped.
///
/// The first engine of a process installs handlers for SIGSEGV, SIGFPE and SIGILL: guests' memory accesses are
/// checked by page faults. Faults outside of guests go to whoever handled the signal before.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) runtime: Arc<Runtime>,
}

/// What engine, components and instances share.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) wasmtime: wasmtime::Engine,
    /// Of [`engine_digest`].
    pub(crate) digest: Digest,
    pub(crate) cache: Option<Shelf>,
    /// Advances the epoch.
    pub(crate) ticker: Ticker,
}

impl Engine {
    /// Starts the sandbox.
    ///
    /// # Errors
    /// [`EngineError`]. A cache that can not be used is no error.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&options.tick) {
            return Err(EngineError::Tick(options.tick));
        }
        let wasmtime = sandbox()?;
        let digest = digest_of(&wasmtime);
        let cache = options.cache.and_then(|path| {
            Shelf::open(&path, digest)
                .inspect_err(|error| warn!("handlers are compiled at each start, without the cache {error}"))
                .ok()
        });
        let ticker = Ticker::start(wasmtime.clone(), options.tick)?;
        Ok(Self { runtime: Arc::new(Runtime { wasmtime, digest, cache, ticker }) })
    }

    /// What [`engine_digest`] answers.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.runtime.digest
    }
}

/// Names everything that machine code depends on: the versions of Lunbox and of its compiler, the settings, the CPU's
/// features. Equal in all processes of one program on one machine. Starts no thread, and keeps nothing.
///
/// # Errors
/// [`EngineError::Wasmtime`].
pub fn engine_digest() -> Result<Digest, EngineError> {
    Ok(digest_of(&sandbox()?))
}

fn sandbox() -> Result<wasmtime::Engine, EngineError> {
    wasmtime::Engine::new(&config()).map_err(|error| EngineError::Wasmtime(crate::fault::describe(&error)))
}

fn digest_of(wasmtime: &wasmtime::Engine) -> Digest {
    Digest::of_value(&(env!("CARGO_PKG_VERSION"), CONTRACT_VERSION, wasmtime.precompile_compatibility_hash()))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        // Synchronous calls cost a quarter of those that could be suspended.
        .concurrency_support(false)
        // Deadlines: a load and a comparison per loop and call; fuel would cost twice as much and can not tell
        // computing from waiting.
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        // Nothing that the handlers' toolchain makes by default needs these, and what is not there can not be
        // broken: 64-bit memories also lose the cheap bounds check.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_every_engine() {
        let digest = engine_digest().unwrap();
        assert_eq!(digest, engine_digest().unwrap());
        assert_eq!(Engine::new(EngineOptions::default()).unwrap().digest(), digest);
    }

    #[test]
    fn the_tick_has_bounds() {
        for tick in [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(1001)] {
            assert!(matches!(Engine::new(EngineOptions { cache: None, tick }), Err(EngineError::Tick(_))));
        }
    }
}
