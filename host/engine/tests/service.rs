//! Real handlers serve: plans, bytes, sizes; in the sandbox as without it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod support;

use lunbox_contract::{
    BlockKind, BufferId, CdbCommand, ConfigError, DeviceConfig, OpFlags, OpKind, OpsResult, Outcome, Status,
    StoreId, Tag,
};
use lunbox_engine::native::NativeFactory;
use lunbox_engine::{Abilities, Fault, Handler, HandlerFactory, Limits};
use lunbox_test_hostile as hostile;
use support::{SIZE, config, engine, fresh_buffers, guests, read};

/// The `file` handler in both forms.
fn both() -> [Box<dyn HandlerFactory>; 2] {
    let native = NativeFactory::<lunbox_handler_file::File>::new()
        .with_resize()
        .with_unmap()
        .with_write_zeroes()
        .with_lba_status();
    [Box::new(engine().load(&guests::file()).unwrap()), Box::new(native)]
}

fn configured(factory: &dyn HandlerFactory) -> Box<dyn Handler> {
    let mut handler = factory.instantiate("disk1", fresh_buffers(), &Limits::default()).unwrap();
    let info = handler.configure(&config()).unwrap().unwrap();
    assert_eq!(info.size, SIZE);
    handler
}

#[test]
fn the_file_handler_says_who_it_is() {
    for factory in both() {
        assert_eq!(factory.description().subtype, "file");
        assert_eq!(
            factory.abilities(),
            Abilities {
                block: true,
                batch: true,
                resize: true,
                unmap: true,
                write_zeroes: true,
                lba_status: true,
                ..Abilities::default()
            }
        );
    }
}

#[test]
fn commands_become_final_operations() {
    for factory in both() {
        let mut handler = configured(factory.as_ref());
        let command = read(1, 8192);
        let Ok(Outcome::Io(op)) = handler.submit_block(&command) else { panic!("a read is one operation") };
        assert_eq!((op.kind, op.store, op.store_offset), (OpKind::Read, StoreId(0), 8192));
        assert_eq!((op.buffer, op.buffer_offset, op.length), (BufferId::DATA, 0, 4096));
        assert_eq!(op.flags, OpFlags { zero_at_eof: true, ..OpFlags::default() });

        let write =
            lunbox_contract::BlockCommand { tag: Tag(2), kind: BlockKind::Write, fua: true, ..command };
        let Ok(Outcome::Io(op)) = handler.submit_block(&write) else { panic!("a write is one operation") };
        assert_eq!((op.kind, op.flags.durable), (OpKind::Write, true));

        let flush = lunbox_contract::BlockCommand { kind: BlockKind::Flush, offset: 0, length: 0, ..command };
        let Ok(Outcome::Io(op)) = handler.submit_block(&flush) else { panic!("a flush is one operation") };
        assert_eq!(op.kind, OpKind::Flush);
    }
}

#[test]
fn a_batch_is_planned_like_single_commands_in_order() {
    for factory in both() {
        let commands: Vec<_> = (1..=32).map(|tag| read(tag, tag * 4096)).collect();
        let mut single = configured(factory.as_ref());
        let expected: Vec<_> = commands.iter().map(|command| single.submit_block(command).unwrap()).collect();
        let mut handler = configured(factory.as_ref());
        let mut outcomes = vec![Outcome::BUSY];
        handler.submit_blocks(&commands, &mut outcomes).unwrap();
        assert_eq!(outcomes.remove(0), Outcome::BUSY, "what was there stays");
        assert_eq!(outcomes, expected);
    }
}

#[test]
fn a_fault_in_a_batch_ends_the_instance() {
    let component = engine().load(&guests::hostile()).unwrap();
    let mut handler = configured(&component);
    let trap = hostile::trigger_offset(SIZE, hostile::TRIGGER_TRAP).unwrap();
    let fault = handler.submit_blocks(&[read(1, 0), read(2, trap), read(3, 0)], &mut Vec::new()).unwrap_err();
    assert!(matches!(fault, Fault::Trap { .. }), "{fault}");
    assert!(matches!(handler.submit_block(&read(4, 0)), Err(Fault::Ended(_))));
}

