//! What a process does that exists to find out whether one configuration would be accepted.
//!
//! It is started by a supervisor that runs no handler itself, and ended by it when it takes too long: question on
//! stdin ([`Question::write_to`]), answer on stdout ([`Verdict::read_from`]), log on stderr. The handler is
//! configured in a throw-away instance. No store is opened: sizes are made up, as `handler.configure` in the WIT says.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;

use lunbox_contract::{DeviceConfig, StoreInfo};
use serde::{Deserialize, Serialize};

use crate::load::NoBuffers;
use crate::source::max_container;
use crate::text::one_line;
use crate::{Digest, Engine, EngineOptions, HandlerFactory, Limits};

/// Size of the device and of each of its stores: large enough for every format's metadata, and of one kind, so that
/// nothing is refused for a size that nobody has given.
const SIZE: u64 = 1 << 40;

/// The kernel's default (`DA_DEF_BLOCK_SIZE`, include/target/target_core_base.h).
const BLOCK_SIZE: u32 = 512;

/// The longest transfer, in bytes: rtslib's default of 128 sectors of 512 bytes.
const MAX_TRANSFER: u32 = 128 * 512;

/// Bytes of the line that a question begins with. A cfgstring has 255; escaped, in pieces, and with names it is this at
/// the very most.
const MAX_HEAD: u64 = 64 << 10;

/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Bytes of a reason.
const MAX_REASON: usize = 1024;

/// What is to be checked. The container goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The component.
    pub component: Digest,
    /// Which fields grant a store, in the order of their ids, and whether it is only read.
    pub stores: Vec<(String, bool)>,
    /// Values of the other fields, in the order of the cfgstring.
    pub options: Vec<(String, String)>,
}

/// What becomes of a device that is configured so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The handler takes it.
    Accepted,
    /// It refuses, for this reason: one line.
    Refused(String),
    /// It failed while it looked at it, in this way: one line.
    Fault(String),
    /// Nothing is known, because of this: one line. The handler is not to blame.
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    component: String,
    stores: Vec<(String, bool)>,
    options: Vec<(String, String)>,
}

impl Question {
    /// Writes what the child reads: one line, then the container.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_to(&self, container: &[u8], mut to: impl Write) -> io::Result<()> {
        let (stores, options) = (self.stores.clone(), self.options.clone());
        let head = Head { component: self.component.to_string(), stores, options };
        serde_json::to_writer(&mut to, &head)?;
        to.write_all(b"\n")?;
        to.write_all(container)?;
        to.flush()
    }

    fn read_from(from: impl Read) -> Result<(Self, Vec<u8>), String> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        let unread = |error: io::Error| format!("the question can not be read: {error}");
        from.by_ref().take(MAX_HEAD).read_until(b'\n', &mut line).map_err(unread)?;
        let head: Head = serde_json::from_slice(&line).map_err(|error| format!("the question: {error}"))?;
        let component = head.component.parse().map_err(|error| format!("the question: {error}"))?;
        let mut container = Vec::new();
        from.take(max_container() + 1).read_to_end(&mut container).map_err(unread)?;
        Ok((Self { component, stores: head.stores, options: head.options }, container))
    }

    fn config(self) -> DeviceConfig {
        let store = |(option, read_only)| StoreInfo {
            option,
            size: SIZE,
            read_only,
            discard_zeroes: true,
            can_grow: true,
            physical_block_size: 0,
            discard_granularity: BLOCK_SIZE,
        };
        DeviceConfig {
            name: "(check)".to_owned(),
            size: SIZE,
            block_size: BLOCK_SIZE,
            read_only: false,
            max_transfer: MAX_TRANSFER,
            stores: self.stores.into_iter().map(store).collect(),
            options: self.options,
        }
    }
}

impl Verdict {
    /// Reads a child's answer, to the end of the stream or as much as an answer may have. `None`: there is none, or
    /// something else.
    ///
    /// # Errors
    /// Those of `from`.
    pub fn read_from(from: impl Read) -> io::Result<Option<Self>> {
        let mut text = Vec::new();
        from.take(MAX_ANSWER).read_to_end(&mut text)?;
        // A jailed child may have been taken over by what it ran: its words are cut again.
        Ok(serde_json::from_slice(&text).ok().map(|verdict| match verdict {
            Self::Accepted => Self::Accepted,
            Self::Refused(reason) => Self::Refused(one_line(&reason, MAX_REASON)),
            Self::Fault(reason) => Self::Fault(one_line(&reason, MAX_REASON)),
            Self::Failed(reason) => Self::Failed(one_line(&reason, MAX_REASON)),
        }))
    }
}

/// Reads a question, configures an instance, and writes the answer. Blocks for the time that the handler takes, at most
/// its CPU budget ([`Limits::cpu_per_call`]). To be called once, when the process is confined. The exit code says whether
/// an answer was written.
pub fn main(question: impl Read, mut answer: impl Write) -> ExitCode {
    let verdict = judge(question);
    let written = serde_json::to_vec(&verdict).map_err(io::Error::from).and_then(|text| {
        answer.write_all(&text)?;
        answer.flush()
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the answer to a check can not be written: {error}; was it given up?");
            ExitCode::FAILURE
        }
    }
}

fn judge(question: impl Read) -> Verdict {
    let (question, container) = match Question::read_from(question) {
        Ok(read) => read,
        Err(problem) => return Verdict::Failed(problem),
    };
    let engine = match Engine::new(EngineOptions::default()) {
        Ok(engine) => engine,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    let component = match engine.load_container(&container, &question.component) {
        Ok(component) => component,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    let buffers = Rc::new(RefCell::new(NoBuffers));
    let instance = component.instantiate("(check)", buffers, &Limits::default());
    match instance.and_then(|mut instance| instance.configure(&question.config())) {
        Ok(Ok(_)) => Verdict::Accepted,
        Ok(Err(refusal)) => Verdict::Refused(one_line(&refusal.to_string(), MAX_REASON)),
        Err(fault) => Verdict::Fault(one_line(&fault.to_string(), MAX_REASON)),
    }
}

#[cfg(test)]
mod tests;
