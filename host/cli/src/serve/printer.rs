//! Lines for a program, written by a thread of their own: a pipe that nobody empties must not keep us from signals.

use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

/// Writes lines in the order in which they come. Dropping it does not wait for them.
#[derive(Debug)]
pub(super) struct Printer {
    lines: Sender<String>,
    unwritten: Arc<Unwritten>,
}

/// How many lines have not been written.
#[derive(Debug, Default)]
struct Unwritten {
    count: Mutex<usize>,
    none: Condvar,
}

impl Printer {
    /// Starts the thread. It ends with the printer, or with the process while it writes.
    ///
    /// # Errors
    /// No thread to be had.
    pub(super) fn start(mut to: impl Write + Send + 'static) -> anyhow::Result<Self> {
        let (lines, inbox) = channel::<String>();
        let unwritten = Arc::new(Unwritten::default());
        let written = Arc::clone(&unwritten);
        let thread = std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            for line in inbox {
                // Whoever closed the pipe does not want to know.
                let _ = writeln!(to, "{line}").and_then(|()| to.flush());
                written.one_less();
            }
        });
        thread.context("starting a thread for stdout")?;
        Ok(Self { lines, unwritten })
    }

    /// Has a line written after those before it. Never blocks.
    pub(super) fn print(&self, line: String) {
        *self.unwritten.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if self.lines.send(line).is_err() {
            self.unwritten.one_less();
        }
    }

    /// Has a line written unless others still wait: it would be old news when they have been read. Never blocks.
    pub(super) fn offer(&self, line: String) {
        if *self.unwritten.count.lock().unwrap_or_else(PoisonError::into_inner) == 0 {
            self.print(line);
        }
    }

    /// Waits until all lines are written, for `patience` at the most; whether they are.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let count = self.unwritten.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.unwritten.none.wait_timeout_while(count, patience, |count| *count > 0);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

impl Unwritten {
    fn one_less(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.none.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::Receiver;

    use super::*;

    /// Writes when it is let; what was written is kept.
    struct Gated {
        gate: Receiver<()>,
        begun: Sender<()>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            self.gate.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.written.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_reader_that_does_not_read_blocks_nobody_and_misses_only_status() {
        let (open, gate) = channel();
        let (begun, writing) = channel();
        let written = Arc::new(Mutex::new(String::new()));
        let printer = Printer::start(Gated { gate, begun, written: Arc::clone(&written) }).unwrap();
        assert!(printer.finish(Duration::ZERO), "nothing to write");
        printer.offer("first".to_owned());
        writing.recv_timeout(LONG).unwrap();
        printer.offer("missed".to_owned());
        printer.print("last".to_owned());
        assert!(!printer.finish(Duration::from_millis(1)));
        // As often as a line is written in pieces.
        for _ in 0..100 {
            open.send(()).unwrap();
        }
        assert!(printer.finish(LONG));
        assert_eq!(*written.lock().unwrap(), "first\nlast\n");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_hindrance() {
        let (open, gate) = channel();
        let (begun, _) = channel();
        drop(open);
        let printer = Printer::start(Gated { gate, begun, written: Arc::default() }).unwrap();
        printer.print("a".to_owned());
        printer.print("b".to_owned());
        assert!(printer.finish(LONG));
    }
}