#[test]
fn refusals_reach_the_operator() {
    for factory in both() {
        let mut handler = factory.instantiate("disk1", fresh_buffers(), &Limits::default()).unwrap();
        let without_store = DeviceConfig { stores: vec![], ..config() };
        let ConfigError { message, .. } = handler.configure(&without_store).unwrap().unwrap_err();
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
    }
}

#[test]
fn sizes_change() {
    for factory in both() {
        let mut handler = configured(factory.as_ref());
        handler.resize(2 * SIZE).unwrap().unwrap();
        assert!(matches!(handler.submit_block(&read(1, SIZE)), Ok(Outcome::Io(_))));
    }
}

#[test]
fn what_a_handler_has_not_is_answered_without_ending_it() {
    for factory in both() {
        let mut handler = configured(factory.as_ref());
        let command = CdbCommand { tag: Tag(1), cdb: &[0xff; 6], data_out: 0, data_in: 0 };
        assert_eq!(handler.submit_cdb(&command), Ok(Outcome::NotHandled));
        assert!(matches!(handler.compare_and_write(Tag(4), 0, 512, false), Err(Fault::Host(_))));
        assert!(matches!(handler.save(), Err(Fault::Host(_))));
        assert!(matches!(handler.restore(&[]), Err(Fault::Host(_))));
        assert!(matches!(handler.notify(lunbox_contract::Event::Idle, StoreId(0)), Err(Fault::Host(_))));
        assert!(matches!(handler.submit_block(&read(5, 0)), Ok(Outcome::Io(_))), "it goes on");
    }
}

#[test]
fn bytes_cross_by_take_and_put() {
    let component = engine().load(&guests::hostile()).unwrap();
    let buffers = fresh_buffers();
    let mut handler = component.instantiate("disk1", buffers.clone(), &Limits::default()).unwrap();
    handler.configure(&config()).unwrap().unwrap();

    let offset = hostile::trigger_offset(SIZE, hostile::TRIGGER_SCRATCH).unwrap();
    let Ok(Outcome::More(ops)) = handler.submit_block(&read(7, offset)) else { panic!("it reads first") };
    assert_eq!((ops.len(), ops[0].buffer), (1, BufferId(1)));
    let bytes: Vec<u8> = (0..4096_u16).map(|index| index.to_le_bytes()[0]).collect();
    buffers.borrow_mut().buffers.push(bytes.clone());
    let done = OpsResult { first_error: None, bytes: 4096 };
    assert_eq!(handler.resume(Tag(7), &done), Ok(Outcome::Done(Status::Good)));
    assert!(buffers.borrow().buffers[0] == bytes, "the handler copied the scratch buffer");
}

#[test]
fn forbidden_buffer_calls_get_their_errors() {
    let component = engine().load(&guests::hostile()).unwrap();
    let mut handler = support::serving(&component, &Limits::default());
    let offset = hostile::trigger_offset(SIZE, hostile::TRIGGER_BAD_BUFFER_CALLS).unwrap();
    // The guest compares each error with the one that the contract promises.
    assert_eq!(handler.submit_block(&read(1, offset)), Ok(Outcome::Done(Status::Good)));
}

#[test]
fn borrowed_buffers_are_the_hosts_fault() {
    let component = engine().load(&guests::hostile()).unwrap();
    let buffers = fresh_buffers();
    let mut handler = component.instantiate("disk1", buffers.clone(), &Limits::default()).unwrap();
    handler.configure(&config()).unwrap().unwrap();
    let offset = hostile::trigger_offset(SIZE, hostile::TRIGGER_BAD_BUFFER_CALLS).unwrap();
    let guard = buffers.borrow_mut();
    assert!(matches!(handler.submit_block(&read(1, offset)), Err(Fault::Host(_))));
    drop(guard);
}

#[test]
fn configuring_twice_is_the_hosts_fault() {
    let component = engine().load(&guests::file()).unwrap();
    let mut handler = support::serving(&component, &Limits::default());
    assert!(matches!(handler.configure(&config()), Err(Fault::Host(_))));
}
