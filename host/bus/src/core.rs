//! What the service knows: handlers of ours, handlers of others, and what the bus shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Announced, Backend};
use crate::bell::Bell;
use crate::names::can_be_announced;
use crate::ration::{Places, Rations};
use crate::text::help;

/// External handlers at most: each costs an object and what root's program keeps for it.
const MAX_EXTERNAL: usize = 64;

/// Shared by the bus' thread, its tasks, and whoever holds the handle.
pub(crate) struct Core {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) bell: Bell,
    /// The user that may register handlers: root, but for tests.
    pub(crate) trusted: u32,
    pub(crate) rations: Rations,
    pub(crate) places: Places,
    pub(crate) places_of_strangers: Places,
    tables: Mutex<Tables>,
}

/// Who answers for a subtype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The daemon.
    Own,
    /// The connection of this unique name.
    External(String),
}

/// One handler as the bus shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) config_desc: String,
    pub(crate) server: Server,
}

#[derive(Debug, Default)]
struct Tables {
    own: BTreeMap<String, String>,
    external: BTreeMap<String, Shown>,
    /// Subtypes that are being registered.
    reserved: BTreeSet<String>,
    /// What the bus shows, when nothing is under way.
    shown: BTreeMap<String, Shown>,
}

/// How the bus' picture has to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) gone: Vec<String>,
    pub(crate) new: Vec<(String, Shown)>,
}

/// A subtype that nobody else can register meanwhile.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    tables: &'a Mutex<Tables>,
    subtype: String,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.reserved.remove(&self.subtype);
    }
}

