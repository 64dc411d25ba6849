//! `lunbox serve`: LUNs over iSCSI, without a kernel module and without root.
//!
//! ```text
//!   initiators ══ iSCSI ══▶ lunbox_iscsi ── emulated ring ──▶ lunbox_device (one thread per LUN)
//!                               ▲                                  │ events
//!              signals ──▶ this thread: status, identity, end ◀────┘
//! ```

mod chap;
mod lun;
mod reporter;
mod run;
mod signals;
mod spec;
mod status;
mod stop;
mod target_name;
mod url;

pub use spec::{LunSpec, SpecError};
pub use target_name::{NameError, TargetName};
pub use url::url;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::bail;
use lunbox_engine::{Engine, EngineOptions};
use lunbox_iscsi::{Server, ServerLimits, ServerOptions};
use nix::unistd::geteuid;
use serde::Serialize;

use crate::cli::Serve;
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line};
use crate::search;
use lun::{Facts, Lun, MAX_TRANSFER, Surroundings, Wanted};
use run::{Message, Running};
use signals::Signals;

/// Most LUNs of one target.
const MAX_LUNS: usize = 256;

/// What `--json` prints first.
#[derive(Serialize)]
struct Announcement<'a> {
    address: String,
    target: &'a str,
    luns: Vec<&'a Facts>,
}

/// Serves until a signal comes.
///
/// # Errors
/// Whatever kept it from serving: one line that names the thing and the remedy. Nothing is left behind but files that
/// were made, which the line names.
pub fn run(options: &Serve, output: &Output) -> anyhow::Result<Exit> {
    // Before any thread begins.
    let signals = Signals::hold()?;
    let target = options.name.clone().unwrap_or_else(TargetName::of_this_machine);
    let variable = env::var(chap::VARIABLE).ok();
    let credentials = chap::credentials(
        options.chap_user.as_deref(),
        options.chap_secret_file.as_deref(),
        variable,
        output,
    )?;
    if credentials.is_none() && !options.listen.ip().is_loopback() {
        // The server refuses it too; here it is told before a file is made.
        return Err(lunbox_iscsi::StartError::NotLoopback { address: options.listen }.into());
    }
    let wanted = wanted(options)?;
    let engine = Engine::new(EngineOptions { cache: cache(options), ..EngineOptions::default() })?;
    let catalogue = search::catalogue(&options.handler, &options.search.handler_path, &engine)?;

    let (send, inbox) = channel();
    let events = send.clone();
    let mut around = Surroundings {
        catalogue: &catalogue,
        claims: Arc::default(),
        target: &target,
        // A receiver that has gone needs no events.
        events: Arc::new(move |number, event| drop(events.send(Message::Device(number, event)))),
        output,
        created: Vec::new(),
    };
    let started = start(&wanted, &mut around).and_then(|(luns, fronts)| {
        let server = Server::start(ServerOptions {
            listen: options.listen,
            target_name: target.to_string(),
            alias: None,
            credentials,
            luns: fronts,
            limits: ServerLimits::default(),
        })?;
        signals.deliver(send.clone(), Message::Signal)?;
        Ok((luns, server))
    });
    let (mut luns, server) = started.with_context_of(&around.created)?;
    let address = server.address();
    for lun in &mut luns {
        lun.facts.url = url(address, &target, lun.facts.lun);
    }
    // Whoever closed stdout does not want to know; initiators are served all the same.
    let _ = announce(address.to_string(), &target, &luns, output);
    Ok(Running::new(options, output, server, luns, send, inbox).serve())
}

fn start(
    wanted: &[Wanted<'_>],
    around: &mut Surroundings<'_>,
) -> anyhow::Result<(Vec<Lun>, Vec<lunbox_iscsi::LunConfig>)> {
    let mut luns = Vec::new();
    let mut fronts = Vec::new();
    for wanted in wanted {
        let (lun, front) = around.start(wanted)?;
        luns.push(lun);
        fronts.push(front);
    }
    Ok((luns, fronts))
}

/// Names what a failed start leaves behind.
trait WithContextOf<T> {
    fn with_context_of(self, created: &[String]) -> anyhow::Result<T>;
}

impl<T> WithContextOf<T> for anyhow::Result<T> {
    fn with_context_of(self, created: &[String]) -> anyhow::Result<T> {
        match self {
            Err(error) if !created.is_empty() => {
                bail!("{error:#} (made before that, empty, and still there: {})", created.join(", "))
            }
            result => result,
        }
    }
}

/// What each LUN is to be.
fn wanted(options: &Serve) -> anyhow::Result<Vec<Wanted<'_>>> {
    let count = options.luns.len();
    if count > MAX_LUNS {
        bail!("{count} LUNs; one target has at most {MAX_LUNS}: start another server on another port");
    }
    let sizes = options.size.len();
    if sizes > 1 && sizes != count {
        bail!(
            "--size was given {sizes} times for {count} LUNs; give it once for all, or once for each in their order"
        );
    }
    let block_size = u32::try_from(options.block_size.bytes()).ok().filter(|&bytes| bytes <= MAX_TRANSFER);
    let Some(block_size) = block_size else {
        bail!(
            "--block-size {} is more than one transfer can carry ({MAX_TRANSFER} bytes); use 512 or 4096",
            options.block_size
        );
    };
    let luns = options.luns.iter().enumerate().map(|(number, spec)| Wanted {
        number,
        spec,
        size: options.size.get(if sizes > 1 { number } else { 0 }).copied(),
        block_size,
        read_only: options.read_only,
        task_management: options.tmr,
    });
    Ok(luns.collect())
}

/// Where compiled handlers are kept. Without a home there is no cache, and handlers are compiled at each start.
fn cache(options: &Serve) -> Option<PathBuf> {
    if let Some(directory) = &options.cache_dir {
        return Some(directory.clone());
    }
    default_cache(geteuid().is_root(), env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::home_dir())
}

fn default_cache(root: bool, cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some("/var/cache/lunbox".into());
    }
    // XDG Base Directory Specification: relative paths are to be ignored.
    let cache_home = cache_home.filter(|path| path.is_absolute());
    let cache_home =
        cache_home.or_else(|| home.filter(|home| home.is_absolute()).map(|home| home.join(".cache")));
    cache_home.map(|directory| directory.join("lunbox"))
}

fn announce(address: String, target: &TargetName, luns: &[Lun], output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        let luns = luns.iter().map(|lun| &lun.facts).collect();
        return print_json(&Announcement { address, target: target.as_str(), luns });
    }
    for lun in luns {
        print_line(&lun.facts.url)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
