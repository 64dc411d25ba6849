//! `CheckConfig`: by whom, how often, and where the answer comes from.

use std::sync::Arc;
use std::time::Instant;

use zbus::message::Header;
use zbus::{Connection, DBusError};

use crate::core::Core;
use crate::names::{HANDLER, external_path};
use crate::oneshot::oneshot;
use crate::ration::{Place, Places};
use crate::text::one_line;

/// Bytes of a configuration. The kernel takes 255, so this is only an end.
const MAX_CONFIG: usize = 4096;

/// Checks at a time.
const AT_ONCE: usize = 4;

/// Of these, how many may be of users that are not root: root's never wait for theirs.
const OF_STRANGERS: usize = 2;

/// Checks that one external handler is asked for at a time.
const OF_EXTERNAL: usize = 4;

/// What tcmu-runner says to a good configuration.
const GOOD: &str = "success";

/// What it says to a bad one without a reason.
const NO_REASON: &str = "unknown";

const BUSY: &str = "too many checks; try again in a moment";

/// The two values of a reply.
pub(crate) type Answer = (bool, String);

fn no(reason: &str) -> Answer {
    let reason = one_line(reason);
    (false, if reason.is_empty() { NO_REASON.to_owned() } else { reason })
}

/// Lets a caller in who has asked for so little until now, and for no more than can be checked.
async fn admit(core: &Core, bus: &Connection, caller: &Header<'_>, config: &str) -> Result<bool, Answer> {
    if config.len() > MAX_CONFIG {
        return Err(no(&format!("the configuration has {} bytes; at most {MAX_CONFIG}", config.len())));
    }
    let Some(sender) = caller.sender() else { return Err(no("the caller has no name")) };
    let user = crate::caller::user(bus, sender.as_str()).await.map_err(|error| no(&error.to_string()))?;
    if !core.rations.take(user, Instant::now()) {
        return Err(no(BUSY));
    }
    Ok(user == core.trusted)
}

/// One of our own handlers.
pub(crate) async fn own(
    core: &Arc<Core>,
    bus: &Connection,
    caller: &Header<'_>,
    subtype: &str,
    config: &str,
) -> Answer {
    let trusted = match admit(core, bus, caller, config).await {
        Ok(trusted) => trusted,
        Err(answer) => return answer,
    };
    let stranger = if trusted { None } else { core.places_of_strangers.take(OF_STRANGERS) };
    let Some(place) = core.places.take(AT_ONCE).filter(|_| trusted || stranger.is_some()) else {
        return no(BUSY);
    };
    match run(core, (place, stranger), subtype, config).await {
        Ok(()) => (true, GOOD.to_owned()),
        Err(reason) => no(&reason),
    }
}

/// Asks the backend on a thread of its own; the places are free when that has answered, even if nobody waits any more.
async fn run(
    core: &Arc<Core>,
    places: (Place, Option<Place>),
    subtype: &str,
    config: &str,
) -> Result<(), String> {
    let (sender, receiver) = oneshot();
    let (backend, subtype, config) = (Arc::clone(&core.backend), subtype.to_owned(), config.to_owned());
    let started = std::thread::Builder::new().name("check-config".to_owned()).spawn(move || {
        let result = backend.check(&subtype, &config);
        drop(places);
        sender.send(result);
    });
    if let Err(error) = started {
        tracing::warn!("a check can not be started: {error}; raise TasksMax");
        return Err("the check can not be started".to_owned());
    }
    // A backend that panics has dropped the sender.
    receiver.await.unwrap_or_else(|| Err(NO_REASON.to_owned()))
}

/// A handler of another program: it is asked over the bus, with the connection's time limit.
pub(crate) async fn external(
    core: &Core,
    bus: &Connection,
    caller: &Header<'_>,
    (subtype, owner, places): (&str, &str, &Places),
    config: &str,
) -> Answer {
    if let Err(answer) = admit(core, bus, caller, config).await {
        return answer;
    }
    let Some(_place) = places.take(OF_EXTERNAL) else { return no(BUSY) };
    let path = external_path(subtype);
    let asked = bus.call_method(Some(owner), path, Some(HANDLER), "CheckConfig", &config).await;
    match asked.and_then(|reply| reply.body().deserialize::<(bool, String)>()) {
        Ok((true, message)) => (true, one_line(&message)),
        Ok((false, message)) => no(&message),
        Err(error) => no(&reason(subtype, &error)),
    }
}

/// What the other side said, without D-Bus' name for it where there are words.
fn reason(subtype: &str, error: &zbus::Error) -> String {
    match error {
        zbus::Error::InputOutput(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            format!("the program that serves \"{subtype}\" does not answer")
        }
        zbus::Error::MethodError(name, None, _) => name.to_string(),
        zbus::Error::MethodError(_, Some(words), _) => words.clone(),
        zbus::Error::FDO(error) => error.description().map_or_else(|| error.to_string(), ToOwned::to_owned),
        error => error.to_string(),
    }
}
