//! The loop itself: what wakes it, in which order it works, how it ends.
//!
//! Each turn: results of operations, new ring entries, results again (memory stores answer at once), recovery,
//! and then at most one doorbell for everything that was completed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunbox_compose::Ask;
use lunbox_contract::DeviceConfig;
use lunbox_engine::SharedBuffers;
use lunbox_scsi::Bytes;
use lunbox_store::{Executor, Options, RegionId, StoreIndex};
use lunbox_tcmu::{Next, Ring, RingError, TmrFunction};

use crate::batch::Batch;
use crate::compose::WorkArea;
use crate::control::{Control, Ending, Event, Inbox};
use crate::disk::Disk;
use crate::ending::{OwnFlush, Phase};
use crate::guest::{Guest, Rebuild};
use crate::measure::{Lateness, Sampler};
use crate::port_groups::Call;
use crate::ranges::RangeTable;
use crate::resize::PendingResize;
use crate::settings::{DeviceParts, StartError};
use crate::status::{Counters, Health};
use crate::table::{SlotIndex, Stage, Table};
use crate::trace::Trace;
use crate::write_cache::PendingSwitch;

const BELL: u32 = 0;
const INBOX: u32 = 1;
/// Results handled before the ring is looked at again: a handler that plans without end must not starve it.
const RESULTS_PER_TURN: usize = 512;

/// Longest time that a command waits for a handler to come back before it is answered BUSY.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// A ring reset was seen: nothing is taken from the ring until the operations of its commands have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    /// Operations ran on the data area when it was seen: what was queued meanwhile may have been overwritten.
    pub(crate) hazard: bool,
}

pub(crate) struct DeviceLoop {
    pub(crate) name: String,
    pub(crate) ring: Ring,
    pub(crate) executor: Executor,
    pub(crate) region: RegionId,
    /// By the handler's store ids.
    pub(crate) stores: Vec<StoreIndex>,
    pub(crate) table: Rc<RefCell<Table>>,
    pub(crate) guest: Guest,
    pub(crate) disk: Disk,
    pub(crate) ranges: RangeTable,
    /// Commands that wait for the handler or a range, oldest first.
    pub(crate) parked: VecDeque<SlotIndex>,
    /// Commands that arrived together and are about to be planned together.
    pub(crate) batch: Batch,
    /// Commands that wait for the device's identity.
    pub(crate) anonymous: Vec<SlotIndex>,
    /// Commands of lost instances whose operations have not ended.
    pub(crate) orphans: usize,
    pub(crate) reset: Option<Reset>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) answer: Vec<u8>,
    pub(crate) events: Arc<dyn Fn(Event) + Send + Sync>,
    /// Why the ring can not be used any more.
    pub(crate) broken: Option<RingError>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) sampler: Sampler,
    /// If commands can be late.
    pub(crate) lateness: Option<Lateness>,
    pub(crate) switch: Option<PendingSwitch>,
    /// The flush that a switch of the write cache waits for.
    pub(crate) switch_flush: Option<OwnFlush>,
    /// Tag and status of the last command that ended with nobody waiting for its answer.
    pub(crate) own_ended: Option<(u64, u8)>,
    /// Composite commands.
    pub(crate) composed: usize,
    /// Of these, those that were answered early, and their steps.
    pub(crate) background: usize,
    /// Composite commands that are to be asked what comes next, oldest first.
    pub(crate) composites: VecDeque<SlotIndex>,
    /// Kept for its memory.
    pub(crate) asks: Vec<Ask>,
    pub(crate) work: WorkArea,
    /// Composite commands that wait for a piece of it.
    pub(crate) waiting_for_work: usize,
    /// Something that parked commands may wait for has become free since they were tried.
    pub(crate) has_freed: bool,
    /// The stores have been asked how much room they have, and have not all answered.
    pub(crate) asks_space: bool,
    /// SET TARGET PORT GROUPS that wait for the supervisor.
    pub(crate) access_calls: Vec<Call>,
    inbox: Inbox,
    pub(crate) phase: Phase,
    pub(crate) resize: Option<PendingResize>,
    /// A size that the handler found when it was configured first, until that is told.
    found: Option<Bytes>,
}

