//! Commands by name. The 10-byte form is sent where it can address the blocks, the 16-byte form elsewhere.

use super::{Initiator, InitiatorError, Response, cdb};
use crate::kernel::Data;

impl Initiator {
    fn transfer(
        &self,
        lba: u64,
        blocks: u32,
        data: Data<'_>,
        ten: fn(u32, u16) -> [u8; 10],
        sixteen: fn(u64, u32) -> [u8; 16],
    ) -> Result<Response, InitiatorError> {
        match (u32::try_from(lba), u16::try_from(blocks)) {
            (Ok(lba), Ok(blocks)) => self.execute(&ten(lba, blocks), data),
            _ => self.execute(&sixteen(lba, blocks), data),
        }
    }

    /// READ of so many blocks of [`super::Settings::block_bytes`].
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn read(&self, lba: u64, blocks: u32) -> Result<Response, InitiatorError> {
        let bytes = blocks.saturating_mul(self.settings().block_bytes);
        self.transfer(lba, blocks, Data::In(bytes), cdb::read_10, cdb::read_16)
    }

    /// WRITE of `data`. The block count in the CDB is its length in blocks, rounded up; data that is shorter
    /// than the CDB says is for the device to judge.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn write(&self, lba: u64, data: &[u8]) -> Result<Response, InitiatorError> {
        let blocks = data.len().div_ceil(self.settings().block_bytes.max(1) as usize);
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        self.transfer(lba, blocks, Data::Out(data), cdb::write_10, cdb::write_16)
    }

    /// SYNCHRONIZE CACHE of everything.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn flush(&self) -> Result<Response, InitiatorError> {
        self.execute(&cdb::synchronize_cache_10(0, 0), Data::None)
    }

    /// Standard INQUIRY with 96 bytes of allocation length.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn inquiry(&self) -> Result<Response, InitiatorError> {
        self.execute(&cdb::inquiry(96), Data::In(96))
    }

    /// INQUIRY of a VPD page with 255 bytes of allocation length.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn inquiry_page(&self, page: u8) -> Result<Response, InitiatorError> {
        self.execute(&cdb::inquiry_page(page, 255), Data::In(255))
    }

    /// READ CAPACITY (16); [`Response::capacity`] reads the answer.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn read_capacity(&self) -> Result<Response, InitiatorError> {
        self.execute(&cdb::read_capacity_16(32), Data::In(32))
    }

    /// TEST UNIT READY.
    ///
    /// # Errors
    /// [`InitiatorError`].
    pub fn test_unit_ready(&self) -> Result<Response, InitiatorError> {
        self.execute(&cdb::test_unit_ready(), Data::None)
    }
}
