//! One connection to the bus, from its beginning to its end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use zbus::connection::Builder;
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::message::Type;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, MatchRule, Message, MessageStream, ObjectPath, Variant};

use crate::bell::Ring;
use crate::core::{Change, Core};
use crate::handle::BusError;
use crate::names::{EXTERNAL, HANDLER, MANAGER, NAME, ROOT, can_be_announced, external_name, path};
use crate::objects::{Handler, Manager, Root};

/// How long the bus, or an external handler, may take to answer a call of ours. Whoever asked us for a check waits 25 s
/// with most libraries; the bus itself answers at once or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names of external handlers that are looked at before there is a service: as many as may register.
const MAX_SEEN: usize = 64;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As it was asked to.
    Stopped,
    /// There was none, or it went away.
    Lost(BusError),
}

#[derive(Debug)]
enum Happening {
    Rung(Ring),
    Owner(zbus::Result<Message>),
    Closed,
}

/// Connects, shows the handlers, takes the name, tells `up`, and serves until the end.
pub(crate) async fn session(core: &Arc<Core>, address: Option<&str>, up: impl FnOnce()) -> End {
    let mut connecting = pin!(connect(core, address));
    let connected = poll_fn(|context| match core.bell.poll_stop(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => connecting.as_mut().poll(context).map(Some),
    });
    let (bus, owners) = match connected.await {
        None => return End::Stopped,
        Some(Err(error)) => return End::Lost(error),
        Some(Ok(connected)) => connected,
    };
    up();
    let end = serve(core, &bus, owners).await;
    core.bell.dismiss();
    // One that the bus has closed can not be closed again.
    let _ = bus.close().await;
    end
}

async fn connect(core: &Arc<Core>, address: Option<&str>) -> Result<(Connection, MessageStream), BusError> {
    let builder = address.map_or_else(Builder::system, Builder::address);
    let bus = builder
        .method_timeout(PATIENCE)
        .serve_at(ROOT, Root(Arc::clone(core)))
        .serve_at(MANAGER, Manager(Arc::clone(core)))
        .build()
        .await
        .map_err(BusError::Connect)?;
    let set_up = async {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .arg0ns(EXTERNAL)
            .build()?;
        let owners = MessageStream::for_match_rule(rule, &bus, None).await?;
        // Nobody listens before there is a name to listen to.
        show(core, &bus, core.settle(), false).await?;
        Ok(owners)
    };
    let owners = match set_up.await {
        Ok(owners) => owners,
        Err(error) => {
            let _ = bus.close().await;
            return Err(BusError::Connect(error));
        }
    };
    match take_name(&bus).await {
        Ok(()) => Ok((bus, owners)),
        Err(error) => {
            let _ = bus.close().await;
            Err(error)
        }
    }
}

/// No queueing, no replacing: two daemons would both claim every device.
async fn take_name(bus: &Connection) -> Result<(), BusError> {
    let refused = match bus.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => return Ok(()),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => None,
        Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::AccessDenied(_)) => {
            return Err(BusError::NotAllowed);
        }
        Err(error) => Some(error),
    };
    if let Some(error) = refused {
        return Err(BusError::Connect(error));
    }
    let holder = holder_on(bus).await.ok().flatten().flatten();
    Err(BusError::NameTaken { holder })
}

/// Whether somebody has the name, and which process if the bus tells.
async fn holder_on(bus: &Connection) -> zbus::Result<Option<Option<u32>>> {
    let Some(owner) = crate::caller::owner(bus, NAME).await? else { return Ok(None) };
    Ok(Some(crate::caller::process(bus, &owner).await.ok()))
}

/// What a daemon looks at before there is a service of its own.
#[derive(Debug)]
pub(crate) struct Seen {
    /// As [`holder_on`] says.
    pub(crate) holder: Option<Option<u32>>,
    /// Subtypes whose names programs of the trusted user have.
    pub(crate) external: Vec<String>,
}

