//! VPD page 88h: the target ports of the unit.

use super::device_identification::port_name;
use crate::logical_unit::LogicalUnit;

/// Most ports that are shown: their descriptors fit PAGE LENGTH however long the names are.
const MAX_PORTS: usize = 64;

/// A descriptor for each port: its relative identifier, no initiator port, its SCSI name string.
pub(super) fn ports(unit: &LogicalUnit, out: &mut Vec<u8>) {
    for port in unit.ports.iter().take(MAX_PORTS) {
        let [high, low] = port.relative_id.to_be_bytes();
        out.extend_from_slice(&[0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]);
        let start = out.len();
        port_name(port, out);
        // TARGET PORT DESCRIPTORS LENGTH: one designator of a header of 4 and at most 252 bytes.
        let length = u16::try_from(out.len() - start).expect("a designator has at most 259 bytes");
        out[start - 2..start].copy_from_slice(&length.to_be_bytes());
    }
}
