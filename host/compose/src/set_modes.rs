//! MODE SELECT (SPC-5): the switches of the unit are set while nothing else runs.

use crate::{Ask, Composite, Facts, Failure, Io, Next, Scope, Verb, Verdict, Where};

/// What MODE SELECT can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// WCE of the caching page.
    pub write_cache: bool,
    /// SWP of the control page.
    pub software_write_protect: bool,
    /// D_SENSE of the control page.
    pub descriptor_sense: bool,
}

/// MODE SELECT (6), (10) whose parameter list was found right.
#[derive(Debug)]
pub struct SetModes {
    modes: Modes,
    size: u64,
    /// To be asked for before the switches are set.
    flush: bool,
}

impl SetModes {
    /// Sets `modes`. `flush`: a write cache is switched off, so that what it holds becomes durable first.
    #[must_use]
    pub const fn new(facts: &Facts, modes: Modes, flush: bool) -> Self {
        Self { modes, size: facts.size, flush }
    }
}

impl Composite for SetModes {
    fn scope(&self) -> Scope {
        // Writes that were begun under the old switches have ended, none begins before the new ones hold.
        Scope::Alone { offset: 0, length: self.size }
    }

    fn next(&mut self, last: Result<(), Failure>, io: &mut dyn Io) -> Next {
        if let Err(failure) = last {
            return Next::End(failure.into());
        }
        if std::mem::take(&mut self.flush) {
            io.ask(Ask { verb: Verb::Flush, offset: 0, length: 0, fua: false, buffer: Where::Nothing });
            return Next::Wait;
        }
        let Modes { write_cache, software_write_protect, descriptor_sense } = self.modes;
        Next::End(Verdict::SetModes { write_cache, software_write_protect, descriptor_sense })
    }
}
