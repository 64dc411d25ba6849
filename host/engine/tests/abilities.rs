//! Every optional interface, through the sandbox: each argument arrives where it belongs.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use lunbox_contract::{CdbCommand, DeviceConfig, Event, Op, OpFlags, Outcome, StoreId, Tag, UnmapLimits};
use lunbox_engine::{Abilities, Fault, Handler, HandlerFactory as _, Limits};
use support::captured_log::capture;
use support::{SIZE, assert_ended, config, engine, fresh_buffers, guests, read, serving};

fn handler() -> Box<dyn Handler> {
    serving(&engine().load(&guests::abilities()).unwrap(), &Limits::default())
}

/// Tag (as buffer offset), offset, length and flags of a final operation.
fn echo(answer: Result<Outcome, Fault>) -> (u32, u64, u64, OpFlags) {
    let Ok(Outcome::Io(op)) = answer else { panic!("{answer:?}") };
    assert_eq!(op.store, StoreId(7));
    (op.buffer_offset, op.store_offset, op.length, op.flags)
}

const NO_FLAGS: OpFlags = OpFlags { barrier: false, zero_at_eof: false, durable: false };

#[test]
fn all_abilities_are_seen() {
    let all = Abilities {
        block: true,
        batch: true,
        cdb: true,
        resize: true,
        unmap: true,
        write_zeroes: true,
        compare_and_write: true,
        state: true,
        events: true,
    };
    assert_eq!(engine().load(&guests::abilities()).unwrap().abilities(), all);
}

#[test]
fn options_and_device_info_cross() {
    let component = engine().load(&guests::abilities()).unwrap();
    let lines = capture(|| {
        let mut handler = component.instantiate("disk1", fresh_buffers(), &Limits::default()).unwrap();
        let options = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x\ny".to_owned())];
        let info = handler.configure(&DeviceConfig { options, ..config() }).unwrap().unwrap();
        assert_eq!((info.size, info.write_cache, info.solid_state), (SIZE, false, true));
    });
    let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["a=1 device=\"disk1\"", "b=x\\ny device=\"disk1\""]);
}

#[test]
fn cdbs_cross_byte_by_byte() {
    let mut handler = handler();
    for length in [6, 10, 12, 16, 17, 32, 260] {
        let cdb: Vec<u8> = (0..length).map(|place: u16| place.to_le_bytes()[0] | 0x80).collect();
        let command = CdbCommand { tag: Tag(u64::from(length)), cdb: &cdb, data_out: 5, data_in: 6 };
        let Ok(Outcome::More(ops)) = handler.submit_cdb(&command) else { panic!("{length}") };
        let sum = (1..).zip(&cdb).map(|(place, byte)| place * u64::from(*byte)).sum();
        let expected =
            Op::read(StoreId(5), sum, 6).in_buffer(lunbox_contract::BufferId::DATA, u32::from(length));
        assert_eq!(ops, vec![expected; usize::from(length).min(64)]);
    }
    let command = CdbCommand { tag: Tag(1), cdb: &[0; 6], data_out: 0, data_in: 0 };
    assert_eq!(handler.submit_cdb(&command), Ok(Outcome::NotHandled));
    assert!(matches!(handler.submit_cdb(&CdbCommand { cdb: &[1; 261], ..command }), Err(Fault::Host(_))));
    assert!(handler.submit_cdb(&command).is_ok(), "the host's mistakes do not end the guest");
}

#[test]
fn thin_provisioning_calls_cross() {
    let mut handler = handler();
    let limits = UnmapLimits { max_length: 1 << 30, granularity: 4096, reads_zeroes: true };
    assert_eq!(handler.unmap_limits(), Ok(limits));
    assert_eq!(echo(handler.unmap(Tag(1), 2, 3)), (1, 2, 3, NO_FLAGS));
    let flags = OpFlags { barrier: true, ..NO_FLAGS };
    assert_eq!(echo(handler.write_zeroes(Tag(4), 5, 6, true, false)), (4, 5, 6, flags));
    let flags = OpFlags { durable: true, ..NO_FLAGS };
    assert_eq!(echo(handler.write_zeroes(Tag(4), 5, 6, false, true)), (4, 5, 6, flags));
    assert_eq!(echo(handler.compare_and_write(Tag(7), 8, 9, true)), (7, 8, 9, flags));
}

#[test]
fn refused_sizes_change_nothing() {
    let mut handler = handler();
    let refusal = handler.resize(2 << 40).unwrap().unwrap_err();
    assert_eq!((refusal.field.as_str(), refusal.message.as_str()), ("size", r"2199023255552 is\ntoo much"));
    assert_eq!(echo(handler.submit_block(&read(1, 0))).2, SIZE);
    handler.resize(SIZE / 2).unwrap().unwrap();
    assert_eq!(echo(handler.submit_block(&read(2, 0))).2, SIZE / 2);
}

#[test]
fn state_is_handed_on_up_to_its_limit() {
    let mut handler = handler();
    assert_eq!(handler.restore(b"bad").unwrap(), Err(r"no state of\nmine".to_owned()));
    // More than a usual call may carry.
    let state: Vec<u8> =
        (0..u32::try_from(lunbox_engine::MAX_STATE_BYTES).unwrap()).map(|i| i.to_le_bytes()[1]).collect();
    handler.restore(&state).unwrap().unwrap();
    assert!(handler.save().unwrap().unwrap() == state);
    // It has none left, and answers with one byte too many.
    assert!(matches!(handler.save(), Err(Fault::Contract(_))));
    assert_ended(handler.as_mut());
}

#[test]
fn events_arrive() {
    let lines = capture(|| {
        let mut handler = handler();
        handler.notify(Event::StoreReconnected, StoreId(3)).unwrap();
        handler.notify(Event::Idle, StoreId(0)).unwrap();
    });
    let texts: Vec<_> = lines.iter().map(|(_, text)| text.split(" device").next().unwrap()).collect();
    assert_eq!(texts, ["StoreReconnected of store 3", "Idle of store 0"]);
}
