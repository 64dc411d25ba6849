//! `lunbox inspect`: what a handler is, and whether this host would serve it.

mod interfaces;
mod structure;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lunbox_contract::CONTRACT_VERSION;
use lunbox_engine::{Abilities, Component, Engine, EngineOptions, HandlerFactory};
use nix::fcntl::OFlag;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cli::Inspect;
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line, printable};
use crate::search;
use interfaces::Interface;
use structure::{Form, Structure};

/// Largest file that is looked into; the engine's own limit.
const MAX_BYTES: u64 = 64 << 20;

/// What is known of a handler's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    path: PathBuf,
    /// Bytes.
    size: u64,
    sha256: String,
    form: Form,
    /// Versions of the contract in the names of imports and exports; more than one is a mistake.
    contract: Vec<String>,
    /// Version that this host speaks.
    host_contract: &'static str,
    /// Absent where the file does not tell.
    imports: Option<Vec<Interface>>,
    /// Absent where the file does not tell.
    exports: Option<Vec<Interface>>,
    /// Least memory of an instance in bytes, all of its memories together.
    memory_minimum: Option<u64>,
    /// What the handler says about itself; absent if it could not be asked.
    handler: Option<Description>,
    /// This host would serve it.
    served: bool,
    /// Why not, and what to do.
    problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Description {
    subtype: String,
    name: String,
    version: String,
    config_help: String,
}

/// Prints what is known.
///
/// # Errors
/// A file that can not be read, a subtype that is not there, or stdout's.
pub fn run(options: &Inspect, output: &Output) -> anyhow::Result<Exit> {
    // Without a cache: a look changes nothing.
    let engine = Engine::new(EngineOptions::default())?;
    let path = locate(options, &engine)?;
    let report = report(&path, &engine)?;
    if output.is_json() {
        print_json(&report)?;
    } else {
        print_line(text(&report, output.colours_stdout()).trim_end())?;
    }
    Ok(if report.served { Exit::Ok } else { Exit::Failed })
}

/// The file that was meant.
fn locate(options: &Inspect, engine: &Engine) -> anyhow::Result<PathBuf> {
    let Some(subtype) = options.handler.to_str().filter(|text| is_subtype(text)) else {
        return Ok(options.handler.clone());
    };
    let directories = &options.search.handler_path;
    let catalogue = search::catalogue(&[], directories, engine)?;
    let mut listed = catalogue.iter();
    let Some(found) = listed.find(|listed| listed.handler.description().subtype == subtype) else {
        bail!(
            "no handler of subtype {subtype:?} in {}; there is: {}; for a file write ./{subtype}",
            search::places(&[], directories),
            catalogue.subtypes()
        );
    };
    Ok(found.path.clone())
}