impl DeviceLoop {
    /// Sets everything up on the device's own thread and configures the handler.
    pub(crate) fn new(
        parts: DeviceParts,
        inbox: Inbox,
        counters: Arc<Counters>,
        trace: Arc<Trace>,
    ) -> Result<Self, StartError> {
        let DeviceParts { name, ring, stores, options, handler, settings, events } = parts;
        if !handler.abilities().block {
            return Err(StartError::NoBlock(handler.description().subtype.clone()));
        }
        let mut executor = Executor::new(Options { backend: settings.backend, ..Options::default() })?;
        let region = executor.register(Arc::clone(ring.map()));
        executor.watch(ring.doorbell(), BELL)?;
        executor.watch(inbox.fd(), INBOX)?;
        let mut config = DeviceConfig {
            name: name.clone(),
            size: settings.size.0,
            block_size: settings.block_size.get(),
            read_only: settings.read_only,
            max_transfer: 0,
            stores: Vec::with_capacity(stores.len()),
            options,
        };
        config.max_transfer = settings
            .block_size
            .bytes(settings.max_transfer)
            .and_then(|bytes| u32::try_from(bytes.0).ok())
            .ok_or_else(|| StartError::Setting {
                field: "hw_max_sectors",
                problem: format!(
                    "{} blocks are more than 4 GiB; use a smaller number",
                    settings.max_transfer.0
                ),
            })?;
        let mut indices = Vec::with_capacity(stores.len());
        for (store, info) in stores {
            indices.push(executor.add(store));
            config.stores.push(info);
        }
        let table = Rc::new(RefCell::new(Table::new(Arc::clone(ring.map()))));
        let buffers: SharedBuffers = Rc::<RefCell<Table>>::clone(&table);
        let (guest, info) = Guest::start(handler, buffers, settings.limits.clone(), config)?;
        counters.instances.add(1);
        counters.set_thread(nix::unistd::gettid());
        let disk = Disk::new(&settings, &info, guest.abilities(), guest.unmap_limits())?;
        let found = (disk.size() != settings.size).then(|| disk.size());
        let sampler = Sampler::new();
        counters.sampled_every.set(sampler.every());
        counters.size.set(disk.size().0);
        counters.write_cache.set(u64::from(disk.write_cache()));
        let limit = settings.command_timeout.filter(|limit| !limit.is_zero());
        Ok(Self {
            name,
            ring,
            executor,
            region,
            stores: indices,
            table,
            guest,
            disk,
            ranges: RangeTable::default(),
            parked: VecDeque::new(),
            batch: Batch::default(),
            anonymous: Vec::new(),
            orphans: 0,
            reset: None,
            counters,
            answer: Vec::with_capacity(1024),
            events,
            broken: None,
            trace,
            sampler,
            lateness: limit.map(Lateness::new),
            switch: None,
            switch_flush: None,
            own_ended: None,
            composed: 0,
            background: 0,
            composites: VecDeque::new(),
            asks: Vec::new(),
            work: WorkArea::default(),
            waiting_for_work: 0,
            has_freed: false,
            asks_space: false,
            access_calls: Vec::new(),
            inbox,
            phase: Phase::Serving,
            resize: None,
            found,
        })
    }

    /// Serves until told to stop or until the ring breaks, and returns when every operation has ended: whoever hears
    /// of the end may give the buffers to others.
    pub(crate) fn run(mut self) -> Result<(), RingError> {
        // Not before the start is sure: nobody is to hear of the size of a device that there is not.
        if let Some(size) = self.found.take() {
            self.tell_size(size);
        }
        if self.disk.written(0) {
            self.ask_space();
        }
        let ended = self.serve();
        self.abandon_all();
        if let Err(error) = &ended {
            tracing::error!(device = self.name, %error, "device stopped");
        }
        // Dropping the executor awaits every operation before the ring's memory goes.
        ended
    }

