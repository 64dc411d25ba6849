//! One operation on a file, as a sequence of system calls. The same for both backends: a backend runs one
//! call, and the operation decides from its result what comes next.

use nix::errno::Errno;
use nix::libc;

use crate::request::{Kind, Token};
use crate::store::FileStore;
use crate::transfer::Transfer;
use crate::{StoreError, extents};

/// Bytes of one step where zeros have to be written out: small enough that a cancel is soon heard.
const ZERO_WRITE_STEP: u64 = 1 << 20;

/// The same where a block device is asked for zeros: one that can not make them itself has them written by the kernel.
const ZERO_DEVICE_STEP: u64 = 1 << 28;

/// A range of a file that is to be zero and not to be given back is searched for data above this length: what is a hole
/// is zeros already, and allocating it would cost space for nothing.
const SEARCH_ABOVE: u64 = 1 << 20;

/// One system call on a file; the pieces of a [`Transfer`] go with reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read {
        offset: i64,
    },
    Write {
        offset: i64,
        durable: bool,
    },
    Sync {
        data_only: bool,
    },
    Allocate {
        mode: i32,
        offset: i64,
        length: i64,
    },
    BlockDiscard {
        offset: u64,
        length: u64,
    },
    /// The next byte that is data (`SEEK_DATA`).
    Data {
        from: i64,
    },
    /// The next byte that is none (`SEEK_HOLE`).
    Hole {
        from: i64,
    },
    /// The list of [`Kind::Extents`].
    Extents {
        offset: u64,
        length: u64,
    },
    /// The answer of [`Kind::Space`].
    Space,
}

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Moving bytes.
    Transfer,
    /// Punching a hole, or discarding blocks.
    Discard,
    /// `FALLOC_FL_PUNCH_HOLE`, to read as zeros.
    PunchHole,
    /// `FALLOC_FL_ZERO_RANGE`.
    ZeroRange,
    /// Writing zeros, where the above do not work.
    WriteZeros,
    /// Looking for the next data of a file that is to be made zero.
    FindData,
    /// Looking for its end.
    FindHole,
    /// An answer in one call: extents, space.
    Answer,
    /// Making the file long enough after a hole beyond its end.
    Extend,
    /// Making all of it durable.
    Sync,
}

/// What comes after a system call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another one.
    Call,
    /// Nothing: this is the result.
    End(Result<u64, StoreError>),
}

/// The state of one operation. It is reused, with the memory that it has allocated.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) token: Token,
    /// Position among the executor's stores.
    pub(crate) store: usize,
    pub(crate) kind: Kind,
    /// Byte offset in the store of what is to be done next.
    pub(crate) offset: u64,
    /// Bytes of the request.
    pub(crate) length: u64,
    /// Byte offset where the request ends.
    end: u64,
    /// Byte offset where the piece ends that is being made zero.
    until: u64,
    /// Bytes that a transfer has moved.
    moved: u64,
    stage: Stage,
    pub(crate) transfer: Transfer,
    /// Somebody asked for its end: no further call is started.
    pub(crate) cancelled: bool,
    /// The kernel could not do it without waiting: let it wait.
    pub(crate) may_wait: bool,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            token: Token(0),
            store: 0,
            kind: Kind::Flush,
            offset: 0,
            length: 0,
            end: 0,
            until: 0,
            moved: 0,
            stage: Stage::Sync,
            transfer: Transfer::default(),
            cancelled: false,
            may_wait: false,
        }
    }
}

impl Operation {
    /// Becomes a new operation; the transfer is loaded by the caller.
    pub(crate) fn reset(&mut self, token: Token, store: usize, kind: Kind, offset: u64, length: u64) {
        (self.token, self.store, self.kind) = (token, store, kind);
        (self.offset, self.length, self.moved) = (offset, length, 0);
        // A sum that wraps is refused before it is used.
        self.end = offset.saturating_add(length);
        self.until = self.end;
        (self.cancelled, self.may_wait) = (false, false);
    }

    /// Chooses the first thing to do on a file. An end means that there is nothing to do.
    pub(crate) fn begin(&mut self, file: &FileStore) -> Next {
        self.stage = match self.kind {
            Kind::Read { .. } | Kind::Write { .. } => Stage::Transfer,
            Kind::Flush => Stage::Sync,
            Kind::Discard { .. } => match file.block {
                Some(block) if self.offset.next_multiple_of(block) >= self.end - self.end % block => {
                    return Next::End(Ok(self.length));
                }
                None if file.lacks_punch_hole => Stage::FindData,
                _ => Stage::Discard,
            },
            Kind::WriteZeroes { may_unmap: true, .. } if !file.lacks_punch_hole => Stage::PunchHole,
            Kind::WriteZeroes { may_unmap, .. } if file.block.is_none() => {
                if may_unmap || self.length > SEARCH_ABOVE { Stage::FindData } else { zeroing(file) }
            }
            Kind::WriteZeroes { .. } => {
                self.until = self.end.min(self.offset + ZERO_DEVICE_STEP);
                zeroing(file)
            }
            Kind::Extents => match file.block {
                None => Stage::Answer,
                Some(_) => {
                    return Next::End(extents::all(&mut self.transfer, self.offset, self.length, true));
                }
            },
            Kind::Space if file.block.is_none() => Stage::Answer,
            Kind::Space => return Next::End(Err(StoreError::Unsupported)),
        };
        Next::Call
    }

