//! What device loops ask for that stands in configfs: target port groups, and other access states of them. And modes
//! that initiators set.

use std::fs;

use lunbox_wire::Modes;

use super::model::{World, added, reconfigured};
use super::size;
use crate::service::{Condition, Notice, Wish};

/// The group `name` of device `f1`, and a port in it.
fn group(world: &World, name: &str, id: u16, state: u8) {
    for (field, value) in [
        ("tg_pt_gp_id", id.to_string()),
        ("alua_access_state", state.to_string()),
        ("alua_access_status", "None".to_owned()),
        ("alua_access_type", "Implicit".to_owned()),
        ("implicit_trans_secs", "0".to_owned()),
        ("preferred", "0".to_owned()),
        ("members", format!("iSCSI/iqn.x/tpgt_{id}/lun_0")),
        ("alua_support_transitioning", "1".to_owned()),
        ("alua_support_offline", "1".to_owned()),
        ("alua_support_lba_dependent", "0".to_owned()),
        ("alua_support_unavailable", "1".to_owned()),
        ("alua_support_standby", "1".to_owned()),
        ("alua_support_active_nonoptimized", "1".to_owned()),
        ("alua_support_active_optimized", "1".to_owned()),
    ] {
        world.write("f1", &format!("alua/{name}/{field}"), &value);
    }
    let portal_group = world.path(&format!("iscsi/iqn.x/tpgt_{id}"));
    for (field, value) in [
        ("enable", "1".to_owned()),
        ("lun/lun_0/statistics/scsi_port/indx", id.to_string()),
        ("lun/lun_0/statistics/scsi_transport/proto_id", "5".to_owned()),
    ] {
        let path = portal_group.join(field);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
}

/// A world with the device `f1` of two groups, 1 optimized and 2 standby.
fn world() -> World {
    let world = World::new();
    world.create(0, 1, "f1", "model", true);
    world.write("f1", "wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n");
    group(&world, "ao", 1, 0);
    group(&world, "ano", 2, 2);
    world
}

fn wanted(number: u64, group: u16, state: u8) -> Notice {
    Notice::AccessStateWanted(Wish { number, group, state })
}

fn wishes(world: &World) -> Vec<String> {
    world.log().into_iter().filter(|line| line.starts_with("wish")).collect()
}

fn state(world: &World, group: &str) -> String {
    world.read("f1", &format!("alua/{group}/alua_access_state"))
}

#[test]
fn groups_are_told_with_the_serial_number_and_stay_known_while_they_can_not_be_read() {
    let world = world();
    let mut control = world.started();
    world.notify(0, Notice::IdentityWanted);
    world.run_until(&mut control, |world| world.log().last().unwrap() == "serial f1 abc groups 1 2");
    world.write("f1", "alua/ao/preferred", "perhaps");
    world.notify(0, Notice::IdentityWanted);
    world.run_until(&mut control, |world| world.log().len() == 3);
    assert_eq!(world.log()[2], "serial f1 abc groups 1 2");
    world.write("f1", "alua/ao/preferred", "0");
    world.write("f1", "alua/ao/alua_access_type", "Explicit");
    world.notify(0, Notice::IdentityWanted);
    world.run_until(&mut control, |world| world.log().len() == 4);
    assert_eq!(world.log()[3], "serial f1 abc");
}

#[test]
fn an_access_state_that_an_initiator_wants_is_written_and_answered() {
    let world = world();
    let mut control = world.started();
    for (notice, answer, states) in [
        (wanted(7, 1, 2), "wish f1 7 Set", ("2", "2")),
        (wanted(8, 1, 0), "wish f1 8 Set", ("0", "2")),
        (wanted(9, 1, 3), "wish f1 9 Unsupported", ("0", "2")),
        // Not the group of the port that speaks for the unit.
        (wanted(10, 2, 0), "wish f1 10 Failed", ("0", "2")),
    ] {
        world.notify(0, notice);
        world.run_until(&mut control, |world| wishes(world).last().is_some_and(|last| last == answer));
        assert_eq!((&*state(&world, "ao"), &*state(&world, "ano")), states, "{answer}");
        // The kernel shows the number that was written as words.
        world.write("f1", "alua/ao/alua_access_status", "Altered by Explicit STPG");
    }
    assert_eq!(wishes(&world).len(), 4);
}

#[test]
fn wishes_without_end_are_refused() {
    let world = world();
    let mut control = world.started();
    for number in 0..100 {
        world.notify(0, wanted(number, 1, 2));
    }
    world.run_until(&mut control, |world| wishes(world).len() == 100);
    let answers = wishes(&world);
    // The first is worked on, and 16 wait for it.
    assert_eq!((&*answers[0], &*answers[82]), ("wish f1 17 Failed", "wish f1 99 Failed"));
    assert_eq!(answers[83], "wish f1 0 Set");
    let numbers: std::collections::BTreeSet<_> = answers.iter().collect();
    assert_eq!(numbers.len(), 100, "each is answered once");
}

#[test]
fn a_wish_and_modes_that_come_during_a_job_are_dealt_with_when_it_is_done() {
    let world = world();
    let mut control = world.started();
    world.hold("f1");
    world.announce(reconfigured(0, 1, size(8192)));
    world.run_until(&mut control, |world| world.log().contains(&"resize f1 8192".to_owned()));
    let modes = |software_write_protect| Notice::ModesChanged {
        write_cache: false,
        modes: Modes { software_write_protect, descriptor_sense: false },
    };
    world.notify(0, modes(false));
    world.notify(0, modes(true));
    world.notify(0, wanted(1, 1, 2));
    world.run_until(&mut control, |world| state(world, "ao") == "2");
    assert_eq!(world.log().len(), 2, "a job has the device");
    world.release();
    world.run_until(&mut control, |world| world.log().len() == 4);
    let mut log = world.log().split_off(2);
    log.sort();
    assert_eq!(log, ["modes f1 false true", "wish f1 1 Set"], "the last modes count");
}

#[test]
fn what_a_device_asks_for_before_its_admission_is_noted_is_not_forgotten() {
    let world = World::new();
    world.write_later("f1", "wwn/vpd_unit_serial", "T10 VPD Unit Serial Number: abc\n");
    let mut control = world.started();
    world.hold("f1");
    world.create(0, 1, "f1", "model", false);
    group(&world, "ao", 1, 0);
    world.announce(added(0, 1));
    world.run_until(&mut control, |world| world.log() == ["start f1"]);
    world.notify(0, wanted(1, 1, 2));
    world.notify(0, Notice::ModesChanged { write_cache: true, modes: Modes::default() });
    world.step(&mut control);
    world.release();
    world.run_until(&mut control, |world| world.log().len() == 3);
    let mut log = world.log().split_off(1);
    log.sort();
    assert_eq!(log, ["modes f1 true false", "wish f1 1 Set"]);
}

#[test]
fn a_wish_of_a_loop_that_has_ended_is_not_answered_to_the_next_one() {
    let world = world();
    let mut control = world.started();
    let starts = |world: &World| world.log().iter().filter(|line| line.starts_with("start f1")).count();
    // The loop ends before the result of the look into configfs has come.
    world.notify(0, wanted(1, 1, 2));
    world.strike(0, "f1", Condition::Lost);
    world.run_until(&mut control, |world| starts(world) == 2);
    world.run(&mut control);
    let log = world.log();
    assert_eq!(wishes(&world), ["wish f1 1 Failed"]);
    assert!(log.last().unwrap().starts_with("start f1"), "{log:?}");
}
