//! Who a LUN is and how it presents itself to initiators, as the supervisor reads it from the kernel.

use serde::{Deserialize, Serialize};

/// Most target port groups in one message.
pub const MAX_GROUPS: usize = 64;

/// Most ports in one message, and most in one group.
pub const MAX_PORTS: usize = 128;

/// What initiators are told of a LUN. It may change while the device lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Unit serial number, perhaps empty.
    pub serial: String,
    /// The port that speaks for the unit, or none.
    pub ports: Vec<Port>,
    /// Its target port groups.
    pub groups: Vec<PortGroup>,
}

/// A target port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_id: u16,
    /// PROTOCOL IDENTIFIER, 0 to 15.
    pub protocol: u8,
    /// The group that it is in.
    pub group: u16,
    /// SCSI name string of the port.
    pub name: String,
    /// SCSI name string of the target device.
    pub target_name: String,
}

/// A target port group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// ASYMMETRIC ACCESS STATE, 0 to 15.
    pub state: u8,
    /// Initiators are asked to prefer it.
    pub preferred: bool,
    /// The supported states, as in byte 1 of its descriptor in REPORT TARGET PORT GROUPS.
    pub supported: u8,
    /// STATUS CODE: why it is in its state.
    pub status: u8,
    /// Longest time of a change in seconds; 0: not told.
    pub implicit_transition_s: u8,
    /// RELATIVE TARGET PORT IDENTIFIERs of its ports.
    pub ports: Vec<u16>,
}

/// Mode parameters that initiators change, and that are in force until they change them again: a loop that takes over
/// from another one keeps them. The write cache stands elsewhere, since administrators switch it, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// SWP of the control mode page: writes are refused.
    #[serde(default)]
    pub software_write_protect: bool,
    /// D_SENSE of the control mode page: sense data in descriptor format.
    #[serde(default)]
    pub descriptor_sense: bool,
}

/// What came of SET TARGET PORT GROUPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessStateAnswer {
    /// The group has the state.
    Set,
    /// The group can not be put into this state by an initiator.
    Unsupported,
    /// It could not be done; the log says why.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_MESSAGE, Request};

    #[test]
    fn the_longest_identity_fits_into_a_packet() {
        let text = |length| "\u{1}".repeat(length);
        let port = Port {
            relative_id: u16::MAX,
            protocol: 15,
            group: u16::MAX,
            name: text(240),
            target_name: text(223),
        };
        let group = PortGroup {
            id: u16::MAX,
            state: 15,
            preferred: false,
            supported: u8::MAX,
            status: u8::MAX,
            implicit_transition_s: u8::MAX,
            ports: vec![u16::MAX; MAX_PORTS],
        };
        let request = Request::Serial {
            minor: u32::MAX,
            serial: text(255),
            ports: vec![port],
            groups: vec![group; MAX_GROUPS],
        };
        assert!(serde_json::to_vec(&request).unwrap().len() <= MAX_MESSAGE);
    }

    #[test]
    fn a_supervisor_that_knows_no_groups_is_understood() {
        let request: Request = serde_json::from_str(r#"{"serial":{"minor":3,"serial":"x"}}"#).unwrap();
        let expected = Request::Serial { minor: 3, serial: "x".to_owned(), ports: vec![], groups: vec![] };
        assert_eq!(request, expected);
    }
}
