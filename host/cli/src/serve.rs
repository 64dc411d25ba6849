//! `lunbox serve`: LUNs over iSCSI, without a kernel module and without root.
//!
//! ```text
//!   initiators ══ iSCSI ══▶ lunbox_iscsi ── emulated ring ──▶ lunbox_device (one thread per LUN)
//!                               ▲                                  │ events
//!              signals ──▶ this thread: status, identity, end ◀────┘
//! ```

mod chap;
mod lun;
mod port;
mod printer;
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
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use anyhow::bail;
use lunbox_engine::{Engine, EngineOptions};
use lunbox_iscsi::{Server, ServerLimits, ServerOptions};
use nix::unistd::geteuid;
use serde::Serialize;

use crate::cli::Serve;
use crate::exit::Exit;
use crate::output::{Output, print_line};
use crate::search;
use lun::{Facts, Lun, MAX_TRANSFER, Surroundings, Wanted};
use printer::Printer;
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
    let (send, inbox) = channel();
    let serving = Arc::new(AtomicBool::new(false));
    signals.deliver(on_signal(Arc::clone(&serving), send.clone(), *output))?;
    let printer = output.is_json().then(|| Printer::start(std::io::stdout())).transpose()?;
    let target = options.name.clone().unwrap_or_else(TargetName::of_this_machine);
    let variable = env::var_os(chap::VARIABLE);
    let credentials = chap::credentials(
        options.chap_user.as_deref(),
        options.chap_secret_file.as_deref(),
        variable,
        output,
    )?;
    if credentials.is_none() && !is_loopback(options.listen.ip()) {
        // The server refuses it too; here it is told before a file is made.
        return Err(lunbox_iscsi::StartError::NotLoopback { address: options.listen }.into());
    }
    let wanted = wanted(options)?;
    let engine = Engine::new(EngineOptions { cache: cache(options), ..EngineOptions::default() })?;
    let catalogue = search::catalogue(&options.handler, &options.search.handler_path, &engine)?;

    let events = send.clone();
    let mut around = Surroundings {
        catalogue: &catalogue,
        places: search::places(&options.handler, &options.search.handler_path),
        claims: Arc::default(),
        target: &target,
        // A receiver that has gone needs no events.
        events: Arc::new(move |number, event| drop(events.send(Message::Device(number, event)))),
        output,
        created: Vec::new(),
    };
    let started = start(&wanted, &mut around).and_then(|(luns, fronts)| {
        // From here on there may be something to flush.
        serving.store(true, Ordering::Release);
        let server = Server::start(ServerOptions {
            listen: options.listen,
            target_name: target.to_string(),
            alias: None,
            credentials,
            luns: fronts,
            limits: ServerLimits::default(),
        })?;
        Ok((luns, server))
    });
    let (mut luns, server) = started.with_context_of(&around.created)?;
    let address = server.address();
    for lun in &mut luns {
        lun.facts.url = url(address, &target, lun.facts.lun);
    }
    // Whoever closed stdout does not want to know; initiators are served all the same.
    let _ = announce(address.to_string(), &target, &luns, printer.as_ref());
    tracing::info!(%address, luns = luns.len(), "serving");
    Ok(Running::new(options, output, printer, server, luns, (send, inbox)).serve())
}

/// What a signal does: while nothing is served it ends the process, whatever the start is waiting for (a secret that
/// nobody writes, a file system that hangs, a compiler).
fn on_signal(
    serving: Arc<AtomicBool>,
    to: Sender<Message>,
    output: Output,
) -> impl FnMut(u8) -> ControlFlow<()> + Send + 'static {
    move |signal| {
        if !serving.load(Ordering::Acquire) {
            output.error("ended by a signal before anything was served; files that were made stay");
            std::process::exit(Exit::Interrupted(signal).code().into());
        }
        to.send(Message::Signal(signal)).map_or(ControlFlow::Break(()), ControlFlow::Continue)
    }
}

/// Only this machine reaches it. The server judges in the same way.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
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
                bail!("{error:#} (made before that, without data, and still there: {})", created.join(", "))
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

fn announce(
    address: String,
    target: &TargetName,
    luns: &[Lun],
    printer: Option<&Printer>,
) -> anyhow::Result<()> {
    if let Some(printer) = printer {
        let luns = luns.iter().map(|lun| &lun.facts).collect();
        printer.print(serde_json::to_string(&Announcement { address, target: target.as_str(), luns })?);
        return Ok(());
    }
    for lun in luns {
        print_line(&lun.facts.url)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
