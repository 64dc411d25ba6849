//! How a server ends: never hanging, and without losing what runs.

use std::time::{Duration, Instant};

use lunbox_iscsi::ServerLimits;
use lunbox_iscsi::server::StopError;

use crate::support::pdu::{answer, logout, write_10};
use crate::support::{Bench, Initiator, Login};

fn asked_to_leave(initiator: &mut Initiator) {
    let message = initiator.expect(answer::ASYNC);
    assert_eq!((message.bhs[36], message.task_tag()), (1, u32::MAX), "target requests logout");
}

#[test]
fn initiators_are_asked_to_log_out_and_may() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let address = bench.address();
    let Bench { server, .. } = bench;
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    asked_to_leave(&mut initiator);
    initiator.send(logout(9, 0, 0));
    assert_eq!(initiator.expect(answer::LOGOUT).response(), 0);
    initiator.expect_end();
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn running_commands_are_answered_first_and_new_ones_are_busy() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    let running = initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let Bench { server, script, .. } = bench;
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    asked_to_leave(&mut initiator);
    let (_, end) = initiator.execute("F", 0, &[0; 6]);
    assert_eq!(end.status(), 8);
    script.release();
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.status()), (running, 0));
    // It does not log out, and is let go after the grace.
    initiator.expect_end();
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert_eq!(script.begun().len(), 1);
}

#[test]
fn commands_that_never_end_do_not_hold_the_server() {
    let bench = Bench::new();
    bench.script.hold();
    let mut initiator = bench.login();
    initiator.command("F", 0, &[0; 6]);
    bench.script.wait_begun(1);
    let begin = Instant::now();
    let result = bench.server.stop(Duration::from_millis(300));
    assert_eq!(result, Err(StopError::Unfinished { running: 1, connections: 1 }));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    initiator.expect_end();
}

#[test]
fn a_server_nobody_uses_stops_at_once() {
    let bench = Bench::new();
    assert_eq!(bench.server.stop(Duration::from_secs(3600)), Ok(()));
}

#[test]
fn a_dropped_server_is_gone() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    let address = bench.address();
    drop(bench);
    initiator.expect_end();
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// Longer than the grace of [`impatient`], and by far not as long as the server's patience.
const MANY_GRACES: Duration = Duration::from_millis(400);

fn impatient() -> Bench {
    Bench::with(ServerLimits { logout_grace: Duration::from_millis(20), ..ServerLimits::default() })
}

/// The connection is served as long as that.
fn stays(initiator: &mut Initiator) {
    let begin = Instant::now();
    while begin.elapsed() < MANY_GRACES {
        initiator.expect_silence();
    }
}

#[test]
fn a_session_is_not_ended_while_another_connection_of_it_has_a_command() {
    let bench = impatient();
    bench.script.hold();
    let mut idle = bench.login_as(&Login::generous());
    let mut busy = bench.login_as(&Login { tsih: idle.tsih, cid: 1, ..Login::generous() });
    let tag = busy.command("F", 0, &[0; 6]);
    idle.cmd_sn = busy.cmd_sn;
    bench.script.wait_begun(1);
    let Bench { server, script, .. } = bench;
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    asked_to_leave(&mut idle);
    stays(&mut idle);
    script.release();
    asked_to_leave(&mut busy);
    let end = busy.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.status()), (tag, 0));
    idle.expect_end();
    busy.expect_end();
    assert_eq!(stopping.join().unwrap(), Ok(()));
}

#[test]
fn a_write_whose_data_is_on_its_way_is_finished() {
    let bench = impatient();
    let mut initiator = bench.login();
    let tag = initiator.command("Fw", 512, &write_10(0, 1));
    let r2t = initiator.expect(answer::R2T);
    let Bench { server, script, .. } = bench;
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    asked_to_leave(&mut initiator);
    stays(&mut initiator);
    initiator.answer_r2t(&r2t, &[9; 512]);
    let end = initiator.expect(answer::SCSI_RESPONSE);
    assert_eq!((end.task_tag(), end.status()), (tag, 0));
    initiator.expect_end();
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert_eq!(script.disk(0, 1), [9; 512]);
}