impl Core {
    pub(crate) fn new(backend: Arc<dyn Backend>, trusted: u32) -> Self {
        Self {
            backend,
            bell: Bell::default(),
            trusted,
            rations: Rations::default(),
            places: Places::default(),
            places_of_strangers: Places::default(),
            tables: Mutex::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own handlers are these from now on; the bus shows it after the next [`Bell::settle`].
    pub(crate) fn set_own(&self, handlers: Vec<Announced>) {
        let mut own = BTreeMap::new();
        for Announced { subtype, config_desc } in handlers {
            if can_be_announced(&subtype) {
                own.insert(subtype, help(&config_desc));
            } else {
                tracing::warn!(
                    "handler {subtype:?} is not shown on the bus, so targetcli does not know it: a subtype there has only \
                     letters, digits and underscores; its devices can be made in configfs"
                );
            }
        }
        self.tables().own = own;
    }

    /// What the bus shows now.
    pub(crate) fn shown(&self) -> BTreeMap<String, Shown> {
        self.tables().shown.clone()
    }

    /// A new connection shows nothing yet, and the names of others went with the old one.
    pub(crate) fn forget_connection(&self) {
        let external = {
            let mut tables = self.tables();
            tables.shown.clear();
            std::mem::take(&mut tables.external)
        };
        for subtype in external.keys() {
            tracing::info!("external handler {subtype:?}: the bus has gone, and its registration with it");
            self.backend.external(subtype, false);
        }
    }

    /// What has to change so that the bus shows what there is. It counts as shown from here.
    pub(crate) fn settle(&self) -> Change {
        let mut tables = self.tables();
        let mut target = tables.external.clone();
        for (subtype, config_desc) in &tables.own {
            if target.contains_key(subtype) {
                tracing::warn!(
                    "handler {subtype:?} is not shown on the bus: another program serves this subtype; end that program, or \
                     remove one of the two"
                );
                continue;
            }
            let shown = Shown { config_desc: config_desc.clone(), server: Server::Own };
            target.insert(subtype.clone(), shown);
        }
        let mut change = Change::default();
        for (subtype, shown) in &tables.shown {
            if target.get(subtype) != Some(shown) {
                change.gone.push(subtype.clone());
            }
        }
        for (subtype, shown) in &target {
            if tables.shown.get(subtype) != Some(shown) {
                change.new.push((subtype.clone(), shown.clone()));
            }
        }
        tables.shown = target;
        change
    }

    /// Keeps a subtype free for one registration.
    pub(crate) fn reserve(&self, subtype: &str) -> Result<Reservation<'_>, String> {
        let mut tables = self.tables();
        if tables.own.contains_key(subtype) {
            return Err(format!("subtype \"{subtype}\" is taken by a handler of the daemon"));
        }
        if tables.external.contains_key(subtype) || tables.reserved.contains(subtype) {
            return Err(format!("subtype \"{subtype}\" is registered already"));
        }
        if tables.external.len() + tables.reserved.len() >= MAX_EXTERNAL {
            return Err(format!("there are {MAX_EXTERNAL} external handlers already"));
        }
        tables.reserved.insert(subtype.to_owned());
        Ok(Reservation { tables: &self.tables, subtype: subtype.to_owned() })
    }

    /// An external handler is there. The backend knows it before the bus shows it.
    pub(crate) fn add_external(&self, place: Reservation<'_>, config_desc: &str, owner: String) {
        let shown = Shown { config_desc: help(config_desc), server: Server::External(owner) };
        self.tables().external.insert(place.subtype.clone(), shown);
        self.backend.external(&place.subtype, true);
    }

    /// A name has another owner: an external handler that was the old one's is gone. Says whether there was one.
    pub(crate) fn owner_changed(&self, subtype: &str, owner: Option<&str>) -> bool {
        {
            let mut tables = self.tables();
            match tables.external.get(subtype) {
                Some(Shown { server: Server::External(old), .. }) if owner != Some(old) => {}
                _ => return false,
            }
            tables.external.remove(subtype);
        }
        self.backend.external(subtype, false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<(String, bool)>>);

    impl Backend for Told {
        fn check(&self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }

        fn external(&self, subtype: &str, added: bool) {
            self.0.lock().unwrap().push((subtype.to_owned(), added));
        }
    }

    fn core() -> (Arc<Told>, Core) {
        let told = Arc::new(Told::default());
        let backend: Arc<dyn Backend> = told.clone();
        (told, Core::new(backend, 0))
    }

    fn announced(subtype: &str, help: &str) -> Announced {
        Announced { subtype: subtype.to_owned(), config_desc: help.to_owned() }
    }

    fn names(change: &Change) -> (Vec<&str>, Vec<&str>) {
        let new = change.new.iter().map(|(subtype, _)| subtype.as_str()).collect();
        (change.gone.iter().map(String::as_str).collect(), new)
    }

    #[test]
    fn only_differences_reach_the_bus_and_a_new_help_text_is_one() {
        let (_, core) = core();
        core.set_own(vec![announced("b", "1"), announced("a", "1"), announced("a-b", "1")]);
        assert_eq!(names(&core.settle()), (vec![], vec!["a", "b"]));
        assert_eq!(core.settle(), Change::default());
        core.set_own(vec![announced("b", "2"), announced("c", "1")]);
        assert_eq!(names(&core.settle()), (vec!["a", "b"], vec!["b", "c"]));
        core.forget_connection();
        assert_eq!(names(&core.settle()), (vec![], vec!["b", "c"]));
    }

    #[test]
    fn a_subtype_is_registered_once_whoever_has_it() {
        let (told, core) = core();
        core.set_own(vec![announced("file", "")]);
        assert!(core.reserve("file").unwrap_err().contains("of the daemon"));
        let place = core.reserve("foo").unwrap();
        assert!(core.reserve("foo").is_err());
        drop(place);
        core.add_external(core.reserve("foo").unwrap(), "help", ":1.5".to_owned());
        assert!(core.reserve("foo").unwrap_err().contains("already"));
        // A handler of ours that comes later waits until the other one has gone.
        core.set_own(vec![announced("file", ""), announced("foo", "ours")]);
        assert_eq!(core.settle().new[1].1.server, Server::External(":1.5".to_owned()));
        assert!(!core.owner_changed("foo", Some(":1.5")));
        assert!(!core.owner_changed("file", None));
        assert!(core.owner_changed("foo", None));
        assert_eq!(core.settle().new[0].1.server, Server::Own);
        assert_eq!(*told.0.lock().unwrap(), [("foo".to_owned(), true), ("foo".to_owned(), false)]);
    }

    #[test]
    fn external_handlers_have_an_end() {
        let (_, core) = core();
        for number in 0..MAX_EXTERNAL {
            core.add_external(core.reserve(&format!("s{number}")).unwrap(), "", ":1.5".to_owned());
        }
        assert!(core.reserve("one_more").unwrap_err().contains("64"));
        core.forget_connection();
        assert!(core.reserve("one_more").is_ok());
    }
}
