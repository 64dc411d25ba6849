//! A LUN whose device loop has ended: what waited for it is answered, and the others go on.

use std::time::Duration;

use lunbox_emulator::{Kernel, Options};
use lunbox_iscsi::{RingLimits, RingLun, Server, ServerLimits};
use lunbox_scsi::BlockSize;

use crate::support::pdu::{answer, read_10, scsi, task_management};
use crate::support::{Initiator, Login, options};

const COMMUNICATION_FAILURE: (u8, u8, u8) = (2, 0x08, 0);

#[test]
fn nothing_waits_for_a_lun_that_serves_no_more() {
    // Room for the data of one command; nobody takes any.
    let (kernel, _user) = Kernel::new(Options { data_blocks: 1, ..Options::default() }).unwrap();
    let limits = RingLimits { max_data: 4096, task_management: true };
    let ring = RingLun::new("ring".to_owned(), kernel, BlockSize::B512, limits);
    let closer = ring.closer().unwrap();
    let (mut options, _, second) = options(ServerLimits::default(), None);
    options.luns[0].lun = Box::new(ring);
    let server = Server::start(options).unwrap();

    let mut initiator = Initiator::login(server.address(), &Login::default());
    let aborted = initiator.command("F", 0, &[0; 6]);
    let running = initiator.command("Fr", 4096, &read_10(0, 8));
    let waiting = initiator.command("Fr", 4096, &read_10(0, 8));
    initiator.send(task_management(1, 50, aborted, initiator.cmd_sn - 3).immediate());
    initiator.expect_silence();

    closer.close();
    let mut ends = [initiator.receive(), initiator.receive(), initiator.receive()];
    ends.sort_by_key(crate::support::pdu::Pdu::task_tag);
    assert_eq!((ends[0].task_tag(), ends[0].sense()), (running, COMMUNICATION_FAILURE));
    assert_eq!((ends[1].task_tag(), ends[1].sense()), (waiting, COMMUNICATION_FAILURE));
    assert_eq!((ends[2].opcode(), ends[2].task_tag(), ends[2].response()), (answer::TASK_MANAGEMENT, 50, 0));

    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.sense(), COMMUNICATION_FAILURE);
    initiator.send(task_management(5, 51, 0, 0));
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0, "a reset is done at once");
    initiator.send(scsi(60, "F", 0, &[0; 6]).lun(1));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0);
    assert_eq!(second.begun().len(), 1, "the other LUN goes on");
    drop(initiator);
    assert_eq!(server.stop(Duration::from_secs(20)), Ok(()));
}
