//! What the target subsystem tells about TCM-User devices and lets a daemon do to them: configfs below
//! `/sys/kernel/config/target/core` and the parameters of the module.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat};

use crate::name::{DeviceId, DeviceName};

/// `include/uapi/linux/openat2.h`, since Linux 5.12: fail rather than look further than the name cache.
const RESOLVE_CACHED: u64 = 0x20;

/// How often the name cache is asked before it is believed.
const CACHE_ATTEMPTS: usize = 3;

/// What stands before the number in `wwn/vpd_unit_serial`.
const SERIAL_LABEL: &str = "T10 VPD Unit Serial Number: ";

/// What stands before the bytes in `info`.
const SIZE_LABEL: &str = " Size: ";

/// The way into configfs and the module's parameters. Calls on a device that is being removed may wait until
/// the removal was answered: make them where waiting keeps nobody from answering. The module's parameters
/// never wait.
#[derive(Clone, Debug)]
pub struct Configfs {
    core: PathBuf,
    parameters: PathBuf,
}

/// The directory of one device, `<core>/user_<hba>/<device>`. It may go at any time.
#[derive(Clone, Debug)]
pub struct DeviceDirectory {
    /// The root of all devices.
    core: PathBuf,
    /// Below it.
    relative: PathBuf,
    path: PathBuf,
}

/// How `action/reset_ring` answers the commands that are in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// BUSY: initiators try again.
    Retry,
    /// CHECK CONDITION 2/08/00.
    Fail,
}

/// Why a value could not be read or written. Paths name the field.
#[derive(Debug, thiserror::Error)]
pub enum ConfigfsError {
    /// The file is not there: the device has gone, or the kernel is too old to have this field.
    #[error("{} does not exist", path.display())]
    Absent {
        /// Which file.
        path: PathBuf,
    },
    /// The system refused.
    #[error(
        "{}: {source}; run the daemon as root and see that this file system is mounted writable (container, \
         systemd's ProtectKernelTunables, SELinux, AppArmor)",
        path.display()
    )]
    Access {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file holds something else than expected.
    #[error(
        "{}: {found:?} is not {expected}; either something else is mounted there, or this kernel writes the field \
         in another way: report that with its version",
        path.display()
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
}

impl ConfigfsError {
    /// The file is not there; with an optional field the sign of an old kernel.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

impl Default for Configfs {
    /// The system's own places.
    fn default() -> Self {
        Self::new("/sys/kernel/config/target/core", "/sys/module/target_core_user/parameters")
    }
}

impl Configfs {
    /// Looks for devices below `core` and for module parameters in `parameters`.
    pub fn new(core: impl Into<PathBuf>, parameters: impl Into<PathBuf>) -> Self {
        Self { core: core.into(), parameters: parameters.into() }
    }

    /// The target subsystem is loaded and configfs mounted.
    pub fn present(&self) -> bool {
        self.core.is_dir()
    }

    /// The directory of a device, whether it exists or not.
    pub fn device(&self, name: &DeviceName) -> DeviceDirectory {
        let relative = PathBuf::from(format!("user_{}", name.hba)).join(&name.device);
        DeviceDirectory { core: self.core.clone(), path: self.core.join(&relative), relative }
    }

    /// Parameter `block_netlink`: while true, whoever causes a netlink event that wants an answer gets EAGAIN.
    ///
    /// # Errors
    /// [`ConfigfsError::Absent`] on kernels before 4.19.
    pub fn block_netlink(&self, block: bool) -> Result<(), ConfigfsError> {
        write(&self.parameters.join("block_netlink"), if block { "1" } else { "0" })
    }

    /// Parameter `reset_netlink`: whoever waits for the answer to a netlink event gets EINTR. Only while
    /// netlink is blocked.
    ///
    /// # Errors
    /// [`ConfigfsError::Absent`] on kernels before 4.19; the kernel refuses it while netlink is not blocked.
    pub fn reset_netlink(&self) -> Result<(), ConfigfsError> {
        write(&self.parameters.join("reset_netlink"), "1")
    }
}

impl DeviceDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root of the target subsystem, where fabrics have their directories beside `core`.
    pub(crate) fn target(&self) -> &Path {
        self.core.parent().unwrap_or(&self.core)
    }

