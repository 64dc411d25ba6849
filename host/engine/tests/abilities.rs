//! Every optional interface, through the sandbox: each argument arrives where it belongs. In handlers that import WASI,
//! too, which are called in another way.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use std::sync::OnceLock;

use lunbox_contract::{
    CdbCommand, DeviceConfig, Event, FieldKind, Grammar, Op, OpFlags, Outcome, StoreId, Tag, UnmapLimits,
};
use lunbox_engine::{Abilities, Component, Fault, Handler, HandlerFactory as _, Limits};
use support::captured_log::capture;
use support::{SIZE, assert_ended, config, engine, forge, fresh_buffers, guests, load, read, serving};

/// The handler as it is, and as if it imported WASI.
fn components() -> [Component; 2] {
    static WASI: OnceLock<Vec<u8>> = OnceLock::new();
    let engine = engine();
    let plain = engine.load(&guests::abilities()).unwrap();
    let wasm = WASI.get_or_init(|| {
        let wasm = std::fs::read(guests::abilities()).unwrap();
        // With any index but the right one it is invalid, or wants what the host does not have.
        let mut imports = (0..1000).map(|types| forge::with_import(&wasm, "wasi:io/poll@0.2.0", types));
        imports.find(|wasm| load(&engine, wasm).is_ok()).unwrap()
    });
    let wasi = load(&engine, wasm).unwrap();
    assert!(wasi.wasi() && !plain.wasi());
    [plain, wasi]
}

fn handlers() -> [Box<dyn Handler>; 2] {
    components().map(|component| serving(&component, &Limits::default()))
}

/// Tag (as buffer offset), offset, length and flags of a final operation.
fn echo(answer: Result<Outcome, Fault>) -> (u32, u64, u64, OpFlags) {
    let Ok(Outcome::Io(op)) = answer else { panic!("{answer:?}") };
    assert_eq!(op.store, StoreId(7));
    (op.buffer_offset, op.store_offset, op.length, op.flags)
}

const NO_FLAGS: OpFlags = OpFlags { barrier: false, zero_at_eof: false, durable: false, may_unmap: false };

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
        lba_status: true,
        state: true,
        events: true,
        options: true,
    };
    assert_eq!(components().map(|component| component.abilities()), [all; 2]);
}

#[test]
fn the_option_schema_crosses() {
    for component in components() {
        let schema = component.schema().unwrap();
        assert_eq!(schema.grammar, Grammar::Semicolon);
        let fields: Vec<_> =
            schema.fields.iter().map(|field| (field.name.as_str(), &field.kind, field.required)).collect();
        let expected = [
            ("path", &FieldKind::Path { read_only: false, create: true }, true),
            ("base", &FieldKind::Store { read_only: true, create: false }, false),
            ("count", &FieldKind::Number { min: 3, max: u64::MAX }, false),
            ("mode", &FieldKind::Choice(vec!["slow".to_owned(), "fast".to_owned()]), true),
            ("label", &FieldKind::Text, false),
            ("lazy", &FieldKind::Flag, false),
        ];
        assert_eq!(fields, expected);
        assert!(schema.fields.iter().all(|field| field.help == format!("the {}", field.name)));
    }
    assert!(engine().load(&guests::file()).unwrap().schema().is_none());
}

#[test]
fn options_and_device_info_cross() {
    for component in components() {
        let lines = capture(|| {
            let mut handler = component.instantiate("disk1", fresh_buffers(), &Limits::default()).unwrap();
            let options = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x\ny".to_owned())];
            let info = handler.configure(&DeviceConfig { options, ..config() }).unwrap().unwrap();
            assert_eq!((info.size, info.write_cache, info.solid_state), (SIZE, false, true));
        });
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a=1 device=\"disk1\"", "b=x\\ny device=\"disk1\""]);
    }
}

#[test]
fn cdbs_cross_byte_by_byte() {
    for mut handler in handlers() {
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
}

#[test]
fn thin_provisioning_calls_cross() {
    for mut handler in handlers() {
        let limits = UnmapLimits { max_length: 1 << 30, granularity: 4096, reads_zeroes: true };
        assert_eq!(handler.unmap_limits(), Ok(Some(limits)));
        assert_eq!(echo(handler.unmap(Tag(1), 2, 3)), (1, 2, 3, NO_FLAGS));
        let flags = OpFlags { may_unmap: true, ..NO_FLAGS };
        assert_eq!(echo(handler.write_zeroes(Tag(4), 5, 6, true, false)), (4, 5, 6, flags));
        let flags = OpFlags { durable: true, ..NO_FLAGS };
        assert_eq!(echo(handler.write_zeroes(Tag(4), 5, 6, false, true)), (4, 5, 6, flags));
        assert_eq!(echo(handler.compare_and_write(Tag(7), 8, 9, true)), (7, 8, 9, flags));
        assert_eq!(
            handler.lba_status(Tag(1), 512, 1024),
            Ok(Outcome::Io(Op::extents(StoreId(7), 512, 1024)))
        );
    }
}

#[test]
fn refused_sizes_change_nothing() {
    for mut handler in handlers() {
        let refusal = handler.resize(2 << 40).unwrap().unwrap_err();
        assert_eq!(
            (refusal.field.as_str(), refusal.message.as_str()),
            ("size", r"2199023255552 is\ntoo much")
        );
        assert_eq!(echo(handler.submit_block(&read(1, 0))).2, SIZE);
        handler.resize(SIZE / 2).unwrap().unwrap();
        assert_eq!(echo(handler.submit_block(&read(2, 0))).2, SIZE / 2);
    }
}

#[test]
fn state_is_handed_on_up_to_its_limit() {
    for mut handler in handlers() {
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
}

#[test]
fn events_arrive() {
    for mut handler in handlers() {
        let lines = capture(|| {
            handler.notify(Event::StoreReconnected, StoreId(3)).unwrap();
            handler.notify(Event::Idle, StoreId(0)).unwrap();
        });
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.split(" device").next().unwrap()).collect();
        assert_eq!(texts, ["StoreReconnected of store 3", "Idle of store 0"]);
    }
}
