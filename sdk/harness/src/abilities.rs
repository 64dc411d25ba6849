//! The calls of each kind and ability.

use lunbox_sdk::{
    Block, BlockCommand, BlockCompareAndWrite, BlockKind, BlockLbaStatus, BlockUnmap, BlockWriteZeroes, Cdb,
    CdbCommand, ConfigError, Event, Events, ExtentRecord, Handler, Resize, State, StoreId, Tag, UnmapLimits,
};

use crate::command::{Direction, Promise};
use crate::{Error, Harness, NotGood, Reply, Violation};

/// Most bytes of a saved state.
const MAX_STATE: usize = 16 << 20;

/// Bytes as the contract counts them.
fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl<H: Handler> Harness<H> {
    /// Refuses ranges that no host passes on.
    fn check_range(&self, offset: u64, length: u64) -> Result<(), Error> {
        let block = u64::from(self.config.block_size);
        if length == 0 || !length.is_multiple_of(block) || !offset.is_multiple_of(block) {
            return Err(Error::Misuse(format!(
                "offset {offset} and length {length} must be multiples of {block}, the length not 0"
            )));
        }
        match offset.checked_add(length) {
            Some(end) if end <= self.info().size => Ok(()),
            _ => Err(Error::Misuse(format!(
                "{length} bytes from {offset} on exceed the device's size {}",
                self.info().size
            ))),
        }
    }

    /// Refuses transfers that no host passes on.
    fn check_transfer(&self, length: u64) -> Result<(), Error> {
        if length > u64::from(self.config.max_transfer) {
            return Err(Error::Misuse(format!(
                "a transfer of {length} bytes exceeds max-transfer {}",
                self.config.max_transfer
            )));
        }
        Ok(())
    }

    /// The same for what changes the device.
    fn check_writable(&self) -> Result<(), Error> {
        if self.config.read_only {
            return Err(Error::Misuse("the device is read-only: the host refuses writes itself".to_owned()));
        }
        Ok(())
    }
}

/// Every call answers as [`Harness::finish`], every `start_…` with the command's name and the errors of
/// [`Harness::step`]; ranges that no host passes on are [`Error::Misuse`].
impl<H: Block> Harness<H> {
    /// Begins a READ of `length` bytes at byte `offset`.
    ///
    /// # Errors
    /// See above.
    pub fn start_read(&mut self, offset: u64, length: usize) -> Result<Tag, Error> {
        self.check_range(offset, bytes(length))?;
        self.check_transfer(bytes(length))?;
        let data = vec![0; length];
        self.begin(Direction::In, Promise::Nothing, data, false, |handler, tag, buffers| {
            let kind = BlockKind::Read;
            handler.submit(&BlockCommand { tag, kind, fua: false, offset, length: bytes(length) }, buffers)
        })
    }

    /// Begins a WRITE at byte `offset`.
    ///
    /// # Errors
    /// See above.
    pub fn start_write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<Tag, Error> {
        let length = bytes(data.len());
        self.check_writable()?;
        self.check_range(offset, length)?;
        self.check_transfer(length)?;
        let promise = self.promise(fua);
        self.begin(Direction::Out, promise, data.to_vec(), false, |handler, tag, buffers| {
            handler.submit(&BlockCommand { tag, kind: BlockKind::Write, fua, offset, length }, buffers)
        })
    }

    /// Begins a SYNCHRONIZE CACHE.
    ///
    /// # Errors
    /// See above.
    pub fn start_flush(&mut self) -> Result<Tag, Error> {
        let promise = self.flush_promise();
        self.begin(Direction::None, promise, Vec::new(), false, |handler, tag, buffers| {
            let kind = BlockKind::Flush;
            handler.submit(&BlockCommand { tag, kind, fua: false, offset: 0, length: 0 }, buffers)
        })
    }

    /// Reads `length` bytes at byte `offset`.
    ///
    /// # Errors
    /// See above.
    pub fn read(&mut self, offset: u64, length: usize) -> Result<Reply, Error> {
        let tag = self.start_read(offset, length)?;
        self.finish(tag)
    }

