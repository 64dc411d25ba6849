//! What a probe finds in its process, made before the process is confined.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, send, socket, socketpair,
};
use nix::unistd::{Pid, getppid, pipe};

use crate::raw;

pub const PAGE: u64 = 4096;

/// Names of environment variables by which the runner tells its children where things are.
pub const SECRET: &str = "JAIL_SECRET";
pub const FOREIGN: &str = "JAIL_FOREIGN";
pub const ABSTRACT: &str = "JAIL_ABSTRACT";
pub const PORT: &str = "JAIL_PORT";

/// What lies outside of the jail.
pub struct Outside {
    /// A file that everybody may read.
    pub secret: PathBuf,
    /// A file that its owner, who is not root, may read.
    pub foreign: PathBuf,
    /// A listening abstract socket.
    pub socket: SocketAddr,
    /// A listening port of the loopback interface.
    pub port: u16,
    /// The runner.
    pub parent: Pid,
}

impl Outside {
    pub fn from_environment() -> Self {
        let text = |name: &str| std::env::var(name).unwrap();
        Self {
            secret: text(SECRET).into(),
            foreign: text(FOREIGN).into(),
            socket: SocketAddr::from_abstract_name(text(ABSTRACT)).unwrap(),
            port: text(PORT).parse().unwrap(),
            parent: getppid(),
        }
    }

    pub fn connect_abstract(&self) -> std::io::Result<()> {
        UnixStream::connect_addr(&self.socket).map(drop)
    }

    pub fn connect_tcp(&self) -> std::io::Result<()> {
        TcpStream::connect(("127.0.0.1", self.port)).map(drop)
    }
}

/// Everything that a probe can use.
pub struct Stage {
    pub outside: Outside,
    /// A file of 64 KiB, open for reading and writing, at its start.
    pub file: File,
    /// Something to read, and where to write.
    pub pipe: (OwnedFd, OwnedFd),
    /// A pair of sockets with a packet waiting in the second.
    pub pair: (OwnedFd, OwnedFd),
    /// A socket with a name, which does not listen.
    pub bound: OwnedFd,
    /// A socket that listens, with a connection waiting.
    pub listening: OwnedFd,
    _caller: OwnedFd,
    /// Readable.
    pub event: EventFd,
    /// Watches `event`.
    pub epoll: Epoll,
    /// A memory file that can be sealed.
    pub memory_file: OwnedFd,
    /// Ready to use.
    pub ring: io_uring::IoUring,
    /// Address of two pages of private memory.
    pub pages: u64,
    /// Address of a page for what calls write and read.
    pub scratch: u64,
    /// Address of an iovec of 8 bytes of scratch memory.
    pub vector: u64,
    /// Address of a message header (recvmsg(2)) with `vector`.
    pub message: u64,
    /// Address of the length of an option: 4.
    pub option_length: u64,
    /// Address of the text `/`.
    pub root_path: u64,
    /// Address of an empty text.
    pub empty_path: u64,
}

fn leak<T: 'static>(value: T) -> u64 {
    let place: *mut T = Box::leak(Box::new(value));
    place.expose_provenance() as u64
}

pub fn number(fd: &impl std::os::fd::AsRawFd) -> u64 {
    let fd: RawFd = fd.as_raw_fd();
    u64::from(fd.cast_unsigned())
}

/// A flag of libc as an argument.
pub fn flag(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

impl Stage {
    pub fn new() -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 65536]).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let (reader, writer) = pipe().unwrap();
        nix::unistd::write(&writer, b"something").unwrap();
        let kind = SockType::SeqPacket;
        let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        send(pair.0.as_raw_fd(), b"packet", MsgFlags::empty()).unwrap();
        let named = || {
            let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
            // The kernel chooses a free abstract name.
            bind(socket.as_raw_fd(), &UnixAddr::new_unnamed()).unwrap();
            socket
        };
        let (bound, listening) = (named(), named());
        listen(&listening, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let caller = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let name: UnixAddr = nix::sys::socket::getsockname(listening.as_raw_fd()).unwrap();
        connect(caller.as_raw_fd(), &name).unwrap();
        let event = EventFd::from_value(1).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 1)).unwrap();
        let memory_file = memfd_create("probe", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap();
        let protection = flag(libc::PROT_READ | libc::PROT_WRITE);
        let private = flag(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let map = |bytes| raw::call(libc::SYS_mmap, &[0, bytes, protection, private, u64::MAX, 0]).unwrap();
        let (pages, scratch) = (map(2 * PAGE), map(PAGE));
        let vector = leak([scratch, 8]);
        Self {
            outside: Outside::from_environment(),
            file,
            pipe: (reader, writer),
            pair,
            bound,
            listening,
            _caller: caller,
            event,
            epoll,
            memory_file,
            ring: io_uring::IoUring::new(8).unwrap(),
            pages,
            scratch,
            vector,
            // name, its length, vector, its length, control, its length, flags
            message: leak([0, 0, vector, 1, 0, 0, 0]),
            option_length: leak(4u32),
            root_path: leak(*b"/\0"),
            empty_path: leak(*b"\0"),
        }
    }
}

/// Listens outside of the jail, in the runner.
pub fn abstract_listener(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}
