//! Tells the status: a live line on a terminal, lines of JSON on stdout.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::printer::Printer;
use super::status::{Rates, Sample, StatusLine, Totals, TotalsLine};
use crate::cli::Serve;
use crate::logging;
use crate::output::Output;

/// How long a program that does not read may hold up the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often, unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Who is told.
enum Audience {
    Nobody,
    Terminal(ProgressBar),
    Program,
}

/// Tells the status from time to time.
pub(super) struct Reporter {
    audience: Audience,
    output: Output,
    /// stdout, if it is for a program.
    printer: Option<Printer>,
    interval: Duration,
    due: Instant,
    last: Sample,
}

impl Reporter {
    /// On a terminal unless that is not wanted; for programs only if they ask for it.
    pub(super) fn new(options: &Serve, output: &Output, printer: Option<Printer>, first: &Sample) -> Self {
        let audience = if output.is_json() {
            options.status_interval.map_or(Audience::Nobody, |_| Audience::Program)
        } else if options.no_status || !io::stderr().is_terminal() {
            Audience::Nobody
        } else {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // A template without a mistake in it; if it were otherwise the default would do.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar.set_message("waiting for initiators · Ctrl-C ends");
            logging::set_status(&bar);
            Audience::Terminal(bar)
        };
        let interval = options.status_interval.unwrap_or(INTERVAL);
        let due = Instant::now() + interval;
        Self { audience, output: *output, printer, interval, due, last: first.clone() }
    }

    /// When the next status is due, if anybody wants one.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.audience {
            Audience::Nobody => None,
            Audience::Terminal(_) | Audience::Program => Some(self.due),
        }
    }

    /// Tells what has happened since the last time.
    pub(super) fn tell(&mut self, now: Sample) {
        let rates = Rates::between(&self.last, &now);
        match &self.audience {
            Audience::Nobody => {}
            Audience::Terminal(bar) => bar.set_message(rates.line()),
            Audience::Program => {
                if let Some((printer, line)) = self.printer.as_ref().zip(json(&StatusLine { status: &rates }))
                {
                    printer.offer(line);
                }
            }
        }
        self.last = now;
        // From now on: after a suspended terminal there is no backlog of reports.
        self.due = Instant::now() + self.interval;
    }

    /// Takes the live line away.
    pub(super) fn finish(&self) {
        if let Audience::Terminal(bar) = &self.audience {
            bar.finish_and_clear();
        }
    }

    /// Tells the totals. To a program with [`Self::drain`].
    pub(super) fn totals(&self, totals: &Totals) {
        if let Some(printer) = &self.printer {
            if let Some(line) = json(&TotalsLine { totals }) {
                printer.print(line);
            }
            return;
        }
        for lun in &totals.luns {
            self.output.note(&lun.line());
        }
    }

    /// Waits until a program has been told everything; some seconds at the most.
    pub(super) fn drain(&self) {
        if let Some(printer) = &self.printer
            && !printer.finish(PATIENCE)
        {
            self.output.warning("nobody reads stdout: its last lines are lost");
        }
    }
}

/// Numbers and plain texts can always be serialised.
fn json(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}
