//! The sense codes that this target uses, by the names of the standard (SPC-5 annex F).

use super::{Sense, SenseKey};

impl Sense {
    /// 0/00/00: nothing to report.
    pub const NO_SENSE: Self = Self::new(SenseKey::NoSense, 0x00, 0x00);

    /// 2/04/00: not ready, cause not reportable.
    pub const LOGICAL_UNIT_NOT_READY: Self = Self::new(SenseKey::NotReady, 0x04, 0x00);
    /// 2/04/01: in process of becoming ready; the initiator waits and tries again.
    pub const BECOMING_READY: Self = Self::new(SenseKey::NotReady, 0x04, 0x01);
    /// 2/04/04: FORMAT UNIT in progress.
    pub const FORMAT_IN_PROGRESS: Self = Self::new(SenseKey::NotReady, 0x04, 0x04);
    /// 2/04/0A: asymmetric access state transition.
    pub const ASYMMETRIC_ACCESS_TRANSITION: Self = Self::new(SenseKey::NotReady, 0x04, 0x0a);
    /// 2/04/0B: target port in standby state; the initiator uses another path.
    pub const TARGET_PORT_IN_STANDBY: Self = Self::new(SenseKey::NotReady, 0x04, 0x0b);
    /// 2/08/00: logical unit communication failure.
    pub const COMMUNICATION_FAILURE: Self = Self::new(SenseKey::NotReady, 0x08, 0x00);
    /// 2/3A/00: medium not present.
    pub const MEDIUM_NOT_PRESENT: Self = Self::new(SenseKey::NotReady, 0x3a, 0x00);

    /// 3/0C/00: write error.
    pub const WRITE_ERROR: Self = Self::new(SenseKey::MediumError, 0x0c, 0x00);
    /// 3/11/00: unrecovered read error.
    pub const UNRECOVERED_READ_ERROR: Self = Self::new(SenseKey::MediumError, 0x11, 0x00);
    /// 3/31/01: FORMAT UNIT failed; the medium must be formatted again.
    pub const FORMAT_COMMAND_FAILED: Self = Self::new(SenseKey::MediumError, 0x31, 0x01);

    /// 4/44/00: internal target failure.
    pub const INTERNAL_TARGET_FAILURE: Self = Self::new(SenseKey::HardwareError, 0x44, 0x00);
    /// 4/67/0A: SET TARGET PORT GROUPS failed.
    pub const SET_TARGET_PORT_GROUPS_FAILED: Self = Self::new(SenseKey::HardwareError, 0x67, 0x0a);

    /// 5/1A/00: parameter list length error.
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self::new(SenseKey::IllegalRequest, 0x1a, 0x00);
    /// 5/20/00: invalid command operation code.
    pub const INVALID_COMMAND_OPERATION_CODE: Self = Self::new(SenseKey::IllegalRequest, 0x20, 0x00);
    /// 5/21/00: logical block address out of range.
    pub const LBA_OUT_OF_RANGE: Self = Self::new(SenseKey::IllegalRequest, 0x21, 0x00);
    /// 5/24/00: invalid field in CDB.
    pub const INVALID_FIELD_IN_CDB: Self = Self::new(SenseKey::IllegalRequest, 0x24, 0x00);
    /// 5/26/00: invalid field in parameter list.
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x00);
    /// 5/26/02: parameter value invalid.
    pub const PARAMETER_VALUE_INVALID: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x02);
    /// 5/26/06: too many target descriptors (EXTENDED COPY).
    pub const TOO_MANY_TARGET_DESCRIPTORS: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x06);
    /// 5/26/07: unsupported target descriptor type code (EXTENDED COPY).
    pub const UNSUPPORTED_TARGET_DESCRIPTOR: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x07);
    /// 5/26/08: too many segment descriptors (EXTENDED COPY).
    pub const TOO_MANY_SEGMENT_DESCRIPTORS: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x08);
    /// 5/26/09: unsupported segment descriptor type code (EXTENDED COPY).
    pub const UNSUPPORTED_SEGMENT_DESCRIPTOR: Self = Self::new(SenseKey::IllegalRequest, 0x26, 0x09);
    /// 5/2C/00: command sequence error.
    pub const COMMAND_SEQUENCE_ERROR: Self = Self::new(SenseKey::IllegalRequest, 0x2c, 0x00);
    /// 5/30/05: cannot write medium, incompatible format.
    pub const CANNOT_WRITE_INCOMPATIBLE_FORMAT: Self = Self::new(SenseKey::IllegalRequest, 0x30, 0x05);
    /// 5/39/00: saving parameters not supported.
    pub const SAVING_PARAMETERS_NOT_SUPPORTED: Self = Self::new(SenseKey::IllegalRequest, 0x39, 0x00);

    /// 6/2A/01: mode parameters changed.
    pub const MODE_PARAMETERS_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x01);
    /// 6/2A/06: asymmetric access state changed.
    pub const ACCESS_STATE_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x06);
    /// 6/2A/07: implicit asymmetric access state transition failed.
    pub const IMPLICIT_TRANSITION_FAILED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x07);
    /// 6/2A/09: capacity data has changed.
    pub const CAPACITY_CHANGED: Self = Self::new(SenseKey::UnitAttention, 0x2a, 0x09);
    /// 6/38/07: thin provisioning soft threshold reached.
    pub const SOFT_THRESHOLD_REACHED: Self = Self::new(SenseKey::UnitAttention, 0x38, 0x07);

    /// 7/27/00: write protected.
    pub const WRITE_PROTECTED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x00);
    /// 7/27/02: logical unit software write protected.
    pub const SOFTWARE_WRITE_PROTECTED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x02);
    /// 7/27/07: space allocation failed; a thin store is full.
    pub const SPACE_ALLOCATION_FAILED: Self = Self::new(SenseKey::DataProtect, 0x27, 0x07);

    /// A/0D/01: third party device failure; a copy's source or destination did not do its part.
    pub const THIRD_PARTY_DEVICE_FAILURE: Self = Self::new(SenseKey::CopyAborted, 0x0d, 0x01);
    /// A/0D/02: copy target device not reachable.
    pub const COPY_TARGET_NOT_REACHABLE: Self = Self::new(SenseKey::CopyAborted, 0x0d, 0x02);
    /// A/0D/03: incorrect copy target device type.
    pub const INCORRECT_COPY_TARGET_TYPE: Self = Self::new(SenseKey::CopyAborted, 0x0d, 0x03);

    /// E/1D/00: miscompare during verify; INFORMATION holds the byte offset of the first difference.
    pub const MISCOMPARE: Self = Self::new(SenseKey::Miscompare, 0x1d, 0x00);
}
