//! LOGICAL UNIT RESET, TARGET WARM RESET, TARGET COLD RESET.

use lunbox_iscsi::lun::TaskManagement;

use crate::support::pdu::{answer, scsi, task_management};
use crate::support::{Bench, Login};

const LUN_RESET: u8 = 5;
const WARM_RESET: u8 = 6;
const COLD_RESET: u8 = 7;

#[test]
fn a_lun_reset_ends_all_commands_of_the_lun_and_tells_everybody() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    initiator.command("F", 0, &[0; 6]);
    other.command("F", 0, &[0; 6]);
    bench.script.wait_begun(2);
    initiator.send(task_management(LUN_RESET, 50, u32::MAX, 0));
    let (kind, ids) = bench.script.wait_abort();
    assert_eq!((kind, ids.len()), (TaskManagement::LunReset, 2));
    initiator.expect_silence();
    bench.script.release();
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    for initiator in [&mut initiator, &mut other] {
        initiator.expect_silence();
        assert_eq!(initiator.execute("F", 0, &[0; 6]).1.sense(), (6, 0x29, 0x03));
        assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0, "told once");
    }
    let tag = initiator.tag();
    initiator.send(scsi(tag, "F", 0, &[0; 6]).lun(1));
    assert_eq!(initiator.expect(answer::SCSI_RESPONSE).status(), 0, "the other LUN was not reset");
}

#[test]
fn a_warm_reset_ends_everything_and_sessions_go_on() {
    let bench = Bench::new();
    bench.script.hold();
    bench.second.hold();
    let mut initiator = bench.login();
    initiator.command("F", 0, &[0; 6]);
    let tag = initiator.tag();
    initiator.send(scsi(tag, "F", 0, &[0; 6]).lun(1));
    bench.script.wait_begun(1);
    bench.second.wait_begun(1);
    initiator.send(task_management(WARM_RESET, 50, u32::MAX, 0));
    assert_eq!(bench.second.wait_abort().0, TaskManagement::WarmReset);
    bench.script.release();
    initiator.expect_silence();
    bench.second.release();
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    for lun in 0..2 {
        let tag = initiator.tag();
        initiator.send(scsi(tag, "F", 0, &[0; 6]).lun(lun));
        assert_eq!(initiator.expect(answer::SCSI_RESPONSE).sense(), (6, 0x29, 0x02));
    }
}

#[test]
fn a_cold_reset_closes_all_connections_after_its_answer() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let mut other = bench.login_as(&Login { isid: 2, ..Login::default() });
    other.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    initiator.send(task_management(COLD_RESET, 50, u32::MAX, 0));
    bench.script.wait_abort();
    bench.script.release();
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    initiator.expect_end();
    other.expect_end();
    bench.wait("all gone", |status| status.connections == 0 && status.sessions == 0);
    bench.login().expect_silence();
}
