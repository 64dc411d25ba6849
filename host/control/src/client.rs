//! The end of commands.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::line::{self, ANSWER_BYTES, Line};
use crate::message::{Answer, Asked, PROTOCOL, Refusal, Request, Said};
use crate::report::EventReport;
use crate::statistics::TraceReport;

/// How long an answer may take: a reset waits for storage.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "lunboxd does not answer at {0}: it is not running (start it: systemctl start lunboxd), or it uses another \
         directory (name its socket with --socket)"
    )]
    NotRunning(PathBuf),
    /// The socket is not for us.
    #[error("{0} can not be used by this user; run this as root (sudo)")]
    Permission(PathBuf),
    /// It can not be connected to for another reason.
    #[error("connecting to {path}: {source}; is it the control socket of lunboxd?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It closed the connection instead of answering.
    #[error("lunboxd closed the connection without an answer; its log says why (journalctl -u lunboxd)")]
    Gone,
    /// It says nothing.
    #[error("lunboxd has not answered for {} s; its log says what it is doing (journalctl -u lunboxd)", .0.as_secs())]
    Silent(Duration),
    /// What it says is no answer.
    #[error(
        "{path} does not speak like a lunboxd of this version ({problem}); use the lunbox of the same release"
    )]
    Unintelligible {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A system call failed.
    #[error("talking to lunboxd: {0}")]
    Io(#[from] io::Error),
    /// It will not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    path: PathBuf,
    patience: Duration,
    next: u64,
}

/// What a follower hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something happened.
    Event(EventReport),
    /// So many events were left out here because we did not read fast enough.
    Lost(u64),
}

/// What happens, as it happens.
#[derive(Debug)]
pub struct Events(Client);

/// The commands of a device, as they are completed.
#[derive(Debug)]
pub struct Traces(Client);

impl Client {
    /// Connects to the daemon whose socket is at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Permission`], [`ClientError::Connect`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_with(path, PATIENCE)
    }

    /// As [`Self::connect`], and no answer may take longer than `patience`, which is not zero.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_with(path: &Path, patience: Duration) -> Result<Self, ClientError> {
        let path = path.to_owned();
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(source) => {
                return Err(match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        ClientError::NotRunning(path)
                    }
                    io::ErrorKind::PermissionDenied => ClientError::Permission(path),
                    _ => ClientError::Connect { path, source },
                });
            }
        };
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { reader: BufReader::new(stream), path, patience, next: 1 })
    }

    /// Asks and waits for the answer: two minutes at the most, or as [`Self::connect_with`] was told.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if it can not be done; the others if there is no answer.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let id = self.next;
        self.next += 1;
        let asked = serde_json::to_vec(&Asked { version: PROTOCOL, id, request });
        let mut line = asked.map_err(io::Error::from)?;
        line.push(b'\n');
        // Who was turned away finds the reason in what there is to read, so it is not an error yet.
        let written = self.reader.get_ref().write_all(&line);
        let said = match (self.read(), written) {
            (Ok(said), _) => said,
            (Err(ClientError::Gone | ClientError::Io(_)), Err(error))
                if error.kind() != io::ErrorKind::BrokenPipe =>
            {
                return Err(error.into());
            }
            (Err(error), _) => return Err(error),
        };
        match said {
            Said { id: answered, error: Some(refusal), .. }
                if answered.is_none_or(|answered| answered == id) =>
            {
                Err(refusal.into())
            }
            Said { id: Some(answered), ok: Some(answer), .. } if answered == id => Ok(answer),
            other => Err(self.unintelligible(format!("{other:?} is no answer to request {id}"))),
        }
    }

    /// Follows what happens from now on.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn events(mut self) -> Result<Events, ClientError> {
        self.follow(&Request::Events)?;
        Ok(Events(self))
    }

    /// Follows the commands that a device completes from now on.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn trace(mut self, device: &str) -> Result<Traces, ClientError> {
        self.follow(&Request::Trace { device: device.to_owned() })?;
        Ok(Traces(self))
    }

    fn follow(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Answer::Following => {
                // Nothing may happen for days.
                self.reader.get_ref().set_read_timeout(None)?;
                Ok(())
            }
            other => Err(self.unexpected(request, &other)),
        }
    }

    /// An answer of the wrong kind.
    pub fn unexpected(&self, request: &Request, answer: &Answer) -> ClientError {
        self.unintelligible(format!("{answer:?} is no answer to {request:?}"))
    }

    fn unintelligible(&self, problem: String) -> ClientError {
        let problem =
            if problem.len() > 200 { problem.chars().take(200).chain(['…']).collect() } else { problem };
        ClientError::Unintelligible { path: self.path.clone(), problem }
    }

    fn read(&mut self) -> Result<Said, ClientError> {
        let mut buffer = Vec::new();
        match line::read(&mut self.reader, &mut buffer, ANSWER_BYTES) {
            Ok(Line::Whole) => {
                serde_json::from_slice(&buffer).map_err(|error| self.unintelligible(error.to_string()))
            }
            Ok(Line::End) => Err(ClientError::Gone),
            Ok(Line::TooLong) => Err(self.unintelligible("an endless line".to_owned())),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(self.patience),
                io::ErrorKind::ConnectionReset => ClientError::Gone,
                _ => error.into(),
            }),
        }
    }
}

impl Iterator for Traces {
    type Item = Result<TraceReport, ClientError>;

    /// Blocks until the device completes commands; the end is the device's or the daemon's.
    fn next(&mut self) -> Option<Self::Item> {
        match self.0.read() {
            Ok(Said { trace: Some(trace), .. }) => Some(Ok(trace)),
            Ok(other) => Some(Err(self.0.unintelligible(format!("{other:?} is no trace")))),
            Err(ClientError::Gone) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Events {
    type Item = Result<Heard, ClientError>;

    /// Blocks until something happens; the end is the daemon's.
    fn next(&mut self) -> Option<Self::Item> {
        match self.0.read() {
            Ok(Said { event: Some(event), .. }) => Some(Ok(Heard::Event(event))),
            Ok(Said { lost: Some(count), .. }) => Some(Ok(Heard::Lost(count))),
            Ok(other) => Some(Err(self.0.unintelligible(format!("{other:?} is no event")))),
            Err(ClientError::Gone) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
