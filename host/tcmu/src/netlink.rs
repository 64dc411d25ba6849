//! The kernel's `TCM-USER` generic netlink family: how it announces devices and waits for the daemon's answer.
//!
//! ```text
//!   kernel ── ADDED / REMOVED / RECONFIG ──▶ receive() ──▶ (open, close, resize) ──▶ reply() ──▶ kernel
//! ```
//!
//! Whoever caused an event through configfs hangs, uninterruptibly and without limit, until it is answered.
//! So every event that carries a device id gets **exactly one** answer. A second one is not harmless: if the
//! kernel meanwhile waits for the answer to another event of the same device, the stale one takes the waiting
//! entry off the kernel's list without waking it, and the writer hangs for good.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use crate::name::{DeviceId, Minor};
use message::{Family, Message};

mod message;

/// `NETLINK_ADD_MEMBERSHIP`: takes the number of a multicast group.
#[derive(Clone, Copy, Debug)]
struct AddMembership;

nix::setsockopt_impl!(
    AddMembership,
    libc::SOL_NETLINK,
    libc::NETLINK_ADD_MEMBERSHIP,
    u32,
    sockopt::SetStruct<'_, u32>
);

/// Receive buffer that [`Netlink::open`] asks for, in bytes. An event costs the socket about 1 KiB, so that
/// some thousand of them may wait. The default of 208 KiB was seen to overflow in mass creation.
pub const RECEIVE_BUFFER: usize = 8 << 20;

/// How long the kernel may take to answer a request of ours; it answers within the system call that asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest datagram: the kernel builds events in one page.
const DATAGRAM: usize = 64 << 10;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The device was enabled. The kernel takes a status other than 0 for a failure of `enable`.
    Added,
    /// The device is going. The status is ignored.
    Removed,
    /// Somebody wrote a new value. The kernel takes it over if the status is 0.
    Reconfigured(Change),
}

/// The value that is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `dev_config`.
    Config(String),
    /// `dev_size`, bytes. Not checked by the kernel.
    Size(u64),
    /// `emulate_write_cache`.
    WriteCache(bool),
    /// Nothing that this version knows.
    Unknown,
}

/// An event about a device. What is `None` was missing or not readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEvent {
    /// What happened.
    pub kind: EventKind,
    /// Which device; needed for the answer.
    pub device_id: Option<DeviceId>,
    /// The device's UIO node.
    pub minor: Option<Minor>,
    /// The device's UIO name.
    pub name: Option<String>,
    /// The kernel may be waiting for an answer.
    pub wants_reply: bool,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a device.
    Device(DeviceEvent),
    /// Events were lost since the last one. Look at all devices once nothing more is to be received.
    Overrun,
    /// The kernel did not wait for a reply that was sent: the device, or whoever waited, has gone.
    ReplyRefused(Errno),
}

impl Event {
    /// The events of a datagram of the kernel's, as [`Netlink::receive`] gives them one after the other. `family` is
    /// the number that the kernel gave to the family; messages of others are passed over.
    ///
    /// # Errors
    /// [`NetlinkError::Malformed`]; what stood before is lost here.
    pub fn read_all(datagram: &[u8], family: u16) -> Result<Vec<Self>, NetlinkError> {
        let mut events = VecDeque::new();
        read_datagram(datagram, family, None, &mut events)?;
        Ok(events.into())
    }
}

/// Why netlink does not work.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel has no such family.
    #[error("the kernel does not know the netlink family TCM-USER; load it with `modprobe target_core_user`")]
    NoFamily,
    /// The kernel refused to take replies from us.
    #[error(
        "the kernel does not let this process answer for TCM-User devices; run it as root (CAP_NET_ADMIN)"
    )]
    NotPermitted,
    /// A system call failed.
    #[error("netlink: {call}: {errno}")]
    System {
        /// Which call.
        call: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// The kernel did not answer a request.
    #[error("netlink: no answer to {request} within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// Which request.
        request: &'static str,
    },
    /// A message that makes no sense. It was dropped; the socket goes on working.
    #[error("netlink: malformed message: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

fn system(call: &'static str) -> impl Fn(Errno) -> NetlinkError {
    move |errno| NetlinkError::System { call, errno }
}

/// A socket that is a member of the family's group. Owned by one thread; only [`Netlink::open`] waits.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    family: Family,
    /// Name of the family's group.
    group: &'static str,
    sequence: u32,
    /// Events that came while an answer was awaited.
    early: VecDeque<Event>,
    datagram: Vec<u8>,
}

impl Netlink {
    /// Joins the group and tells the kernel that events will be answered. From now on the kernel waits for
    /// answers, even after this process has ended.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn open() -> Result<Self, NetlinkError> {
        let mut netlink = Self::connect(message::FAMILY, message::GROUP)?;
        setsockopt(&netlink.socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(|errno| match errno {
            Errno::EPERM => NetlinkError::NotPermitted,
            errno => system("SO_RCVBUFFORCE")(errno),
        })?;
        setsockopt(&netlink.socket, AddMembership, &netlink.family.group)
            .map_err(system("NETLINK_ADD_MEMBERSHIP"))?;
        netlink.set_features()?;
        Ok(netlink)
    }

    /// A socket that knows the numbers of a family and has joined nothing.
    fn connect(family: &str, group: &'static str) -> Result<Self, NetlinkError> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkGeneric)
            .map_err(system("socket"))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(system("bind"))?;
        let mut netlink = Self {
            socket,
            family: Family { id: 0, group: 0 },
            group,
            sequence: 0,
            early: VecDeque::new(),
            datagram: vec![0; DATAGRAM],
        };
        netlink.family = netlink.resolve(family)?;
        Ok(netlink)
    }

