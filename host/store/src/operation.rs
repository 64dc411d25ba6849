//! One operation on a file, as a sequence of system calls. The same for both backends: a backend runs one
//! call, and the operation decides from its result what comes next.

use nix::errno::Errno;
use nix::libc;

use crate::StoreError;
use crate::request::{Kind, Token};
use crate::store::FileStore;
use crate::transfer::Transfer;

/// Bytes of one step where zeros have to be written out: small enough that a cancel is soon heard.
const ZERO_WRITE_STEP: u64 = 1 << 20;

/// One system call on a file; the pieces of a [`Transfer`] go with reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read { offset: i64 },
    Write { offset: i64, durable: bool },
    Sync { data_only: bool },
    Allocate { mode: i32, offset: i64, length: i64 },
    BlockDiscard { offset: u64, length: u64 },
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
    /// Bytes that are done.
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
        (self.cancelled, self.may_wait) = (false, false);
    }

    /// Chooses the first thing to do on a file. An end means that there is nothing to do.
    pub(crate) fn begin(&mut self, file: &FileStore) -> Next {
        self.stage = match self.kind {
            Kind::Read { .. } | Kind::Write { .. } => Stage::Transfer,
            Kind::Flush => Stage::Sync,
            Kind::Discard { .. } => {
                if let Some(block) = file.block {
                    let end = self.offset + self.length;
                    let (start, end) = (self.offset.next_multiple_of(block), end - end % block);
                    if start >= end {
                        return Next::End(Ok(self.length));
                    }
                }
                Stage::Discard
            }
            Kind::WriteZeroes { may_unmap: true, .. } if !file.lacks_punch_hole => Stage::PunchHole,
            Kind::WriteZeroes { may_unmap: false, .. } if !file.lacks_zero_range => Stage::ZeroRange,
            Kind::WriteZeroes { .. } => Stage::WriteZeros,
        };
        Next::Call
    }

    /// The system call to make now. Offset and length together are below 2^63.
    pub(crate) fn call(&mut self, file: &FileStore) -> Call {
        let offset = signed(self.offset);
        let length = signed(self.length);
        match self.stage {
            Stage::Transfer => match self.kind {
                Kind::Write { durable } => Call::Write { offset, durable },
                _ => Call::Read { offset },
            },
            Stage::Discard => match file.block {
                None => Call::Allocate {
                    mode: libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    offset,
                    length,
                },
                Some(block) => {
                    let end = self.offset + self.length;
                    let start = self.offset.next_multiple_of(block);
                    Call::BlockDiscard { offset: start, length: end - end % block - start }
                }
            },
            Stage::PunchHole => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                Call::Allocate { mode, offset, length }
            }
            Stage::ZeroRange => {
                // A block device can not grow and refuses a call that might have to.
                let keep = if file.block.is_some() { libc::FALLOC_FL_KEEP_SIZE } else { 0 };
                Call::Allocate { mode: libc::FALLOC_FL_ZERO_RANGE | keep, offset, length }
            }
            Stage::WriteZeros => {
                if self.transfer.is_empty() {
                    self.transfer.load_zeros((self.length - self.moved).min(ZERO_WRITE_STEP));
                }
                Call::Write { offset, durable: false }
            }
            // Plain allocation never shrinks a file and never changes bytes, so that it can not hurt a write
            // that extends the file at the same time (ftruncate could).
            Stage::Extend => Call::Allocate { mode: 0, offset: offset + length - 1, length: 1 },
            Stage::Sync => Call::Sync { data_only: self.kind != Kind::Flush },
        }
    }

    /// Takes the result of the last call: bytes, or a negated errno. Adds system calls that it makes itself to
    /// `syscalls`.
    pub(crate) fn after(&mut self, result: i32, file: &mut FileStore, syscalls: &mut u64) -> Next {
        match u64::try_from(result) {
            Ok(bytes) => self.succeeded(bytes, file, syscalls),
            Err(_) => self.failed(Errno::from_raw(result.saturating_neg()), file),
        }
    }

    fn succeeded(&mut self, bytes: u64, file: &mut FileStore, syscalls: &mut u64) -> Next {
        let end = match self.stage {
            Stage::Transfer | Stage::WriteZeros => {
                self.transfer.advance(bytes);
                self.offset += bytes;
                self.moved += bytes;
                if bytes == 0 {
                    return Next::End(self.nothing_moved(syscalls));
                }
                if self.kind.modifies() && file.block.is_none() {
                    file.known_size = file.known_size.max(self.offset);
                }
                if self.moved < self.length {
                    return self.go_on();
                }
                // A durable write was durable in itself.
                if self.stage == Stage::Transfer {
                    return Next::End(Ok(self.length));
                }
                self.offset
            }
            Stage::Sync => return Next::End(Ok(if self.kind == Kind::Flush { 0 } else { self.length })),
            Stage::PunchHole => {
                let end = self.offset + self.length;
                if file.block.is_none() && end > file.known_size {
                    self.stage = Stage::Extend;
                    return self.go_on();
                }
                end
            }
            Stage::ZeroRange | Stage::Extend => self.offset + self.length,
            Stage::Discard => 0,
        };
        if file.block.is_none() {
            file.known_size = file.known_size.max(end);
        }
        match self.kind {
            Kind::Discard { durable: true } | Kind::WriteZeroes { durable: true, .. } => {
                self.stage = Stage::Sync;
                self.go_on()
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

    fn failed(&mut self, errno: Errno, file: &mut FileStore) -> Next {
        let unsupported = match errno {
            Errno::EOPNOTSUPP | Errno::ENOSYS => true,
            // How a block device refuses ranges that are no whole blocks.
            Errno::EINVAL => file.block.is_some(),
            _ => false,
        };
        match (self.stage, errno) {
            (_, Errno::EINTR | Errno::EAGAIN) => {
                self.may_wait = true;
                self.go_on()
            }
            (Stage::PunchHole, _) if unsupported => {
                file.lacks_punch_hole |= errno != Errno::EINVAL;
                self.stage = Stage::WriteZeros;
                self.go_on()
            }
            (Stage::ZeroRange, _) if unsupported => {
                file.lacks_zero_range |= errno != Errno::EINVAL;
                self.stage = Stage::WriteZeros;
                self.go_on()
            }
            (_, Errno::EBADF) if self.kind.modifies() => Next::End(Err(StoreError::ReadOnly)),
            (_, Errno::ENOSPC) if file.block.is_some() && self.offset >= file.known_size => {
                Next::End(Err(StoreError::EndOfStore))
            }
            _ => Next::End(Err(StoreError::from_errno(errno as i32))),
        }
    }

    fn go_on(&self) -> Next {
        if self.cancelled { Next::End(Err(StoreError::Cancelled)) } else { Next::Call }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).expect("offset and length of a request together are below 2^63")
}
