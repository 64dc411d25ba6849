//! What the service knows: handlers of ours, handlers of others, and what the bus shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Announced, Backend};
use crate::bell::Bell;
use crate::desk::Desk;
use crate::names::can_be_announced;
use crate::ration::Rations;
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
    pub(crate) desk: Arc<Desk>,
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
    /// Subtypes of programs that are about to register, as far as is known: they had before the last connection ended, or
    /// had their names before there was one. The backend leaves their devices alone.
    awaited: BTreeSet<String>,
    /// Counts the connections.
    connection: u64,
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
            desk: Arc::default(),
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
        let mut tables = self.tables();
        let (ours, awaited) =
            std::mem::take(&mut tables.awaited).into_iter().partition(|name| own.contains_key(name));
        let ours: BTreeSet<String> = ours;
        tables.awaited = awaited;
        tables.own = own;
        for subtype in ours {
            self.backend.external(&subtype, false);
        }
    }

    /// The backend leaves these alone, as if their programs had registered. See [`Self::give_up`].
    pub(crate) fn wait_for(&self, subtypes: Vec<String>) {
        self.tables().awaited.extend(subtypes);
    }

    /// There is a connection, with its number; `None`: there is nobody to wait for.
    pub(crate) fn connected(&self) -> Option<u64> {
        let mut tables = self.tables();
        tables.connection += 1;
        (!tables.awaited.is_empty()).then_some(tables.connection)
    }

    /// Whoever has not registered by now on this connection does not serve its subtype any more.
    pub(crate) fn give_up(&self, connection: u64) {
        let mut tables = self.tables();
        if tables.connection != connection {
            return;
        }
        for subtype in std::mem::take(&mut tables.awaited) {
            tracing::info!("external handler {subtype:?} has not registered: its devices are ours again");
            self.backend.external(&subtype, false);
        }
    }

    /// What the bus shows now.
    pub(crate) fn shown(&self) -> BTreeMap<String, Shown> {
        self.tables().shown.clone()
    }

    /// A new connection shows nothing yet, and the names of others went with the old one. Their programs may still be
    /// there, and answer the kernel: their subtypes are theirs until [`Self::give_up`].
    pub(crate) fn forget_connection(&self) {
        let mut tables = self.tables();
        tables.connection += 1;
        tables.shown.clear();
        for subtype in std::mem::take(&mut tables.external).into_keys() {
            tracing::info!("external handler {subtype:?}: the bus has gone, and its registration with it");
            tables.awaited.insert(subtype);
        }
    }

    /// Nobody will be told of any more.
    pub(crate) fn forget_all(&self) {
        self.forget_connection();
        let connection = self.tables().connection;
        self.give_up(connection);
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
        let mut tables = self.tables();
        tables.external.insert(place.subtype.clone(), shown);
        tables.awaited.remove(&place.subtype);
        self.backend.external(&place.subtype, true);
        drop(tables);
        // After the tables: it locks them itself.
        drop(place);
    }

    /// A name has another owner: an external handler that was the old one's is gone. Says whether there was one. One that
    /// is awaited is gone with its name; another owner of that may register.
    pub(crate) fn owner_changed(&self, subtype: &str, owner: Option<&str>) -> bool {
        let mut tables = self.tables();
        let gone = match tables.external.get(subtype) {
            Some(Shown { server: Server::External(old), .. }) => owner != Some(old),
            Some(_) => false,
            None => owner.is_none_or(str::is_empty) && tables.awaited.contains(subtype),
        };
        if !gone {
            return false;
        }
        tables.external.remove(subtype);
        tables.awaited.remove(subtype);
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

        fn glance(&self, _: &str, _: &str) -> Result<(), String> {
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
    /// Holds up the news of a registration until it is overtaken, if it can be.
    struct Slow {
        begun: std::sync::mpsc::Sender<()>,
        overtaken: Mutex<std::sync::mpsc::Receiver<()>>,
        overtake: std::sync::mpsc::Sender<()>,
        told: Mutex<Vec<bool>>,
    }

    impl Backend for Slow {
        fn check(&self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }

        fn glance(&self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }

        fn external(&self, _: &str, added: bool) {
            if added {
                self.begun.send(()).unwrap();
                let wait = std::time::Duration::from_millis(300);
                let _ = self.overtaken.lock().unwrap().recv_timeout(wait);
            }
            self.told.lock().unwrap().push(added);
            if !added {
                self.overtake.send(()).unwrap();
            }
        }
    }

    #[test]
    fn a_program_that_vanishes_while_it_registers_is_told_of_in_that_order() {
        let (begun, begins) = std::sync::mpsc::channel();
        let (overtake, overtaken) = std::sync::mpsc::channel();
        let slow =
            Arc::new(Slow { begun, overtaken: Mutex::new(overtaken), overtake, told: Mutex::default() });
        let backend: Arc<dyn Backend> = slow.clone();
        let core = Core::new(backend, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| core.add_external(core.reserve("foo").unwrap(), "", ":1.5".to_owned()));
            begins.recv().unwrap();
            assert!(core.owner_changed("foo", Some("")));
        });
        assert_eq!(*slow.told.lock().unwrap(), [true, false]);
    }

    #[test]
    fn an_external_handler_keeps_its_subtype_over_a_lost_bus_until_it_is_given_up() {
        let (told, core) = core();
        let seen = |expected: &[(&str, bool)]| {
            let told = std::mem::take(&mut *told.0.lock().unwrap());
            let told: Vec<_> = told.iter().map(|(subtype, added)| (subtype.as_str(), *added)).collect();
            assert_eq!(told, expected);
        };
        core.wait_for(vec!["early".to_owned(), "dies".to_owned(), "ours".to_owned()]);
        let first = core.connected().unwrap();
        core.set_own(vec![announced("ours", "")]);
        seen(&[("ours", false)]);
        assert!(!core.owner_changed("dies", Some(":1.7")), "somebody may register it yet");
        assert!(core.owner_changed("dies", Some("")));
        seen(&[("dies", false)]);
        core.add_external(core.reserve("foo").unwrap(), "", ":1.5".to_owned());
        core.forget_connection();
        seen(&[("foo", true)]);
        // That connection's time is over, another one's has begun.
        core.give_up(first);
        let second = core.connected().unwrap();
        core.give_up(first);
        core.add_external(core.reserve("foo").unwrap(), "", ":1.2".to_owned());
        seen(&[("foo", true)]);
        core.give_up(second);
        seen(&[("early", false)]);
        core.forget_all();
        seen(&[("foo", false)]);
        assert_eq!(core.connected(), None);
    }
}