fn is_subtype(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(allowed)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    // O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
    let file =
        File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).with_context(|| {
            format!("{} can not be opened; name a .wasm or .cwasm file, or a subtype", path.display())
        })?;
    let metadata = file.metadata().with_context(|| path.display().to_string())?;
    if !metadata.is_file() {
        bail!("{} is no regular file; name a .wasm or .cwasm file, or a subtype", path.display());
    }
    if metadata.len() > MAX_BYTES {
        bail!("{} has {} bytes; a handler has at most {MAX_BYTES}", path.display(), metadata.len());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

fn report(path: &Path, engine: &Engine) -> anyhow::Result<Report> {
    let bytes = read(path)?;
    let structure = Structure::of(&bytes);
    let (component, load_problem) = match engine.load(path) {
        Ok(component) => (Some(component), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let abilities = component.as_ref().map(Component::abilities);
    let no_block = abilities.is_some_and(|abilities| !abilities.block);
    let problem = load_problem.or_else(|| {
        no_block.then(|| {
            "exports no block interface; this host serves block handlers only: implement Block, and name it in \
             export_handler!"
                .to_owned()
        })
    });
    let (imports, exports, memory_minimum) = match &structure {
        Structure { form: Form::Component, imports, exports, memory_minimum } => (
            Some(imports.iter().map(|name| interfaces::import(name)).collect::<Vec<_>>()),
            Some(exports.iter().map(|name| interfaces::export(name)).collect::<Vec<_>>()),
            Some(*memory_minimum),
        ),
        // The names are gone, but what it can do is known.
        Structure { form: Form::Precompiled, .. } => (None, abilities.map(of_abilities), None),
        _ => (None, None, None),
    };
    let named = imports.iter().chain(&exports).flatten();
    let mut contract: Vec<String> = named.filter_map(|interface| interface.contract.clone()).collect();
    contract.sort_unstable();
    contract.dedup();
    let handler = component.as_ref().map(|component| {
        let description = component.description();
        Description {
            subtype: description.subtype.clone(),
            name: description.name.clone(),
            version: description.version.clone(),
            config_help: description.config_help.clone(),
        }
    });
    Ok(Report {
        path: path.to_owned(),
        size: u64::try_from(bytes.len())?,
        sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        form: structure.form,
        contract,
        host_contract: CONTRACT_VERSION,
        imports,
        exports,
        memory_minimum,
        handler,
        served: problem.is_none(),
        problem,
    })
}

fn of_abilities(abilities: Abilities) -> Vec<Interface> {
    let Abilities {
        block,
        batch,
        cdb,
        resize,
        unmap,
        write_zeroes,
        compare_and_write,
        lba_status,
        state,
        events,
        options,
    } = abilities;
    [
        (true, "handler"),
        (block, "block"),
        (batch, "block-batch"),
        (cdb, "cdb"),
        (resize, "resize"),
        (unmap, "block-unmap"),
        (write_zeroes, "block-write-zeroes"),
        (compare_and_write, "block-compare-and-write"),
        (lba_status, "block-lba-status"),
        (state, "state"),
        (events, "events"),
        (options, "options"),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .map(|(_, name)| interfaces::export(&format!("lunbox:handler/{name}@{CONTRACT_VERSION}")))
    .collect()
}

/// The report for people.
fn text(report: &Report, colours: bool) -> String {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str| {
        let head = format!("{name:<11}");
        lines.push(if colours { format!("\x1b[1m{head}\x1b[0m {value}") } else { format!("{head} {value}") });
    };
    field("file", &printable(&report.path.display().to_string()));
    field("size", &format!("{} bytes, {}", report.size, report.form.name()));
    field("sha256", &report.sha256);
    if let Some(handler) = &report.handler {
        field("handler", &format!("{} {}", handler.name, handler.version));
        field("subtype", &handler.subtype);
        for (index, line) in handler.config_help.lines().enumerate() {
            field(if index == 0 { "config" } else { "" }, line);
        }
    }
    if !report.contract.is_empty() {
        let versions: Vec<String> = report.contract.iter().map(|version| printable(version)).collect();
        field("contract", &format!("{} (this host: {})", versions.join(", "), report.host_contract));
    }
    if let Some(bytes) = report.memory_minimum {
        field("memory", &format!("at least {} KiB for each device", bytes / 1024));
    }
    for (name, list) in [("imports", &report.imports), ("exports", &report.exports)] {
        match list {
            None if report.form == Form::Precompiled => field(name, "not recorded in a precompiled file"),
            None => {}
            Some(list) if list.is_empty() => field(name, "none"),
            Some(list) => {
                let width = list.iter().map(|item| item.name.chars().count()).max().unwrap_or(0);
                for (index, item) in list.iter().enumerate() {
                    let item = format!("{:<width$}  {}", printable(&item.name), item.meaning);
                    field(if index == 0 { name } else { "" }, item.trim_end());
                }
            }
        }
    }
    match &report.problem {
        None => field("served", "yes"),
        Some(problem) => field("served", &format!("no: {}", printable(problem))),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
