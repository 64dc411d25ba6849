//! The host's part: commands, plans, ends.

use std::collections::HashSet;

use lunbox_sdk::{
    Buffers, DeviceConfig, DeviceInfo, Handler, OpError, OpKind, Outcome, Status, StoreInfo, Tag,
};

use crate::buffers::Commands;
use crate::command::{Command, Direction, Pending, Promise};
use crate::plan::Storage;
use crate::{Ending, Error, MemStore, Reply, Setup, StartError, Violation};

/// Which operations of a cancelled command had run when the initiator aborted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelPoint {
    /// None of its last list.
    BeforeOperations,
    /// All of its last list.
    AfterOperations,
}

/// A handler in service, with everything it needs in memory.
///
/// Commands either run from begin to end in one call (`read`, `write`, …) or begin with `start_…` and go on when
/// the test says so ([`Harness::step`], [`Harness::finish`], [`Harness::cancel`]), so that they overlap.
#[derive(Debug)]
pub struct Harness<H> {
    pub(crate) handler: H,
    pub(crate) config: DeviceConfig,
    info: DeviceInfo,
    storage: Storage,
    commands: Commands,
    next_tag: u64,
    ended_good: HashSet<Tag>,
}

impl<H: Handler> Harness<H> {
    /// A device of `size` bytes with blocks of 512 bytes, writable, without stores. See [`Setup`] for the rest.
    #[must_use]
    pub fn setup(size: u64) -> Setup<H> {
        Setup::new(size)
    }

