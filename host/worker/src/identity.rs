//! What the supervisor says of a LUN, in the words of the device loop.

use lunbox_device::{AccessStateAnswer, Identity};
use lunbox_scsi::{AccessState, TargetPort, TargetPortGroup};
use lunbox_wire::{Port, PortGroup};

/// Groups in a state that does not exist are left out: a supervisor of another version may know more of them.
pub(crate) fn identity(serial: String, ports: Vec<Port>, groups: Vec<PortGroup>) -> Identity {
    let ports = ports.into_iter().map(|port| TargetPort {
        relative_id: port.relative_id,
        protocol: port.protocol,
        group: port.group,
        name: port.name,
        target_name: port.target_name,
    });
    let groups = groups.into_iter().filter_map(|group| {
        Some(TargetPortGroup {
            id: group.id,
            state: AccessState::try_from(group.state).ok()?,
            preferred: group.preferred,
            supported: group.supported,
            status: group.status,
            implicit_transition_s: group.implicit_transition_s,
            // Groups of explicit types are not served: the supervisor leaves them out.
            explicit: false,
            implicit: true,
            ports: group.ports,
        })
    });
    Identity { serial, ports: ports.collect(), groups: groups.collect() }
}

pub(crate) const fn access_state_answer(answer: lunbox_wire::AccessStateAnswer) -> AccessStateAnswer {
    match answer {
        lunbox_wire::AccessStateAnswer::Set => AccessStateAnswer::Set,
        lunbox_wire::AccessStateAnswer::Unsupported => AccessStateAnswer::Unsupported,
        lunbox_wire::AccessStateAnswer::Failed => AccessStateAnswer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_passed_on_and_one_in_an_unknown_state_is_not() {
        let group = |id, state| PortGroup {
            id,
            state,
            preferred: true,
            supported: 0x8f,
            status: 2,
            implicit_transition_s: 9,
            ports: vec![1, 7],
        };
        let port = Port {
            relative_id: 7,
            protocol: 5,
            group: 16,
            name: "iqn.x,t,0x0001".to_owned(),
            target_name: "iqn.x".to_owned(),
        };
        let identity = identity("4711".to_owned(), vec![port], vec![group(16, 2), group(17, 5)]);
        assert_eq!(identity.serial, "4711");
        let [port] = &identity.ports[..] else { panic!("{:?}", identity.ports) };
        assert_eq!((port.relative_id, port.protocol, port.group), (7, 5, 16));
        assert_eq!((&*port.name, &*port.target_name), ("iqn.x,t,0x0001", "iqn.x"));
        let [group] = &identity.groups[..] else { panic!("{:?}", identity.groups) };
        assert_eq!(
            (group.id, group.state, group.supported, group.status),
            (16, AccessState::Standby, 0x8f, 2)
        );
        assert_eq!((group.implicit_transition_s, &group.ports[..]), (9, &[1, 7][..]));
        assert!(group.preferred && group.implicit && !group.explicit);
    }
}
