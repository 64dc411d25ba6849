//! Requests and answers, and how they stand on a line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{DeviceReport, EventReport, Greeting, StatusReport, WorkerReport};
use crate::statistics::{StatisticsReport, TraceReport};

/// Version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;

/// What can be asked. Devices are named as [`crate::find_device`] understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Request {
    /// Who answers: [`Answer::Hello`]. Understood in every version of the protocol.
    Hello,
    /// How the daemon is: [`Answer::Status`].
    Status,
    /// All workers: [`Answer::Workers`].
    WorkerList,
    /// All devices: [`Answer::Devices`].
    DeviceList,
    /// One device: [`Answer::Device`].
    DeviceShow {
        /// Which.
        device: String,
    },
    /// Cancel what a device is doing and start its device loop anew: [`Answer::Done`].
    DeviceReset {
        /// Which.
        device: String,
    },
    /// Leave, so that the workers go on until another supervisor comes: [`Answer::Done`].
    Handover,
    /// Tell from now on what happens: [`Answer::Following`], then events until the connection is closed. The server
    /// answers this by itself.
    Events,
    /// What devices have done, in numbers: [`Answer::Statistics`].
    Statistics,
    /// Tell of the commands that a device completes from now on: [`Answer::Following`], then traces until the
    /// connection is closed or the device ends.
    Trace {
        /// Which.
        device: String,
    },
}

