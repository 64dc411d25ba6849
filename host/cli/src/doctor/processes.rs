//! Who runs, and who holds a lock.

use std::os::unix::fs::MetadataExt;

use nix::sys::stat::{major, minor};

use super::system::System;

/// A process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) name: String,
}

/// The processes of these names (`comm`, proc(5)).
pub(super) fn called(system: &System, names: &[&str]) -> Vec<Process> {
    let pids = system.names("/proc").into_iter().filter_map(|name| name.parse::<i32>().ok());
    let processes = pids.filter_map(|pid| Some(Process { pid, name: name(system, pid)? }));
    processes.filter(|process| names.contains(&process.name.as_str())).collect()
}

pub(super) fn name(system: &System, pid: i32) -> Option<String> {
    system.text(&format!("/proc/{pid}/comm"))
}

/// Who holds a lock on a file (`/proc/locks`, proc(5)); nobody if it is not there, no positive number if the process
/// has none here.
pub(super) fn holder(system: &System, path: &str) -> Option<i32> {
    let metadata = std::fs::metadata(system.path(path)).ok()?;
    // File systems count their files each from small numbers.
    let (device, inode) = (metadata.dev(), metadata.ino());
    let file = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    let locks = system.text("/proc/locks")?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `1: FLOCK ADVISORY WRITE 123 08:01:456 0 EOF`; who waits has an arrow before the kind.
        let pid = words.get(4)?;
        let held = *words.get(5)? == file;
        if words.get(1) != Some(&"->") && held { pid.parse().ok() } else { None }
    })
}
