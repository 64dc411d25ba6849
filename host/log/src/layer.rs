//! From events of tracing to lines.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::escape::OneLine;
use crate::journal;
use crate::level::Level;
use crate::line::{self, Line};
use crate::queue::Queue;

/// Lines of handlers: the engine limits them as the policy says.
const HANDLERS: &str = "lunbox::handler";

/// Makes lines of events.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) queue: Arc<Queue>,
}

/// The device of a span.
struct Device(String);

/// What is found in an event or a span.
struct Found {
    device: Option<String>,
    message: String,
    /// ` name=value` of each field.
    fields: String,
    journal: Option<Vec<u8>>,
}

impl Found {
    fn new(journal: bool) -> Self {
        Self { device: None, message: String::new(), fields: String::new(), journal: journal.then(Vec::new) }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing fails when a line is long enough, and then the rest is cut.
        match field.name() {
            "message" => {
                let _ = OneLine(&mut self.message).write_fmt(value);
            }
            "device" => self.device = Some(value.to_string()),
            name => {
                let name = name.trim_start_matches("r#");
                self.fields.push(' ');
                self.fields.push_str(name);
                self.fields.push('=');
                let begin = self.fields.len();
                let _ = OneLine(&mut self.fields).write_fmt(value);
                if let Some(journal) = &mut self.journal {
                    journal::push_field(journal, name, &self.fields[begin..]);
                }
            }
        }
    }
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" | "device" => self.add(field, format_args!("{value}")),
            _ => self.add(field, format_args!("{value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // Names of devices have a short form for people and, as their alternate one, the whole name.
            "device" => self.add(field, format_args!("{value:#?}")),
            _ => self.add(field, format_args!("{value:?}")),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut found = Found::new(false);
        attributes.record(&mut found);
        if let (Some(device), Some(span)) = (found.device, context.span(id)) {
            span.extensions_mut().replace(Device(device));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut found = Found::new(false);
        values.record(&mut found);
        if let (Some(device), Some(span)) = (found.device, context.span(id)) {
            span.extensions_mut().replace(Device(device));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let when = Timestamp::now();
        let metadata = event.metadata();
        let level = Level::of(metadata);
        let mut found = Found::new(self.queue.output.wants_fields());
        event.record(&mut found);
        let device = found.device.or_else(|| {
            let mut scope = context.event_scope(event)?;
            scope.find_map(|span| span.extensions().get::<Device>().map(|device| device.0.clone()))
        });
        let (module, number) = line::place(metadata);
        let mut text = String::with_capacity(found.message.len() + found.fields.len() + 80);
        // Writing into a String can not fail.
        let _ = write!(text, "{module}:{number}");
        match &device {
            Some(device) => {
                text.push(' ');
                line::push_prefix(&mut text, device);
            }
            None => text.push_str(": "),
        }
        text.push_str(&found.message);
        let fields = if found.message.is_empty() { found.fields.trim_start() } else { &found.fields };
        text.push_str(fields);
        line::cut(&mut text);
        let mut fields = found.journal.unwrap_or_default();
        if self.queue.output.wants_fields() {
            journal::push(&mut fields, "CODE_FUNC", module);
            journal::push(&mut fields, "CODE_LINE", &number.to_string());
            journal::push(&mut fields, "LUNBOX_LEVEL", level.token());
            if let Some(device) = &device {
                journal::push_device(&mut fields, device);
            }
        }
        let limited = level != Level::CRIT && level != Level::TRACE && metadata.target() != HANDLERS;
        let key = limited.then(|| {
            let site = metadata.callsite();
            // Of a device's lines the place decides: its initiators can vary what they complain of. Other lines, and
            // those of who looks for a fault, are the same only if their text is.
            let text = (device.is_none() || level == Level::DEBUG).then_some(&text);
            self.queue.repeats.key((site, &device), text)
        });
        self.queue.take(Box::new(Line { level, when, text, fields }), key);
    }
}
