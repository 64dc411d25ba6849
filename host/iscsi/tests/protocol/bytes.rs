//! Bytes written as hexadecimal, and PDUs built without the code under test.

/// Reads hexadecimal digits; everything after `|` in a line is a remark.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// CRC32C bit by bit, least significant byte first: slow, but not the code under test.
pub fn digest(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).to_le_bytes()
}

/// A PDU from its parts: sets the lengths, pads, and appends the digests.
pub fn pdu(header: [u8; 48], ahs: &[u8], data: &[u8], header_digest: bool, data_digest: bool) -> Vec<u8> {
    assert!(ahs.len().is_multiple_of(4));
    let mut bytes = header.to_vec();
    bytes[4] = u8::try_from(ahs.len() / 4).unwrap();
    bytes[5..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(ahs);
    if header_digest {
        bytes.extend_from_slice(&digest(&bytes.clone()));
    }
    if !data.is_empty() {
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(4), 0);
        if data_digest {
            data.extend_from_slice(&digest(&data.clone()));
        }
        bytes.extend_from_slice(&data);
    }
    bytes
}
