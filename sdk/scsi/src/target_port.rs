//! Target ports and their groups: what asymmetric logical unit access (ALUA, SPC-5 5.17) and VPD page 83h tell.

use std::fmt;

use crate::logical_unit::LogicalUnit;

/// A port that the unit is reached through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// RELATIVE TARGET PORT IDENTIFIER, 1 to FFFFh.
    pub relative_id: u16,
    /// PROTOCOL IDENTIFIER (SPC-5 7.6.1), 0h to Fh; 5h is iSCSI.
    pub protocol: u8,
    /// The group that it belongs to ([`TargetPortGroup::id`]).
    pub group: u16,
    /// SCSI name string of the port, as `iqn.2003-01.org.example,t,0x0001`.
    pub name: String,
    /// SCSI name string of the target device that the port belongs to.
    pub target_name: String,
}

/// Ports that always have the same access state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPortGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// What commands that come through it may do.
    pub state: AccessState,
    /// PREF: initiators should prefer it.
    pub preferred: bool,
    /// The states that it can be in, each by its [`AccessState::support_bit`].
    pub supported: u8,
    /// STATUS CODE: 0 none, 1 altered by SET TARGET PORT GROUPS, 2 altered implicitly.
    pub status: u8,
    /// IMPLICIT TRANSITION TIME: longest implicit transition in seconds; 0 if not specified.
    pub implicit_transition_s: u8,
    /// SET TARGET PORT GROUPS changes its state.
    pub explicit: bool,
    /// Its state may change without an initiator's doing.
    pub implicit: bool,
    /// RELATIVE TARGET PORT IDENTIFIERs of its ports. What is beyond 255 of them is not reported.
    pub ports: Vec<u16>,
}

/// ASYMMETRIC ACCESS STATE (SPC-5, REPORT TARGET PORT GROUPS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AccessState {
    /// 0h: active, optimized.
    Optimized = 0x0,
    /// 1h: active, non-optimized.
    NonOptimized = 0x1,
    /// 2h: standby.
    Standby = 0x2,
    /// 3h: unavailable.
    Unavailable = 0x3,
    /// 4h: logical block dependent.
    LbaDependent = 0x4,
    /// Eh: offline.
    Offline = 0xe,
    /// Fh: transitioning.
    Transitioning = 0xf,
}

impl AccessState {
    /// The state as it stands in parameter data, 0h to Fh.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Its bit in the byte of REPORT TARGET PORT GROUPS that tells which states a group supports.
    #[must_use]
    pub const fn support_bit(self) -> u8 {
        match self {
            Self::Optimized => 0x01,
            Self::NonOptimized => 0x02,
            Self::Standby => 0x04,
            Self::Unavailable => 0x08,
            Self::LbaDependent => 0x10,
            Self::Offline => 0x40,
            Self::Transitioning => 0x80,
        }
    }
}

impl TryFrom<u8> for AccessState {
    type Error = InvalidAccessState;

    fn try_from(code: u8) -> Result<Self, InvalidAccessState> {
        Ok(match code {
            0x0 => Self::Optimized,
            0x1 => Self::NonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LbaDependent,
            0xe => Self::Offline,
            0xf => Self::Transitioning,
            other => return Err(InvalidAccessState(other)),
        })
    }
}

/// Most ports of a group that fit TARGET PORT COUNT.
const MAX_PORTS: usize = 255;

/// Appends the parameter data of REPORT TARGET PORT GROUPS. `extended` asks for the header that also tells the
/// implicit transition time, the longest of all groups. RETURN DATA LENGTH counts everything behind itself. The
/// caller cuts to the allocation length, which does not change that.
pub fn report_target_port_groups(extended: bool, unit: &LogicalUnit, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    if extended {
        let longest = unit.groups.iter().map(|group| group.implicit_transition_s).max().unwrap_or(0);
        // FORMAT TYPE 001b.
        out.extend_from_slice(&[0x10, longest, 0, 0]);
    }
    for group in &unit.groups {
        let ports = &group.ports[..group.ports.len().min(MAX_PORTS)];
        let [high, low] = group.id.to_be_bytes();
        let preferred = if group.preferred { 0x80 } else { 0 };
        let count = u8::try_from(ports.len()).expect("at most MAX_PORTS");
        let state = preferred | group.state.code();
        out.extend_from_slice(&[state, group.supported, high, low, 0, group.status, 0, count]);
        for port in ports {
            let [high, low] = port.to_be_bytes();
            out.extend_from_slice(&[0, 0, high, low]);
        }
    }
    // There are 65,536 groups at most, of about a kilobyte each.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// The number that is no asymmetric access state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAccessState(pub u8);

impl fmt::Display for InvalidAccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asymmetric access state: {:X}h does not exist; use 0h to 4h, Eh or Fh", self.0)
    }
}

impl std::error::Error for InvalidAccessState {}

#[cfg(test)]
mod tests;
