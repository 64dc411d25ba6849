use std::net::TcpListener;

use nix::sys::eventfd::EventFd;

use super::*;
use crate::login::{Limits, LoginPolicy};
use crate::status::Counters;

/// A loop without LUNs, as far as it goes without running.
fn idle() -> EventLoop {
    let (now, limits) = (Instant::now(), ServerLimits::default());
    let policy = LoginPolicy {
        targets: Vec::new(),
        portal_group_tag: 1,
        credentials: None,
        limits: Limits::default(),
    };
    let target = Target::new(Arc::new(policy), Vec::new(), limits, Arc::new(Counters::new(0)), now);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let control = Control { event: EventFd::new().unwrap(), patience: std::sync::Mutex::default() };
    EventLoop::new(target, listener, Arc::new(control), limits).unwrap()
}

#[test]
fn a_listener_that_can_not_be_watched_is_tried_again() {
    let mut server = idle();
    let acceptor = server.acceptor.as_mut().unwrap();
    // It is watched already: epoll refuses it, as it does without memory.
    acceptor.paused_until = Some(server.now);
    server.run_timers();
    let again = server.acceptor.as_ref().unwrap().paused_until.expect("there is another attempt");
    assert!(again > server.now);
    server.run_timers();
    assert_eq!(server.acceptor.as_ref().unwrap().paused_until, Some(again), "not before its time");

    server.epoll.delete(&server.acceptor.as_ref().unwrap().listener).unwrap();
    server.now = again;
    server.run_timers();
    let acceptor = server.acceptor.as_ref().unwrap();
    assert_eq!(acceptor.paused_until, None);
    let _client = std::net::TcpStream::connect(acceptor.listener.local_addr().unwrap()).unwrap();
    let mut events = [EpollEvent::empty()];
    assert_eq!(server.epoll.wait(&mut events, 10_000u16), Ok(1), "connections are seen again");
    assert_eq!(events[0].data() >> 32, kind::LISTENER);
}
