//! The harness's own promises, with a handler that answers what the test tells it to.

use std::collections::VecDeque;

use lunbox_harness::{CancelPoint, Ending, Error, Harness, MemStore, StartError, Violation};
use lunbox_sdk::{
    Block, BlockCommand, BlockLbaStatus, BlockUnmap, BufferError, BufferId, Buffers, ConfigError,
    Description, DeviceConfig, DeviceInfo, ExtentRecord, Field, FieldKind, Grammar, Handler, Op, OpError,
    OpFailure, OpsResult, Options, Outcome, Schema, Status, StoreId, Tag, UnmapLimits,
};

const S0: StoreId = StoreId(0);
const SCRATCH: BufferId = BufferId(1);

/// Answers from a list, first to `submit`, then to `resume`; tells what it was told.
#[derive(Debug, Default)]
struct Scripted {
    answers: VecDeque<Outcome>,
    resumed: Vec<OpsResult>,
    cancelled: Vec<Tag>,
    /// A `put` and a `take` to try at the next call, and what came of them.
    try_buffers: Option<(Tag, BufferId)>,
    tried: Vec<(Result<(), BufferError>, Result<(), BufferError>)>,
}

impl Scripted {
    fn next(&mut self, buffers: &mut dyn Buffers) -> Outcome {
        if let Some((tag, buffer)) = self.try_buffers.take() {
            let put = buffers.put(tag, buffer, 0, &[1]);
            self.tried.push((put, buffers.take(tag, buffer, 0, &mut [0])));
        }
        self.answers.pop_front().expect("the test gave enough answers")
    }
}

impl Handler for Scripted {
    fn describe() -> Description {
        Description {
            subtype: "scripted".into(),
            name: String::new(),
            version: String::new(),
            config_help: String::new(),
        }
    }

    fn configure(config: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
        let write_cache = !config.options.iter().any(|(name, _)| name == "write-through");
        Ok((
            Self::default(),
            DeviceInfo { size: config.size, write_cache, solid_state: false, physical_block_size: 0 },
        ))
    }

    fn resume(&mut self, _tag: Tag, result: &OpsResult, buffers: &mut dyn Buffers) -> Outcome {
        self.resumed.push(*result);
        self.next(buffers)
    }

    fn cancel(&mut self, tag: Tag) {
        self.cancelled.push(tag);
    }
}

impl Block for Scripted {
    fn submit(&mut self, _command: &BlockCommand, buffers: &mut dyn Buffers) -> Outcome {
        self.next(buffers)
    }
}

impl BlockUnmap for Scripted {
    fn limits(&mut self) -> Option<UnmapLimits> {
        Some(UnmapLimits::default())
    }

    fn unmap(&mut self, _: Tag, _: u64, _: u64, buffers: &mut dyn Buffers) -> Outcome {
        self.next(buffers)
    }
}

impl BlockLbaStatus for Scripted {
    fn lba_status(&mut self, _: Tag, _: u64, _: u64, buffers: &mut dyn Buffers) -> Outcome {
        self.next(buffers)
    }
}

fn harness(answers: impl IntoIterator<Item = Outcome>) -> Harness<Scripted> {
    let mut harness: Harness<Scripted> =
        Harness::setup(65536).store(MemStore::growing(65536)).start().expect("starts");
    harness.handler().answers.extend(answers);
    harness
}

fn read(offset: u64) -> Op {
    Op::read(S0, offset, 512)
}

fn write(offset: u64) -> Op {
    Op::write(S0, offset, 512)
}

fn broken(result: Result<lunbox_harness::Reply, Error>) -> Violation {
    match result {
        Err(Error::Violation(violation)) => violation,
        other => panic!("expected a violation, got {other:?}"),
    }
}

