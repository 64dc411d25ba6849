//! Target port groups of a device (`alua/` in configfs) and the ports through which initiators reach it.
//!
//! The kernel keeps the groups and answers no REPORT or SET TARGET PORT GROUPS for TCM-User devices, so a daemon reads
//! them. A group's `members` file names LUNs of fabrics; what a port is called in SCSI stands in the fabric's own
//! directory. Groups and ports may come and go while they are read: a port that has gone meanwhile is left out.

use std::fs;
use std::io;
use std::path::Path;

use crate::configfs::{ConfigfsError, DeviceDirectory, access, read, write};

/// The kernel's own group, in which every port is that was put into no other one. Nobody made it, so it says nothing
/// about how this device is reached.
const KERNELS_GROUP: &str = "default_tg_pt_gp";

/// Most groups of a device that are read.
pub const MAX_GROUPS: usize = 64;

/// Most ports of a group that are read. The kernel fits at most one page of them into `members`.
pub const MAX_PORTS: usize = 128;

/// Longest name of a fabric and of a target in bytes (SPC-5 7.7.2: a SCSI name string has 223 and some suffix).
const MAX_FABRIC: usize = 16;
const MAX_WWN: usize = 223;

/// Who may change the state of a group, as `alua_access_type` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessType {
    /// Nobody: all ports are alike.
    None,
    /// The target.
    Implicit,
    /// Initiators, by SET TARGET PORT GROUPS.
    Explicit,
    /// Both.
    Both,
}

/// Why a group is in its state, as `alua_access_status` has it; the value is the STATUS CODE of SPC-5 table 330.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AccessStatus {
    /// It was never changed.
    None = 0,
    /// By SET TARGET PORT GROUPS.
    Explicit = 1,
    /// By the target.
    Implicit = 2,
}

/// A target port group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroup {
    /// Its directory below `alua/`.
    pub name: String,
    /// TARGET PORT GROUP.
    pub id: u16,
    /// ASYMMETRIC ACCESS STATE (SPC-5 table 329): 0 to 3, 14 or 15.
    pub state: u8,
    /// Initiators are asked to prefer it.
    pub preferred: bool,
    /// The supported states as byte 1 of a target port group descriptor has them: T 80h, O 40h, LBD 10h, U 08h,
    /// S 04h, AN 02h, AO 01h.
    pub supported: u8,
    /// Why it is in its state.
    pub status: AccessStatus,
    /// Who may change it.
    pub access_type: AccessType,
    /// Longest time that a change takes, in seconds; 0: not told.
    pub implicit_transition_seconds: u32,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A target port through which the device is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The fabric's directory below the target subsystem's root, as `iscsi`.
    pub fabric: String,
    /// Name of the target device.
    pub wwn: String,
    /// Number of the target portal group.
    pub tag: u16,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_id: u16,
    /// PROTOCOL IDENTIFIER (SPC-5 table 487), 0 to 15.
    pub protocol: u8,
    /// Initiators can log in. Fabrics without such a switch are always on.
    pub enabled: bool,
}

impl DeviceDirectory {
    /// All groups that somebody made, in the order of their numbers. A group that has no number yet is none.
    ///
    /// # Errors
    /// See [`ConfigfsError`]; [`ConfigfsError::Content`] also for more than [`MAX_GROUPS`] groups or [`MAX_PORTS`]
    /// ports in one of them. No `alua` directory: no groups.
    pub fn port_groups(&self) -> Result<Vec<PortGroup>, ConfigfsError> {
        let path = self.path().join("alua");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(access(&path, error)),
        };
        let mut groups = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| access(&path, error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == KERNELS_GROUP || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if groups.len() >= MAX_GROUPS {
                return Err(content(&path, "more groups".to_owned(), "a directory of at most 64 groups"));
            }
            groups.extend(group(name, &entry.path(), self.target())?);
        }
        groups.sort_by_key(|group: &PortGroup| group.id);
        Ok(groups)
    }

    /// Puts a group into a state and notes that an initiator wanted it. May take as long as the group's
    /// `trans_delay_msecs` says.
    ///
    /// # Errors
    /// See [`ConfigfsError`]. The kernel takes it only for groups of an implicit type.
    pub fn set_access_state(&self, group: &str, state: u8) -> Result<(), ConfigfsError> {
        let directory = self.path().join("alua").join(group);
        write(&directory.join("alua_access_state"), &state.to_string())?;
        // The kernel has set it to "implicit" with the state.
        write(&directory.join("alua_access_status"), &(AccessStatus::Explicit as u8).to_string())
    }
}

