//! Which commands report a unit attention, and how REQUEST SENSE does (SAM-5 5.14).

use crate::support::Bench;
use crate::support::pdu::{answer, task_management};

#[test]
fn some_commands_leave_it_and_request_sense_tells_it_as_data() {
    let bench = Bench::new();
    let mut initiator = bench.login();
    initiator.send(task_management(5, 50, u32::MAX, 0));
    assert_eq!(initiator.expect(answer::TASK_MANAGEMENT).response(), 0);
    let (data, end) = initiator.execute("Fr", 36, &[0x12, 0, 0, 0, 36, 0]);
    assert_eq!((data.len(), end.status()), (36, 0), "INQUIRY");
    let (_, end) = initiator.execute("Fr", 64, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]);
    assert_eq!(end.status(), 0, "REPORT LUNS");
    let (data, end) = initiator.execute("Fr", 252, &[0x03, 0, 0, 0, 252, 0]);
    assert_eq!((end.status(), data[2], data[12], data[13]), (0, 6, 0x29, 0x03));
    assert_eq!(initiator.execute("F", 0, &[0; 6]).1.status(), 0, "it was told");
}
