//! What the kernel's target core does between the transport and the ring: REPORT LUNS, answers for LUNs that are
//! not there, unit attentions, and how much data a command moves. Pure functions and values.

pub(crate) mod attention;
pub(crate) mod report_luns;
pub(crate) mod sense;
pub(crate) mod stand_in;
pub(crate) mod status;
pub(crate) mod transfer;