#[test]
fn every_rule_about_single_operations_is_checked() {
    type Is = fn(&Violation) -> bool;
    let reads: [(Op, Is); 9] = [
        (Op { store: StoreId(1), ..read(0) }, |v| matches!(v, Violation::UnknownStore { granted: 1, .. })),
        (Op { length: 0, ..read(0) }, |v| matches!(v, Violation::ZeroLength { .. })),
        (read(u64::MAX), |v| matches!(v, Violation::StoreRange { .. })),
        (read(0).in_buffer(BufferId(16), 0), |v| matches!(v, Violation::UnknownBuffer { .. })),
        (read(0).in_buffer(BufferId::DATA, 1), |v| {
            matches!(v, Violation::BufferRange { available: 512, .. })
        }),
        (read(0).in_buffer(SCRATCH, 1 << 20), |v| matches!(v, Violation::BufferRange { .. })),
        (read(0).durable(true), |v| matches!(v, Violation::Flag { flag: "durable", .. })),
        (Op::flush(S0).zero_at_eof(), |v| matches!(v, Violation::Flag { flag: "zero-at-eof", .. })),
        (write(0), |v| matches!(v, Violation::Direction { .. })),
    ];
    for (op, is) in reads {
        for outcome in [Outcome::Io(op), Outcome::More(vec![op])] {
            let violation = broken(harness([outcome]).read(0, 512));
            assert!(is(&violation), "{op:?}: {violation}");
        }
    }
    let violation = broken(harness([Outcome::Io(read(0))]).write(0, &[0; 512]));
    assert!(matches!(violation, Violation::Direction { .. }), "{violation}");
    let empty = write(0).in_buffer(SCRATCH, 0);
    let violation = broken(harness([Outcome::Io(empty)]).write(0, &[0; 512]));
    assert!(matches!(violation, Violation::EmptyBuffer { .. }), "{violation}");

    let mut read_only: Harness<Scripted> =
        Harness::setup(65536).store(MemStore::growing(0).read_only()).start().unwrap();
    read_only.handler().answers.push_back(Outcome::Io(write(0)));
    let violation = broken(read_only.write(0, &[0; 512]));
    assert!(matches!(violation, Violation::ReadOnlyStore { .. }), "{violation}");
}

#[test]
fn lists_have_1_to_64_operations_and_resume_may_not_pass_a_command_on() {
    assert_eq!(broken(harness([Outcome::More(vec![])]).read(0, 512)), Violation::OpCount(0));
    assert_eq!(broken(harness([Outcome::More(vec![read(0); 65])]).read(0, 512)), Violation::OpCount(65));
    let mut most = harness([Outcome::More(vec![read(0); 64]), Outcome::GOOD]);
    most.read(0, 512).unwrap().good().expect("64 are allowed");
    assert_eq!(most.handler().resumed, [OpsResult { first_error: None, bytes: 64 * 512 }]);
    let passed_on = [Outcome::More(vec![read(0)]), Outcome::NotHandled];
    assert_eq!(broken(harness(passed_on).read(0, 512)), Violation::NotHandled);
}

#[test]
fn a_violation_ends_its_command_and_no_other() {
    let mut harness = harness([Outcome::NotHandled, Outcome::GOOD]);
    assert!(harness.read(0, 512).is_err());
    harness.read(0, 512).unwrap().good().unwrap();
}

#[test]
fn operations_of_one_list_run_in_either_order_but_for_barriers() {
    // Two writes to one place out of the two halves of the data: the last one wins.
    let list = |second: Op| Outcome::More(vec![write(0), second.in_buffer(BufferId::DATA, 512)]);
    let data = [[1; 512], [2; 512]].concat();
    for (reversed, second, winner) in [
        (false, write(0), 2),
        (true, write(0), 1),
        (false, write(0).barrier(), 2),
        (true, write(0).barrier(), 2),
    ] {
        let setup = Harness::<Scripted>::setup(65536).store(MemStore::growing(0));
        let setup = if reversed { setup.reverse_order() } else { setup };
        let mut harness = setup.start().unwrap();
        harness.handler().answers.extend([list(second), Outcome::GOOD]);
        harness.write(0, &data).unwrap().good().unwrap();
        assert_eq!(harness.stores()[0].contents(), [winner; 512], "reversed: {reversed}, {second:?}");
    }
}

#[test]
fn a_failure_before_a_barrier_keeps_what_stands_behind_it_from_starting() {
    let ops = vec![write(0), write(512), write(1024).barrier(), write(1536)];
    let mut harness = harness([Outcome::More(ops), Outcome::GOOD]);
    harness.fail_next(OpError::NoSpace);
    harness.write(0, &[1; 512]).unwrap().good().unwrap();
    let first_error = Some(OpFailure { index: 0, error: OpError::NoSpace });
    assert_eq!(harness.handler().resumed, [OpsResult { first_error, bytes: 512 }]);
    assert_eq!(harness.stores()[0].contents()[..2048], [[0; 512], [1; 512], [0; 512], [0; 512]].concat());
}

#[test]
fn the_first_error_is_the_first_of_the_list_not_of_time() {
    let mut harness =
        Harness::<Scripted>::setup(65536).store(MemStore::growing(0)).reverse_order().start().unwrap();
    harness.handler().answers.extend([Outcome::More(vec![read(0), read(0)]), Outcome::GOOD]);
    harness.fail_next(OpError::TimedOut);
    harness.fail_next(OpError::Io);
    harness.read(0, 512).unwrap().good().unwrap();
    let first_error = Some(OpFailure { index: 0, error: OpError::Io });
    assert_eq!(harness.handler().resumed, [OpsResult { first_error, bytes: 0 }]);
}