    /// Takes the next event; `None` when there is none at the moment. Never waits.
    ///
    /// # Errors
    /// [`NetlinkError::Malformed`] leaves the socket in working order. Anything else does not.
    pub fn receive(&mut self) -> Result<Option<Event>, NetlinkError> {
        loop {
            if let Some(event) = self.early.pop_front() {
                return Ok(Some(event));
            }
            if !self.fill(None)? {
                return Ok(None);
            }
        }
    }

    /// Answers an event: `Ok` or why not. Call it exactly once per event that has an id and wants a reply.
    ///
    /// # Errors
    /// The message could not be sent; whoever waits goes on waiting.
    pub fn reply(
        &mut self,
        kind: &EventKind,
        device: DeviceId,
        status: Result<(), Errno>,
    ) -> Result<(), NetlinkError> {
        let status = status.map_or_else(|errno| -(errno as i32), |()| 0);
        let sequence = self.next_sequence();
        let message = message::encode_reply(self.family.id, sequence, kind, device, status)?;
        self.send(&message)
    }

    fn resolve(&mut self, family: &str) -> Result<Family, NetlinkError> {
        let sequence = self.next_sequence();
        self.send(&message::encode_family_request(family, sequence)?)?;
        match self.await_answer(sequence, "CTRL_CMD_GETFAMILY")? {
            Answer::Family(family) => Ok(family),
            Answer::Status(Some(Errno::ENOENT) | None) => Err(NetlinkError::NoFamily),
            Answer::Status(Some(errno)) => Err(system("CTRL_CMD_GETFAMILY")(errno)),
        }
    }

    fn set_features(&mut self) -> Result<(), NetlinkError> {
        let sequence = self.next_sequence();
        self.send(&message::encode_features(self.family.id, sequence)?)?;
        features_answer(self.await_answer(sequence, "SET_FEATURES")?)
    }

    fn next_sequence(&mut self) -> u32 {
        // 0 is the number of events.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    fn send(&self, message: &[u8]) -> Result<(), NetlinkError> {
        let kernel = NetlinkAddr::new(0, 0);
        let socket = self.socket.as_raw_fd();
        loop {
            match sendto(socket, message, &kernel, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop).map_err(system("sendto")),
            }
        }
    }

    fn await_answer(&mut self, sequence: u32, request: &'static str) -> Result<Answer, NetlinkError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut awaited = Awaited { sequence, group: self.group, answer: None };
        loop {
            while awaited.answer.is_none() && self.fill(Some(&mut awaited))? {}
            if let Some(answer) = awaited.answer {
                return Ok(answer);
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(NetlinkError::NoAnswer { request });
            }
            let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("poll")(errno)),
            }
        }
    }

    /// Receives one datagram into the queue of events; false if there is none.
    fn fill(&mut self, awaited: Option<&mut Awaited>) -> Result<bool, NetlinkError> {
        let socket = self.socket.as_raw_fd();
        let (length, sender) = loop {
            match recvfrom::<NetlinkAddr>(socket, &mut self.datagram) {
                Ok(received) => break received,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::ENOBUFS) => {
                    self.early.push_back(Event::Overrun);
                    return Ok(true);
                }
                Err(errno) => return Err(system("recvfrom")(errno)),
            }
        };
        // Port 0 is the kernel; nobody else has a say here.
        if sender.is_none_or(|sender| sender.pid() != 0) {
            return Ok(true);
        }
        read_datagram(&self.datagram[..length], self.family.id, awaited, &mut self.early)?;
        Ok(true)
    }
}

/// What the kernel says to `SET_FEATURES`.
fn features_answer(answer: Answer) -> Result<(), NetlinkError> {
    match answer {
        // Kernels before 4.15 have no replies; they do not wait for them either.
        Answer::Status(None | Some(Errno::EOPNOTSUPP)) | Answer::Family(_) => Ok(()),
        Answer::Status(Some(Errno::EPERM)) => Err(NetlinkError::NotPermitted),
        Answer::Status(Some(errno)) => Err(system("SET_FEATURES")(errno)),
    }
}

impl AsFd for Netlink {
    /// Readable when [`Netlink::receive`] has something to give.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Status(Option<Errno>),
    Family(Family),
}

struct Awaited {
    sequence: u32,
    /// Which group to look for if the answer describes a family.
    group: &'static str,
    answer: Option<Answer>,
}

/// Sorts the messages of a datagram into events and the awaited answer. What stood before a malformed message
/// has been taken.
fn read_datagram(
    mut datagram: &[u8],
    family: u16,
    mut awaited: Option<&mut Awaited>,
    events: &mut VecDeque<Event>,
) -> Result<(), NetlinkError> {
    while let Some(message) = message::next_message(&mut datagram)? {
        let (Message::Answer { sequence, .. } | Message::Generic { sequence, .. }) = message;
        let waiting = awaited.as_deref_mut().filter(|waiting| waiting.sequence == sequence);
        match (message, waiting) {
            (Message::Answer { error, .. }, Some(waiting)) => waiting.answer = Some(Answer::Status(error)),
            (Message::Answer { error: Some(errno), .. }, None) => {
                events.push_back(Event::ReplyRefused(errno));
            }
            (Message::Answer { error: None, .. }, None) => {}
            // Events have the sequence number 0, which no request of ours has.
            (Message::Generic { payload, .. }, Some(waiting)) => {
                waiting.answer = Some(Answer::Family(message::decode_family(payload, waiting.group)?));
            }
            (Message::Generic { kind, payload, .. }, None) if kind == family => {
                events.extend(message::decode_event(payload)?.map(Event::Device));
            }
            (Message::Generic { .. }, None) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
