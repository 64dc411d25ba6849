//! D-Bus: the service that targetcli asks for handlers.
//!
//! ```text
//!   /org/kernel/TCMUService1                    ObjectManager: which handlers there are
//!   /org/kernel/TCMUService1/<subtype>          ConfigDesc, CheckConfig: one for each handler
//!   /org/kernel/TCMUService1/HandlerManager1    RegisterHandler: for daemons that serve a subtype themselves
//! ```
//!
//! Names, arguments and replies are tcmu-runner's, because targetcli, ceph-iscsi and gluster-block know them. What is
//! different: `RegisterHandler` is for root only and refuses a subtype that there is; `CheckConfig` really checks, and
//! is rationed per user that is not root; the service waits for no call.
//!
//! One thread runs the connection ([`Bus::start`]). What a check means, and what the daemon does with a subtype that
//! somebody else serves, is the [`Backend`]'s. If there is no bus, or it goes away, the thread tries again until it is
//! stopped; nothing else of the daemon needs it.

mod backend;
mod bell;
mod caller;
mod check;
mod core;
mod desk;
mod handle;
mod names;
mod objects;
mod oneshot;
mod ration;
mod register;
mod session;
mod text;

pub use backend::{Announced, Backend};
pub use handle::{Bus, BusError, Handle, Options, Timing};
pub use names::{NAME, can_be_announced};
pub use text::MAX_MESSAGE;