#[test]
fn the_end_of_a_store_is_zero_filled_only_if_asked_for() {
    let store = MemStore::with_contents(vec![9; 700]);
    let mut harness = Harness::<Scripted>::setup(65536).store(store).start().unwrap();
    harness.handler().answers.extend([Outcome::Io(read(512)), Outcome::Io(read(512).zero_at_eof())]);
    let sense = harness.read(512, 512).unwrap().sense().expect("beyond the end");
    assert_eq!((sense.asc, sense.ascq), (0x11, 0));
    assert_eq!(harness.read(512, 512).unwrap().good().unwrap(), [vec![9; 188], vec![0; 324]].concat());
}

#[test]
fn good_means_durable_where_it_was_promised() {
    let through = || {
        Harness::<Scripted>::setup(65536)
            .option("write-through", "yes")
            .store(MemStore::growing(0))
            .start()
            .unwrap()
    };
    let mut harness_through = through();
    harness_through.handler().answers.push_back(Outcome::Io(write(0)));
    let violation = broken(harness_through.write(0, &[1; 512]));
    assert!(matches!(violation, Violation::NotDurable { store: 0, .. }), "{violation}");
    let mut durable = through();
    durable.handler().answers.push_back(Outcome::Io(write(0).durable(true)));
    durable.write(0, &[1; 512]).unwrap().good().unwrap();
    let mut flushed = through();
    flushed.handler().answers.extend([Outcome::More(vec![write(0), Op::flush(S0).barrier()]), Outcome::GOOD]);
    flushed.write(0, &[1; 512]).unwrap().good().expect("a flush makes it durable too");

    let violation = broken(harness([Outcome::Io(write(0))]).write_fua(0, &[1; 512]));
    assert!(matches!(violation, Violation::NotDurable { reason: "FUA", .. }), "{violation}");
    let mut cached = harness([Outcome::Io(write(0)), Outcome::GOOD]);
    cached.write(0, &[1; 512]).unwrap().good().expect("the cache is volatile");
    let violation = broken(cached.flush());
    assert!(matches!(violation, Violation::NotDurable { reason: "flush", .. }), "{violation}");
}

#[test]
fn a_flush_promises_nothing_about_writes_in_progress() {
    let more = Outcome::More(vec![write(0)]);
    let mut harness = harness([more.clone(), Outcome::Io(Op::flush(S0)), more, Outcome::GOOD]);
    let slow = harness.start_write(0, &[1; 512], false).unwrap();
    let flush = harness.start_flush().unwrap();
    harness.finish(flush).unwrap().good().unwrap();
    assert!(!harness.step(slow).unwrap(), "it goes on");
    assert!(harness.step(slow).unwrap(), "it ends");
    harness.finish(slow).unwrap().good().unwrap();
    assert_eq!(harness.stores()[0].volatile_writes(), 2);
}

#[test]
fn a_power_cut_may_keep_any_of_the_volatile_writes() {
    let writes = [write(0), write(512), write(1024).durable(true), write(0)].map(Outcome::Io);
    let mut harness = harness(writes);
    for fill in 1..=4 {
        harness.write(0, &[fill; 512]).unwrap().good().unwrap();
    }
    let harness = harness.power_cut_keeping(|store, write| store == 0 && write == 1).unwrap();
    let stores = harness.into_stores();
    assert_eq!(stores[0].contents()[..1536], [[0; 512], [2; 512], [3; 512]].concat());
    assert_eq!(stores[0].volatile_writes(), 0, "what survived is durable");
}

#[test]
fn buffers_of_a_running_operation_are_in_use_until_it_has_ended() {
    let mut harness = harness([Outcome::More(vec![read(0)]), Outcome::GOOD, Outcome::GOOD]);
    let tag = harness.start_read(0, 512).unwrap();
    harness.handler().try_buffers = Some((tag, BufferId::DATA));
    harness.flush().unwrap().good().unwrap();
    assert_eq!(harness.handler().tried, [(Err(BufferError::InUse), Err(BufferError::InUse))]);
    harness.handler().try_buffers = Some((tag, BufferId::DATA));
    let data = harness.finish(tag).unwrap().good().unwrap();
    assert_eq!(harness.handler().tried[1], (Ok(()), Err(BufferError::WrongDirection)));
    assert_eq!(data[..2], [1, 0], "what was put arrives");
    harness.handler().answers.push_back(Outcome::GOOD);
    harness.handler().try_buffers = Some((tag, BufferId::DATA));
    harness.flush().unwrap().good().unwrap();
    let gone = Err(BufferError::UnknownTag);
    assert_eq!(harness.handler().tried[2], (gone, gone), "the command has ended");
}

