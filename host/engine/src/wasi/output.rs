//! Standard output and error of a guest: lines of the log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::lunbox::handler::log::Level;
use crate::guest_log::{GuestLog, MAX_LINE};

/// Most bytes of one write, so that the host never keeps more of a guest's output than that.
const PERMIT: usize = 64 << 10;

/// A log that an instance's context and its streams share.
#[derive(Clone, Debug)]
pub(super) struct SharedLog(Arc<Mutex<GuestLog>>);

impl SharedLog {
    pub(super) fn new(log: GuestLog) -> Self {
        Self(Arc::new(Mutex::new(log)))
    }

    pub(super) fn write(&self, level: Level, message: &str) {
        lock(&self.0).write(level, message);
    }
}

/// An output stream whose lines go to the log. Every handle that the guest gets of it continues the same line.
/// What has no end of line yet is kept; a line that grows too long is cut into several.
#[derive(Clone, Debug)]
pub(super) struct LogOutput(Arc<Mutex<Line>>);

impl LogOutput {
    pub(super) fn new(log: SharedLog, level: Level) -> Self {
        Self(Arc::new(Mutex::new(Line { log, level, begun: Vec::new() })))
    }

    fn append(&self, bytes: &[u8]) {
        lock(&self.0).append(bytes);
    }
}

/// Nothing that is locked here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Line {
    log: SharedLog,
    level: Level,
    /// Shorter than [`MAX_LINE`], without an end of line.
    begun: Vec<u8>,
}

impl Line {
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.begun.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.begun.extend_from_slice(&window[..end]);
                bytes = &bytes[end + 1..];
                self.end();
            } else {
                self.begun.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.begun.len() == MAX_LINE {
                    self.end();
                }
            }
        }
    }

    fn end(&mut self) {
        // An empty line says nothing, and would cost one of those that the guest may write.
        if !self.begun.is_empty() {
            self.log.write(self.level, &String::from_utf8_lossy(&self.begun));
            self.begun.clear();
        }
    }
}

impl Drop for Line {
    /// A guest that dies has often not ended its last line.
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for LogOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    /// Does not end the line: libraries flush after each piece of one.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for LogOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
