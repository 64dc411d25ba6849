//! What D-Bus callers get of the daemon: its handlers, checks of configurations, and a place for external handlers.

use std::sync::Arc;

use lunbox_bus::{Announced, Backend, Bus, BusError, Handle, Options};

use crate::check::Checker;
use crate::compiler::Compiler;
use crate::foreign::Foreign;
use crate::handlers::Handlers;

/// What the service on the bus is made of.
#[derive(Debug)]
pub struct Setting {
    /// The handlers that there are. After they have changed, [`Handle::set_handlers`] with [`announced`] tells the bus.
    pub handlers: Handlers,
    /// Starts the children that check configurations.
    pub checker: Compiler,
    /// Told of subtypes that external handlers serve.
    pub foreign: Foreign,
}

/// Starts the service. See [`Bus::start`]: blocks for 10 s at the most, and does without a bus.
///
/// # Errors
/// [`BusError::NameTaken`]: another daemon is there. [`BusError::Thread`].
pub fn start(setting: Setting) -> Result<Handle, BusError> {
    let Setting { handlers, checker, foreign } = setting;
    let options = Options { address: None, handlers: announced(&handlers), trusted_user: 0 };
    let checker = Checker::new(handlers, checker);
    Bus::start(options, Arc::new(Glue { checker, foreign }))
}

/// Whether no other daemon has the name, without taking it. Blocks for 2 s at the most; no bus is a free name.
///
/// # Errors
/// [`BusError::NameTaken`]; [`BusError::Thread`].
pub fn check_free() -> Result<(), BusError> {
    Bus::check_free(None)
}

/// The handlers as the bus shows them.
#[must_use]
pub fn announced(handlers: &Handlers) -> Vec<Announced> {
    let handlers = handlers.iter();
    let announced = handlers.into_iter().map(|handler| {
        let description = &handler.manifest.description;
        Announced { subtype: description.subtype.clone(), config_desc: description.config_help.clone() }
    });
    announced.collect()
}

struct Glue {
    checker: Checker,
    foreign: Foreign,
}

impl Backend for Glue {
    fn check(&self, subtype: &str, configstr: &str) -> Result<(), String> {
        self.checker.check(subtype, configstr)
    }

    fn external(&self, subtype: &str, added: bool) {
        if added {
            self.foreign.add(subtype);
        } else {
            self.foreign.remove(subtype);
        }
    }
}
