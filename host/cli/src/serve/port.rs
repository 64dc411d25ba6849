//! The one target port of the server, as initiators see it through each LUN (SPC-5 7.7.6, 6.36): its portal group is the
//! only way to the LUNs, so it is always active and optimized.

use lunbox_device::{AccessStateAnswer, Identity};
use lunbox_scsi::{AccessState, TargetPort, TargetPortGroup};

/// RELATIVE TARGET PORT IDENTIFIER, and the target portal group tag that the target tells in SendTargets and logins.
const PORT: u16 = 1;
/// TARGET PORT GROUP.
const GROUP: u16 = 1;
/// PROTOCOL IDENTIFIER of iSCSI (SPC-5 table 487).
const ISCSI: u8 = 5;

/// Who a LUN of this target is.
pub(super) fn identity(target: &str, serial: String) -> Identity {
    let port = TargetPort {
        relative_id: PORT,
        protocol: ISCSI,
        group: GROUP,
        name: format!("{target},t,0x{PORT:04x}"),
        target_name: target.to_owned(),
    };
    let group = TargetPortGroup {
        id: GROUP,
        state: AccessState::Optimized,
        preferred: false,
        supported: AccessState::Optimized.support_bit(),
        status: 0,
        implicit_transition_s: 0,
        explicit: false,
        implicit: true,
        ports: vec![PORT],
    };
    Identity { serial, ports: vec![port], groups: vec![group] }
}

/// What becomes of SET TARGET PORT GROUPS: the group has its state already, and can have no other one.
pub(super) fn answer(group: u16, state: u8) -> AccessStateAnswer {
    match (group, state) {
        (GROUP, state) if state == AccessState::Optimized.code() => AccessStateAnswer::Set,
        (GROUP, _) => AccessStateAnswer::Unsupported,
        _ => AccessStateAnswer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_in_the_group_that_it_names() {
        let identity = identity("iqn.2026-11.org.lunbox:disk", "abc".to_owned());
        let (port, group) = (&identity.ports[0], &identity.groups[0]);
        assert_eq!(port.name, "iqn.2026-11.org.lunbox:disk,t,0x0001");
        assert_eq!((port.group, port.relative_id), (group.id, group.ports[0]));
        assert_eq!((identity.serial.as_str(), group.state), ("abc", AccessState::Optimized));
    }

    #[test]
    fn the_group_keeps_its_state() {
        assert_eq!(answer(GROUP, 0), AccessStateAnswer::Set);
        assert_eq!(answer(GROUP, 2), AccessStateAnswer::Unsupported);
        assert_eq!(answer(0, 0), AccessStateAnswer::Failed);
    }
}