    /// Writes at byte `offset`.
    ///
    /// # Errors
    /// See above.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<Reply, Error> {
        let tag = self.start_write(offset, data, false)?;
        self.finish(tag)
    }

    /// Writes at byte `offset` with forced unit access.
    ///
    /// # Errors
    /// See above.
    pub fn write_fua(&mut self, offset: u64, data: &[u8]) -> Result<Reply, Error> {
        let tag = self.start_write(offset, data, true)?;
        self.finish(tag)
    }

    /// Flushes.
    ///
    /// # Errors
    /// See above.
    pub fn flush(&mut self) -> Result<Reply, Error> {
        let tag = self.start_flush()?;
        self.finish(tag)
    }
}

/// CDBs, in the order of their bytes.
impl<H: Cdb> Harness<H> {
    /// Begins a CDB of 6 to 260 bytes with data from the initiator, or room for data to it, or neither.
    ///
    /// # Errors
    /// As from [`Harness::step`]; [`Error::Misuse`] for other lengths and for data in both directions.
    pub fn start_cdb(&mut self, cdb: &[u8], data_out: &[u8], data_in: u32) -> Result<Tag, Error> {
        if !(6..=260).contains(&cdb.len()) {
            return Err(Error::Misuse(format!("a CDB of {} bytes; 6 to 260 are possible", cdb.len())));
        }
        let out = u32::try_from(data_out.len())
            .map_err(|_| Error::Misuse("data-out of 4 GiB or more".to_owned()))?;
        let (direction, data) = match (out, data_in) {
            (0, 0) => (Direction::None, Vec::new()),
            (_, 0) => (Direction::Out, data_out.to_vec()),
            (0, _) => (Direction::In, vec![0; usize::try_from(data_in).unwrap_or(usize::MAX)]),
            _ => return Err(Error::Misuse("bidirectional commands do not reach handlers".to_owned())),
        };
        let promise = self.promise(false);
        self.begin(direction, promise, data, true, |handler, tag, buffers| {
            Cdb::submit(handler, &CdbCommand { tag, cdb, data_out: out, data_in }, buffers)
        })
    }

    /// Executes a CDB; see [`Self::start_cdb`].
    ///
    /// # Errors
    /// As from [`Self::start_cdb`].
    pub fn cdb(&mut self, cdb: &[u8], data_out: &[u8], data_in: u32) -> Result<Reply, Error> {
        let tag = self.start_cdb(cdb, data_out, data_in)?;
        self.finish(tag)
    }
}

impl<H: Resize> Harness<H> {
    /// Changes the size; the inner result is the handler's word.
    ///
    /// # Errors
    /// [`Error::Misuse`] while commands are in progress or for a size that no host passes on.
    pub fn resize(&mut self, size: u64) -> Result<Result<(), ConfigError>, Error> {
        self.must_be_idle("resize")?;
        if size == 0 || !size.is_multiple_of(u64::from(self.config.block_size)) {
            return Err(Error::Misuse(format!("size {size} is no multiple of the block size")));
        }
        let answer = self.handler.resize(size);
        if answer.is_ok() {
            self.set_size(size);
        }
        Ok(answer)
    }
}

impl<H: BlockUnmap> Harness<H> {
    /// What the handler says about unmapping.
    pub fn unmap_limits(&mut self) -> Option<UnmapLimits> {
        self.handler.limits()
    }

    /// Unmaps a range in bytes.
    ///
    /// # Errors
    /// As from [`Harness::step`]; [`Error::Misuse`] for ranges that no host passes on, and if the handler says that it can
    /// not unmap.
    pub fn unmap(&mut self, offset: u64, length: u64) -> Result<Reply, Error> {
        self.check_writable()?;
        self.check_range(offset, length)?;
        if self.handler.limits().is_none() {
            let problem = "the handler has no unmap limits: the host refuses UNMAP itself";
            return Err(Error::Misuse(problem.to_owned()));
        }
        let promise = self.promise(false);
        let tag = self.begin(Direction::None, promise, Vec::new(), false, |handler, tag, buffers| {
            handler.unmap(tag, offset, length, buffers)
        })?;
        self.finish(tag)
    }
}

