//! What the user sees while something takes its time: a spinner on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// One piece of work in progress. It ends with [`Progress::done`]; dropped without it, the work failed and the line
/// says so.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
    finished: bool,
}

impl Progress {
    /// Announces `what`.
    pub fn start(what: impl Into<String>) -> Self {
        Self::shown(what.into(), ProgressBar::new_spinner, "{spinner} {prefix} {wide_msg:.dim} {elapsed}")
    }

    /// Announces `what`, whose end is known: `total` bytes.
    pub fn of_bytes(what: impl Into<String>, total: u64) -> Self {
        let template = "{spinner} {prefix} [{bar:30}] {bytes} of {total_bytes} {elapsed}";
        Self::shown(what.into(), || ProgressBar::new(total), template)
    }

    /// Announces `what`, whose end is known: `total` rounds.
    pub fn of_rounds(what: impl Into<String>, total: u64) -> Self {
        let template = "{spinner} {prefix} [{bar:30}] {pos} of {len} {wide_msg:.dim} {elapsed}, {eta} left";
        Self::shown(what.into(), || ProgressBar::new(total), template)
    }

    fn shown(what: String, bar: impl FnOnce() -> ProgressBar, template: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bar();
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("   {what} …");
        }
        Self { what, started: Instant::now(), bar, finished: false }
    }

    /// Shows what the work is at just now. Nothing off a terminal: there a log would only grow.
    pub fn detail(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// So far the work has come: bytes or rounds. Nothing off a terminal.
    pub fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// The work is done.
    pub fn done(mut self) {
        self.finished = true;
        self.close("done");
    }

    fn close(&self, word: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("   {}: {word} in {:.1} s", self.what, self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.finished {
            self.close("failed");
        }
    }
}