    /// The system call to make now. Offset and length together are below 2^63.
    pub(crate) fn call(&mut self, file: &FileStore) -> Call {
        let offset = signed(self.offset);
        let length = signed(self.until - self.offset);
        let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        match self.stage {
            Stage::Transfer => match self.kind {
                Kind::Write { durable } => Call::Write { offset, durable },
                _ => Call::Read { offset },
            },
            Stage::Discard => match file.block {
                None => Call::Allocate { mode: hole, offset, length },
                Some(block) => {
                    let start = self.offset.next_multiple_of(block);
                    Call::BlockDiscard { offset: start, length: self.end - self.end % block - start }
                }
            },
            Stage::PunchHole => Call::Allocate { mode: hole, offset, length },
            Stage::ZeroRange => {
                // A block device can not grow and refuses a call that might have to.
                let keep = if file.block.is_some() { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
                Call::Allocate { mode: libc::FALLOC_FL_ZERO_RANGE | keep, offset, length }
            }
            Stage::WriteZeros => {
                if self.transfer.is_empty() {
                    self.transfer.load_zeros((self.until - self.offset).min(ZERO_WRITE_STEP));
                }
                Call::Write { offset, durable: false }
            }
            Stage::FindData => Call::Data { from: offset },
            Stage::FindHole => Call::Hole { from: offset },
            // Plain allocation never shrinks a file and never changes bytes, so that it can not hurt a write
            // that extends the file at the same time (ftruncate could).
            Stage::Extend => Call::Allocate { mode: 0, offset: signed(self.end) - 1, length: 1 },
            Stage::Sync => Call::Sync { data_only: self.kind != Kind::Flush },
            Stage::Answer if self.kind == Kind::Space => Call::Space,
            Stage::Answer => Call::Extents { offset: self.offset, length: self.length },
        }
    }

    /// Takes the result of the last call: bytes or an offset, or a negated errno. Adds system calls that it makes
    /// itself to `syscalls`.
    pub(crate) fn after(&mut self, result: i64, file: &mut FileStore, syscalls: &mut u64) -> Next {
        match u64::try_from(result) {
            Ok(value) => self.succeeded(value, file, syscalls),
            Err(_) => {
                let errno = i32::try_from(result.saturating_neg()).unwrap_or(libc::EIO);
                self.failed(Errno::from_raw(errno), file, syscalls)
            }
        }
    }

    fn succeeded(&mut self, value: u64, file: &mut FileStore, syscalls: &mut u64) -> Next {
        match self.stage {
            Stage::Transfer => {
                self.advance(value, file);
                if value == 0 {
                    return Next::End(self.nothing_moved(syscalls));
                }
                // A durable write was durable in itself.
                if self.moved < self.length { self.go_on() } else { Next::End(Ok(self.length)) }
            }
            Stage::WriteZeros => {
                self.advance(value, file);
                if value == 0 {
                    return Next::End(Err(StoreError::Io));
                }
                if self.offset < self.until { self.go_on() } else { self.zeroed(file) }
            }
            Stage::ZeroRange => {
                self.offset = self.until;
                file.grown_to(self.until);
                self.zeroed(file)
            }
            Stage::FindData => {
                if value >= self.end {
                    return self.rest_is_zeros(file, syscalls);
                }
                (self.offset, self.until) = (value, self.end);
                self.go_on_with(Stage::FindHole)
            }
            Stage::FindHole => {
                self.until = if value > self.offset { value.min(self.end) } else { self.end };
                self.go_on_with(zeroing(file))
            }
            Stage::PunchHole => self.rest_is_zeros(file, syscalls),
            Stage::Extend => {
                file.grown_to(self.end);
                self.changed()
            }
            Stage::Discard => self.changed(),
            Stage::Sync => Next::End(Ok(if self.kind == Kind::Flush { 0 } else { self.length })),
            Stage::Answer => Next::End(Ok(value)),
        }
    }

    /// So many bytes were read or written.
    fn advance(&mut self, bytes: u64, file: &mut FileStore) {
        self.transfer.advance(bytes);
        self.offset += bytes;
        self.moved += bytes;
        if self.kind.modifies() {
            file.grown_to(self.offset);
        }
    }

    /// A piece has been made zero.
    fn zeroed(&mut self, file: &FileStore) -> Next {
        if self.offset >= self.end {
            return self.changed();
        }
        if file.block.is_none() {
            return self.go_on_with(Stage::FindData);
        }
        self.until = self.end.min(self.offset + ZERO_DEVICE_STEP);
        self.go_on_with(zeroing(file))
    }

    /// What is left of the range holds no data: it only remains to make the file long enough for it, which a discard
    /// does not.
    fn rest_is_zeros(&mut self, file: &mut FileStore, syscalls: &mut u64) -> Next {
        let grows = matches!(self.kind, Kind::WriteZeroes { .. }) && file.block.is_none();
        if grows && self.end > file.known_size {
            *syscalls += 1;
            file.known_size = file.size();
            if self.end > file.known_size {
                return self.go_on_with(Stage::Extend);
            }
        }
        self.changed()
    }

    /// All of the range is as it should be.
    fn changed(&mut self) -> Next {
        match self.kind {
            Kind::Discard { durable: true } | Kind::WriteZeroes { durable: true, .. } => {
                self.go_on_with(Stage::Sync)
            }
            _ => Next::End(Ok(self.length)),
        }
    }

    /// No byte was moved although some were left: the end of the store for a read. A write can only fail then;
    /// trying again would go on for ever.
    fn nothing_moved(&mut self, syscalls: &mut u64) -> Result<u64, StoreError> {
        match self.kind {
            Kind::Read { zero_at_eof: true } => self.transfer.zero_rest(syscalls).map(|()| self.length),
            Kind::Read { zero_at_eof: false } => Err(StoreError::EndOfStore),
            _ => Err(StoreError::Io),
        }
    }

    fn failed(&mut self, errno: Errno, file: &mut FileStore, syscalls: &mut u64) -> Next {
        let block = file.block.is_some();
        let unsupported = match errno {
            Errno::EOPNOTSUPP | Errno::ENOSYS => true,
            // How a block device refuses ranges that are no whole blocks.
            Errno::EINVAL => block,
            _ => false,
        };
        match (self.stage, errno) {
            (_, Errno::EINTR | Errno::EAGAIN) => {
                self.may_wait = true;
                self.go_on()
            }
            // A device that can not discard keeps the contents, which are as good as any.
            (Stage::Discard, Errno::EOPNOTSUPP) if block => self.changed(),
            (Stage::Discard, _) if unsupported && !block => {
                file.lacks_punch_hole = true;
                self.go_on_with(Stage::FindData)
            }
            (Stage::PunchHole, _) if unsupported => {
                file.lacks_punch_hole |= errno != Errno::EINVAL;
                if !block {
                    return self.go_on_with(Stage::FindData);
                }
                self.until = self.end.min(self.offset + ZERO_DEVICE_STEP);
                self.go_on_with(zeroing(file))
            }
            (Stage::ZeroRange, _) if unsupported => {
                file.lacks_zero_range |= errno != Errno::EINVAL;
                self.go_on_with(Stage::WriteZeros)
            }
            (Stage::FindData, Errno::ENXIO) => self.rest_is_zeros(file, syscalls),
            // The file has become shorter since.
            (Stage::FindHole, Errno::ENXIO) => self.go_on_with(Stage::FindData),
            // A file system that does not know: all of the file may be data.
            (Stage::FindData | Stage::FindHole, Errno::EINVAL | Errno::EOPNOTSUPP) => {
                *syscalls += 1;
                self.until = self.end.min(file.size());
                if self.offset >= self.until {
                    self.until = self.end;
                    return self.rest_is_zeros(file, syscalls);
                }
                self.go_on_with(zeroing(file))
            }
            // The last byte is in the range: it is this operation's to write.
            (Stage::Extend, _) if unsupported => {
                (self.offset, self.until) = (self.end - 1, self.end);
                self.go_on_with(Stage::WriteZeros)
            }
            (_, Errno::EBADF) if self.kind.modifies() => Next::End(Err(StoreError::ReadOnly)),
            (_, Errno::ENOSPC) if block && self.offset >= file.known_size => {
                Next::End(Err(StoreError::EndOfStore))
            }
            _ => Next::End(Err(StoreError::from_errno(errno as i32))),
        }
    }

    fn go_on_with(&mut self, stage: Stage) -> Next {
        self.stage = stage;
        self.go_on()
    }

    fn go_on(&self) -> Next {
        if self.cancelled { Next::End(Err(StoreError::Cancelled)) } else { Next::Call }
    }
}

/// How a range that may hold data is made zero.
fn zeroing(file: &FileStore) -> Stage {
    if file.lacks_zero_range { Stage::WriteZeros } else { Stage::ZeroRange }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("offset and length of a request together are below 2^63")
}