impl<H: BlockWriteZeroes> Harness<H> {
    /// Makes a range in bytes read as zeros.
    ///
    /// # Errors
    /// As from [`Harness::step`]; [`Error::Misuse`] for ranges that no host passes on.
    pub fn write_zeroes(
        &mut self,
        offset: u64,
        length: u64,
        may_unmap: bool,
        fua: bool,
    ) -> Result<Reply, Error> {
        self.check_writable()?;
        self.check_range(offset, length)?;
        let promise = self.promise(fua);
        let tag = self.begin(Direction::None, promise, Vec::new(), false, |handler, tag, buffers| {
            handler.write_zeroes(tag, offset, length, may_unmap, fua, buffers)
        })?;
        self.finish(tag)
    }
}

impl<H: BlockCompareAndWrite> Harness<H> {
    /// Writes `data` at byte `offset` if `expected`, of the same length, stands there.
    ///
    /// # Errors
    /// As from [`Harness::step`]; [`Error::Misuse`] for ranges that no host passes on.
    pub fn compare_and_write(&mut self, offset: u64, expected: &[u8], data: &[u8]) -> Result<Reply, Error> {
        self.check_writable()?;
        let length = bytes(data.len());
        self.check_range(offset, length)?;
        self.check_transfer(length.saturating_mul(2))?;
        if expected.len() != data.len() {
            return Err(Error::Misuse("expected and new data must have the same length".to_owned()));
        }
        let both = [expected, data].concat();
        let promise = self.promise(false);
        let tag = self.begin(Direction::Out, promise, both, false, |handler, tag, buffers| {
            handler.compare_and_write(tag, offset, length, false, buffers)
        })?;
        self.finish(tag)
    }
}

impl<H: BlockLbaStatus> Harness<H> {
    /// Asks what of a range in bytes is mapped, into a buffer of `room` bytes. The inner error is how the command ended
    /// if it was not GOOD.
    ///
    /// # Errors
    /// As from [`Harness::step`]; [`Error::Misuse`] for ranges that no host passes on; [`Violation::ExtentList`] for a
    /// list with gaps or overlaps, or that begins elsewhere.
    pub fn lba_status(
        &mut self,
        offset: u64,
        length: u64,
        room: usize,
    ) -> Result<Result<Vec<ExtentRecord>, NotGood>, Error> {
        self.check_range(offset, length)?;
        let promise = Promise::Nothing;
        let tag = self.begin(Direction::In, promise, vec![0; room], false, |handler, tag, buffers| {
            handler.lba_status(tag, offset, length, buffers)
        })?;
        let data = match self.finish(tag)?.good() {
            Ok(data) => data,
            Err(other) => return Ok(Err(other)),
        };
        let list: Vec<_> = ExtentRecord::list(&data).collect();
        let mut at = offset;
        for record in &list {
            let end = record.offset.checked_add(record.length).filter(|_| record.offset == at);
            at = end.ok_or(Violation::ExtentList(*record))?;
        }
        if at == offset {
            return Err(Violation::ExtentList(ExtentRecord { offset, length: 0, allocated: false }).into());
        }
        Ok(Ok(list))
    }
}

impl<H: State> Harness<H> {
    /// Asks the handler for its state; the inner result is the handler's word.
    ///
    /// # Errors
    /// [`Error::Misuse`] while commands are in progress; [`Violation::StateSize`].
    pub fn save(&mut self) -> Result<Result<Vec<u8>, String>, Error> {
        self.must_be_idle("save")?;
        match self.handler.save() {
            Ok(state) if state.len() > MAX_STATE => Err(Violation::StateSize(state.len()).into()),
            answer => Ok(answer),
        }
    }

    /// Hands a saved state to the handler; the inner result is the handler's word.
    ///
    /// # Errors
    /// [`Error::Misuse`] while commands are in progress.
    pub fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Error> {
        self.must_be_idle("restore")?;
        Ok(self.handler.restore(state))
    }
}

impl<H: Events> Harness<H> {
    /// Tells the handler about an event.
    pub fn notify(&mut self, event: Event, store: StoreId) {
        self.handler.notify(event, store);
    }
}
