//! `RegisterHandler`: another program of root's serves a subtype itself.

use zbus::Connection;
use zbus::message::Header;
use zbus::names::WellKnownName;

use crate::check::Answer;
use crate::core::Core;
use crate::names::{can_be_announced, external_name};
use crate::oneshot::oneshot;
use crate::text::one_line;

/// Bytes of a help text.
const MAX_HELP: usize = 4096;

/// What tcmu-runner says when it can not watch a name, for example because it is none.
const NO_WATCH: &str = "failed to watch for DBus handler name";

/// The program must have its bus name before it asks, and is gone when it loses it.
pub(crate) async fn register(
    core: &Core,
    bus: &Connection,
    caller: &Header<'_>,
    subtype: &str,
    help: &str,
) -> Answer {
    match is_trusted(core, bus, caller).await {
        Ok(true) => {}
        // Not worth a line at the usual level: anybody could fill the log.
        Ok(false) => return (false, "only root may register a handler".to_owned()),
        Err(reason) => return (false, one_line(&reason)),
    }
    match try_register(core, bus, subtype, help).await {
        Ok(()) => {
            tracing::info!("external handler {subtype:?} registered: its devices are left to it");
            (true, "succeeded".to_owned())
        }
        Err(reason) => {
            let subtype = one_line(subtype);
            tracing::warn!("external handler {subtype:?} refused: {reason}");
            (false, one_line(&reason))
        }
    }
}

async fn is_trusted(core: &Core, bus: &Connection, caller: &Header<'_>) -> Result<bool, String> {
    let sender = caller.sender().map(ToString::to_string).ok_or("the caller has no name")?;
    let user = crate::caller::user(bus, &sender).await.map_err(|error| error.to_string())?;
    Ok(user == core.trusted)
}

async fn try_register(core: &Core, bus: &Connection, subtype: &str, help: &str) -> Result<(), String> {
    let name = external_name(subtype);
    // A digit may begin an element of a path, but not of a bus name.
    if !can_be_announced(subtype) || WellKnownName::try_from(name.as_str()).is_err() {
        return Err(NO_WATCH.to_owned());
    }
    if help.len() > MAX_HELP {
        return Err(format!("the help text has {} bytes; at most {MAX_HELP}", help.len()));
    }
    let place = core.reserve(subtype)?;
    let owner = match crate::caller::owner(bus, &name).await {
        Ok(Some(owner)) => owner,
        Ok(None) => return Err(format!("Cannot find handler bus name: {name}")),
        Err(error) => {
            tracing::debug!("{name:?} has no owner to ask for: {error}");
            return Err(NO_WATCH.to_owned());
        }
    };
    let user = crate::caller::user(bus, &owner).await.map_err(|error| error.to_string())?;
    if user != core.trusted {
        return Err(format!("bus name {name} is not root's"));
    }
    core.add_external(place, help, owner.clone());
    // Changes are noticed from here on; one that was before is not.
    let now = crate::caller::owner(bus, &name).await.ok().flatten();
    if now.as_ref() != Some(&owner) {
        // The one that has the name now may have registered since.
        core.owner_changed(subtype, now.as_deref());
        return Err(format!("Cannot find handler bus name: {name}"));
    }
    let (sender, settled) = oneshot();
    core.bell.settle(Some(sender));
    // None: the connection has gone, and this reply with it.
    let _ = settled.await;
    Ok(())
}
