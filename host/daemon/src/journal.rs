//! What happens, for those who watch: each line goes to whoever listens at the control socket. The log has it, too.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lunbox_control::{EventKind, EventReport};

/// Who is told. Clones tell the same.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<dyn Fn(EventReport) + Send + Sync>>);

impl Journal {
    /// Tells `listener`, which must not block.
    pub fn new(listener: impl Fn(EventReport) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Something happened to a device.
    pub fn device(&self, kind: EventKind, device: impl fmt::Display, text: impl fmt::Display) {
        self.tell(kind, Some(&device), None, &text);
    }

    /// Something happened to a worker.
    pub fn worker(&self, kind: EventKind, tenant: &str, text: impl fmt::Display) {
        self.tell(kind, None, Some(tenant), &text);
    }

    /// Something happened to the supervisor.
    pub fn supervisor(&self, kind: EventKind, text: impl fmt::Display) {
        self.tell(kind, None, None, &text);
    }

    fn tell(
        &self,
        kind: EventKind,
        device: Option<&dyn fmt::Display>,
        worker: Option<&str>,
        text: &dyn fmt::Display,
    ) {
        if let Some(listener) = &self.0 {
            listener(EventReport {
                at: milliseconds(SystemTime::now()),
                device: device.map(ToString::to_string),
                worker: worker.map(str::to_owned),
                kind,
                text: text.to_string(),
            });
        }
    }
}

/// Milliseconds since 1970; 0 for what was before.
pub fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Journal").field(&self.0.is_some()).finish()
    }
}
