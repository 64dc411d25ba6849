//! `lunbox serve` against tgt: the same file, the same clients, the same run, one after the other.

pub mod cpu;
pub mod load;
pub mod report;
pub mod round;
