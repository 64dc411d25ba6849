//! What the bus itself knows: who somebody is, and who has a name.

use zbus::{Connection, Message};

const BUS: &str = "org.freedesktop.DBus";
const PATH: &str = "/org/freedesktop/DBus";

async fn ask(bus: &Connection, method: &str, name: &str) -> zbus::Result<Message> {
    bus.call_method(Some(BUS), PATH, Some(BUS), method, &name).await
}

/// The user that a connection belongs to, as the kernel told the bus (`GetConnectionUnixUser`).
pub(crate) async fn user(bus: &Connection, name: &str) -> zbus::Result<u32> {
    ask(bus, "GetConnectionUnixUser", name).await?.body().deserialize()
}

/// The process that a connection belongs to.
pub(crate) async fn process(bus: &Connection, name: &str) -> zbus::Result<u32> {
    ask(bus, "GetConnectionUnixProcessID", name).await?.body().deserialize()
}

/// All names, unique ones included.
pub(crate) async fn names(bus: &Connection) -> zbus::Result<Vec<String>> {
    bus.call_method(Some(BUS), PATH, Some(BUS), "ListNames", &()).await?.body().deserialize()
}

/// The connection that has a name now; `None`: nobody.
pub(crate) async fn owner(bus: &Connection, name: &str) -> zbus::Result<Option<String>> {
    match ask(bus, "GetNameOwner", name).await {
        Ok(reply) => reply.body().deserialize().map(Some),
        Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
