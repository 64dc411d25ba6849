//! The objects: what D-Bus calls arrive at. Names and arguments are tcmu-runner's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use zbus::fdo::ManagedObjects;
use zbus::message::Header;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedVariant, Variant, interface};

use crate::check;
use crate::core::{Core, Server, Shown};
use crate::names::{HANDLER, path};
use crate::ration::Places;
use crate::register;

/// `/org/kernel/TCMUService1`. Ours and not zbus': that one would list `HandlerManager1`, too, which targetcli would
/// take for a handler.
pub(crate) struct Root(pub(crate) Arc<Core>);

#[interface(name = "org.freedesktop.DBus.ObjectManager", introspection_docs = false)]
impl Root {
    #[zbus(out_args("object_paths_interfaces_and_properties"))]
    fn get_managed_objects(&self) -> zbus::fdo::Result<ManagedObjects> {
        let mut objects = ManagedObjects::new();
        for (subtype, Shown { config_desc, .. }) in self.0.shown() {
            let value = OwnedVariant::try_from(Variant::from(config_desc))?;
            let properties = HashMap::from([("ConfigDesc".to_owned(), value)]);
            let object = ObjectPath::try_from(path(&subtype))?;
            let interfaces = HashMap::from([(InterfaceName::try_from(HANDLER)?.into(), properties)]);
            objects.insert(object.into(), interfaces);
        }
        Ok(objects)
    }

    #[zbus(signal)]
    pub(crate) async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: HashMap<InterfaceName<'_>, HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Cow<'_, [InterfaceName<'_>]>,
    ) -> zbus::Result<()>;
}

/// `/org/kernel/TCMUService1/<subtype>`.
pub(crate) struct Handler {
    core: Arc<Core>,
    subtype: String,
    shown: Shown,
    /// Of an external handler: checks under way.
    places: Places,
}

impl Handler {
    pub(crate) fn new(core: Arc<Core>, subtype: String, shown: Shown) -> Self {
        Self { core, subtype, shown, places: Places::default() }
    }
}

#[interface(name = "org.kernel.TCMUService1", introspection_docs = false)]
impl Handler {
    #[zbus(out_args("is_valid", "message"))]
    async fn check_config(
        &self,
        configstr: &str,
        #[zbus(header)] caller: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> (bool, String) {
        match &self.shown.server {
            Server::Own => check::own(&self.core, bus, &caller, &self.subtype, configstr).await,
            Server::External(owner) => {
                let handler = (self.subtype.as_str(), owner.as_str(), &self.places);
                check::external(&self.core, bus, &caller, handler, configstr).await
            }
        }
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn config_desc(&self) -> &str {
        &self.shown.config_desc
    }
}

/// `/org/kernel/TCMUService1/HandlerManager1`.
pub(crate) struct Manager(pub(crate) Arc<Core>);

#[interface(name = "org.kernel.TCMUService1.HandlerManager1", introspection_docs = false)]
impl Manager {
    #[zbus(out_args("succeeded", "message"))]
    async fn register_handler(
        &self,
        subtype: &str,
        cfgstr_desc: &str,
        #[zbus(header)] caller: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> (bool, String) {
        register::register(&self.0, bus, &caller, subtype, cfgstr_desc).await
    }
}