    /// The directory is there and is not being removed at this moment. Never waits on kernels from 5.12 on.
    ///
    /// The difference matters. `rmdir` keeps the directory and its parent locked until the daemon has answered
    /// the REMOVED event, so a daemon that looks up a name there before it answers waits for itself. Directories
    /// that live are always in the kernel's name cache, so only the cache is asked; one that is being removed
    /// may still be in it, but has lost its links.
    pub fn exists(&self) -> bool {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // The way to configfs leads through sysfs, which never answers from the cache alone.
        let Ok(core) = open(&self.core, flags, Mode::empty()) else { return false };
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::from_bits_retain(RESOLVE_CACHED));
        // A change of the mount or rename state meanwhile also gives EAGAIN: then ask again.
        (0..CACHE_ATTEMPTS).any(|_| match openat2(&core, &self.relative, how) {
            Ok(directory) => fstat(directory).is_ok_and(|stat| stat.st_nlink > 0),
            // An older kernel, or a filter that does not know the call.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => self.path.is_dir(),
            Err(_) => false,
        })
    }

    /// The kernel has configured the device. False for a device whose `enable` is still waiting for a daemon.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn enabled(&self) -> Result<bool, ConfigfsError> {
        let path = self.path.join("enable");
        let text = read(&path)?;
        match text.as_str() {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(ConfigfsError::Content { path, found: text, expected: "0 or 1" }),
        }
    }

    /// The number by which netlink knows the device.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn device_id(&self) -> Result<DeviceId, ConfigfsError> {
        self.number("statistics/scsi_dev/indx").map(DeviceId)
    }

    /// Capacity in bytes, from `info`. Read from the right, since the cfgstring before it may hold anything.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn size(&self) -> Result<u64, ConfigfsError> {
        let path = self.path.join("info");
        let text = read(&path)?;
        let bytes = text
            .rsplit_once(SIZE_LABEL)
            .and_then(|(_, rest)| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse().ok());
        bytes.ok_or(ConfigfsError::Content { path, found: text, expected: "a line with \"Size: <bytes>\"" })
    }

    /// Block size in bytes, from `attrib/hw_block_size`. Any number: the kernel checks nothing.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn block_size(&self) -> Result<u32, ConfigfsError> {
        self.number("attrib/hw_block_size")
    }

    /// Longest transfer in blocks, from `attrib/hw_max_sectors`. May be 0.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn max_sectors(&self) -> Result<u32, ConfigfsError> {
        self.number("attrib/hw_max_sectors")
    }

    /// The unit serial number from `wwn/vpd_unit_serial`; empty if none was set.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn serial(&self) -> Result<String, ConfigfsError> {
        let path = self.path.join("wwn/vpd_unit_serial");
        let text = read(&path)?;
        match text.strip_prefix(SERIAL_LABEL) {
            Some(serial) => Ok(serial.to_owned()),
            // Without a number the kernel may leave the label's last blank to be trimmed.
            None if text == SERIAL_LABEL.trim_end() => Ok(String::new()),
            None => Err(ConfigfsError::Content { path, found: text, expected: "a unit serial number line" }),
        }
    }

    /// `action/block_dev`: while true, commands that are not in the ring yet are answered BUSY.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn block(&self, block: bool) -> Result<(), ConfigfsError> {
        write(&self.path.join("action/block_dev"), if block { "1" } else { "0" })
    }

    /// `action/reset_ring`: answers every command in the ring and empties it.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn reset_ring(&self, reset: Reset) -> Result<(), ConfigfsError> {
        let value = match reset {
            Reset::Retry => "1",
            Reset::Fail => "2",
        };
        write(&self.path.join("action/reset_ring"), value)
    }

    /// Sets the capacity in bytes through `control`, for a handler that found another size. Sends no event.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn set_size(&self, bytes: u64) -> Result<(), ConfigfsError> {
        write(&self.path.join("control"), &format!("dev_size={bytes}"))
    }

    /// `attrib/emulate_write_cache` as the kernel has it. It has no meaning for the kernel itself.
    ///
    /// # Errors
    /// See [`ConfigfsError`].
    pub fn write_cache(&self) -> Result<bool, ConfigfsError> {
        self.number("attrib/emulate_write_cache").map(|value| value != 0)
    }

    /// Asks the kernel for an entry in the ring whenever commands are aborted or the LUN is reset, through
    /// `attrib/tmr_notification`. The kernel takes it only while no LUN is exported.
    ///
    /// # Errors
    /// [`ConfigfsError::Absent`] on kernels before 5.10; refused if the device is exported.
    pub fn notify_of_task_management(&self) -> Result<(), ConfigfsError> {
        write(&self.path.join("attrib/tmr_notification"), "1")
    }

    fn number(&self, field: &str) -> Result<u32, ConfigfsError> {
        let path = self.path.join(field);
        let text = read(&path)?;
        text.parse().map_err(|_| ConfigfsError::Content { path, found: text, expected: "a number" })
    }
}

/// The text of a file without the newline at its end.
pub(crate) fn read(path: &Path) -> Result<String, ConfigfsError> {
    let bytes = fs::read(path).map_err(|source| access(path, source))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// One write call, as configfs wants it. Never creates: a missing file must stay ENOENT.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), ConfigfsError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| access(path, source))
}

pub(crate) fn access(path: &Path, source: io::Error) -> ConfigfsError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => ConfigfsError::Absent { path },
        _ => ConfigfsError::Access { path, source },
    }
}

#[cfg(test)]
mod tests;