#[test]
fn scratch_buffers_move_bytes_between_stores() {
    let mut harness = Harness::<Scripted>::setup(65536)
        .store(MemStore::with_contents(vec![5; 1024]))
        .store(MemStore::growing(0))
        .start()
        .unwrap();
    let copy = vec![
        Op::read(S0, 0, 1024).in_buffer(SCRATCH, 0),
        Op::write(StoreId(1), 0, 512).in_buffer(SCRATCH, 512).barrier(),
    ];
    harness.handler().answers.extend([Outcome::More(copy), Outcome::GOOD]);
    harness.flush().unwrap().good().unwrap();
    assert_eq!(harness.stores()[1].contents(), [5; 512]);
}

#[test]
fn cancelling_tells_the_handler_unless_it_said_its_last_word() {
    let mut harness = harness([
        Outcome::More(vec![write(0)]),
        Outcome::More(vec![write(512)]),
        Outcome::Io(write(1024)),
        Outcome::GOOD,
    ]);
    let tags: Vec<Tag> = (0..4).map(|_| harness.start_write(0, &[1; 512], false).unwrap()).collect();
    harness.cancel(tags[0], CancelPoint::BeforeOperations).unwrap();
    harness.cancel(tags[1], CancelPoint::AfterOperations).unwrap();
    harness.cancel(tags[2], CancelPoint::AfterOperations).unwrap();
    harness.cancel(tags[3], CancelPoint::BeforeOperations).unwrap();
    assert_eq!(harness.handler().cancelled, tags[..2]);
    assert_eq!(harness.stores()[0].contents()[..1536], [[0; 512], [1; 512], [1; 512]].concat());
    assert!(matches!(harness.cancel(tags[0], CancelPoint::BeforeOperations), Err(Error::Misuse(_))));
}

#[test]
fn a_restart_keeps_the_stores_and_forgets_the_rest() {
    let mut harness = harness([Outcome::Io(write(0)), Outcome::More(vec![read(0)])]);
    harness.write(0, &[1; 512]).unwrap().good().unwrap();
    let tag = harness.start_read(0, 512).unwrap();
    harness.fail_next(OpError::Io);
    let mut harness = harness.restart().unwrap();
    assert!(matches!(harness.finish(tag), Err(Error::Misuse(_))));
    harness.handler().answers.push_back(Outcome::Io(read(0)));
    assert_eq!(harness.read(0, 512).unwrap().good().unwrap(), [1; 512]);
}

#[test]
fn failures_and_discards_of_other_kinds_are_answered_as_hosts_do() {
    let mut harness = harness([
        Outcome::Io(Op::discard(S0, 0, 512)),
        Outcome::Io(Op::discard(S0, 1 << 40, 512)),
        Outcome::Io(Op::write_zeroes(S0, 0, 512)),
        Outcome::Done(Status::TaskSetFull),
    ]);
    harness.stores_mut()[0] = MemStore::with_contents(vec![7; 512]);
    harness.fail_next(OpError::TimedOut);
    assert_eq!(harness.unmap(0, 512).unwrap().ending, Ending::Status(Status::Busy));
    harness.unmap(0, 512).unwrap().good().expect("nothing to give up beyond the end");
    assert_eq!(harness.stores()[0].contents(), [7; 512]);
    harness.unmap(0, 512).unwrap().good().unwrap();
    assert_eq!(harness.stores()[0].contents(), [0; 512]);
    assert_eq!(harness.unmap(0, 512).unwrap().ending, Ending::Status(Status::TaskSetFull));
}

#[test]
fn what_no_host_does_is_the_tests_mistake() {
    let mut read_only: Harness<Scripted> =
        Harness::setup(4096).read_only().max_transfer(1024).start().unwrap();
    for result in [
        read_only.read(0, 0),
        read_only.read(0, 100),
        read_only.read(256, 512),
        read_only.read(4096, 512),
        read_only.read(0, 2048),
        read_only.write(0, &[0; 512]),
        read_only.unmap(0, 512),
    ] {
        assert!(matches!(result, Err(Error::Misuse(_))), "{result:?}");
    }
}

