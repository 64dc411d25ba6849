//! The first words of a worker: who it is, and which devices it has. Whoever listens may be in somebody else's hands, so
//! there are bounds.

use std::time::{Duration, Instant};

use lunbox_wire::{Device as Served, Handler, Hello, Link, LinkError, Report, Request, VERSION};

use super::client::{MOST_DEVICES, one_line};

/// Most bytes of text in the devices of one greeting: the longest cfgstring of every device and what was made of it.
const MOST_TEXT: usize = MOST_DEVICES * 8192;

/// Most words with which a worker says how it is confined.
const MOST_WORDS: usize = 32;

/// Why a worker is none.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// It said nothing in time, or something else.
    #[error("it did not greet within {} s", .0.as_secs())]
    Silent(Duration),
    /// It ended.
    #[error("it ended before it greeted; its log lines say why")]
    Gone,
    /// It said something else.
    #[error("it did not greet but said something else")]
    Strange,
    /// It says that it is the worker of somebody else.
    #[error("it says that it is worker {0:?}, which it is not")]
    Impostor(String),
    /// More than any worker has.
    #[error("its greeting is longer than {MOST_DEVICES} devices can be")]
    TooLong,
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A thread could not be had.
    #[error("no thread for it: {0}; raise the limit of tasks (TasksMax)")]
    Thread(#[from] std::io::Error),
}

/// Says hello on a new link. Returns what the worker says of itself, and its devices.
///
/// # Errors
/// See [`GreetError`].
pub fn greet(link: &Link, patience: Duration) -> Result<(Hello, Vec<Served>), GreetError> {
    let deadline = Instant::now() + patience;
    link.send(&Request::Hello { version: VERSION }, &[])?;
    let next = || match link.receive_within::<Report>(deadline.saturating_duration_since(Instant::now())) {
        Ok(Some((report, _))) => Ok(report),
        Ok(None) => Err(GreetError::Gone),
        Err(LinkError::WouldBlock) => Err(GreetError::Silent(patience)),
        Err(error) => Err(error.into()),
    };
    let Report::Hello(mut hello) = next()? else { return Err(GreetError::Strange) };
    hello.build = one_line(&hello.build);
    hello.jail.truncate(MOST_WORDS);
    for word in &mut hello.jail {
        *word = one_line(word);
    }
    let promised = usize::try_from(hello.devices).unwrap_or(usize::MAX);
    if promised > MOST_DEVICES {
        return Err(GreetError::TooLong);
    }
    let (mut devices, mut text) = (Vec::new(), 0_usize);
    for _ in 0..promised {
        let Report::Device(device) = next()? else { return Err(GreetError::Strange) };
        text = text.saturating_add(text_of(&device));
        if text > MOST_TEXT {
            return Err(GreetError::TooLong);
        }
        devices.push(*device);
    }
    Ok((hello, devices))
}

/// Bytes of everything in a device that can be long.
fn text_of(device: &Served) -> usize {
    let Handler { subtype, name, version, digest } = &device.handler;
    let texts = [&device.name, subtype, name, version, digest].map(String::len);
    let stores =
        device.stores.iter().map(|store| size_of_val(store) + store.option.len() + store.locator.len());
    let options = device.options.iter().map(|option| size_of_val(option) + option.0.len() + option.1.len());
    texts.into_iter().chain(stores).chain(options).sum()
}

#[cfg(test)]
mod tests;
