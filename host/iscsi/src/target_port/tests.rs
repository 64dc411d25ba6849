//! What is left behind by commands that were aborted: nothing that grows. Driven by bytes, without sockets.

use std::os::fd::AsFd;

use lunbox_scsi::BlockSize;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::*;
use crate::lun::{CommandId, Data, Ended, Refusal, TaskManagement};

/// A LUN that takes one command and never ends it.
struct Hung {
    doorbell: EventFd,
    has_one: bool,
}

impl LogicalUnit for Hung {
    fn block_size(&self) -> BlockSize {
        BlockSize::B512
    }

    fn max_data(&self) -> u32 {
        1 << 20
    }

    fn start(&mut self, _: u64, _: &[u8], _: Data<'_>) -> Result<CommandId, Refusal> {
        if std::mem::replace(&mut self.has_one, true) { Err(Refusal::Full) } else { Ok(CommandId(1)) }
    }

    fn flush_signal(&mut self) -> nix::Result<()> {
        Ok(())
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    fn collect(&mut self, _: &mut dyn FnMut(Ended<'_>)) {}

    fn abort(&mut self, _: TaskManagement, _: &[CommandId]) -> Result<(), Refusal> {
        Ok(())
    }
}

struct Bench {
    target: Target,
    cmd_sn: u32,
}

/// The first four fields that differ from PDU to PDU: opcode and flags, task tag, the word behind it.
fn pdu(opcode: u8, flags: u8, tag: u32, word: u32) -> [u8; 48] {
    let mut bhs = [0; 48];
    (bhs[0], bhs[1]) = (opcode, flags);
    bhs[16..20].copy_from_slice(&tag.to_be_bytes());
    bhs[20..24].copy_from_slice(&word.to_be_bytes());
    bhs
}

impl Bench {
    fn new(limits: ServerLimits) -> Self {
        let doorbell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
        let lun = Box::new(Hung { doorbell, has_one: false });
        let policy = LoginPolicy {
            targets: vec![crate::login::TargetRecord { name: "iqn.x:t".to_owned(), alias: None }],
            portal_group_tag: 1,
            credentials: None,
            limits: crate::login::Limits::default(),
        };
        let luns = vec![LunConfig { lun, name: "hung".to_owned() }];
        let counters = Arc::new(Counters::new(1));
        Self { target: Target::new(Arc::new(policy), luns, limits, counters, Instant::now()), cmd_sn: 1 }
    }

    fn receive(&mut self, key: Key, bytes: &[u8]) {
        self.target.begin_round(self.target.now);
        self.target.space(key).unwrap()[..bytes.len()].copy_from_slice(bytes);
        self.target.received(key, bytes.len());
        let pending = self.target.output(key).map_or(0, |(pending, _)| pending.len());
        self.target.sent(key, pending);
        self.target.resume(key);
    }

    fn login(&mut self, name: &str) -> Key {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let key = self.target.open(address, address);
        let mut text = format!("InitiatorName={name}\0TargetName=iqn.x:t\0").into_bytes();
        let mut bhs = pdu(0x43, 0x87, 9, 0);
        bhs[7] = u8::try_from(text.len()).unwrap();
        bhs[27] = 1;
        text.resize(text.len().next_multiple_of(4), 0);
        self.receive(key, &[&bhs[..], &text].concat());
        assert!(self.session(key).is_some(), "logged in");
        self.cmd_sn = 1;
        key
    }

    fn session(&self, key: Key) -> Option<&Session> {
        self.target.sessions.get(self.target.connections.get(key)?.session?)
    }

    /// A command of this many blocks: TEST UNIT READY, READ (10) or WRITE (10).
    fn command(&mut self, key: Key, tag: u32, opcode: u8, blocks: u8) {
        let flags = match opcode {
            0x28 => 0xc1,
            0x2a => 0xa1,
            _ => 0x81,
        };
        let mut bhs = pdu(0x01, flags, tag, u32::from(blocks) * 512);
        bhs[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        (bhs[32], bhs[40]) = (opcode, blocks);
        self.cmd_sn += 1;
        self.receive(key, &bhs);
    }

    fn function(&mut self, key: Key, code: u8, tag: u32, referenced: u32) {
        let mut bhs = pdu(0x42, 0x80 | code, tag, referenced);
        bhs[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        self.receive(key, &bhs);
    }

    /// Often: a command that has to wait, and its end.
    fn begin_and_abort(&mut self, key: Key, opcode: u8) {
        for tag in 1000..3000 {
            self.command(key, tag, opcode, if opcode == 0 { 0 } else { 16 });
            let waits = self.session(key).is_some_and(|session| session.tasks.contains_key(&tag));
            assert!(waits, "it has not ended");
            self.function(key, 1, 1, tag);
        }
        assert_eq!(self.target.tasks.len(), 1, "the one that the LUN has, or that has the memory");
    }
}

#[test]
fn commands_that_were_aborted_while_they_waited_for_the_lun_leave_no_places() {
    let mut bench = Bench::new(ServerLimits::default());
    let key = bench.login("iqn.x:a");
    bench.command(key, 100, 0x00, 0);
    bench.begin_and_abort(key, 0x00);
    assert!(bench.target.units[0].waiting.len() < 100, "{}", bench.target.units[0].waiting.len());
}

#[test]
fn writes_that_were_aborted_while_they_waited_for_memory_leave_no_places() {
    let mut bench = Bench::new(ServerLimits { write_memory: 1000, ..ServerLimits::default() });
    let key = bench.login("iqn.x:a");
    bench.command(key, 100, 0x2a, 16);
    bench.begin_and_abort(key, 0x2a);
    assert!(bench.session(key).unwrap().short_of_memory.is_empty());
    assert!(bench.target.short_of_memory.len() <= 1);
    bench.function(key, 1, 1, 100);
    assert_eq!((bench.target.charged, bench.session(key).unwrap().charged), (0, 0));
}

#[test]
fn reads_that_were_aborted_while_they_waited_for_the_output_leave_no_places() {
    let mut bench = Bench::new(ServerLimits { output_bytes: 1000, ..ServerLimits::default() });
    let key = bench.login("iqn.x:a");
    bench.command(key, 100, 0x28, 16);
    bench.begin_and_abort(key, 0x28);
    let connection = bench.target.connections.get(key).unwrap();
    assert!(connection.reads.is_empty());
    assert_eq!(connection.reading, 16 * 512, "the one that runs");
}

#[test]
fn functions_of_sessions_that_have_gone_are_forgotten() {
    let mut bench = Bench::new(ServerLimits::default());
    let key = bench.login("iqn.x:a");
    bench.command(key, 100, 0x00, 0);
    for _ in 0..20 {
        let other = bench.login("iqn.x:b");
        for tag in 1..=30 {
            // LOGICAL UNIT RESET: it waits for the command of the first session.
            bench.function(other, 5, tag, u32::MAX);
        }
        assert_eq!(bench.target.pending.len(), 30);
        bench.target.lose(other, &"test");
        bench.target.remove(other);
    }
    assert_eq!(bench.target.pending.len(), 0);
    let (_, task) = bench.target.tasks.iter().next().unwrap();
    assert!(task.waiters.len() < 100, "{}", task.waiters.len());
}
