//! The command lines of the two machines: User-Mode Linux and qemu without KVM.
//!
//! In both, standard input is one end of a socket pair: the guest's output channel, and its terminal when a shell runs
//! there. Standard output and error are the console log.

use super::image::Image;
use crate::tools;
use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Which machine the guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// User-Mode Linux: one processor, boots in about two seconds.
    Uml,
    /// qemu emulating two processors: slower, but real concurrency in the kernel.
    Smp,
}

/// What the command line depends on.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The root image.
    pub image: &'a Image,
    /// Folder of this run; the machine is started in it.
    pub run: &'a Path,
    /// Folder that appears as /host.
    pub share: &'a Path,
    /// Memory of the guest in MiB.
    pub memory_mib: u64,
    /// A shell with a terminal instead of a command with an output channel.
    pub terminal: bool,
}

impl Machine {
    /// Short name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uml => "User-Mode Linux",
            Self::Smp => "qemu with 2 processors",
        }
    }

    /// Programs that must be there.
    pub fn tools(self) -> &'static [tools::Tool] {
        match self {
            Self::Uml => tools::UML,
            Self::Smp => tools::QEMU,
        }
    }

    /// The command that starts the machine.
    ///
    /// # Errors
    /// When this machine's processors or memory folder cannot be looked up.
    pub fn command(self, setup: &Setup<'_>) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::Uml => uml(setup)?,
            Self::Smp => qemu(setup)?,
        };
        command.current_dir(setup.run);
        Ok(command)
    }

    /// On which of this machine's processors it runs, for reports.
    ///
    /// # Errors
    /// When this machine's processors cannot be looked up.
    pub fn pinned(self) -> anyhow::Result<String> {
        let allowed = allowed_cpus()?;
        Ok(match self.cpus(&allowed) {
            Some(cpus) => format!("pinned to processor {} of this machine's {}", list(cpus), allowed.len()),
            None => format!("not pinned, this machine has {} processors for it in all", allowed.len()),
        })
    }

    /// Those of the `allowed` processors that it is pinned to: the last ones, because interrupts tend to go to the
    /// first. `None` where there are no others.
    fn cpus(self, allowed: &[usize]) -> Option<&[usize]> {
        match self {
            Self::Uml => Some(&allowed[allowed.len().saturating_sub(1)..]),
            // Each emulated processor is a thread, and what else qemu does has little to do.
            Self::Smp => (allowed.len() > 2).then(|| &allowed[allowed.len() - 2..]),
        }
    }
}

/// The processors as taskset(1) wants them.
fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// `program`, pinned as the machine is.
fn pinned(machine: Machine, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let allowed = allowed_cpus()?;
    let Some(cpus) = machine.cpus(&allowed) else { return Ok(Command::new(program)) };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(list(cpus)).arg(program);
    Ok(command)
}

fn uml(setup: &Setup<'_>) -> anyhow::Result<Command> {
    // One processor: it traces its own processes, and a wake-up on another processor makes each guest system call
    // several times dearer.
    let mut command = pinned(Machine::Uml, setup.image.uml())?;
    command.arg(format!("mem={}M", setup.memory_mib));
    command.arg("umid=guest").arg(format!("uml_dir={}", setup.run.display()));
    command.arg(format!("ubd0=changes.cow,{}", setup.image.root_disk().display()));
    command.args(["root=/dev/ubda", "rw", "rootfstype=ext4", "init=/sbin/image-init"]);
    command.arg(format!("share={}", setup.share.display()));
    command.args(["quiet", "loglevel=5", "panic=-1", "con=null", "con0=null,fd:1"]);
    if setup.terminal {
        command.args(["con1=fd:0,fd:0", "shell=tty1"]);
    } else {
        command.arg("con1=null,fd:0");
    }
    // Guest memory is a file. On a disk, every page that the guest dirties would be written back.
    let bytes = setup.memory_mib << 20;
    if in_memory_folder("/dev/shm", bytes)? {
        command.env("TMPDIR", "/dev/shm");
    } else {
        command.env("TMPDIR", setup.run);
    }
    Ok(command)
}

