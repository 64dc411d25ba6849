//! The commands that talk to a running `lunboxd` over its control socket.

mod device;
mod events;
mod handover;
mod status;
mod top;
mod trace;
mod worker;

pub use device::run as device;
pub use events::run as events;
pub use handover::run as handover;
pub use status::run as status;
pub use top::run as top;
pub use trace::run as trace;
pub use worker::run as worker;

use lunbox_control::{Answer, Client, ClientError, Request};

use crate::cli::Daemon;

/// Asks one question. `pick` takes the answer if it is of the kind that belongs to the question.
fn ask<T>(
    daemon: &Daemon,
    request: &Request,
    pick: impl FnOnce(Answer) -> Result<T, Answer>,
) -> Result<T, ClientError> {
    let mut client = Client::connect(&daemon.socket)?;
    let answer = client.ask(request)?;
    pick(answer).map_err(|other| client.unexpected(request, &other))
}

/// Takes the answer to what is only done.
fn done(answer: Answer) -> Result<(), Answer> {
    match answer {
        Answer::Done => Ok(()),
        other => Err(other),
    }
}
