//! What a logical unit says about itself. The builders of INQUIRY, VPD, mode, log and capacity data take it all
//! from here, so that two pages never contradict each other.

mod characteristics;
mod geometry;
mod space;

pub use characteristics::{Changeable, Characteristics, Provisioning, Unmap, WriteSame};
pub use geometry::{Geometry, GeometryError};
pub use space::ThinSpace;

use crate::copy_results::CopyRecord;
use crate::sense::{Sense, SenseFormat, SenseKeySpecific};
use crate::target_port::{TargetPort, TargetPortGroup};

/// Everything that INQUIRY, VPD, MODE SENSE, LOG SENSE, READ CAPACITY, REQUEST SENSE and the REPORT commands tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalUnit {
    /// Who it is.
    pub identity: Identity,
    /// How large it is.
    pub geometry: Geometry,
    /// What it can do.
    pub characteristics: Characteristics,
    /// What REQUEST SENSE reports, for instance a unit attention. The owner clears it when it has been reported.
    pub pending_sense: Option<Sense>,
    /// How far a FORMAT UNIT that runs has come, in 65,536ths; `None` if none runs.
    pub formatting: Option<u16>,
    /// The target ports that the unit is reached through. Empty: not known, and the designators of ports are left
    /// out of VPD page 83h.
    pub ports: Vec<TargetPort>,
    /// The target port groups. Empty: there is no asymmetric access, TPGS is 0.
    pub groups: Vec<TargetPortGroup>,
    /// How much room is left, for thresholds and the logical block provisioning log page; `None` if not known.
    /// Counts only for units with [`Provisioning::Thin`].
    pub space: Option<ThinSpace>,
    /// EXTENDED COPY commands that RECEIVE COPY RESULTS can tell of. The owner keeps their number small.
    pub copies: Vec<CopyRecord>,
}

impl LogicalUnit {
    /// A unit that can read and write durably, and nothing else: [`Characteristics::default`].
    #[must_use]
    pub fn new(identity: Identity, geometry: Geometry) -> Self {
        Self {
            identity,
            geometry,
            characteristics: Characteristics::default(),
            pending_sense: None,
            formatting: None,
            ports: Vec::new(),
            groups: Vec::new(),
            space: None,
            copies: Vec::new(),
        }
    }

    /// The format of the sense data that goes with CHECK CONDITION: D_SENSE of the control mode page.
    #[must_use]
    pub const fn sense_format(&self) -> SenseFormat {
        if self.characteristics.descriptor_sense { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// What commands end with while FORMAT UNIT runs: 2/04/04 and how far it has come. `None` if none runs.
    #[must_use]
    pub fn format_in_progress(&self) -> Option<(Sense, SenseKeySpecific)> {
        self.formatting.map(|done| (Sense::FORMAT_IN_PROGRESS, SenseKeySpecific::Progress(done)))
    }

    /// What writes end with: 7/27/00 if the medium takes none, 7/27/02 if SWP of the control mode page is set;
    /// `None` if they are welcome.
    #[must_use]
    pub const fn write_protection(&self) -> Option<Sense> {
        if self.characteristics.write_protected {
            Some(Sense::WRITE_PROTECTED)
        } else if self.characteristics.software_write_protected {
            Some(Sense::SOFTWARE_WRITE_PROTECTED)
        } else {
            None
        }
    }

    /// How much room is left, if the unit is thin and that is known.
    pub(crate) fn thin_space(&self) -> Option<&ThinSpace> {
        let unmap = self.characteristics.unmap?;
        self.space.as_ref().filter(|_| unmap.provisioning == Provisioning::Thin)
    }
}

/// Who the unit is. Bytes that are not printable ASCII (20h to 7Eh) are shown as `?`; what is too long is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, up to 8 characters.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, up to 16 characters.
    pub product: String,
    /// PRODUCT REVISION LEVEL, up to 4 characters.
    pub revision: String,
    /// Unit serial number: unique and the same for ever. The NAA name is made of its hexadecimal digits.
    pub serial: String,
}

impl Identity {
    /// The identity that LUNs of tcmu-runner have, so that initiators recognise them after a migration.
    #[must_use]
    pub fn tcmu(serial: &str) -> Self {
        Self {
            vendor: "LIO-ORG".to_owned(),
            product: "TCMU device".to_owned(),
            revision: "0002".to_owned(),
            serial: serial.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
