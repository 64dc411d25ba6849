//! What the interfaces of the contract mean, in one line each.

use lunbox_engine::provides_wasi;
use serde::Serialize;

/// An import or export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Interface {
    /// As it stands in the component.
    pub(super) name: String,
    /// Version of the contract, if it belongs to it.
    #[serde(skip)]
    pub(super) contract: Option<String>,
    /// One line.
    pub(super) meaning: &'static str,
}

const PACKAGE: &str = "lunbox:handler/";

/// What handlers may import.
const IMPORTS: [(&str, &str); 3] = [
    ("buffers", "reads and writes bytes of a command's buffers"),
    ("log", "writes log lines"),
    ("types", "types of the contract"),
];

/// What handlers may export.
const EXPORTS: [(&str, &str); 12] = [
    ("handler", "says who it is, takes up service, goes on with a command"),
    ("block", "decides what reads, writes and flushes mean"),
    ("block-batch", "takes several commands in one call"),
    ("cdb", "sees whole CDBs first (recognised; not called by this host yet)"),
    ("resize", "its devices can change their size"),
    ("block-unmap", "thin provisioning: UNMAP"),
    ("block-write-zeroes", "zeros without their bytes: WRITE SAME, FORMAT UNIT"),
    ("block-compare-and-write", "atomic COMPARE AND WRITE"),
    ("block-lba-status", "tells which blocks are mapped: GET LBA STATUS"),
    ("state", "hands its state to a newer version (recognised; not called by this host yet)"),
    ("events", "hears of events of its device (recognised; not called by this host yet)"),
    ("options", "declares what may stand in its cfgstring"),
];

/// An import of this name.
pub(super) fn import(name: &str) -> Interface {
    let refused = if provides_wasi(name) {
        "WASI: time and random numbers, nothing else unless it is granted; its calls may wait"
    } else if name.starts_with("wasi:") {
        "not granted: of WASI there is version 0.2 of cli, clocks, filesystem, io, random and sockets"
    } else {
        "not granted: handlers may import lunbox:handler/buffers and log only"
    };
    interface(name, &IMPORTS, refused)
}

/// An export of this name.
pub(super) fn export(name: &str) -> Interface {
    interface(name, &EXPORTS, "not part of the contract; never called")
}

fn interface(name: &str, known: &[(&str, &'static str)], unknown: &'static str) -> Interface {
    let own = name.strip_prefix(PACKAGE).map(|rest| rest.split_once('@').unwrap_or((rest, "")));
    let found = own.and_then(|(interface, _)| known.iter().find(|(name, _)| *name == interface));
    Interface {
        name: name.to_owned(),
        contract: own.map(|(_, version)| version.to_owned()),
        meaning: found.map_or(unknown, |(_, meaning)| meaning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_meanings_and_versions() {
        let block = export("lunbox:handler/block@0.1.0");
        assert!(block.meaning.contains("reads, writes and flushes"));
        assert_eq!(block.contract.as_deref(), Some("0.1.0"));
        assert_eq!(export("lunbox:handler/block").contract.as_deref(), Some(""));
        assert!(export("x:y/block@0.1.0").meaning.contains("never called"));
        assert_eq!(export("x:y/block@0.1.0").contract, None);
        assert!(import("wasi:io/streams@0.2.0").meaning.contains("may wait"));
        assert!(import("wasi:http/types@0.2.0").meaning.contains("not granted"));
        assert!(import("lunbox:handler/block@0.1.0").meaning.contains("not granted"));
        assert!(import("lunbox:handler/log@0.1.0").meaning.contains("log lines"));
    }
}
