//! What a unit can do.

use crate::units::Blocks;

/// What the unit can do. The default is the least: reads and durable writes of any length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Characteristics {
    /// Writes are refused (WP in the mode parameter header).
    pub write_protected: bool,
    /// Writes may be volatile until SYNCHRONIZE CACHE (WCE in the caching mode page).
    pub write_cache: bool,
    /// DPO and FUA are honoured (DPOFUA in the mode parameter header).
    pub dpo_fua: bool,
    /// Sense data is sent in descriptor format (D_SENSE in the control mode page): INFORMATION above 32 bits
    /// fits.
    pub descriptor_sense: bool,
    /// No seek penalty (MEDIUM ROTATION RATE = 1 in VPD B1).
    pub solid_state: bool,
    /// MAXIMUM TRANSFER LENGTH of VPD B0; 0 states no limit. Shown as 2³²−1 if larger.
    pub max_transfer: Blocks,
    /// OPTIMAL TRANSFER LENGTH of VPD B0; 0 states none.
    pub optimal_transfer: Blocks,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY of VPD B0; 0 states none.
    pub optimal_granularity: u16,
    /// MAXIMUM COMPARE AND WRITE LENGTH of VPD B0 in blocks; 0 if there is no COMPARE AND WRITE.
    pub max_compare_and_write: u8,
    /// MAXIMUM WRITE SAME LENGTH of VPD B0; 0 states no limit, or that there is no WRITE SAME.
    pub max_write_same: Blocks,
    /// Logical block provisioning management; `None` if there is no UNMAP.
    pub unmap: Option<Unmap>,
    /// Writes are refused until an initiator takes it back (SWP in the control mode page).
    pub software_write_protected: bool,
    /// Whether there is a write cache after power on, whatever MODE SELECT has said since.
    pub default_write_cache: bool,
    /// What MODE SELECT may change.
    pub changeable: Changeable,
    /// The handler can write zeros without being sent them.
    pub write_zeroes: bool,
    /// The handler knows which blocks are allocated; otherwise GET LBA STATUS says that all are.
    pub lba_status: bool,
    /// The target runs commands that take several steps: FORMAT UNIT, GET LBA STATUS, MODE SELECT, ORWRITE,
    /// PRE-FETCH, VERIFY, WRITE AND VERIFY and WRITE SAME.
    pub composites: bool,
    /// The target runs EXTENDED COPY and keeps its results (3PC in the standard INQUIRY data).
    pub third_party_copy: bool,
    /// Whoever stands before this target answers PERSISTENT RESERVE, RESERVE and RELEASE. They are only listed
    /// here.
    pub reservations: bool,
}

/// What MODE SELECT may change: the masks of MODE SENSE with PC=01b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changeable {
    /// WCE of the caching page.
    pub write_cache: bool,
    /// SWP of the control page.
    pub software_write_protect: bool,
    /// D_SENSE of the control page.
    pub descriptor_sense: bool,
}

/// Logical block provisioning management (SBC-4 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// MAXIMUM UNMAP LBA COUNT of VPD B0: blocks of one UNMAP command, all descriptors together; not 0.
    pub max_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT of VPD B0; not 0.
    pub max_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY of VPD B0 in blocks; 0 states none.
    pub granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT of VPD B0: first LBA that is on the granularity, below 2³¹; `None` if not
    /// known.
    pub alignment: Option<u32>,
    /// Unmapped blocks read as zeros (LBPRZ).
    pub reads_zeroes: bool,
    /// Which WRITE SAME commands honour their UNMAP bit.
    pub write_same: WriteSame,
    /// How blocks are backed.
    pub provisioning: Provisioning,
}

/// Which WRITE SAME commands unmap (LBPWS and LBPWS10 in VPD B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSame {
    /// None: only UNMAP does.
    None,
    /// WRITE SAME (16).
    Sixteen,
    /// WRITE SAME (10) and (16).
    TenAndSixteen,
}

/// PROVISIONING TYPE of VPD B2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// 0: not reported.
    NotReported,
    /// 1: resource provisioned; writes never fail for lack of space.
    Resource,
    /// 2: thin provisioned; writes may end with 7/27/07.
    Thin,
}
