//! What is looked at, in the order in which things depend on each other.

use std::os::unix::fs::MetadataExt;

use lunbox_control::{Answer, ClientError, DeviceHealth, Request, StatusReport};
use nix::unistd::{AccessFlags, access, geteuid};

use super::Finding;
use super::owner::{Owner, owner};
use super::processes::{self, Process};
use super::system::System;

const TARGET: &str = "/sys/kernel/config/target";
const PARAMETERS: &str = "/sys/module/target_core_user/parameters";
const BUS_NAME: &str = "org.kernel.TCMUService1";

/// Open files that a daemon with many devices needs.
const OPEN_FILES: u64 = 65536;

/// What stands in the configuration of devices whose storage has a time-out of its own; as has every rbd image, for
/// which ceph-iscsi writes `cmd_time_out` 0.
const TIMED: [&str; 3] = ["osd_op_timeout=", "tcmur_cmd_time_out=", "tcmur_cmd_timeout="];

/// So many are named where there may be hundreds.
const NAMED: usize = 3;

/// Looks at everything, and tells what was found as soon as it is: the next thing may take a while.
///
/// # Errors
/// Those of `tell`.
pub(super) fn all<E>(system: &System, mut tell: impl FnMut(Vec<Finding>) -> Result<(), E>) -> Result<(), E> {
    if system.is_ours() && !geteuid().is_root() {
        tell(vec![Finding::warning("user", "not root: some things can not be seen", "run it with sudo")])?;
    }
    tell(kernel(system))?;
    tell(knobs(system))?;
    tell(sandbox(system))?;
    let (status, findings) = daemon(system);
    tell(findings)?;
    tell(others(system, status.as_ref().map(|status| status.pid)))?;
    tell(bus(system, status.as_ref()))?;
    tell(files(system))
}

fn kernel(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !system.exists("/sys/kernel/config/") || system.names("/sys/kernel/config").is_empty() {
        findings.push(Finding::problem(
            "configfs",
            "is not mounted",
            "mount -t configfs configfs /sys/kernel/config (sys-kernel-config.mount does it at boot)",
        ));
    } else {
        findings.push(Finding::ok("configfs", "is mounted"));
    }
    for (module, sign) in [
        ("target_core_mod", TARGET),
        ("target_core_user", "/sys/module/target_core_user"),
        ("uio", "/sys/class/uio"),
    ] {
        // One that is built in need not have a directory of its own among the modules.
        findings.push(if system.exists(sign) || system.exists(&format!("/sys/module/{module}")) {
            Finding::ok("module", format!("{module} is there"))
        } else {
            Finding::problem(
                "module",
                format!("{module} is not loaded"),
                format!("modprobe {module}; if it can not be found, install the kernel's extra modules"),
            )
        });
    }
    let fabrics: Vec<String> = system
        .names("/sys/module")
        .into_iter()
        .filter(|name| {
            [
                "iscsi_target_mod",
                "tcm_loop",
                "vhost_scsi",
                "tcm_qla2xxx",
                "tcm_fc",
                "ib_srpt",
                "sbp_target",
                "xen_scsiback",
            ]
            .contains(&name.as_str())
        })
        .collect();
    findings.push(if fabrics.is_empty() {
        Finding::warning(
            "fabric",
            "no module is loaded through which initiators reach LUNs",
            "modprobe iscsi_target_mod (other machines) or tcm_loop (this one); targetcli loads what it needs",
        )
    } else {
        Finding::ok("fabric", fabrics.join(", "))
    });
    let nodes = system.names("/sys/class/uio");
    let missing: Vec<&String> = nodes.iter().filter(|node| !system.exists(&format!("/dev/{node}"))).collect();
    findings.push(if missing.is_empty() {
        Finding::ok("UIO nodes", format!("{} devices, each with its node in /dev", nodes.len()))
    } else {
        let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
        Finding::problem(
            "UIO nodes",
            format!("/dev has no {}", missing.join(", ")),
            "see that devtmpfs is mounted at /dev, and that this runs in no container with a /dev of its own",
        )
    });
    findings
}

