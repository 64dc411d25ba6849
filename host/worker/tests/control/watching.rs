//! Numbers, single commands and the write cache, asked for over the link.

use lunbox_emulator::Data;
use lunbox_emulator::initiator::cdb;
use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::{
    DeviceStatistics, Ending, Histogram, Minor, Refusal, Report, Request, STATISTICS_CHUNK, TRACE_CHUNK,
    TraceRecord,
};

use crate::support::{Client, Rig, good, pattern};
use crate::{ends, refusal, worker};

/// The answer, and in how many parts it came.
fn statistics(client: &mut Client) -> (Vec<(Minor, DeviceStatistics)>, usize) {
    let asked = client.call();
    client.link.send(&Request::Statistics { call: asked }, &[]).unwrap();
    let (mut all, mut parts) = (Vec::new(), 0);
    loop {
        match client.next().0 {
            Report::Statistics { call, devices, more } if call == asked => {
                all.extend(devices);
                parts += 1;
                if !more {
                    return (all, parts);
                }
            }
            other => panic!("no statistics: {other:?}"),
        }
    }
}

fn trace(client: &mut Client, minor: Minor, on: bool) -> Result<(), (Refusal, String)> {
    let call = client.call();
    client.link.send(&Request::Trace { call, minor, on }, &[]).unwrap();
    client.answer(call)
}

/// Waits until so many commands were told, in order.
fn records(client: &mut Client, wanted: Minor, count: usize) -> Vec<TraceRecord> {
    let mut all = Vec::new();
    while all.len() < count {
        match client.next().0 {
            Report::Trace { minor, records, lost } => {
                assert_eq!((minor, lost), (wanted, 0));
                assert!(!records.is_empty() && records.len() <= TRACE_CHUNK);
                all.extend(records);
            }
            other => panic!("no trace: {other:?}"),
        }
    }
    all
}

fn write_cache(client: &mut Client, minor: Minor, on: bool) -> Result<(), (Refusal, String)> {
    let call = client.call();
    client.link.send(&Request::WriteCache { call, minor, on, patience_ms: 10_000 }, &[]).unwrap();
    client.answer(call)
}

#[test]
fn numbers_of_many_devices_come_in_parts_and_are_each_devices_own() {
    let (mut client, served) = worker(None);
    assert_eq!(statistics(&mut client), (vec![], 1));
    let rigs: Vec<Rig> = (0..).map(Rig::new).take(STATISTICS_CHUNK + 1).collect();
    for rig in &rigs {
        rig.start(&mut client).unwrap();
    }
    good(&rigs[3].initiator.write(0, &pattern(1, 4096)).unwrap());
    good(&rigs[3].initiator.read(0, 8).unwrap());
    good(&rigs[4].initiator.test_unit_ready().unwrap());
    let (all, parts) = statistics(&mut client);
    assert_eq!((all.len(), parts), (STATISTICS_CHUNK + 1, 2));
    for (minor, told) in &all {
        let commands = [&told.read, &told.write, &told.flush, &told.other].map(|class| class.commands);
        let expected = match minor {
            3 => [1, 1, 0, 0],
            4 => [0, 0, 0, 1],
            _ => [0; 4],
        };
        assert_eq!(commands, expected, "uio{minor}");
        assert_eq!(told.read.queue.samples(), commands[0], "the first of its class is measured");
        if commands[0] == 0 {
            assert_eq!(told.read.service, Histogram::default());
        }
    }
    let three = &all[3].1;
    assert_eq!((three.read.bytes, three.write.bytes, three.read.errors), (4096, 4096, 0));
    assert!(three.read.service.sum_ns > 0 && three.in_flight_max >= 1 && three.sampled_every >= 1);
    for rig in &rigs {
        client.stop(rig.device.minor, Ending::Drain).unwrap();
    }
    ends(&client, served);
}