/// Whether `folder` is there, has room for `bytes` and lets programs be mapped from it.
fn in_memory_folder(folder: &str, bytes: u64) -> anyhow::Result<bool> {
    if !Path::new(folder).is_dir() {
        return Ok(false);
    }
    let status = statvfs(folder).with_context(|| format!("cannot look at {folder}"))?;
    let free = status.blocks_available().saturating_mul(status.fragment_size());
    Ok(free >= bytes && !status.flags().contains(FsFlags::ST_NOEXEC))
}

/// The processors that we may use, of which there is one at least.
fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    ensure!(!cpus.is_empty(), "this process may run on no processor at all");
    Ok(cpus)
}

fn qemu(setup: &Setup<'_>) -> anyhow::Result<Command> {
    let file = |name: &str, path: &Path| format!("{name}={}", path.display());
    // A third processor would let the host move the two about, and the spread of measurements grow.
    let mut command = pinned(Machine::Smp, "qemu-system-x86_64")?;
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // file.locking=off below: any number of guests share the disk, and User-Mode Linux locks it as a whole.
    // Not microvm: quicker when it works, but at times it cannot calibrate its clock on a loaded machine.
    command.args(["-M", "q35,usb=off,hpet=off,vmport=off,smm=off", "-accel", "tcg,thread=multi,tb-size=256"]);
    command.args(["-cpu", "max", "-smp", "2", "-m"]).arg(setup.memory_mib.to_string());
    command.arg("-kernel").arg(setup.image.vmlinux()).arg("-initrd").arg(setup.image.initramfs());
    let mut kernel = String::from(
        "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off tsc=reliable nokaslr no_timer_check \
         noreplace-smp random.trust_cpu=on cryptomgr.notests audit=0 selinux=0 apparmor=0 nowatchdog \
         8250.nr_uarts=2 i8042.noaux i8042.nokbd i8042.nopnp",
    );
    if setup.terminal {
        kernel.push_str(" shell=ttyS1");
    }
    command.arg("-append").arg(kernel);
    command.arg("-drive").arg(format!(
        "if=none,id=root,{},format=raw,readonly=on,file.locking=off,cache=unsafe,aio=threads",
        file("file", &setup.image.root_disk())
    ));
    command.args(["-device", "virtio-blk-pci,drive=root"]);
    command
        .arg("-fsdev")
        .arg(format!("local,id=host,{},security_model=none,multidevs=remap", file("path", setup.share)));
    command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-device", "virtio-rng-pci"]);
    command.args(["-monitor", "none", "-chardev", "file,id=console,path=console.log,append=on"]);
    command.args(["-serial", "chardev:console", "-chardev", "socket,id=channel,fd=0"]);
    if setup.terminal {
        command.args(["-serial", "chardev:channel"]);
    } else {
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=channel,name=output"]);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_mode_linux_gets_the_last_processor_and_qemu_the_last_two_of_more() {
        assert_eq!(Machine::Uml.cpus(&[0, 1, 5]), Some(&[5][..]));
        assert_eq!(Machine::Uml.cpus(&[3]), Some(&[3][..]));
        assert_eq!(Machine::Smp.cpus(&[0, 1, 5]), Some(&[1, 5][..]));
        assert_eq!(Machine::Smp.cpus(&[0, 1]), None);
        assert_eq!(list(&[1, 5]), "1,5");
    }

    #[test]
    fn a_report_tells_where_it_ran() {
        let count = allowed_cpus().unwrap().len().to_string();
        for machine in [Machine::Uml, Machine::Smp] {
            let text = machine.pinned().unwrap();
            assert!(text.contains(&count) && text.contains("pinned"), "{text}");
        }
    }
}