/// Looks, on a connection of its own.
pub(crate) async fn look(address: Option<&str>, trusted: u32) -> zbus::Result<Seen> {
    let bus = address.map_or_else(Builder::system, Builder::address).build().await?;
    let seen = async {
        let holder = holder_on(&bus).await?;
        let external = external(&bus, trusted).await.unwrap_or_else(|error| {
            tracing::debug!("external handlers are not known before they register: {error}");
            Vec::new()
        });
        Ok(Seen { holder, external })
    };
    let seen = seen.await;
    let _ = bus.close().await;
    seen
}

async fn external(bus: &Connection, trusted: u32) -> zbus::Result<Vec<String>> {
    let mut external = Vec::new();
    for name in crate::caller::names(bus).await? {
        let Some(subtype) = subtype_of(&name) else { continue };
        let may_be = can_be_announced(subtype) && external.len() < MAX_SEEN;
        if may_be && crate::caller::user(bus, &external_name(subtype)).await.is_ok_and(|user| user == trusted)
        {
            external.push(subtype.to_owned());
        }
    }
    Ok(external)
}

/// Of a bus name as external handlers have it.
fn subtype_of(name: &str) -> Option<&str> {
    name.strip_prefix(EXTERNAL)?.strip_prefix('.')
}

async fn serve(core: &Arc<Core>, bus: &Connection, mut owners: MessageStream) -> End {
    let mut closed = pin!(bus.closed());
    loop {
        let happening = poll_fn(|context| {
            if let Poll::Ready(ring) = core.bell.poll(context) {
                return Poll::Ready(Happening::Rung(ring));
            }
            match Pin::new(&mut owners).poll_next(context) {
                Poll::Ready(Some(message)) => return Poll::Ready(Happening::Owner(message)),
                Poll::Ready(None) => return Poll::Ready(Happening::Closed),
                Poll::Pending => {}
            }
            closed.as_mut().poll(context).map(|()| Happening::Closed)
        });
        let shown = match happening.await {
            Happening::Rung(Ring::Stop) => return End::Stopped,
            Happening::Rung(Ring::Settle(waiting)) => {
                let shown = show(core, bus, core.settle(), true).await;
                for waiting in waiting {
                    waiting.send(());
                }
                shown
            }
            Happening::Owner(Ok(message)) if vanished(core, &message) => {
                show(core, bus, core.settle(), true).await
            }
            Happening::Owner(_) => Ok(()),
            Happening::Closed => return End::Lost(BusError::Lost),
        };
        if let Err(error) = shown {
            return End::Lost(BusError::Connect(error));
        }
    }
}

/// Whether an external handler has gone with this.
fn vanished(core: &Core, message: &Message) -> bool {
    let body = message.body();
    let Ok((name, _, owner)) = body.deserialize::<(&str, &str, &str)>() else { return false };
    let Some(subtype) = subtype_of(name) else { return false };
    let gone = core.owner_changed(subtype, Some(owner));
    if gone {
        tracing::info!("external handler {subtype:?} has gone: its devices are ours again");
    }
    gone
}

/// Makes the objects be what they should, and tells everybody.
async fn show(core: &Arc<Core>, bus: &Connection, change: Change, tell: bool) -> zbus::Result<()> {
    let server = bus.object_server();
    let emitter = SignalEmitter::new(bus, ROOT)?;
    let interface = InterfaceName::try_from(HANDLER)?;
    for subtype in change.gone {
        let object = ObjectPath::try_from(path(&subtype))?;
        match server.remove::<Handler, _>(&object).await {
            Ok(_) | Err(zbus::Error::InterfaceNotFound) => {}
            Err(error) => return Err(error),
        }
        if tell {
            Root::interfaces_removed(&emitter, object, Cow::Borrowed(std::slice::from_ref(&interface)))
                .await?;
        }
    }
    for (subtype, shown) in change.new {
        let object = ObjectPath::try_from(path(&subtype))?;
        let config_desc = shown.config_desc.clone();
        server.at(&object, Handler::new(Arc::clone(core), subtype, shown)).await?;
        if tell {
            let properties = HashMap::from([("ConfigDesc", Variant::from(config_desc))]);
            let interfaces = HashMap::from([(interface.clone(), properties)]);
            Root::interfaces_added(&emitter, object, interfaces).await?;
        }
    }
    Ok(())
}
