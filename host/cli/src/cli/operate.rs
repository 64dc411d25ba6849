//! The commands that talk to a running `lunboxd`, or judge what it is going to read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::extras;
use crate::policy::GivenDevice;

/// Which daemon is meant.
#[derive(Clone, Debug, Args)]
pub struct Daemon {
    /// Control socket of lunboxd: control.sock in its --run-dir
    #[arg(
        long,
        value_name = "PATH",
        env = "LUNBOX_SOCKET",
        default_value = lunbox_control::SOCKET,
        hide_env_values = true
    )]
    pub socket: PathBuf,
}

/// Tell how lunboxd is
///
/// What it is doing, since when, with which policy and handlers, and how many workers and devices it has. It must be
/// asked by root or by the user that it runs as, as with all commands that talk to lunboxd.
#[derive(Debug, Args)]
#[command(after_help = extras::help("status"))]
pub struct Status {
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Tell of lunboxd's workers, the processes that devices run in
#[derive(Debug, Args)]
#[command(after_help = extras::help("worker"), arg_required_else_help = true)]
pub struct Worker {
    /// What about them.
    #[command(subcommand)]
    pub command: WorkerCommand,
}

/// What can be asked about workers.
#[derive(Debug, Subcommand)]
pub enum WorkerCommand {
    /// List the workers
    ///
    /// One line for each: tenant, process, state, devices, restarts after a death, memory, user, parts of the jail that
    /// are in force, and program. A worker that was adopted was started by a lunboxd before this one.
    #[command(after_help = extras::help("worker list"))]
    List(#[command(flatten)] Daemon),
}

/// Tell of lunboxd's devices, or reset one
#[derive(Debug, Args)]
#[command(after_help = extras::help("device"), arg_required_else_help = true)]
pub struct Device {
    /// What about them.
    #[command(subcommand)]
    pub command: DeviceCommand,
}

/// What can be asked about devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List the devices
    ///
    /// One line for each: name in configfs, tenant, handler, health, size, commands completed, faults of the handler,
    /// and configuration. --json tells of each all that `device show` does.
    #[command(after_help = extras::help("device list"))]
    List(#[command(flatten)] Daemon),
    #[allow(
        missing_docs,
        reason = "what stands here would take the place of what the type says about itself"
    )]
    Show(OneDevice),
    /// Cancel what a device is doing, and start its device loop anew
    ///
    /// The way out of a device that hangs. The kernel holds new commands back, those that were being worked on are
    /// answered BUSY, which initiators answer by sending them again; operations that the storage has begun are awaited
    /// before anything new is started, however long it takes.
    #[command(after_help = extras::help("device reset"))]
    Reset(ResetDevice),
}

