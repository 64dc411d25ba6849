//! A small initiator that does exactly what a test tells it to, right or wrong. It never waits for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::pdu::{Pdu, answer, crc32c, data_out, keys_text, scsi, write_10};

pub const TARGET: &str = "iqn.2026-11.org.lunbox:test";
pub const INITIATOR: &str = "iqn.1994-05.org.example:initiator";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How to log in.
#[derive(Clone, Debug)]
pub struct Login {
    pub isid: u8,
    pub tsih: u16,
    pub cid: u16,
    pub keys: Vec<(&'static str, String)>,
    pub cmd_sn: u32,
}

impl Default for Login {
    fn default() -> Self {
        let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET)];
        Self {
            isid: 1,
            tsih: 0,
            cid: 0,
            keys: keys.map(|(key, value)| (key, value.to_owned())).to_vec(),
            cmd_sn: 100,
        }
    }
}

impl Login {
    pub fn key(mut self, key: &'static str, value: &str) -> Self {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.to_owned()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| *known != key);
        self
    }

    pub fn discovery() -> Self {
        Self::default().without("TargetName").key("SessionType", "Discovery")
    }

    /// Everything that makes writes interesting.
    pub fn generous() -> Self {
        Self::default()
            .key("InitialR2T", "No")
            .key("ImmediateData", "Yes")
            .key("MaxOutstandingR2T", "16")
            .key("MaxBurstLength", "8192")
            .key("FirstBurstLength", "4096")
            .key("MaxRecvDataSegmentLength", "65536")
            .key("MaxConnections", "4")
    }
}

/// One connection.
pub struct Initiator {
    stream: TcpStream,
    pub header_digest: bool,
    pub data_digest: bool,
    /// Number of the next command.
    pub cmd_sn: u32,
    /// Status number that is expected next; None before the first.
    pub exp_stat_sn: Option<u32>,
    pub tsih: u16,
    next_tag: u32,
    skip_pings: bool,
}