fn knobs(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    match system.text(&format!("{PARAMETERS}/block_netlink")).as_deref() {
        // It is written as a number, and read as a word (target_core_user.c, `tcmu_get_block_netlink`).
        Some("unblocked" | "0") => {
            findings.push(Finding::ok("block_netlink", "the kernel asks before devices are made"));
        }
        Some(other) => findings.push(Finding::problem(
            "block_netlink",
            format!("is {other}: nothing is announced, so nothing can be made, changed or removed"),
            format!("echo 0 > {PARAMETERS}/block_netlink, or restart lunboxd"),
        )),
        None => {}
    }
    if let Some(megabytes) = system.text(&format!("{PARAMETERS}/global_max_data_area_mb")) {
        let small = megabytes.parse::<u64>().is_ok_and(|megabytes| megabytes < 64);
        findings.push(if small {
            Finding::warning(
                "data area",
                format!("all devices together have {megabytes} MiB for data in flight"),
                format!("echo 2048 > {PARAMETERS}/global_max_data_area_mb"),
            )
        } else {
            Finding::ok("data area", format!("{megabytes} MiB for all devices together"))
        });
    }
    let (mut endless, mut short) = (Vec::new(), 0_usize);
    let mut devices = 0_usize;
    for hba in system.names(&format!("{TARGET}/core")).into_iter().filter(|name| name.starts_with("user_")) {
        for device in system.names(&format!("{TARGET}/core/{hba}")) {
            let attribute = |name: &str| system.text(&format!("{TARGET}/core/{hba}/{device}/attrib/{name}"));
            let Some(time) = attribute("cmd_time_out") else { continue };
            devices += 1;
            // Where the handler's own storage gives up, nothing else must before it.
            let config = attribute("dev_config").unwrap_or_default();
            let timed = config.starts_with("rbd/") || TIMED.iter().any(|option| config.contains(option));
            if time == "0" && !timed {
                endless.push(format!("{hba}/{device}"));
            }
            short += usize::from(attribute("hw_max_sectors").is_some_and(|sectors| sectors == "128"));
        }
    }
    if !endless.is_empty() {
        let named = endless.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match endless.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        findings.push(Finding::warning(
            "cmd_time_out",
            format!(
                "is 0 for {} devices ({named}{more}): their commands hang for ever when nobody serves them",
                endless.len()
            ),
            "write a number of seconds (30 is the default) into attrib/cmd_time_out while the LUN is not exported; \
             the kernel then fails commands that storage would have ended later",
        ));
    }
    if devices > 0 {
        let hint = if short == 0 {
            String::new()
        } else {
            format!("; {short} with hw_max_sectors=128, the default: no command moves more than 128 blocks")
        };
        findings.push(Finding::ok("devices", format!("{devices} in configfs{hint}")));
    }
    findings
}