    /// Configures an instance for stores that are there already.
    pub(crate) fn start(mut config: DeviceConfig, storage: Storage) -> Result<Self, StartError> {
        let subtype = H::describe().subtype;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=32).contains(&subtype.len()) || !subtype.bytes().all(plain) {
            return Err(Violation::Subtype(subtype).into());
        }
        config.stores = storage.stores.iter().map(MemStore::info).collect();
        let (handler, info) = H::configure(&config).map_err(StartError::Refused)?;
        if info.size == 0 || !info.size.is_multiple_of(u64::from(config.block_size)) {
            return Err(Violation::DeviceSize { size: info.size, block_size: config.block_size }.into());
        }
        let (physical, block) = (info.physical_block_size, config.block_size);
        let fits = physical.is_power_of_two() && physical >= block && physical / block <= 1 << 15;
        if physical != 0 && !fits {
            return Err(Violation::PhysicalBlockSize { physical, block_size: block }.into());
        }
        let commands = Commands::default();
        Ok(Self { handler, config, info, storage, commands, next_tag: 1, ended_good: HashSet::new() })
    }

    /// What the handler offered.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        self.info
    }

    /// What the handler was told about its stores.
    #[must_use]
    pub fn granted(&self) -> &[StoreInfo] {
        &self.config.stores
    }

    /// The stores in the order of their ids.
    #[must_use]
    pub fn stores(&self) -> &[MemStore] {
        &self.storage.stores
    }

    /// The same, to be changed behind the handler's back.
    pub fn stores_mut(&mut self) -> &mut [MemStore] {
        &mut self.storage.stores
    }

    /// The handler itself.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The next operation fails. Several failures queue up.
    pub fn fail_next(&mut self, error: OpError) {
        self.storage.faults.push_back((None, error));
    }

    /// The next operation of one kind fails. Several failures queue up.
    pub fn fail_next_of(&mut self, kind: OpKind, error: OpError) {
        self.storage.faults.push_back((Some(kind), error));
    }

    /// Makes a new instance on the stores as they are, as a host does after a trap. Commands in progress are gone.
    ///
    /// # Errors
    /// As from [`Setup::start`].
    pub fn restart(self) -> Result<Self, StartError> {
        let storage = Storage { faults: Default::default(), ..self.storage };
        Self::start(self.config, storage)
    }

    /// Cuts the power and starts again: all writes that were not durable are lost, and so are commands in progress.
    ///
    /// # Errors
    /// As from [`Setup::start`].
    pub fn power_cut(self) -> Result<Self, StartError> {
        self.power_cut_keeping(|_, _| false)
    }

    /// The same, but of the writes that were not durable those survive for which `survives` says so: it is asked
    /// with the store's id and the write's number, counted from the oldest.
    ///
    /// # Errors
    /// As from [`Setup::start`].
    pub fn power_cut_keeping(
        mut self,
        mut survives: impl FnMut(usize, usize) -> bool,
    ) -> Result<Self, StartError> {
        for (id, store) in self.storage.stores.iter_mut().enumerate() {
            store.power_cut(|write| survives(id, write));
        }
        self.restart()
    }

    /// The stores as they are now; the handler ends.
    #[must_use]
    pub fn into_stores(self) -> Vec<MemStore> {
        self.storage.stores
    }

    /// Runs the operations of a command and, if they were not its last, tells the handler. Answers whether the
    /// command has ended.
    ///
    /// # Errors
    /// [`Error::Violation`], after which the command is forgotten; [`Error::Misuse`] if it is not in progress.
    pub fn step(&mut self, tag: Tag) -> Result<bool, Error> {
        let mut command = self.commands.0.remove(&tag).ok_or_else(|| not_in_progress(tag))?;
        let Pending::Operations(ops, last) = &mut command.pending else {
            self.commands.0.insert(tag, command);
            return Ok(true);
        };
        let (ops, last) = (std::mem::take(ops), *last);
        let result = self.storage.run(&mut command, &ops)?;
        self.commands.0.insert(tag, command);
        let outcome = match (last, ops.first(), result.first_error) {
            (false, _, _) => self.handler.resume(tag, &result, &mut self.commands),
            (true, Some(op), Some(failure)) => Outcome::of_failure(op.kind, failure.error),
            (true, _, _) => Outcome::GOOD,
        };
        self.answered(tag, outcome, false)?;
        Ok(self.commands.0.get(&tag).is_some_and(|command| matches!(command.pending, Pending::Ended(_))))
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// As from [`Self::step`].
    pub fn finish(&mut self, tag: Tag) -> Result<Reply, Error> {
        while !self.step(tag)? {}
        let command = self.commands.0.remove(&tag).ok_or_else(|| not_in_progress(tag))?;
        let Pending::Ended(ending) = command.pending else { return Err(not_in_progress(tag)) };
        let has_data = ending == Ending::Status(Status::Good) && command.direction == Direction::In;
        Ok(Reply { ending, data: if has_data { command.data } else { Vec::new() } })
    }

    /// Aborts a command. The handler is told unless it has already said its last word on it.
    ///
    /// # Errors
    /// As from [`Self::step`].
    pub fn cancel(&mut self, tag: Tag, point: CancelPoint) -> Result<(), Error> {
        let mut command = self.commands.0.remove(&tag).ok_or_else(|| not_in_progress(tag))?;
        let Pending::Operations(ops, last) = &mut command.pending else { return Ok(()) };
        let (ops, last) = (std::mem::take(ops), *last);
        if point == CancelPoint::AfterOperations {
            self.storage.run(&mut command, &ops)?;
        }
        if !last {
            self.handler.cancel(tag);
        }
        Ok(())
    }

    /// Gives a new command to the handler. `may_pass`: it may answer `not-handled`.
    pub(crate) fn begin(
        &mut self,
        direction: Direction,
        promise: Promise,
        data: Vec<u8>,
        may_pass: bool,
        submit: impl FnOnce(&mut H, Tag, &mut dyn Buffers) -> Outcome,
    ) -> Result<Tag, Error> {
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        self.commands.0.insert(tag, Command::new(tag, direction, promise, data));
        let outcome = submit(&mut self.handler, tag, &mut self.commands);
        self.answered(tag, outcome, may_pass)?;
        Ok(tag)
    }

    /// What GOOD promises for a command that writes.
    pub(crate) fn promise(&self, fua: bool) -> Promise {
        if fua {
            Promise::Own("FUA")
        } else if self.info.write_cache {
            Promise::Nothing
        } else {
            Promise::Own("device-info.write-cache = false")
        }
    }

    /// What GOOD promises for a flush that comes now.
    pub(crate) fn flush_promise(&self) -> Promise {
        let lossy = |tag: &Tag| self.storage.stores.iter().any(|store| store.could_lose(|by| by == *tag));
        Promise::Earlier(self.ended_good.iter().copied().filter(lossy).collect())
    }

    /// Refuses what a host does only while no command is in progress.
    pub(crate) fn must_be_idle(&self, call: &str) -> Result<(), Error> {
        match self.commands.0.len() {
            0 => Ok(()),
            busy => Err(Error::Misuse(format!("{call} while {busy} commands are in progress; finish them"))),
        }
    }

    /// The size after a resize.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.config.size = size;
        self.info.size = size;
    }

    /// Notes what is to happen next with a command, if the contract allows it.
    fn answered(&mut self, tag: Tag, outcome: Outcome, may_pass: bool) -> Result<(), Error> {
        let mut command = self.commands.0.remove(&tag).ok_or_else(|| not_in_progress(tag))?;
        let (ops, last) = match outcome {
            Outcome::Io(op) => (vec![op], true),
            Outcome::More(ops) => (ops, false),
            Outcome::Done(status) => return self.ended(command, Ending::Status(status)),
            Outcome::Check(sense) => return self.ended(command, Ending::Check(sense)),
            Outcome::NotHandled if may_pass => return self.ended(command, Ending::NotHandled),
            Outcome::NotHandled => return Err(Violation::NotHandled.into()),
        };
        self.storage.check_list(&mut command, &ops)?;
        command.pending = Pending::Operations(ops, last);
        self.commands.0.insert(tag, command);
        Ok(())
    }

    /// Notes how a command ended, until [`Self::finish`] fetches it.
    fn ended(&mut self, mut command: Command, ending: Ending) -> Result<(), Error> {
        if ending == Ending::Status(Status::Good) {
            self.check_promise(&command)?;
            self.ended_good.insert(command.tag);
        }
        command.pending = Pending::Ended(ending);
        self.commands.0.insert(command.tag, command);
        Ok(())
    }

    /// Whether GOOD is the truth.
    fn check_promise(&self, command: &Command) -> Result<(), Violation> {
        for (store, contents) in (0..).zip(&self.storage.stores) {
            let (broken, reason) = match &command.promise {
                Promise::Nothing => (false, ""),
                Promise::Own(reason) => (contents.could_lose(|by| by == command.tag), *reason),
                Promise::Earlier(tags) => (contents.could_lose(|by| tags.contains(&by)), "flush"),
            };
            if broken {
                return Err(Violation::NotDurable { store, reason });
            }
        }
        Ok(())
    }
}

fn not_in_progress(tag: Tag) -> Error {
    Error::Misuse(format!("command {} is not in progress", tag.0))
}
