//! What D-Bus callers get of the daemon: its handlers, checks of configurations, and a place for external handlers.

use std::sync::{Arc, OnceLock, Weak};

use lunbox_bus::{Announced, Backend, Bus, BusError, Handle, NAME, Options};
use lunbox_control::BusReport;

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
    /// What [`awaited`] has found.
    pub awaited: Vec<String>,
}

/// Starts the service. See [`Bus::start`]: blocks for 10 s at the most, and does without a bus.
///
/// # Errors
/// [`BusError::NameTaken`]: another daemon is there. [`BusError::Thread`].
pub fn start(setting: Setting) -> Result<Handle, BusError> {
    let Setting { handlers, checker, foreign, awaited } = setting;
    let options = Options { handlers: announced(&handlers), awaited, ..Options::default() };
    let checker = Checker::new(handlers, checker);
    Bus::start(options, Arc::new(Glue { checker, foreign }))
}

/// Whether no other daemon has the name, without taking it. Blocks for 2 s at the most; no bus is a free name. Gives the
/// subtypes of root's programs that have a name as external handlers have it.
///
/// # Errors
/// [`BusError::NameTaken`]; [`BusError::Thread`].
pub fn check_free() -> Result<Vec<String>, BusError> {
    Bus::check_free(None, ROOT)
}

/// Whose programs may be external handlers.
const ROOT: u32 = 0;

/// Of the subtypes that [`check_free`] has seen, those that we do not serve are left alone from now on: their programs
/// register when they see our name, which comes after the first devices are answered for.
#[must_use]
pub fn awaited(mut seen: Vec<String>, handlers: &Handlers, foreign: &Foreign) -> Vec<String> {
    seen.retain(|subtype| handlers.get(subtype).is_none());
    for subtype in &seen {
        tracing::info!("external handler {subtype:?} is on the bus: its devices are left to it");
        foreign.add(subtype);
    }
    seen
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

/// The service on the bus, once it is there. Clones are the same; the last one takes it along.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<OnceLock<Handle>>);

impl Presence {
    /// Takes the name. Without a bus it is tried again later. Blocks as [`start`] does.
    ///
    /// # Errors
    /// As [`start`].
    pub fn own(&self, setting: Setting) -> Result<(), BusError> {
        let handlers = setting.handlers.clone();
        // Nobody has set it before.
        let _ = self.0.set(start(setting)?);
        // They may have changed since.
        self.show(&handlers);
        Ok(())
    }

    /// The bus shows these handlers from now on.
    pub fn show(&self, handlers: &Handlers) {
        if let Some(handle) = self.0.get() {
            handle.set_handlers(announced(handlers));
        }
    }

    /// For somebody who may outlive the service.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer(Arc::downgrade(&self.0))
    }
}

/// Sees how the service does, and does not keep it.
#[derive(Clone, Debug, Default)]
pub struct Observer(Weak<OnceLock<Handle>>);

impl Observer {
    /// How it is; none before its start and after its end.
    #[must_use]
    pub fn report(&self) -> Option<BusReport> {
        let presence = self.0.upgrade()?;
        let handle = presence.get()?;
        let up = handle.is_up();
        let trouble = if up { None } else { handle.trouble() };
        Some(BusReport { name: NAME.to_owned(), up, trouble })
    }
}

struct Glue {
    checker: Checker,
    foreign: Foreign,
}

impl Backend for Glue {
    fn check(&self, subtype: &str, configstr: &str) -> Result<(), String> {
        self.checker.check(subtype, configstr)
    }

    fn glance(&self, subtype: &str, configstr: &str) -> Result<(), String> {
        self.checker.glance(subtype, configstr)
    }

    fn external(&self, subtype: &str, added: bool) {
        if added {
            self.foreign.add(subtype);
        } else {
            self.foreign.remove(subtype);
        }
    }
}