/// The methods, for messages.
const METHODS: &str =
    "hello, status, worker-list, device-list, device-show, device-reset, handover, events, statistics, trace";

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Hello`].
    Hello(Greeting),
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// To [`Request::WorkerList`].
    Workers(Vec<WorkerReport>),
    /// To [`Request::DeviceList`].
    Devices(Vec<DeviceReport>),
    /// To [`Request::DeviceShow`].
    Device(Box<DeviceReport>),
    /// To [`Request::Statistics`].
    Statistics(Box<StatisticsReport>),
    /// It was done.
    Done,
    /// Events or traces follow.
    Following,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is no request.
    Malformed,
    /// Another version of the protocol.
    Version,
    /// There is no such method.
    UnknownMethod,
    /// Whoever asks may not.
    Permission,
    /// Too many connections.
    TooMany,
    /// There is no such device, or the name fits several.
    NoSuchDevice,
    /// Not now: something else is under way. Later it may work.
    Busy,
    /// It was tried and failed.
    Failed,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// The answer to what can not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one line that says what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A line from client to server.
#[derive(Debug, Serialize)]
pub(crate) struct Asked<'a> {
    pub(crate) version: u32,
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) request: &'a Request,
}

/// A line from server to client.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Of the request; absent where none was understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ok: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<EventReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<TraceReport>,
    /// So many events were left out here because the reader was slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
}

/// Understands a line from a client: its id if it has one, and what it asks.
pub(crate) fn understand(line: &[u8]) -> (Option<u64>, Result<Request, Refusal>) {
    let malformed = |message: String| Refusal::new(Code::Malformed, message);
    let mut object = match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => object,
        Ok(_) => {
            return (None, Err(malformed("a request is an object: {\"version\":1,\"id\":1,…}".to_owned())));
        }
        Err(error) => {
            return (None, Err(malformed(format!("the line is no JSON ({error}); one object per line"))));
        }
    };
    let id = object.remove("id");
    let Some(id) = id.as_ref().and_then(Value::as_u64) else {
        return (
            None,
            Err(malformed("\"id\" must be a whole number; it comes back with the answer".to_owned())),
        );
    };
    let version = object.remove("version");
    let Some(version) = version.as_ref().and_then(Value::as_u64) else {
        return (Some(id), Err(malformed(format!("\"version\" must be a whole number; this is {PROTOCOL}"))));
    };
    (Some(id), judge(version, object))
}

fn judge(version: u64, object: serde_json::Map<String, Value>) -> Result<Request, Refusal> {
    let method = object.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
    if version != u64::from(PROTOCOL) && method != "hello" {
        return Err(Refusal::new(
            Code::Version,
            format!(
                "this lunboxd speaks version {PROTOCOL} of the control protocol, not {version}; use the lunbox of the \
                 same release"
            ),
        ));
    }
    if method.is_empty() {
        let message = format!("\"method\" must be one of {METHODS}");
        return Err(Refusal::new(Code::Malformed, message));
    }
    if !METHODS.split(", ").any(|known| known == method) {
        let message = format!("there is no method {method:?}; there is: {METHODS}");
        return Err(Refusal::new(Code::UnknownMethod, message));
    }
    let keys: Vec<String> = object.keys().cloned().collect();
    let request: Request = serde_json::from_value(Value::Object(object))
        .map_err(|error| Refusal::new(Code::Malformed, format!("{method}: {error}")))?;
    // What is not understood must not be taken for what was meant.
    let known = serde_json::to_value(&request).unwrap_or_default();
    match keys.iter().find(|key| known.get(key).is_none()) {
        Some(key) => Err(Refusal::new(Code::Malformed, format!("{method} knows no {key:?}; leave it out"))),
        None => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (Option<u64>, Code, String) {
        let (id, result) = understand(line.as_bytes());
        let refusal = result.expect_err(line);
        (id, refusal.code, refusal.message)
    }

    #[test]
    fn every_request_survives_its_line() {
        let device = || "user_0/disk".to_owned();
        let all = [
            Request::Hello,
            Request::Status,
            Request::WorkerList,
            Request::DeviceList,
            Request::DeviceShow { device: device() },
            Request::DeviceReset { device: device() },
            Request::Handover,
            Request::Events,
            Request::Statistics,
            Request::Trace { device: device() },
        ];
        assert_eq!(all.len(), METHODS.split(", ").count());
        for request in all {
            let line = serde_json::to_vec(&Asked { version: PROTOCOL, id: 7, request: &request }).unwrap();
            assert_eq!(understand(&line), (Some(7), Ok(request)));
        }
    }

    #[test]
    fn the_shape_of_lines() {
        let line =
            serde_json::to_string(&Asked { version: 1, id: 7, request: &Request::DeviceList }).unwrap();
        assert_eq!(line, r#"{"version":1,"id":7,"method":"device-list"}"#);
        let line =
            serde_json::to_string(&Said { id: Some(7), ok: Some(Answer::Done), ..Said::default() }).unwrap();
        assert_eq!(line, r#"{"id":7,"ok":"done"}"#);
        let refusal = Refusal::new(Code::NoSuchDevice, "x");
        let line =
            serde_json::to_string(&Said { id: Some(7), error: Some(refusal), ..Said::default() }).unwrap();
        assert_eq!(line, r#"{"id":7,"error":{"code":"no-such-device","message":"x"}}"#);
    }

    #[test]
    fn what_is_not_understood_is_told_with_a_remedy() {
        for (line, id, code, part) in [
            ("", None, Code::Malformed, "one object per line"),
            ("[1]", None, Code::Malformed, "object"),
            ("{\"id\":1", None, Code::Malformed, "no JSON"),
            (r#"{"version":1,"method":"status"}"#, None, Code::Malformed, "\"id\""),
            (r#"{"version":1,"id":-1,"method":"status"}"#, None, Code::Malformed, "\"id\""),
            (r#"{"id":3,"method":"status"}"#, Some(3), Code::Malformed, "\"version\""),
            (r#"{"version":2,"id":3,"method":"status"}"#, Some(3), Code::Version, "not 2"),
            (r#"{"version":1,"id":3}"#, Some(3), Code::Malformed, "device-list"),
            (r#"{"version":1,"id":3,"method":"stop"}"#, Some(3), Code::UnknownMethod, "\"stop\""),
            (r#"{"version":1,"id":3,"method":"device-show"}"#, Some(3), Code::Malformed, "device"),
            (
                r#"{"version":1,"id":3,"method":"device-show","device":4}"#,
                Some(3),
                Code::Malformed,
                "device-show",
            ),
            (
                r#"{"version":1,"id":3,"method":"handover","dry-run":true}"#,
                Some(3),
                Code::Malformed,
                "dry-run",
            ),
        ] {
            let (found, kind, message) = refused(line);
            assert_eq!((found, kind), (id, code), "{line}");
            assert!(message.contains(part), "{line}: {message}");
        }
        let hello = understand(br#"{"version":9,"id":3,"method":"hello"}"#);
        assert_eq!(hello, (Some(3), Ok(Request::Hello)), "whoever speaks another version is told by this");
    }

    #[test]
    fn nesting_does_not_exhaust_the_stack() {
        let line = "[".repeat(60_000);
        assert_eq!(refused(&line).1, Code::Malformed);
    }
}
