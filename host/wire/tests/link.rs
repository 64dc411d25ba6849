//! Links, listeners and peers on real sockets, and foreign bytes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that clippy takes for tests"
)]

use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lunbox_wire::listener::{Listener, connect};
use lunbox_wire::peer::{Credentials, Peer, PeerError, Process};
use lunbox_wire::{Ending, Link, LinkError, MAX_DESCRIPTORS, MAX_MESSAGE, Report, Request};
use proptest::prelude::*;

const SOON: Duration = Duration::from_secs(10);

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Sends bytes that are no message, as a hostile peer would.
fn send_raw(link: &Link, bytes: &[u8], descriptors: &[OwnedFd]) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let beside = [ControlMessage::ScmRights(&raw)];
    let beside = if raw.is_empty() { &[][..] } else { &beside[..] };
    sendmsg::<()>(link.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], beside, MsgFlags::empty(), None).unwrap();
}

/// Descriptors are counted, and other tests of this binary open some: so a process of its own.
fn alone(test: &str) -> bool {
    if std::env::var_os("LUNBOX_ALONE").is_some() {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("LUNBOX_ALONE", "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
fn messages_arrive_whole_in_order_and_with_their_descriptors() {
    let (one, other) = Link::pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"hello").unwrap();
    let stop = |call| Request::Stop { call, minor: 3, how: Ending::HandOver, patience_ms: u64::MAX };
    one.send(&stop(1), &[file.as_fd()]).unwrap();
    one.try_send(&stop(2), &[]).unwrap();
    let (first, mut descriptors) = other.receive::<Request>().unwrap().unwrap();
    assert_eq!(first, stop(1));
    let mut received = File::from(descriptors.remove(0));
    let flags = nix::fcntl::fcntl(&received, nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags, 1, "closed on exec");
    let mut text = String::new();
    received.rewind().unwrap();
    received.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(other.try_receive::<Request>().unwrap().unwrap().0, stop(2));
    assert!(matches!(other.try_receive::<Request>(), Err(LinkError::WouldBlock)));
    let begin = Instant::now();
    let short = Duration::from_millis(20);
    assert!(matches!(other.receive_within::<Request>(short), Err(LinkError::WouldBlock)));
    assert!(begin.elapsed() >= short);
}

#[test]
fn the_end_comes_behind_the_last_message() {
    let (one, other) = Link::pair().unwrap();
    one.send(&Request::Leave, &[]).unwrap();
    drop(one);
    assert_eq!(other.receive::<Request>().unwrap().unwrap().0, Request::Leave);
    assert!(other.receive::<Request>().unwrap().is_none());
    assert!(matches!(other.send(&Request::Leave, &[]), Err(LinkError::Gone)));

    // With something unread the kernel says ECONNRESET, once.
    let (one, other) = Link::pair().unwrap();
    other.send(&Request::Leave, &[]).unwrap();
    drop(one);
    assert!(other.receive::<Request>().unwrap().is_none());

    let (one, other) = Link::pair().unwrap();
    let copy = one.try_clone().unwrap();
    one.shut_down();
    assert!(other.receive::<Request>().unwrap().is_none());
    assert!(matches!(copy.send(&Request::Leave, &[]), Err(LinkError::Gone)));
}

#[test]
fn a_full_socket_keeps_nobody_waiting_who_does_not_want_to() {
    let (one, other) = Link::pair().unwrap();
    let report = Report::Done { call: 7 };
    let mut sent = 0;
    let full = loop {
        match one.try_send(&report, &[]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LinkError::WouldBlock), "{full}");
    for _ in 0..sent {
        assert_eq!(other.try_receive::<Report>().unwrap().unwrap().0, report);
    }
    one.try_send(&report, &[]).unwrap();
}

#[test]
fn what_is_too_large_is_not_sent() {
    let (one, other) = Link::pair().unwrap();
    assert!(matches!(one.send(&"x".repeat(MAX_MESSAGE), &[]), Err(LinkError::TooLong)));
    let null = null();
    let many = vec![null.as_fd(); MAX_DESCRIPTORS + 1];
    assert!(matches!(one.send(&Request::Leave, &many), Err(LinkError::TooManyDescriptors)));
    // The largest that may be is sent and received.
    let largest = "x".repeat(MAX_MESSAGE - 2);
    one.send(&largest, &many[1..]).unwrap();
    let (message, descriptors) = other.receive::<String>().unwrap().unwrap();
    assert_eq!((message.len(), descriptors.len()), (MAX_MESSAGE - 2, MAX_DESCRIPTORS));
}

#[test]
fn malformed_packets_are_errors_leave_no_descriptor_behind_and_the_next_one_is_read() {
    if !alone("malformed_packets_are_errors_leave_no_descriptor_behind_and_the_next_one_is_read") {
        return;
    }
    let (one, other) = Link::pair().unwrap();
    let some: Vec<OwnedFd> = (0..100).map(|_| null()).collect();
    let before = open_descriptors();
    for _ in 0..50 {
        send_raw(&one, b"{\"stop\":{\"call\":1}}", &some[..3]);
        assert!(matches!(other.receive::<Request>(), Err(LinkError::Malformed(_))));
        send_raw(&one, b"\"leave\"", &some);
        assert!(matches!(other.receive::<Request>(), Err(LinkError::TooManyDescriptors)));
        send_raw(&one, &vec![b' '; MAX_MESSAGE + 1], &some[..3]);
        assert!(matches!(other.receive::<Request>(), Err(LinkError::TooLong)));
        one.send(&Request::Leave, &[]).unwrap();
        assert_eq!(other.receive::<Request>().unwrap().unwrap().0, Request::Leave);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn only_sockets_of_the_kind_make_a_link() {
    assert!(matches!(Link::from_fd(null()), Err(LinkError::Io(_))));
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(Link::from_fd(stream.into()), Err(LinkError::Io(_))));
    let (link, _other) = Link::pair().unwrap();
    Link::from_fd(link.into_fd()).unwrap();
}

#[test]
fn a_listener_refuses_until_it_listens_and_shows_who_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.sock");
    assert!(
        matches!(connect(&path), Err(LinkError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound)
    );
    let listener = Listener::bind(&path).unwrap();
    assert!(matches!(connect(&path), Err(LinkError::Gone)));
    assert!(
        matches!(Listener::bind(&path), Err(LinkError::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse)
    );
    let listener = Listener::from_fd(listener.into_fd()).unwrap();
    listener.listen().unwrap();
    assert!(listener.accept().unwrap().is_none());
    let there = connect(&path).unwrap();
    let here = listener.accept().unwrap().unwrap();
    there.send(&Request::Leave, &[]).unwrap();
    assert_eq!(here.receive::<Request>().unwrap().unwrap().0, Request::Leave);
    let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getpid().as_raw());
    let peer = Peer::of(&there).unwrap();
    assert_eq!((peer.credentials.uid, peer.credentials.pid), own);
    assert!(!peer.process.has_ended().unwrap());
    assert_eq!(Credentials::of(&here).unwrap(), peer.credentials);
    // Too many who wait, and nobody accepts.
    let mut waiting = Vec::new();
    let full = loop {
        match connect(&path) {
            Ok(link) => waiting.push(link),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LinkError::WouldBlock), "{full}");
    drop((here, listener));
    assert!(matches!(connect(&path), Err(LinkError::Gone)));
    assert!(there.receive::<Request>().unwrap().is_none());
    assert!(matches!(Peer::of(&there), Err(PeerError::Unknown)), "nobody is at the other end");
    let long = folder.path().join("x".repeat(200));
    assert!(matches!(Listener::bind(&long), Err(LinkError::Io(_))));
}

#[test]
fn processes_are_killed_and_waited_for_by_descriptor() {
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let process = Process::open(i32::try_from(child.id()).unwrap()).unwrap();
    assert!(!process.has_ended().unwrap());
    assert!(!process.ends_within(Duration::from_millis(5)).unwrap());
    process.kill().unwrap();
    assert!(process.ends_within(SOON).unwrap());
    assert!(!child.wait().unwrap().success());
    process.kill().unwrap();
    assert!(process.has_ended().unwrap());
    assert!(matches!(Process::open(-1), Err(PeerError::Unknown | PeerError::Io(_))));
    assert!(matches!(Process::open(0), Err(PeerError::Unknown)));
}

/// Messages as another version, or an attacker, might write them.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "stop",
        "start",
        "hello",
        "call",
        "minor",
        "how",
        "hand-over",
        "device",
        "leave",
        "handles",
        "done",
        "notice",
        "stores",
        "kind",
        "file",
        "memory",
        "bytes",
    ]);
    let token = prop_oneof![
        4 => word.prop_map(|word| format!("\"{word}\"")),
        2 => any::<i128>().prop_map(|number| number.to_string()),
        6 => prop::sample::select(vec!["{", "}", "[", "]", ":", ",", "null", "1e999", "\"\\u0000\"", "-0"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn foreign_bytes_are_errors_or_messages_and_never_a_panic(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 1..300), almost_json()],
        fds in 0_usize..4,
    ) {
        let (one, other) = Link::pair().unwrap();
        if !bytes.is_empty() {
            let some: Vec<OwnedFd> = (0..fds).map(|_| null()).collect();
            send_raw(&one, &bytes, &some);
            match other.receive::<Request>() {
                Ok(Some((message, descriptors))) => {
                    prop_assert_eq!(descriptors.len(), fds);
                    let again = serde_json::from_slice::<Request>(&serde_json::to_vec(&message).unwrap()).unwrap();
                    prop_assert_eq!(again, message);
                }
                Ok(None) => prop_assert!(false, "the peer is there"),
                Err(error) => prop_assert!(matches!(error, LinkError::Malformed(_)), "{error}"),
            }
            send_raw(&one, &bytes, &[]);
            prop_assert!(matches!(other.receive::<Report>(), Ok(Some(_)) | Err(LinkError::Malformed(_))));
        }
        one.send(&Request::Leave, &[]).unwrap();
        prop_assert_eq!(other.receive::<Request>().unwrap().unwrap().0, Request::Leave);
    }
}
