//! Header and data digests: CRC32C in the byte order of the wire (RFC 7143 clause 13.1).

/// Bytes that a digest takes on the wire.
pub const DIGEST_LENGTH: usize = 4;

/// Which digests a connection uses, as negotiated with `HeaderDigest` and `DataDigest` (RFC 7143 clause 13.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// A CRC32C follows the basic header segment and its additional header segments.
    pub header: bool,
    /// A CRC32C follows each data segment that is not empty; it covers the padding too.
    pub data: bool,
}

/// The digest of `bytes` as it stands on the wire: the reflected CRC32C, least significant byte first.
///
/// Cost: one pass over the bytes with the processor's CRC instruction where there is one.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> [u8; DIGEST_LENGTH] {
    crc32c::crc32c(bytes).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The examples of RFC 7143 appendix A (the same as RFC 3720 B.4).
    #[test]
    fn examples_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let mut read_command = [0u8; 48];
        read_command[..2].copy_from_slice(&[0x01, 0xc0]);
        read_command[16] = 0x14;
        read_command[22] = 0x04;
        read_command[27] = 0x14;
        read_command[31] = 0x18;
        read_command[32] = 0x28;
        read_command[40] = 0x02;
        assert_eq!(crc32c(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(crc32c(&ascending), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(crc32c(&descending), [0x5c, 0xdb, 0x3f, 0x11]);
        assert_eq!(crc32c(&read_command), [0x56, 0x3a, 0x96, 0xd9]);
    }
}