#[test]
fn commands_are_told_as_they_come_until_nobody_wants_them() {
    let (mut client, served) = worker(None);
    assert_eq!(refusal(trace(&mut client, 1, true)), Refusal::Gone);
    let rigs = [Rig::new(1), Rig::new(2)];
    for rig in &rigs {
        rig.start(&mut client).unwrap();
    }
    trace(&mut client, 1, true).unwrap();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let data = pattern(1, 4096);
    for place in 0..300 {
        good(&rigs[0].initiator.execute(&cdb::write_16(place * 8, 8), Data::Out(&data)).unwrap());
        good(&rigs[1].initiator.test_unit_ready().unwrap());
    }
    let told = records(&mut client, 1, 300);
    assert_eq!(told.len(), 300, "of this device only");
    for (record, place) in told.iter().zip(0..) {
        assert_eq!((&record.cdb[..], record.cdb_length), (&cdb::write_16(place * 8, 8)[..], 16));
        assert_eq!((record.status, record.sense, record.data_length), (0, None, 4096));
        // A clock may be set; by a day in this moment it is not.
        let at = std::time::Duration::from_micros(record.at_us);
        assert!(at.abs_diff(before) < std::time::Duration::from_secs(86_400), "{at:?}");
    }
    // A second time changes nothing, and a short block is told without padding.
    trace(&mut client, 1, true).unwrap();
    good(&rigs[0].initiator.test_unit_ready().unwrap());
    assert_eq!(records(&mut client, 1, 1)[0].cdb, [0; 6]);

    trace(&mut client, 1, false).unwrap();
    good(&rigs[0].initiator.test_unit_ready().unwrap());
    // Nothing comes before the answer, nor with the next device's end.
    for rig in &rigs {
        client.stop(rig.device.minor, Ending::Drain).unwrap();
    }
    ends(&client, served);
}

#[test]
fn a_trace_ends_with_whoever_wanted_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut first, served) = worker(Some(Listener::bind(&path).unwrap()));
    let rig = Rig::new(3);
    rig.start(&mut first).unwrap();
    trace(&mut first, 3, true).unwrap();
    drop(first);
    let (mut second, _, _) = Client::new(connect(&path).unwrap());
    good(&rig.initiator.test_unit_ready().unwrap());
    // Whatever was told would come before the answer to a call that takes a flush.
    write_cache(&mut second, 3, false).unwrap();
    // It can be had again, from then on: the first command is told that the cache was switched.
    trace(&mut second, 3, true).unwrap();
    assert!(!rig.initiator.test_unit_ready().unwrap().is_good());
    let told = records(&mut second, 3, 1);
    assert_eq!((told.len(), told[0].status, told[0].sense), (1, 2, Some((6, 0x2a, 0x01))));
    second.stop(3, Ending::Drain).unwrap();
    ends(&second, served);
}

#[test]
fn the_write_cache_is_switched_and_a_successor_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    let (mut first, served) = worker(Some(Listener::bind(&path).unwrap()));
    assert_eq!(refusal(write_cache(&mut first, 5, false)), Refusal::Gone);
    let rig = Rig::new(5);
    rig.start(&mut first).unwrap();
    assert!(first.status()[0].1.write_cache);
    write_cache(&mut first, 5, false).unwrap();
    assert!(!first.status()[0].1.write_cache);
    drop(first);
    let (mut second, _, devices) = Client::new(connect(&path).unwrap());
    assert_eq!(devices[0].write_cache, Some(false));
    second.stop(5, Ending::Drain).unwrap();
    // Started again as the list has it.
    second.start(&devices[0], &rig.descriptors(rig.ring())).unwrap();
    assert!(!second.status()[0].1.write_cache);
    second.stop(5, Ending::Drain).unwrap();
    ends(&second, served);
}

#[test]
fn late_commands_are_counted_by_the_limit_that_a_device_came_with() {
    let (mut client, served) = worker(None);
    let mut rig = Rig::new(6);
    rig.device.command_timeout_s = 3600;
    rig.start(&mut client).unwrap();
    good(&rig.initiator.write(0, &pattern(1, 4096)).unwrap());
    let status = client.status()[0].1;
    assert_eq!((status.timeouts, status.aborting, status.lun_resets), (0, 0, 0));
    client.stop(6, Ending::Drain).unwrap();
    ends(&client, served);
}
