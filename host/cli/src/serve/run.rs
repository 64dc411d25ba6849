//! The thread that looks after a running server: events of devices, signals, status.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use lunbox_device::Event;
use lunbox_iscsi::ServerHandle;

use super::lun::Lun;
use super::printer::Printer;
use super::reporter::Reporter;
use super::status::{Sample, Totals};
use super::stop::Stopping;
use crate::cli::Serve;
use crate::exit::Exit;
use crate::output::Output;

/// How often it is looked whether the server still lives, if nothing else happens.
const WATCH: Duration = Duration::from_secs(5);

/// What this thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A signal came; its number.
    Signal(u8),
    /// A device tells something; the LUN's number.
    Device(usize, Event),
    /// Nobody is served any more.
    FrontStopped(Result<(), String>),
    /// All devices were stopped; what went wrong.
    DevicesStopped(Vec<String>),
}

/// A server that runs.
pub(super) struct Running<'a> {
    output: &'a Output,
    server: ServerHandle,
    luns: Vec<Lun>,
    send: Sender<Message>,
    inbox: Receiver<Message>,
    reporter: Reporter,
    started: Instant,
    totals_wanted: bool,
}

/// Why it ends.
enum End {
    Signal,
    /// No LUN serves any more, or nobody serves them.
    Dead,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        options: &Serve,
        output: &'a Output,
        printer: Option<Printer>,
        server: ServerHandle,
        luns: Vec<Lun>,
        (send, inbox): (Sender<Message>, Receiver<Message>),
    ) -> Self {
        let started = Instant::now();
        let reporter = Reporter::new(options, output, printer, &sample(started, &server, &luns));
        Self { output, server, luns, send, inbox, reporter, started, totals_wanted: options.stats_on_exit }
    }

    /// Serves until a signal comes or all LUNs have ended, then stops everything.
    pub(super) fn serve(mut self) -> Exit {
        let end = self.until_the_end();
        // Before devices and server are stopped: stopped ones tell nothing. What ends later is not counted.
        let last = sample(self.started, &self.server, &self.luns);
        self.reporter.finish();
        let Self { output, server, luns, send, inbox, .. } = self;
        let exit = Stopping { output, send, inbox }.stop(server, luns);
        if self.totals_wanted {
            self.reporter.totals(&Totals::of(&last));
        }
        self.reporter.drain();
        match end {
            End::Dead if exit == Exit::Ok => Exit::Failed,
            _ => exit,
        }
    }

    fn until_the_end(&mut self) -> End {
        let mut dead = vec![false; self.luns.len()];
        loop {
            let now = Instant::now();
            let wait = self.reporter.due().map_or(WATCH, |due| due.saturating_duration_since(now).min(WATCH));
            let message = self.inbox.recv_timeout(wait);
            if self.server.has_ended() {
                self.output
                    .error("the iSCSI server has ended: this is a defect; please report it with the log");
                return End::Dead;
            }
            match message {
                // We hold a sender ourselves, so nobody is ever disconnected.
                Ok(Message::Signal(_)) | Err(RecvTimeoutError::Disconnected) => return End::Signal,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Device(number, event)) => {
                    if let Event::Ended(reason) = &event
                        && let Some(dead) = dead.get_mut(number)
                    {
                        *dead = true;
                        self.output
                            .error(&format!("LUN {number} serves no more: {reason}; start the server again"));
                    }
                    handle(&self.luns, number, &event);
                    if dead.iter().all(|dead| *dead) {
                        return End::Dead;
                    }
                }
                // Nothing has been told to stop yet.
                Ok(Message::FrontStopped(_) | Message::DevicesStopped(_)) => {}
            }
            if self.reporter.due().is_some_and(|due| due <= Instant::now()) {
                self.reporter.tell(sample(self.started, &self.server, &self.luns));
            }
        }
    }
}

/// What every event needs, whatever else is going on. The device loop has logged failures already.
pub(super) fn handle(luns: &[Lun], number: usize, event: &Event) {
    match event {
        Event::IdentityWanted => {
            if let Some(lun) = luns.get(number) {
                lun.tell_identity();
            }
        }
        Event::AccessStateWanted { call, group, state } => {
            if let Some(lun) = luns.get(number) {
                lun.answer_access_state(*call, *group, *state);
            }
        }
        // They are in force as long as the server runs, as in a disk until its power goes.
        Event::ModesChanged { .. } => tracing::debug!(lun = number, "an initiator has set mode parameters"),
        Event::HandlerFailed(reason) => tracing::debug!(lun = number, reason, "handler failed"),
        Event::HandlerServes => tracing::warn!(lun = number, "the handler serves again"),
        Event::Resized(bytes) => {
            tracing::debug!(lun = number, bytes = bytes.0, "the handler has another size");
        }
        Event::Ended(reason) => tracing::debug!(lun = number, reason, "ended"),
    }
}

fn sample(started: Instant, server: &ServerHandle, luns: &[Lun]) -> Sample {
    let at: Duration = started.elapsed();
    Sample { at, server: server.status(), devices: luns.iter().map(Lun::status).collect() }
}
