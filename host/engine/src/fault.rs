//! How an instance ends.

use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::text::one_line;

/// Why an instance ended. What the initiator sees (BUSY) is the device loop's affair: commands that the instance
/// had not finished are not lost, they are repeated.
///
/// The text is one line, and nothing that the guest wrote into it can forge another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped: a panic, a wild pointer, an exhausted stack.
    #[error("handler trapped: {message}; this is a bug in the handler: report it to its author")]
    Trap {
        /// The kind of trap and the innermost functions.
        message: String,
    },
    /// The guest computed too long.
    #[error(
        "handler used {spent:?} of CPU time in one call, {budget:?} are allowed; if the work is real, raise cpu_per_call"
    )]
    Deadline {
        /// CPU time that was measured; up to one tick more was used before the measuring began.
        spent: Duration,
        /// [`crate::Limits::cpu_per_call`].
        budget: Duration,
    },
    /// The guest waited too long; only one that imports WASI can wait.
    #[error(
        "handler did not answer a call within {budget:?}: it waits; if the wait is real, raise wall_per_call"
    )]
    WallTime {
        /// [`crate::Limits::wall_per_call`].
        budget: Duration,
    },
    /// The guest wanted more memory, table elements or instances than it may have.
    #[error("handler wanted {wanted}, {limit} are allowed; if the need is real, raise {field}")]
    Memory {
        /// Amount and unit.
        wanted: String,
        /// The limit in the same unit.
        limit: u64,
        /// The field of [`crate::Limits`] that says so.
        field: &'static str,
    },
    /// The guest answered what the contract forbids.
    #[error("handler broke the contract: {0}")]
    Contract(String),
    /// The host is at fault, not the guest.
    #[error("host error while the handler ran: {0}")]
    Host(String),
    /// The instance had ended before the call; nothing was run.
    #[error("handler instance ended earlier: {0}")]
    Ended(Box<Fault>),
}

impl Fault {
    pub(crate) fn lacks(interface: &str) -> Self {
        Self::Host(format!("the handler has no {interface} interface; look at its abilities before the call"))
    }

    /// What went wrong in a call into the guest.
    pub(crate) fn of_call(error: &wasmtime::Error) -> Self {
        // All that is left are values that break the canonical ABI: only the guest makes those.
        Self::of(error).unwrap_or_else(|| Self::Contract(describe(error)))
    }

    /// What went wrong while an instance was made.
    pub(crate) fn of_instantiation(error: &wasmtime::Error, instances: usize) -> Self {
        if let Some(fault) = Self::of(error) {
            return fault;
        }
        let text = describe(error);
        // wasmtime has no type for this one.
        if text.contains("resource limit exceeded") {
            let limit = u64::try_from(instances).unwrap_or(u64::MAX);
            return Self::Memory { wanted: text, limit, field: "instances" };
        }
        Self::Host(format!("no instance could be made: {text}"))
    }

    fn of(error: &wasmtime::Error) -> Option<Self> {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return Some(match stop {
                Stop::Deadline { spent, budget } => Self::Deadline { spent: *spent, budget: *budget },
                Stop::Memory { wanted, limit } => Self::Memory {
                    wanted: format!("{wanted} bytes of memory"),
                    limit: *limit,
                    field: "memory_bytes",
                },
                Stop::Table { wanted, limit } => Self::Memory {
                    wanted: format!("{wanted} table elements"),
                    limit: *limit,
                    field: "table_elements",
                },
                Stop::Host(message) => Self::Host((*message).to_owned()),
            });
        }
        let trap = error.downcast_ref::<Trap>()?;
        Some(Self::Trap { message: format!("{trap}{}", place(error)) })
    }
}

/// The innermost functions of a trap, as far as the component has names for them.
fn place(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .take(4)
        .map(|frame| match frame.func_name() {
            Some(name) => one_line(name, 120),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    if names.is_empty() { String::new() } else { format!(" in {}", names.join(" < ")) }
}

/// An error and its causes in one line, without the backtrace.
pub(crate) fn describe(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        // A backtrace stands among the causes as a text of many lines.
        .filter(|cause| !cause.contains("wasm backtrace:"))
        .map(|cause| one_line(&cause, 300))
        .collect();
    causes.join(": ")
}

/// Why the host stops a guest; travels through wasmtime and comes out as a [`Fault`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("CPU budget exceeded")]
    Deadline { spent: Duration, budget: Duration },
    #[error("memory limit exceeded")]
    Memory { wanted: u64, limit: u64 },
    #[error("table limit exceeded")]
    Table { wanted: u64, limit: u64 },
    #[error("{0}")]
    Host(&'static str),
}