/// Tell all that is known of a device
///
/// Its health, who serves it, what its handler was granted (files, and whether it may write to them), options, limits,
/// and counters since its device loop was started.
#[derive(Debug, Args)]
#[command(after_help = extras::help("device show"))]
pub struct OneDevice {
    /// Its name as in configfs (user_0/disk), as the UIO node has it (tcm-user/0/disk), or only disk if no other
    /// device is called that
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// The device that is to be reset.
#[derive(Debug, Args)]
pub struct ResetDevice {
    /// Its name as in configfs (user_0/disk), as the UIO node has it (tcm-user/0/disk), or only disk if no other
    /// device is called that
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Tell what happens in lunboxd, as it happens
///
/// One line for each event from now on: time (UTC), what, device or worker, and a sentence. It ends when lunboxd does, or
/// with Ctrl-C. What a reader that is too slow misses is counted.
#[derive(Debug, Args)]
#[command(after_help = extras::help("events"))]
pub struct Events {
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Tell what devices do, as it changes
///
/// One line for each device: commands a second, bytes a second, how long commands waited for their handler (QUEUE) and
/// how long they took from then on (SERVICE), mean and 99th percentile, commands in flight, commands that failed since
/// the line before, CPU. Durations are of a sample of the commands; a percentile is the bound that is next above, at most
/// twice what it was. On a terminal the table is shown in place (q and Enter, or Ctrl-C, ends it); else tables follow each
/// other. It goes on when lunboxd is restarted.
#[derive(Debug, Args)]
#[command(after_help = extras::help("top"))]
pub struct Top {
    /// How often to look
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds, default_value = "2")]
    pub interval: Duration,
    /// Look once, over one interval
    #[arg(long)]
    pub once: bool,
    /// End after so many looks
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// What to sort by: the largest first
    #[arg(long, value_name = "KEY", value_enum, default_value_t = SortKey::Name)]
    pub sort: SortKey,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// What devices are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// Their names
    Name,
    /// Commands a second
    Iops,
    /// Bytes a second, read and written
    Bandwidth,
    /// 99th percentile of the service time
    Latency,
    /// Commands that failed
    Errors,
    /// CPU time
    Cpu,
}

/// Tell of each command that a device completes
///
/// One line for each: when it was completed (UTC), the kernel's number for it, its name, what it is about (else the first
/// 16 bytes of its CDB), bytes of data, how long it waited for its handler and how long it took from then on, status and
/// sense. It ends with Ctrl-C, or when the device's loop ends. Commands that come too quickly are left out and counted:
/// the device is never held up.
#[derive(Debug, Args)]
#[command(after_help = extras::help("trace"))]
pub struct Trace {
    /// Its name as in configfs (user_0/disk), as the UIO node has it (tcm-user/0/disk), or only disk if no other
    /// device is called that
    #[arg(value_name = "NAME")]
    pub name: String,
    /// End after so many commands
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Look for what keeps lunboxd from working, and say what to do about it
///
/// Looks at kernel modules, configfs, UIO nodes, the bus, lunboxd itself and its files, settings of the kernel, and what
/// the jail needs. Changes nothing. One line for each: ok, warning or problem, and what to do. Fails if there is a problem.
/// It must be run by root to see everything.
#[derive(Debug, Args)]
#[command(after_help = extras::help("doctor"))]
pub struct Doctor {
    /// Write what was found, reports of lunboxd, its configuration, the last lines of its log and the target
    /// configuration's text files (without secrets) into this .tar.gz, which must not exist; for a bug report
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Look at the system below this directory instead of /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Have lunboxd leave while its workers go on serving
///
/// For an upgrade: the next lunboxd that is started takes the workers over, and moves their devices to workers of its
/// own version. Until then nobody answers the kernel when devices are made, changed or removed.
#[derive(Debug, Args)]
#[command(after_help = extras::help("handover"))]
pub struct Handover {
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Judge a policy file, or print an example
#[derive(Debug, Args)]
#[command(after_help = extras::help("policy"), arg_required_else_help = true)]
pub struct Policy {
    /// What about it.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be done with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    #[allow(
        missing_docs,
        reason = "what stands here would take the place of what the type says about itself"
    )]
    Check(CheckPolicy),
    /// Print a policy that explains every key
    #[command(after_help = extras::help("policy example"))]
    Example,
}

/// Tell everything that is wrong with a policy file, and whose a device would be
///
/// Reads the file as lunboxd does when it starts, without asking a running one. Users and roots that this machine does
/// not have, and what is right but probably not meant, are told as warnings. Fails if the file is wrong, or if a given
/// device's tenant may not use its handler or, where the configuration begins with a path, that path. Nothing is opened:
/// what lunboxd refuses because of links, missing files or a handler's own options is not seen.
#[derive(Debug, Args)]
#[command(after_help = extras::help("policy check"))]
pub struct CheckPolicy {
    /// The file
    #[arg(value_name = "FILE", default_value = lunbox_policy::PATH)]
    pub file: PathBuf,
    /// Tell whose this device would be, and by which rules it would be opened; may be repeated. HBA is the 3 of
    /// user_3, SUBTYPE/CONFIG what the device is configured with
    #[arg(long, value_name = "HBA/NAME=SUBTYPE/CONFIG")]
    pub device: Vec<GivenDevice>,
}
