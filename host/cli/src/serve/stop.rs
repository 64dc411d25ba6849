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
        let last = LastWord::new(
            &self.send,
            Message::FrontStopped(Err("the thread that stops the server failed".to_owned())),
        );
        // On threads of their own, so that this one hears of the second signal, and may leave them behind.
        let spawned = std::thread::Builder::new().name("stop-front".to_owned()).spawn(move || {
            let result = match server.stop(PATIENCE) {
                // Nothing was lost: these initiators only did not say goodbye.
                Ok(()) | Err(StopError::Unfinished { running: 0, .. }) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            last.say(Message::FrontStopped(result));
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
        let last = LastWord::new(
            &self.send,
            Message::DevicesStopped(vec!["the thread that stops the devices failed".to_owned()]),
        );
        let spawned = std::thread::Builder::new().name("stop-devices".to_owned()).spawn(move || {
            // All at once: each may have to wait for its storage.
            let stopping: Vec<_> =
                luns.into_iter().map(|lun| std::thread::spawn(move || lun.stop(PATIENCE))).collect();
            let ended = stopping.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err("a thread that stops a device failed".to_owned()))
            });
            last.say(Message::DevicesStopped(ended.filter_map(Result::err).collect()));
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

/// Sends a message when it is dropped, so that a thread that fails is not waited for in vain.
struct LastWord {
    send: Sender<Message>,
    message: Option<Message>,
}

impl LastWord {
    fn new(send: &Sender<Message>, message: Message) -> Self {
        Self { send: send.clone(), message: Some(message) }
    }

    /// Sends another message instead.
    fn say(mut self, message: Message) {
        self.message = Some(message);
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            // If the receiver has gone, so has the process.
            let _ = self.send.send(message);
        }
    }
}

fn names(luns: &[Lun]) -> String {
    luns.iter().map(|lun| format!("{} ({})", lun.facts.lun, lun.facts.config)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_that_fails_is_heard_of_and_one_that_does_not_says_its_own() {
        let (send, inbox) = channel();
        let failed = || Message::FrontStopped(Err("failed".to_owned()));
        let last = LastWord::new(&send, failed());
        let thread = std::thread::spawn(move || {
            let _last = last;
            panic!("a defect");
        });
        assert!(thread.join().is_err());
        assert!(matches!(inbox.try_recv(), Ok(Message::FrontStopped(Err(reason))) if reason == "failed"));
        LastWord::new(&send, failed()).say(Message::FrontStopped(Ok(())));
        assert!(matches!(inbox.try_recv(), Ok(Message::FrontStopped(Ok(())))));
        assert!(inbox.try_recv().is_err(), "one message each");
    }
}
