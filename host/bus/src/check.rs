//! `CheckConfig`: by whom, how often, and where the answer comes from.

use std::sync::Arc;
use std::time::Instant;

use zbus::message::Header;
use zbus::{Connection, DBusError};

use crate::core::Core;
use crate::desk::{Job, Turn};
use crate::names::{HANDLER, external_path};
use crate::oneshot::oneshot;
use crate::ration::Places;
use crate::text::one_line;

/// Bytes of a configuration. The kernel takes 255, so this is only an end.
const MAX_CONFIG: usize = 4096;

/// Checks that one external handler is asked for at a time: by others than root, and by anybody. Each is a message that
/// waits.
const OF_EXTERNAL: (usize, usize) = (4, 256);

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

/// Lets a caller in who has asked for so little until now, and for no more than can be checked; says whether it is root.
/// Root's programs are never too many: targetcli takes a no for a bad configuration.
async fn admit(core: &Core, bus: &Connection, caller: &Header<'_>, config: &str) -> Result<bool, Answer> {
    if config.len() > MAX_CONFIG {
        return Err(no(&format!("the configuration has {} bytes; at most {MAX_CONFIG}", config.len())));
    }
    let Some(sender) = caller.sender() else { return Err(no("the caller has no name")) };
    let user = crate::caller::user(bus, sender.as_str()).await.map_err(|error| no(&error.to_string()))?;
    let trusted = user == core.trusted;
    if !trusted && !core.rations.take(user, Instant::now()) {
        return Err(no(BUSY));
    }
    Ok(trusted)
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
    let (sender, receiver) = oneshot();
    let job = Job {
        backend: Arc::clone(&core.backend),
        subtype: subtype.to_owned(),
        config: config.to_owned(),
        trusted,
        since: Instant::now(),
        sender,
    };
    let result = match core.desk.take(job) {
        // A backend that panics has dropped the sender.
        Turn::Has => receiver.await.unwrap_or_else(|| Err(NO_REASON.to_owned())),
        Turn::None if trusted => core.backend.glance(subtype, config),
        Turn::None => Err(BUSY.to_owned()),
    };
    match result {
        Ok(()) => (true, GOOD.to_owned()),
        Err(reason) => no(&reason),
    }
}

/// A handler of another program: it is asked over the bus, with the connection's time limit.
pub(crate) async fn external(
    core: &Core,
    bus: &Connection,
    caller: &Header<'_>,
    (subtype, owner, places): (&str, &str, &Places),
    config: &str,
) -> Answer {
    let most = match admit(core, bus, caller, config).await {
        Ok(trusted) => {
            if trusted {
                OF_EXTERNAL.1
            } else {
                OF_EXTERNAL.0
            }
        }
        Err(answer) => return answer,
    };
    let Some(_place) = places.take(most) else { return no(BUSY) };
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
