//! PDUs by hand, from the figures of RFC 7143 clause 11: a second opinion on the codec under test, of which nothing
//! is used here.

/// A PDU as bytes: header, additional headers, data.
#[derive(Clone, Debug)]
pub struct Pdu {
    pub bhs: [u8; 48],
    pub ahs: Vec<u8>,
    pub data: Vec<u8>,
}

/// No tag.
pub const NONE: u32 = u32::MAX;

/// Opcodes with which targets answer.
pub mod answer {
    pub const NOP_IN: u8 = 0x20;
    pub const SCSI_RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT: u8 = 0x22;
    pub const LOGIN: u8 = 0x23;
    pub const TEXT: u8 = 0x24;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT: u8 = 0x26;
    pub const R2T: u8 = 0x31;
    pub const ASYNC: u8 = 0x32;
    pub const REJECT: u8 = 0x3f;
}

/// Residual flags of SCSI Response and Data-In.
pub const UNDERFLOW: u8 = 0x02;
pub const OVERFLOW: u8 = 0x04;

impl Pdu {
    pub fn new(opcode: u8, flags: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = flags;
        Self { bhs, ahs: Vec::new(), data: Vec::new() }
    }

    pub fn put32(mut self, at: usize, value: u32) -> Self {
        self.bhs[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub fn put16(mut self, at: usize, value: u16) -> Self {
        self.bhs[at..at + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub fn lun(mut self, lun: u8) -> Self {
        self.bhs[9] = lun;
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn immediate(mut self) -> Self {
        self.bhs[0] |= 0x40;
        self
    }

    pub fn get32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bhs[at..at + 4].try_into().unwrap())
    }

    pub fn get16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.bhs[at..at + 2].try_into().unwrap())
    }

    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    pub fn flags(&self) -> u8 {
        self.bhs[1]
    }

    pub fn is_final(&self) -> bool {
        self.flags() & 0x80 != 0
    }

    pub fn task_tag(&self) -> u32 {
        self.get32(16)
    }

    pub fn transfer_tag(&self) -> u32 {
        self.get32(20)
    }

    pub fn stat_sn(&self) -> u32 {
        self.get32(24)
    }

    pub fn exp_cmd_sn(&self) -> u32 {
        self.get32(28)
    }

    pub fn max_cmd_sn(&self) -> u32 {
        self.get32(32)
    }

    /// SCSI status of a response or of a Data-In that has one.
    pub fn status(&self) -> u8 {
        assert!(
            self.opcode() == answer::SCSI_RESPONSE || (self.opcode() == answer::DATA_IN && self.has_status()),
            "{self:?}"
        );
        self.bhs[3]
    }

    pub fn has_status(&self) -> bool {
        self.flags() & 1 != 0
    }

    /// Response code of task management and logout, reason of a reject.
    pub fn response(&self) -> u8 {
        self.bhs[2]
    }

    /// Which residual flag, and the count.
    pub fn residual(&self) -> (u8, u32) {
        (self.flags() & (UNDERFLOW | OVERFLOW), self.get32(44))
    }

    pub fn data_sn(&self) -> u32 {
        self.get32(36)
    }

    pub fn offset(&self) -> u32 {
        self.get32(40)
    }

    /// Sense key, code and qualifier of a SCSI Response with fixed format sense data.
    pub fn sense(&self) -> (u8, u8, u8) {
        assert_eq!((self.opcode(), self.status()), (answer::SCSI_RESPONSE, 2), "{self:?}");
        let length = usize::from(u16::from_be_bytes([self.data[0], self.data[1]]));
        let sense = &self.data[2..2 + length];
        assert_eq!((sense.len(), sense[0] & 0x7f), (18, 0x70), "{sense:x?}");
        (sense[2] & 0xf, sense[12], sense[13])
    }

    /// The bytes on the wire.
    pub fn encode(&self, header_digest: bool, data_digest: bool) -> Vec<u8> {
        let mut bhs = self.bhs;
        bhs[4] = u8::try_from(self.ahs.len() / 4).unwrap();
        bhs[5..8].copy_from_slice(&u32::try_from(self.data.len()).unwrap().to_be_bytes()[1..]);
        let mut wire = [&bhs[..], &self.ahs].concat();
        if header_digest {
            wire.extend(crc32c(&wire).to_le_bytes());
        }
        let mut data = self.data.clone();
        data.resize(data.len().next_multiple_of(4), 0);
        wire.extend(&data);
        if data_digest && !data.is_empty() {
            wire.extend(crc32c(&data).to_le_bytes());
        }
        wire
    }
}

/// SCSI Command: flags `r`, `w`, `F` in `flags`.
pub fn scsi(tag: u32, flags: &str, expected: u32, cdb: &[u8]) -> Pdu {
    let bit = |letter, bit: u8| if flags.contains(letter) { bit } else { 0 };
    let mut pdu = Pdu::new(0x01, bit('F', 0x80) | bit('r', 0x40) | bit('w', 0x20) | 1)
        .put32(16, tag)
        .put32(20, expected);
    let short = &cdb[..cdb.len().min(16)];
    pdu.bhs[32..32 + short.len()].copy_from_slice(short);
    if cdb.len() > 16 {
        let rest = &cdb[16..];
        pdu.ahs = u16::try_from(rest.len() + 1).unwrap().to_be_bytes().to_vec();
        pdu.ahs.extend([1, 0]);
        pdu.ahs.extend(rest);
        pdu.ahs.resize(pdu.ahs.len().next_multiple_of(4), 0);
    }
    pdu
}

pub fn data_out(tag: u32, transfer_tag: u32, data_sn: u32, offset: u32, is_final: bool, data: &[u8]) -> Pdu {
    Pdu::new(0x05, if is_final { 0x80 } else { 0 })
        .put32(16, tag)
        .put32(20, transfer_tag)
        .put32(36, data_sn)
        .put32(40, offset)
        .data(data)
}

pub fn task_management(function: u8, tag: u32, referenced: u32, ref_cmd_sn: u32) -> Pdu {
    Pdu::new(0x02, 0x80 | function).put32(16, tag).put32(20, referenced).put32(32, ref_cmd_sn)
}

pub fn nop_out(tag: u32, data: &[u8]) -> Pdu {
    Pdu::new(0x00, 0x80).put32(16, tag).put32(20, NONE).data(data)
}

pub fn logout(tag: u32, reason: u8, cid: u16) -> Pdu {
    Pdu::new(0x06, 0x80 | reason).put32(16, tag).put16(20, cid)
}

pub fn text(tag: u32, keys: &[(&str, &str)]) -> Pdu {
    Pdu::new(0x04, 0x80).put32(16, tag).put32(20, NONE).data(&keys_text(keys))
}

pub fn keys_text(keys: &[(&str, &str)]) -> Vec<u8> {
    keys.iter().flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect()
}

/// CRC32C bit by bit (polynomial 1EDC6F41h, reflected).
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

pub fn read_10(lba: u32, blocks: u16) -> [u8; 10] {
    transfer_10(0x28, lba, blocks)
}

pub fn write_10(lba: u32, blocks: u16) -> [u8; 10] {
    transfer_10(0x2a, lba, blocks)
}

fn transfer_10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