fn sandbox(system: &System) -> Vec<Finding> {
    let io_uring = match system.text("/proc/sys/kernel/io_uring_disabled").as_deref() {
        Some("2") => Finding::warning(
            "io_uring",
            "is switched off for everybody: storage is slower",
            "sysctl kernel.io_uring_disabled=0 (1 keeps it from users without CAP_SYS_ADMIN, workers among them)",
        ),
        Some("1") => Finding::warning(
            "io_uring",
            "is kept from users without CAP_SYS_ADMIN, workers among them: storage is slower",
            "sysctl kernel.io_uring_disabled=0",
        ),
        _ => Finding::ok("io_uring", "is allowed"),
    };
    let landlock = match system.text("/sys/kernel/security/lsm") {
        Some(modules) if modules.split(',').any(|module| module == "landlock") => {
            Finding::ok("Landlock", "is there")
        }
        Some(_) => Finding::warning(
            "Landlock",
            "is not in force: one wall less around workers",
            "add landlock to lsm= on the kernel's command line",
        ),
        None => Finding::warning(
            "Landlock",
            "it can not be told whether it is there",
            "mount -t securityfs securityfs /sys/kernel/security; lunbox status tells what holds in every worker",
        ),
    };
    let seccomp = if system.exists("/proc/sys/kernel/seccomp/actions_avail") {
        Finding::ok("seccomp", "is there")
    } else {
        Finding::warning(
            "seccomp",
            "this kernel has no system-call filters: one wall less around workers",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    };
    vec![io_uring, landlock, seccomp]
}

/// What the daemon says of itself, if one answers.
fn daemon(system: &System) -> (Option<StatusReport>, Vec<Finding>) {
    let status = match system.ask(&Request::Status) {
        Ok(Answer::Status(status)) => *status,
        Ok(_) => {
            let remedy = "use the lunbox of the same release";
            let found = "answers something else than what was asked";
            return (None, vec![Finding::problem("lunboxd", found, remedy)]);
        }
        Err(error) => return (None, vec![no_answer(&error)]),
    };
    let found = format!("{} runs as process {}, {}", status.program, status.pid, status.phase);
    let mut findings = vec![Finding::ok("lunboxd", found)];
    match system.ask(&Request::DeviceList) {
        Ok(Answer::Devices(devices)) => {
            for device in devices.iter().filter(|device| device.health != DeviceHealth::Serving) {
                let trouble = device.trouble.as_deref().unwrap_or("no reason is known");
                findings.push(Finding::problem(
                    "device",
                    format!("{} is {}: {trouble}", device.name, device.health),
                    format!("lunbox device show {0}; lunbox device reset {0}", device.name),
                ));
            }
        }
        Ok(_) => {}
        Err(error) => findings.push(no_answer(&error)),
    }
    if status.log_lines_lost > 0 {
        findings.push(Finding::warning(
            "log",
            format!("{} lines were lost", status.log_lines_lost),
            "see that its disk has room and is not slow",
        ));
    }
    if let Some(limit) = open_files(system, status.pid).filter(|limit| *limit < OPEN_FILES) {
        findings.push(Finding::warning(
            "open files",
            format!("lunboxd may have {limit}"),
            "LimitNOFILE=524288 in its unit; a device takes some of them",
        ));
    }
    (Some(status), findings)
}

fn no_answer(error: &ClientError) -> Finding {
    let remedy = if matches!(error, ClientError::Silent(_)) {
        "journalctl -u lunboxd; for its authors: gcore $(pidof lunboxd); then systemctl restart lunboxd"
    } else {
        "systemctl status lunboxd; journalctl -u lunboxd"
    };
    Finding::problem("lunboxd", error.to_string(), remedy)
}

/// The hard limit (proc(5)); none if there is none, or it can not be read.
fn open_files(system: &System, pid: i32) -> Option<u64> {
    let limits = system.text(&format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn others(system: &System, daemon: Option<i32>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let holder = processes::holder(system, "/run/tcmu.lock");
    if let Some(pid) = holder.filter(|pid| Some(*pid) != daemon) {
        // The kernel has no number to tell for others.
        let who = if pid > 0 {
            let name = processes::name(system, pid).unwrap_or_else(|| "unknown".to_owned());
            format!("process {pid} ({name})")
        } else {
            "a process of another container".to_owned()
        };
        findings.push(Finding::problem(
            "lock",
            format!("/run/tcmu.lock is held by {who}, which is not the lunboxd that answers"),
            "stop that one first: systemctl stop tcmu-runner",
        ));
    }
    let own = |process: &Process| Some(process.pid) == daemon || is_ours(system, process.pid);
    for process in processes::called(system, &["tcmu-runner"]).iter().filter(|process| !own(process)) {
        findings.push(Finding::problem(
            "tcmu-runner",
            format!("runs as process {}: both answer the kernel", process.pid),
            "systemctl disable --now tcmu-runner",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("lock", "nobody else serves the kernel's devices"));
    }
    findings
}

/// It is a lunboxd under the name of tcmu-runner, or a worker of one.
fn is_ours(system: &System, pid: i32) -> bool {
    let program = std::fs::read_link(system.path(&format!("/proc/{pid}/exe")));
    program.is_ok_and(|program| {
        program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lunboxd"))
    })
}

fn bus(system: &System, status: Option<&StatusReport>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let directories = ["/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d"];
    let policy = directories.iter().find_map(|directory| {
        let names = system.names(directory);
        names
            .into_iter()
            .map(|name| format!("{directory}/{name}"))
            .find(|path| system.text(path).is_some_and(|text| text.contains(BUS_NAME)))
    });
    findings.push(policy.map_or_else(
        || {
            Finding::problem(
                "bus policy",
                format!("no file lets lunboxd have the name {BUS_NAME}"),
                "install lunboxd's, then systemctl reload dbus",
            )
        },
        |path| Finding::ok("bus policy", path),
    ));
    if !system.exists("/run/dbus/system_bus_socket") {
        findings.push(Finding::problem(
            "bus",
            "there is no system bus: targetcli does not see our handlers",
            "systemctl start dbus",
        ));
    } else if let Some(down) = status.and_then(|status| status.bus.as_ref()).filter(|bus| !bus.up) {
        let why = down.trouble.as_deref().unwrap_or("it does not answer");
        findings.push(Finding::problem(
            "bus",
            format!("lunboxd is not on it, so targetcli does not see our handlers: {why}"),
            "it is tried again every half minute; systemctl status dbus",
        ));
    } else if system.is_ours() {
        let says_up = status.and_then(|status| status.bus.as_ref()).is_some_and(|bus| bus.up);
        findings.push(match (owner(BUS_NAME), status.map(|status| status.pid)) {
            (Owner::Nobody, _) => Finding::problem(
                "bus",
                format!("nobody has the name {BUS_NAME}: targetcli does not see our handlers"),
                "systemctl restart lunboxd; its log says why it can not have it",
            ),
            (Owner::Process(pid), Some(daemon)) if pid != daemon => Finding::problem(
                "bus",
                format!("{BUS_NAME} belongs to process {pid}, not to lunboxd"),
                "stop that one, then systemctl restart lunboxd",
            ),
            (Owner::Process(pid), _) => Finding::ok("bus", format!("{BUS_NAME} belongs to process {pid}")),
            (Owner::NoTool, Some(daemon)) if says_up => Finding::ok(
                "bus",
                format!(
                    "lunboxd, process {daemon}, has {BUS_NAME} by its own word (busctl is not installed)"
                ),
            ),
            (Owner::NoTool, _) => {
                Finding::ok("bus", "is there; who has the name was not asked (busctl is not installed)")
            }
            (Owner::Unknown(trouble), _) => Finding::warning(
                "bus",
                format!("who has {BUS_NAME} can not be told: {trouble}"),
                "systemctl status dbus; busctl --system status org.kernel.TCMUService1",
            ),
        });
    }
    findings
}

fn files(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut log_directory = "/var/log".to_owned();
    match lunbox_conf::load(&system.path(lunbox_conf::PATH)) {
        Ok(loaded) => {
            if let Some(directory) = &loaded.conf.log_dir {
                log_directory = directory.display().to_string();
            }
            for warning in &loaded.warnings {
                findings.push(Finding::warning(
                    "tcmu.conf",
                    warning.to_string(),
                    format!("edit {}", lunbox_conf::PATH),
                ));
            }
            if loaded.warnings.is_empty() {
                findings.push(Finding::ok("tcmu.conf", "nothing is wrong"));
            }
        }
        Err(error) => findings.push(Finding::problem(
            "tcmu.conf",
            error.to_string(),
            format!("put {} right, or remove it", lunbox_conf::PATH),
        )),
    }
    findings.push(if !system.exists(lunbox_policy::PATH) {
        Finding::ok("policy", "there is no file: one tenant, which may use any path")
    } else {
        match lunbox_policy::Policy::load(&system.path(lunbox_policy::PATH)) {
            Ok(_) => Finding::ok("policy", "nothing is wrong"),
            Err(error) => {
                Finding::problem("policy", error.to_string(), "lunbox policy check tells all that is wrong")
            }
        }
    });
    let handlers: Vec<String> = system
        .names("/usr/lib/lunbox/handlers")
        .into_iter()
        .filter(|name| name.starts_with("handler_"))
        .collect();
    findings.push(if handlers.is_empty() {
        Finding::problem(
            "handlers",
            "/usr/lib/lunbox/handlers has none: every device is refused",
            "install some, or name another directory with --handler-path in lunboxd's unit",
        )
    } else {
        Finding::ok("handlers", handlers.join(", "))
    });
    findings.extend(run_directory(system));
    let logs = system.path(&log_directory);
    findings.push(match access(&logs, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Finding::ok("log", format!("{log_directory} can be written to")),
        Err(errno) => Finding::problem(
            "log",
            format!("{log_directory} can not be written to: {}", errno.desc()),
            "make it, or name another one (log_dir in tcmu.conf)",
        ),
    });
    findings
}

/// Others must not be able to put a socket into the place of lunboxd's.
fn run_directory(system: &System) -> Option<Finding> {
    const PATH: &str = "/run/lunbox";
    // Before the first start there is none.
    let metadata = std::fs::metadata(system.path(PATH)).ok()?;
    let (mode, own) = (metadata.mode() & 0o7777, !system.is_ours() || metadata.uid() == 0);
    Some(if mode & 0o022 != 0 || !own {
        Finding::problem(
            "run directory",
            format!("{PATH} belongs to user {} and has mode {mode:04o}", metadata.uid()),
            format!("chown root {PATH}; chmod 0711 {PATH}"),
        )
    } else {
        Finding::ok("run directory", format!("{PATH}, mode {mode:04o}"))
    })
}