impl Initiator {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            header_digest: false,
            data_digest: false,
            cmd_sn: 100,
            exp_stat_sn: None,
            tsih: 0,
            next_tag: 1,
            skip_pings: false,
        }
    }

    /// Connects and logs in.
    pub fn login(address: SocketAddr, login: &Login) -> Self {
        let mut initiator = Self::connect(address);
        let reply = initiator.try_login(login);
        assert_eq!(reply.get16(36), 0, "login failed: {reply:?}");
        initiator.header_digest =
            login.keys.iter().any(|(key, value)| *key == "HeaderDigest" && value == "CRC32C");
        initiator.data_digest =
            login.keys.iter().any(|(key, value)| *key == "DataDigest" && value == "CRC32C");
        initiator
    }

    /// One request from the operational stage to the full feature phase.
    pub fn try_login(&mut self, login: &Login) -> Pdu {
        self.ask_to_login(login);
        self.login_reply()
    }

    /// The request of [`Self::try_login`], without waiting for the answer.
    pub fn ask_to_login(&mut self, login: &Login) {
        self.cmd_sn = login.cmd_sn;
        let keys: Vec<(&str, &str)> = login.keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.send_login(login, 1, 3, true, &keys_text(&keys));
    }

    /// The answer to a login.
    pub fn login_reply(&mut self) -> Pdu {
        let reply = self.expect(answer::LOGIN);
        self.tsih = reply.get16(14);
        reply
    }

    pub fn login_step(&mut self, login: &Login, stage: u8, next: u8, transit: bool, text: &[u8]) -> Pdu {
        self.send_login(login, stage, next, transit, text);
        self.expect(answer::LOGIN)
    }

    fn send_login(&mut self, login: &Login, stage: u8, next: u8, transit: bool, text: &[u8]) {
        let flags = u8::from(transit) << 7 | stage << 2 | next;
        let mut pdu = Pdu::new(0x43, flags).put32(16, 0xaaaa).put16(14, login.tsih).put16(20, login.cid);
        pdu.bhs[13] = login.isid;
        self.send_as_is(&pdu.put32(24, login.cmd_sn).data(text));
    }

    /// Nothing has been sent so far, and the connection has not been closed.
    pub fn has_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// A tag that was not used before.
    pub fn tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Sends a PDU with the next command number; an immediate one does not use it up.
    pub fn send(&mut self, pdu: Pdu) {
        let numbered = !matches!(pdu.opcode(), 0x05 | 0x10);
        let pdu = if numbered { pdu.put32(24, self.cmd_sn) } else { pdu };
        if numbered && pdu.bhs[0] & 0x40 == 0 {
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
        }
        self.send_as_is(&pdu);
    }

    /// Sends a PDU without touching its numbers, but for ExpStatSN.
    pub fn send_as_is(&mut self, pdu: &Pdu) {
        let pdu = pdu.clone().put32(28, self.exp_stat_sn.unwrap_or(0));
        let wire = pdu.encode(self.header_digest, self.data_digest);
        self.send_bytes(&wire);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends what may not arrive any more.
    pub fn send_if_possible(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next PDU; its digests and its status number are checked.
    pub fn receive(&mut self) -> Pdu {
        self.try_receive().unwrap_or_else(|error| panic!("no PDU: {error}"))
    }

    pub fn try_receive(&mut self) -> std::io::Result<Pdu> {
        let mut bhs = [0; 48];
        self.stream.read_exact(&mut bhs)?;
        assert_eq!(bhs[4], 0, "targets send no additional headers");
        self.check_digest(self.header_digest, &bhs)?;
        let length = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data)?;
        self.check_digest(self.data_digest && length > 0, &data)?;
        data.truncate(length);
        let pdu = Pdu { bhs, ahs: Vec::new(), data };
        let consumes = match pdu.opcode() {
            answer::R2T => false,
            answer::DATA_IN => pdu.has_status(),
            answer::NOP_IN => pdu.task_tag() != super::pdu::NONE,
            _ => true,
        };
        if consumes {
            if let Some(expected) = self.exp_stat_sn {
                assert_eq!(pdu.stat_sn(), expected, "StatSN: {pdu:?}");
            }
            self.exp_stat_sn = Some(pdu.stat_sn().wrapping_add(1));
        }
        Ok(pdu)
    }

    fn check_digest(&mut self, on: bool, bytes: &[u8]) -> std::io::Result<()> {
        if on {
            let mut digest = [0; 4];
            self.stream.read_exact(&mut digest)?;
            assert_eq!(u32::from_le_bytes(digest), crc32c(bytes), "digest");
        }
        Ok(())
    }

    pub fn expect(&mut self, opcode: u8) -> Pdu {
        let pdu = self.receive();
        assert_eq!(pdu.opcode(), opcode, "{pdu:?}");
        pdu
    }

    /// Nothing has been sent by the time that a ping is answered.
    pub fn expect_silence(&mut self) {
        let tag = self.tag();
        self.send(super::pdu::nop_out(tag, b"").immediate());
        let pdu = self.receive();
        assert_eq!((pdu.opcode(), pdu.task_tag()), (answer::NOP_IN, tag), "{pdu:?}");
    }

    /// Waits until the target has closed the connection; what it sends before that is thrown away.
    pub fn expect_end(&mut self) {
        let mut scrap = [0; 4096];
        loop {
            match self.stream.read(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection was not closed: {error}"),
            }
        }
    }

    /// Sends a command and returns its tag.
    pub fn command(&mut self, flags: &str, expected: u32, cdb: &[u8]) -> u32 {
        let tag = self.tag();
        self.send(scsi(tag, flags, expected, cdb));
        tag
    }

    /// Sends a command without data-out, and waits for its data and its end.
    pub fn execute(&mut self, flags: &str, expected: u32, cdb: &[u8]) -> (Vec<u8>, Pdu) {
        let tag = self.command(flags, expected, cdb);
        self.finish_read(tag)
    }

    /// Collects Data-In until the status of the command.
    pub fn finish_read(&mut self, tag: u32) -> (Vec<u8>, Pdu) {
        let mut data = Vec::new();
        let mut pdus = 0;
        loop {
            let pdu = self.receive();
            if self.skip_pings && pdu.opcode() == answer::NOP_IN {
                continue;
            }
            assert_eq!(pdu.task_tag(), tag, "{pdu:?}");
            if pdu.opcode() == answer::SCSI_RESPONSE {
                assert_eq!(pdu.get32(36), pdus, "ExpDataSN");
                return (data, pdu);
            }
            assert_eq!(pdu.opcode(), answer::DATA_IN, "{pdu:?}");
            assert_eq!((pdu.data_sn(), pdu.offset() as usize), (pdus, data.len()));
            data.extend(&pdu.data);
            pdus += 1;
            if pdu.has_status() {
                return (data, pdu);
            }
        }
    }

    /// As [`Self::finish_read`], when pings of the target and answers to other pings may come in between.
    pub fn finish_read_among_pings(&mut self, tag: u32) -> (Vec<u8>, Pdu) {
        self.skip_pings = true;
        let end = self.finish_read(tag);
        self.skip_pings = false;
        end
    }

    /// A write of 512-byte blocks, with data only on request.
    pub fn write(&mut self, lba: u32, data: &[u8]) -> Pdu {
        let length = u32::try_from(data.len()).unwrap();
        let tag = self.command("Fw", length, &write_10(lba, u16::try_from(length / 512).unwrap()));
        self.finish_write(tag, data)
    }

    /// Answers R2Ts until the status of the command.
    pub fn finish_write(&mut self, tag: u32, data: &[u8]) -> Pdu {
        loop {
            let pdu = self.receive();
            assert_eq!(pdu.task_tag(), tag, "{pdu:?}");
            if pdu.opcode() != answer::R2T {
                return pdu;
            }
            self.answer_r2t(&pdu, data);
        }
    }

    /// Sends what an R2T asks for, in one PDU.
    pub fn answer_r2t(&mut self, r2t: &Pdu, data: &[u8]) {
        let (offset, length) = (r2t.get32(40), r2t.get32(44));
        let part = &data[offset as usize..(offset + length) as usize];
        self.send(data_out(r2t.task_tag(), r2t.transfer_tag(), 0, offset, true, part));
    }
}
