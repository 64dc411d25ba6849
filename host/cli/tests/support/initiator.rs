//! The smallest initiator that reads and writes a block: RFC 7143 by hand, a second opinion without a library.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::LIMIT;

/// A session with one connection.
pub struct Initiator {
    stream: TcpStream,
    lun: u8,
    task: u32,
    command: u32,
    status: u32,
}

fn pdu(opcode: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut pdu = vec![0; 48];
    pdu[0] = opcode;
    pdu[1] = flags;
    let length = u32::try_from(data.len()).expect("short data");
    pdu[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
    pdu.extend_from_slice(data);
    pdu.resize(pdu.len().next_multiple_of(4), 0);
    pdu
}

impl Initiator {
    /// Logs in to the LUN of a URL.
    pub fn login(url: &str) -> Self {
        let rest = url.strip_prefix("iscsi://").expect("an iSCSI URL");
        let mut parts = rest.splitn(3, '/');
        let mut part = || parts.next().expect("address, target and LUN");
        let (address, target, lun) = (part(), part(), part());
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time that is not zero");
        let lun = lun.parse().expect("a number of a LUN");
        let mut initiator = Self { stream, lun, task: 1, command: 1, status: 0 };
        let text = format!(
            "InitiatorName=iqn.2026-11.org.lunbox:test\0SessionType=Normal\0TargetName={target}\0AuthMethod=None\0"
        );
        // Security stage to full feature phase.
        let reply = initiator.exchange_login(0x83, text.as_bytes());
        assert_eq!(reply[1] & 0x83, 0x83, "full feature phase: {:02x?}", &reply[..48]);
        initiator
    }

    fn exchange_login(&mut self, flags: u8, text: &[u8]) -> Vec<u8> {
        let mut login = pdu(0x43, flags, text);
        login[8..14].copy_from_slice(&[0x80, 0, 0, 1, 0, 0]); // ISID, random format
        login[16..20].copy_from_slice(&self.task.to_be_bytes());
        login[24..28].copy_from_slice(&self.command.to_be_bytes());
        self.stream.write_all(&login).expect("the target listens");
        let reply = self.receive();
        assert_eq!((reply[0] & 0x3f, reply[36], reply[37]), (0x23, 0, 0), "login: {:02x?}", &reply[..48]);
        self.status = u32::from_be_bytes(reply[24..28].try_into().expect("four bytes")) + 1;
        reply
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut pdu = vec![0; 48];
        self.stream.read_exact(&mut pdu).expect("the target answers");
        let length = usize::from(pdu[5]) << 16 | usize::from(pdu[6]) << 8 | usize::from(pdu[7]);
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data).expect("all of it");
        data.truncate(length);
        pdu.extend(data);
        pdu
    }

    /// One command; what it returned, and its status.
    fn run(&mut self, flags: u8, expected: u32, cdb: &[u8], data: &[u8]) -> (Vec<u8>, u8) {
        let mut command = pdu(0x01, 0x80 | flags, data);
        command[9] = self.lun;
        command[16..20].copy_from_slice(&self.task.to_be_bytes());
        command[20..24].copy_from_slice(&expected.to_be_bytes());
        command[24..28].copy_from_slice(&self.command.to_be_bytes());
        command[28..32].copy_from_slice(&self.status.to_be_bytes());
        command[32..32 + cdb.len()].copy_from_slice(cdb);
        (self.task, self.command) = (self.task + 1, self.command + 1);
        self.stream.write_all(&command).expect("the target listens");
        let mut input = Vec::new();
        loop {
            let reply = self.receive();
            match reply[0] & 0x3f {
                0x21 => {
                    self.status += 1;
                    return (input, reply[3]);
                }
                0x25 => {
                    input.extend_from_slice(&reply[48..]);
                    if reply[1] & 1 == 1 {
                        self.status += 1;
                        return (input, reply[3]);
                    }
                }
                // NOP-In that wants no answer.
                0x20 => {}
                other => panic!("unexpected PDU {other:02x}"),
            }
        }
    }

    /// TEST UNIT READY; its status. Fetches unit attentions.
    pub fn ready(&mut self) -> u8 {
        (0..5).map(|_| self.run(0, 0, &[0; 6], &[]).1).find(|status| *status == 0).unwrap_or(2)
    }

    /// READ (10) of one block.
    pub fn read(&mut self, lba: u8, block: u32) -> (Vec<u8>, u8) {
        self.run(0x40, block, &[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], &[])
    }

    /// WRITE (10) of one block, as immediate data; its status.
    pub fn write(&mut self, lba: u8, block: &[u8]) -> u8 {
        let length = u32::try_from(block.len()).expect("one block");
        self.run(0x20, length, &[0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0], block).1
    }

    /// The unit serial number of VPD 80h.
    pub fn serial(&mut self) -> String {
        let (page, status) = self.run(0x40, 255, &[0x12, 1, 0x80, 0, 255, 0], &[]);
        assert_eq!(status, 0);
        String::from_utf8_lossy(&page[4..]).trim_matches([char::from(0), ' ']).to_owned()
    }
}