    fn serve(&mut self) -> Result<(), RingError> {
        loop {
            self.turn()?;
            if self.has_ended()? {
                return Ok(());
            }
            let timeout = self.timeout();
            if let Err(error) = self.executor.wait(timeout) {
                // The executor can not go on without its ring; nothing of it is lost, but nothing can be served.
                tracing::error!(device = self.name, %error, "waiting failed");
                return Err(RingError::Gone(nix::errno::Errno::EIO));
            }
            while let Some(key) = self.executor.next_ready() {
                match key {
                    BELL => {
                        self.ring.acknowledge()?;
                    }
                    _ => self.read_inbox(),
                }
            }
        }
    }

    fn turn(&mut self) -> Result<(), RingError> {
        self.look_for_late();
        self.reap();
        self.drain()?;
        self.reap();
        self.run_composites();
        self.recover()?;
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.counters.syscalls.set(self.ring.syscalls() + self.executor.syscalls());
        self.counters.in_flight.set(self.executor.in_flight() as u64);
        self.counters.commands_in_flight.set(self.table.borrow().commands() as u64);
        if self.reset.is_none() { self.ring.notify() } else { Ok(()) }
    }

    /// How long the loop may sleep.
    fn timeout(&self) -> Option<Duration> {
        match (self.time_to_work(), self.time_to_look()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Not at all if the ring has work that it may take.
    fn time_to_work(&self) -> Option<Duration> {
        if self.accepts() && self.ring.head_moved() {
            return Some(Duration::ZERO);
        }
        if !self.composites.is_empty() || (self.has_freed && !self.parked.is_empty()) {
            return Some(Duration::ZERO);
        }
        let idle = self.table.borrow().in_use() == 0;
        // What resets and resizes wait for is the end of commands; with none there is nothing to wait for.
        if idle && (self.reset.is_some() || self.resize.is_some() || self.switch.is_some()) {
            return Some(Duration::ZERO);
        }
        if self.reset.is_some() {
            return None;
        }
        if self.guest.serves() {
            return None;
        }
        let now = Instant::now();
        if self.orphans == 0 {
            return Some(self.guest.pause_left(now));
        }
        // The commands that wait are answered BUSY when it takes too long.
        let patience = PATIENCE.saturating_sub(self.guest.down_for(now));
        (!self.parked.is_empty() && patience > Duration::ZERO).then_some(patience)
    }

    fn accepts(&self) -> bool {
        self.reset.is_none()
            && self.resize.is_none()
            && self.switch.is_none()
            && matches!(self.phase, Phase::Serving | Phase::Draining | Phase::Preparing(_))
            && self.table.borrow().has_room()
    }

    fn reap(&mut self) {
        for _ in 0..RESULTS_PER_TURN {
            let Some(done) = self.executor.next_done() else { break };
            self.operation_ended(done);
        }
    }

    fn drain(&mut self) -> Result<(), RingError> {
        let drained = self.take_entries();
        let in_flight = self.table.borrow().commands() as u64;
        if in_flight > self.counters.in_flight_max.get() {
            self.counters.in_flight_max.set(in_flight);
        }
        self.plan_batch();
        drained
    }

    fn take_entries(&mut self) -> Result<(), RingError> {
        while self.accepts() {
            if self.ring.was_reset() {
                self.begin_reset(false);
                break;
            }
            let taken = {
                let mut table = self.table.borrow_mut();
                let Some(index) = table.take() else { break };
                (index, self.ring.next(&mut table.slot(index).request))
            };
            let (index, next) = taken;
            match next {
                Ok(Some(Next::Command(outstanding))) => {
                    {
                        let mut table = self.table.borrow_mut();
                        let slot = table.slot(index);
                        slot.outstanding = Some(outstanding);
                        slot.stage = Stage::Parked;
                    }
                    self.note_arrival(index);
                    self.begin(index);
                }
                Ok(Some(Next::TaskManagement(task))) => {
                    let resets = matches!(task.function, TmrFunction::LunReset | TmrFunction::LunResetPro);
                    if task.function == TmrFunction::LunReset {
                        self.counters.lun_resets.add(1);
                    }
                    let ids = std::mem::take(&mut self.table.borrow_mut().slot(index).request.aborted);
                    // It may name commands that arrived just before it.
                    self.plan_batch();
                    self.abort(&ids, resets);
                    let mut table = self.table.borrow_mut();
                    table.slot(index).request.aborted = ids;
                    table.give_back(index);
                }
                Ok(None) => {
                    self.table.borrow_mut().give_back(index);
                    break;
                }
                Err(error) => {
                    self.table.borrow_mut().give_back(index);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Everything that waits for something to end: a reset, a lost handler, parked commands, a resize.
    fn recover(&mut self) -> Result<(), RingError> {
        self.forget_resize();
        if let Some(reset) = self.reset {
            // What was answered early has no buffer in the ring, and may take hours.
            if self.table.borrow().in_use() > self.background {
                if self.phase == Phase::Cancelling {
                    self.cancel_all();
                }
                return Ok(());
            }
            self.ring.resync()?;
            self.reset = None;
            tracing::info!(device = self.name, "ring reset: taking entries again");
            if reset.hazard {
                self.refuse_queued()?;
            }
        }
        if !self.guest.serves() && self.orphans == 0 {
            match self.guest.rebuild(Instant::now()) {
                Rebuild::Serves(bytes) => {
                    self.counters.instances.add(1);
                    self.counters.set_health(Health::Serving);
                    tracing::info!(device = self.name, "handler serves again");
                    (self.events)(Event::HandlerServes);
                    self.disk.set_abilities(self.guest.unmap_limits());
                    if Bytes(bytes) != self.disk.size() {
                        self.accept_size(Bytes(bytes));
                    }
                }
                Rebuild::Wait => {}
                Rebuild::Failed(reason) => {
                    self.counters.faults.add(1);
                    tracing::error!(device = self.name, reason, "handler could not be rebuilt");
                    (self.events)(Event::HandlerFailed(reason));
                }
            }
        }
        self.retry_parked();
        self.try_resize();
        self.try_switch();
        if self.phase == Phase::Cancelling {
            self.cancel_all();
        }
        Ok(())
    }

    /// What the kernel queued while old operations still ran may have lost its data: the initiator sends it again.
    fn refuse_queued(&mut self) -> Result<(), RingError> {
        loop {
            let Some(index) = self.table.borrow_mut().take() else { return Ok(()) };
            let next = self.ring.next(&mut self.table.borrow_mut().slot(index).request)?;
            match next {
                Some(Next::Command(outstanding)) => {
                    self.table.borrow_mut().slot(index).outstanding = Some(outstanding);
                    self.note_arrival(index);
                    self.finish_busy(index);
                }
                Some(Next::TaskManagement(_)) => self.table.borrow_mut().give_back(index),
                None => {
                    self.table.borrow_mut().give_back(index);
                    return Ok(());
                }
            }
        }
    }

    fn read_inbox(&mut self) {
        self.inbox.acknowledge();
        while let Ok(message) = self.inbox.messages.try_recv() {
            match message {
                Control::Identity(identity) => {
                    self.disk.set_identity(identity);
                    self.begin_anonymous();
                    self.disk.forget_identity();
                }
                Control::AccessState(call, answer) => self.end_access_call(call, answer),
                Control::Resize(size, claim, reply) => self.begin_resize(size, claim, reply),
                Control::WriteCache(on, claim, reply) => self.begin_switch(on, claim, reply),
                Control::Stop(ending) => {
                    self.phase = match (self.phase, ending) {
                        (Phase::Serving, Ending::Drain) => Phase::Draining,
                        (Phase::Serving, Ending::HandOver) => Phase::Preparing(self.flush_ourselves()),
                        _ => Phase::Cancelling,
                    };
                    self.finish_access_calls();
                    if self.disk.recall_identity() {
                        self.begin_anonymous();
                    }
                }
            }
        }
    }

    /// Goes on with the commands that waited for the device's names.
    fn begin_anonymous(&mut self) {
        // One by one: a completion may find the ring reset, and then the rest of the list is forgotten.
        while !self.anonymous.is_empty() {
            let index = self.anonymous.remove(0);
            self.begin(index);
        }
    }

    /// Whoever asked for something may be the one who would answer for the names, and waits for us.
    pub(crate) fn begin_anonymous_unasked(&mut self) {
        self.finish_access_calls();
        if self.disk.recall_identity() {
            self.begin_anonymous();
            self.disk.forget_identity();
        }
    }
}
