//! The thread that advances an engine's epoch.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Advances the epoch once per tick, and ends when dropped. One for all instances of an engine: each instance
/// measures its own CPU time when a tick finds it running.
#[derive(Debug)]
pub(crate) struct Ticker {
    /// Dropped to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let (running, end) = channel::<()>();
        let thread = std::thread::Builder::new().name("lunbox-epoch".to_owned()).spawn(move || {
            while matches!(end.recv_timeout(tick), Err(RecvTimeoutError::Timeout)) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // It can not panic; and if it did, its message has been printed.
            let _ = thread.join();
        }
    }
}