/// What a start with this description and this device size leads to.
#[test]
fn a_start_checks_what_the_handler_says_of_itself() {
    #[derive(Debug)]
    struct Odd;
    impl Handler for Odd {
        fn describe() -> Description {
            Description { subtype: "Odd".into(), ..Scripted::describe() }
        }
        fn configure(_: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> {
            Err(ConfigError { field: String::new(), message: "is never asked".into() })
        }
    }
    let error = Harness::<Odd>::setup(4096).start().unwrap_err();
    assert_eq!(error, StartError::Violation(Violation::Subtype("Odd".into())));
    let error = Harness::<Scripted>::setup(1000).start().unwrap_err();
    assert_eq!(error, StartError::Violation(Violation::DeviceSize { size: 1000, block_size: 512 }));
}

impl Options for Scripted {
    fn declare() -> Schema {
        let field = |name: &str, kind| Field {
            name: name.into(),
            kind,
            required: name == "path",
            help: String::new(),
        };
        let fields = vec![
            field("path", FieldKind::Path { read_only: false, create: true }),
            field("count", FieldKind::Number { min: 2, max: 9 }),
            field("mode", FieldKind::Choice(vec!["a".into(), "b".into()])),
            field("label", FieldKind::Text),
            field("lazy", FieldKind::Flag),
        ];
        Schema { grammar: Grammar::Semicolon, fields }
    }
}

#[test]
fn grants_and_values_are_those_of_the_schema() {
    let start = |stores: &[&str], options: &[(&str, &str)]| {
        let mut setup = Harness::<Scripted>::setup(65536);
        for option in stores {
            setup = setup.store(MemStore::growing(0).for_option(option));
        }
        for (name, value) in options {
            setup = setup.option(name, value);
        }
        match setup.start_declared() {
            Ok(harness) => Ok(harness.granted().len()),
            Err(StartError::Misuse(problem)) => Err(problem),
            Err(other) => panic!("{other}"),
        }
    };
    let all = [("count", "9"), ("mode", "b"), ("label", ""), ("lazy", "true")];
    assert_eq!(start(&["path"], &all), Ok(1));
    let problem =
        |stores: &[&str], options: &[(&str, &str)]| start(stores, options).expect_err("does not fit");
    assert!(problem(&[], &all).contains("required"));
    assert!(problem(&["path", "path"], &[]).contains("twice"));
    assert!(problem(&["path", "count"], &[]).contains("no store"));
    assert!(problem(&["path", "other"], &[]).contains("no such field"));
    assert!(problem(&[], &[("path", "/x")]).contains("is a store"));
    for (name, value) in [("count", "1"), ("count", "10"), ("count", "x"), ("mode", "c"), ("lazy", "no")] {
        assert!(problem(&["path"], &[(name, value)]).contains(name), "{name}={value}");
    }
}

#[test]
fn a_list_of_extents_takes_the_room_that_there_is() {
    let list = Op::extents(S0, 0, 1 << 40);
    let mut disk = harness([Outcome::Io(list)]);
    let records = disk.lba_status(0, 65536, 24).unwrap().unwrap();
    let hole = ExtentRecord { offset: 0, length: 1 << 40, allocated: false };
    assert_eq!(records, [hole]);
    // A scratch buffer has room for 4,080 bytes behind the offset, which its end need not reach.
    let in_scratch = list.in_buffer(SCRATCH, (1 << 20) - 4080);
    let mut disk = harness([Outcome::More(vec![in_scratch]), Outcome::GOOD]);
    disk.read(0, 512).unwrap().good().unwrap();
    assert_eq!(disk.handler().resumed, [OpsResult::default()], "no bytes of the medium");

    for (op, wanted) in [
        (list.in_buffer(BufferId::DATA, 512 - 23), "do not fit"),
        (list.in_buffer(SCRATCH, (1 << 20) - 23), "do not fit"),
        (list.durable(true), "flag durable"),
        (list.zero_at_eof(), "flag zero-at-eof"),
        (read(0).may_unmap(true), "flag may-unmap"),
    ] {
        let violation = broken(harness([Outcome::Io(op)]).read(0, 512));
        assert!(violation.to_string().contains(wanted), "{op:?}: {violation}");
    }
    let violation = broken(harness([Outcome::Io(list)]).write(0, &[0; 512]));
    assert!(matches!(violation, Violation::Direction { .. }), "{violation}");
}

#[test]
fn a_status_that_begins_elsewhere_or_says_nothing_is_a_violation() {
    for answer in [Outcome::GOOD, Outcome::Io(Op::extents(S0, 512, 512))] {
        let mut disk = harness([answer]);
        let error = disk.lba_status(0, 65536, 240).unwrap_err();
        assert!(matches!(error, Error::Violation(Violation::ExtentList(_))), "{error}");
    }
}
