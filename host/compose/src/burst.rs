//! Writing the command's data to the medium.

use crate::span::{Span, ask_all};
use crate::{Io, Verb, Where};

/// Writes a range from the command's own data, a few transfers at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    span: Span,
    /// Where in the data it begins.
    data: u64,
    /// Asked for so far.
    done: u64,
    fua: bool,
}

impl Burst {
    pub(crate) const fn new(span: Span, data: u64, fua: bool) -> Self {
        Self { span, data, done: 0, fua }
    }

    /// Asks for what comes next. False: everything was written.
    pub(crate) fn ask(&mut self, io: &mut dyn Io) -> bool {
        let facts = io.facts();
        let part = self.span.part(self.done, facts.burst());
        ask_all(
            io,
            Verb::Write,
            part,
            Where::Data(self.data.saturating_add(self.done)),
            self.fua || facts.write_through,
        );
        self.done += part.length;
        !part.is_empty()
    }
}