/// Reads one group; none if it has no number, or is gone.
fn group(name: &str, path: &Path, target: &Path) -> Result<Option<PortGroup>, ConfigfsError> {
    let id_path = path.join("tg_pt_gp_id");
    let id = match read(&id_path) {
        Ok(text) if text.is_empty() => return Ok(None),
        Ok(text) => text.parse().map_err(|_| content(&id_path, text, "a number up to 65535"))?,
        Err(_) if !path.is_dir() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut supported = 0;
    for (field, bit) in [
        ("alua_support_transitioning", 0x80),
        ("alua_support_offline", 0x40),
        ("alua_support_lba_dependent", 0x10),
        ("alua_support_unavailable", 0x08),
        ("alua_support_standby", 0x04),
        ("alua_support_active_nonoptimized", 0x02),
        ("alua_support_active_optimized", 0x01),
    ] {
        if number::<u32>(&path.join(field))? != 0 {
            supported |= bit;
        }
    }
    let state_path = path.join("alua_access_state");
    let state: u8 = number(&state_path)?;
    if !matches!(state, 0..=3 | 14 | 15) {
        return Err(content(&state_path, state.to_string(), "an access state (0 to 3, 14 or 15)"));
    }
    Ok(Some(PortGroup {
        name: name.to_owned(),
        id,
        state,
        preferred: number::<u32>(&path.join("preferred"))? != 0,
        supported,
        status: word(
            &path.join("alua_access_status"),
            &[
                ("None", AccessStatus::None),
                ("Altered by Explicit STPG", AccessStatus::Explicit),
                ("Altered by Implicit ALUA", AccessStatus::Implicit),
            ],
            "\"None\", \"Altered by Explicit STPG\" or \"Altered by Implicit ALUA\"",
        )?,
        access_type: word(
            &path.join("alua_access_type"),
            &[
                ("None", AccessType::None),
                ("Implicit", AccessType::Implicit),
                ("Explicit", AccessType::Explicit),
                ("Implicit and Explicit", AccessType::Both),
            ],
            "\"None\", \"Implicit\", \"Explicit\" or \"Implicit and Explicit\"",
        )?,
        implicit_transition_seconds: number(&path.join("implicit_trans_secs"))?,
        ports: ports(&path.join("members"), target)?,
    }))
}

/// The ports of a group, in the kernel's order.
fn ports(members: &Path, target: &Path) -> Result<Vec<Port>, ConfigfsError> {
    let text = read(members)?;
    let mut ports = Vec::new();
    // The kernel may put a NUL between the lines.
    for line in text.split(['\n', '\0']).filter(|line| !line.is_empty()) {
        if ports.len() >= MAX_PORTS {
            return Err(content(members, "more lines".to_owned(), "a list of at most 128 ports"));
        }
        let Some(member) = Member::parse(line) else {
            return Err(content(members, line.to_owned(), "a line \"fabric/target/tpgt_N/lun_M\""));
        };
        match member.port(target) {
            Ok(port) => ports.push(port),
            // It was taken out of the fabric after the list was read.
            Err(error) if error.is_absent() && !member.is_there(target) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ports)
}

/// A line of `members`.
struct Member<'a> {
    fabric: &'a str,
    wwn: &'a str,
    portal_group: &'a str,
    tag: u16,
    lun: &'a str,
}

impl<'a> Member<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split('/');
        let (fabric, wwn, portal_group, lun) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let tag = portal_group.strip_prefix("tpgt_")?.parse().ok()?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Names become part of a path: none may lead elsewhere.
        let is_name =
            |name: &str, most: usize| !name.is_empty() && name.len() <= most && !name.starts_with('.');
        let is_whole = parts.next().is_none()
            && is_name(fabric, MAX_FABRIC)
            && is_name(wwn, MAX_WWN)
            && is_number(portal_group.strip_prefix("tpgt_")?)
            && is_number(lun.strip_prefix("lun_")?);
        // The kernel calls this fabric by another name than its directory.
        let fabric = if fabric == "iSCSI" { "iscsi" } else { fabric };
        is_whole.then_some(Self { fabric, wwn, portal_group, tag, lun })
    }

    fn directory(&self, target: &Path) -> std::path::PathBuf {
        target.join(self.fabric).join(self.wwn).join(self.portal_group)
    }

    fn is_there(&self, target: &Path) -> bool {
        self.directory(target).join("lun").join(self.lun).is_dir()
    }

    fn port(&self, target: &Path) -> Result<Port, ConfigfsError> {
        let portal_group = self.directory(target);
        let statistics = portal_group.join("lun").join(self.lun).join("statistics");
        let enable = portal_group.join("enable");
        let enabled = match number::<u32>(&enable) {
            Ok(value) => value != 0,
            Err(error) if error.is_absent() && portal_group.is_dir() => true,
            Err(error) => return Err(error),
        };
        let protocol_path = statistics.join("scsi_transport/proto_id");
        let protocol: u8 = number(&protocol_path)?;
        if protocol > 15 {
            return Err(content(&protocol_path, protocol.to_string(), "a protocol identifier up to 15"));
        }
        Ok(Port {
            fabric: self.fabric.to_owned(),
            wwn: self.wwn.to_owned(),
            tag: self.tag,
            relative_id: number(&statistics.join("scsi_port/indx"))?,
            protocol,
            enabled,
        })
    }
}

fn number<T: std::str::FromStr>(path: &Path) -> Result<T, ConfigfsError> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| content(path, text, "a number in its range"))
}

fn word<T: Copy>(path: &Path, words: &[(&str, T)], expected: &'static str) -> Result<T, ConfigfsError> {
    let text = read(path)?;
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| content(path, text, expected))
}

fn content(path: &Path, found: String, expected: &'static str) -> ConfigfsError {
    ConfigfsError::Content { path: path.to_owned(), found, expected }
}

#[cfg(test)]
mod tests;
