//! The end: first nobody is served any more, then every device is flushed. A second signal gives up.

use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use lunbox_iscsi::ServerHandle;
use lunbox_iscsi::server::StopError;

use super::lun::Lun;
use super::run::{Message, handle};
use crate::exit::Exit;
use crate::output::Output;

/// How long commands in progress may take before they are cancelled; for the server and again for the devices.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the end needs.
pub(super) struct Stopping<'a> {
    pub(super) output: &'a Output,
    pub(super) send: Sender<Message>,
    pub(super) inbox: Receiver<Message>,
}

impl Stopping<'_> {
    /// Stops everything. Blocks for some seconds at the most, unless storage hangs; a second signal ends that too.
    pub(super) fn stop(self, server: ServerHandle, luns: Vec<Lun>) -> Exit {
        self.output.note("stopping: finishing commands and flushing (a second signal gives up)");
        let mut problems = Vec::new();
        let send = self.send.clone();
        // On threads of their own, so that this one hears of the second signal, and may leave them behind.
        let spawned = std::thread::Builder::new().name("stop-front".to_owned()).spawn(move || {
            let result = match server.stop(PATIENCE) {
                // Nothing was lost: these initiators only did not say goodbye.
                Ok(()) | Err(StopError::Unfinished { running: 0, .. }) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            // If the receiver has gone, so has the process.
            let _ = send.send(Message::FrontStopped(result));
        });
        if let Err(error) = spawned {
            problems.push(format!("the server could not be stopped in good order: {error}"));
        } else {
            loop {
                match self.inbox.recv() {
                    Ok(Message::FrontStopped(result)) => {
                        problems.extend(result.err());
                        break;
                    }
                    Ok(Message::Device(number, event)) => handle(&luns, number, &event),
                    Ok(Message::Signal(signal)) => return self.give_up(signal, &names(&luns)),
                    Ok(Message::DevicesStopped(_)) | Err(_) => {}
                }
            }
        }
        self.stop_devices(luns, problems)
    }

    fn stop_devices(self, luns: Vec<Lun>, mut problems: Vec<String>) -> Exit {
        let names = names(&luns);
        let send = self.send.clone();
        let spawned = std::thread::Builder::new().name("stop-devices".to_owned()).spawn(move || {
            // All at once: each may have to wait for its storage.
            let stopping: Vec<_> =
                luns.into_iter().map(|lun| std::thread::spawn(move || lun.stop(PATIENCE))).collect();
            let ended = stopping.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err("a thread that stops a device failed".to_owned()))
            });
            let _ = send.send(Message::DevicesStopped(ended.filter_map(Result::err).collect()));
        });
        if let Err(error) = spawned {
            problems.push(format!("the devices could not be stopped in good order: {error}"));
        } else {
            loop {
                match self.inbox.recv() {
                    Ok(Message::DevicesStopped(failed)) => {
                        problems.extend(failed);
                        break;
                    }
                    Ok(Message::Signal(signal)) => return self.give_up(signal, &names),
                    // Devices have nothing to ask any more.
                    Ok(Message::Device(..) | Message::FrontStopped(_)) | Err(_) => {}
                }
            }
        }
        for problem in &problems {
            self.output.error(problem);
        }
        if problems.is_empty() { Exit::Ok } else { Exit::Failed }
    }

    fn give_up(&self, signal: u8, luns: &str) -> Exit {
        self.output.error(&format!(
            "ended by a second signal: commands in progress were not finished, and these LUNs may not have been \
             flushed: {luns}"
        ));
        Exit::Interrupted(signal)
    }
}

fn names(luns: &[Lun]) -> String {
    luns.iter().map(|lun| format!("{} ({})", lun.facts.lun, lun.facts.config)).collect::<Vec<_>>().join(", ")
}
