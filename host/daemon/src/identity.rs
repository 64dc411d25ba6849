//! Who a LUN is, as configfs has it: its serial number, its target port groups and the port that speaks for it. And how
//! a group is put into another state for an initiator.

use lunbox_tcmu::{AccessType, DeviceDirectory, PortGroup};
use lunbox_wire::{AccessStateAnswer, Identity};

/// ASYMMETRIC ACCESS STATE: active/optimized.
const OPTIMIZED: u8 = 0;
/// ASYMMETRIC ACCESS STATE: standby.
const STANDBY: u8 = 2;

/// What configfs said at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The serial number, or why it could not be read.
    pub serial: Result<String, String>,
    /// Groups and ports, or why they could not be read.
    pub access: Result<Access, String>,
}

/// Groups and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The port that speaks for the unit, or none.
    pub ports: Vec<lunbox_wire::Port>,
    /// All groups, or none if there is one that is not served.
    pub groups: Vec<lunbox_wire::PortGroup>,
    /// What the operator should put right.
    pub complaint: Option<String>,
}

/// Reads all of it. May wait for configfs.
pub fn read(directory: &DeviceDirectory) -> Reading {
    Reading { serial: directory.serial().map_err(|error| error.to_string()), access: access(directory) }
}

fn access(directory: &DeviceDirectory) -> Result<Access, String> {
    let groups = match directory.port_groups() {
        // A group or a port that goes while it is read: once more without it.
        Err(error) if error.is_absent() => directory.port_groups(),
        groups => groups,
    };
    Ok(in_force(&groups.map_err(|error| error.to_string())?))
}

/// What initiators are told of these groups.
///
/// Groups of an explicit type are not served (tcmu-runner gave that up, too: two hosts that prefer different ways to a
/// LUN move it back and forth). A device that has one says nothing of groups, which is true, since none is in force.
fn in_force(groups: &[PortGroup]) -> Access {
    if let Some(explicit) =
        groups.iter().find(|group| matches!(group.access_type, AccessType::Explicit | AccessType::Both))
    {
        let complaint = format!(
            "alua/{}/alua_access_type is explicit, which is not served: initiators are told of no target port groups; \
             write 1 (implicit) to it",
            explicit.name
        );
        return Access { complaint: Some(complaint), ..Access::default() };
    }
    Access {
        ports: speaker(groups).map(|(group, port)| wire_port(group, port)).into_iter().collect(),
        groups: groups.iter().map(wire_group).collect(),
        complaint: None,
    }
}

/// The port that speaks for the unit: the first that initiators can use. The ring does not tell which one a command came
/// through, so there should be one only.
fn speaker(groups: &[PortGroup]) -> Option<(&PortGroup, &lunbox_tcmu::Port)> {
    groups
        .iter()
        .flat_map(|group| group.ports.iter().map(move |port| (group, port)))
        .find(|(_, port)| port.enabled)
}

fn wire_port(group: &PortGroup, port: &lunbox_tcmu::Port) -> lunbox_wire::Port {
    lunbox_wire::Port {
        relative_id: port.relative_id,
        protocol: port.protocol,
        group: group.id,
        name: format!("{},t,0x{:04x}", port.wwn, port.tag),
        target_name: port.wwn.clone(),
    }
}

fn wire_group(group: &PortGroup) -> lunbox_wire::PortGroup {
    lunbox_wire::PortGroup {
        id: group.id,
        state: group.state,
        preferred: group.preferred,
        supported: group.supported,
        status: group.status as u8,
        // The field has a byte.
        implicit_transition_s: u8::try_from(group.implicit_transition_seconds).unwrap_or(u8::MAX),
        ports: group.ports.iter().map(|port| port.relative_id).collect(),
    }
}

/// Puts a group into a state because an initiator wants it. May wait for configfs.
///
/// As tcmu-runner: only the group of the port that speaks for the unit, only optimized and standby; and where one group
/// becomes optimized, the others become standby.
pub fn set_access_state(directory: &DeviceDirectory, group: u16, state: u8) -> AccessStateAnswer {
    let device = directory.path().display();
    let groups = match directory.port_groups() {
        Ok(groups) => groups,
        Err(error) => {
            tracing::warn!(%device, "SET TARGET PORT GROUPS: {error}");
            return AccessStateAnswer::Failed;
        }
    };
    let Some((wanted, _)) = speaker(&groups).filter(|(own, _)| own.id == group) else {
        tracing::warn!(%device, group, "SET TARGET PORT GROUPS: not the group of an enabled port of this device");
        return AccessStateAnswer::Failed;
    };
    let bit = match state {
        OPTIMIZED => 0x01,
        STANDBY => 0x04,
        _ => return AccessStateAnswer::Unsupported,
    };
    if wanted.supported & bit == 0 {
        return AccessStateAnswer::Unsupported;
    }
    if let Err(error) = directory.set_access_state(&wanted.name, state) {
        tracing::warn!(%device, group, "SET TARGET PORT GROUPS: {error}");
        return AccessStateAnswer::Failed;
    }
    tracing::info!(%device, group, state, "an initiator changed the access state of a target port group");
    if state == OPTIMIZED {
        for other in groups.iter().filter(|other| other.id != group && other.state != STANDBY) {
            // What was asked for is done.
            if let Err(error) = directory.set_access_state(&other.name, STANDBY) {
                tracing::warn!(%device, group = other.id, "it should be standby now: {error}");
            }
        }
    }
    AccessStateAnswer::Set
}

/// What to tell of a reading: where something could not be read, what was known before.
pub fn merge(known: &Identity, reading: Reading) -> (Identity, Vec<String>) {
    let mut complaints = Vec::new();
    let serial = reading.serial.unwrap_or_else(|error| {
        complaints.push(format!("serial number not readable: {error}"));
        known.serial.clone()
    });
    let (ports, groups) = match reading.access {
        Ok(access) => {
            complaints.extend(access.complaint);
            (access.ports, access.groups)
        }
        Err(error) => {
            complaints.push(format!("target port groups not readable: {error}"));
            (known.ports.clone(), known.groups.clone())
        }
    };
    (Identity { serial, ports, groups }, complaints)
}

#[cfg(test)]
mod tests;
