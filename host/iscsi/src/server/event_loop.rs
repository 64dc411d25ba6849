//! The epoll loop. One round: wait, read what is readable, wake the LUNs once, collect what they ended, send once
//! per connection. The number of system calls depends on the rounds, not on the commands.

use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::accept::Acceptor;
use super::socket::{Moved, Socket};
use super::{Control, ServerLimits, Stopped};
use crate::connection::Life;
use crate::slab::Key;
use crate::target_port::Target;

/// Events of one round.
const EVENTS: usize = 128;

/// Reads of one connection in one round, so that a fast initiator leaves the others their turn.
const READS_PER_ROUND: usize = 4;

/// What an event is about, in the upper half of its data.
mod kind {
    pub(super) const CONNECTION: u64 = 0;
    pub(super) const DOORBELL: u64 = 1;
    pub(super) const LISTENER: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
}

fn event(flags: EpollFlags, kind: u64, index: u32) -> EpollEvent {
    EpollEvent::new(flags, kind << 32 | u64::from(index))
}

pub(super) struct EventLoop {
    target: Target,
    epoll: Epoll,
    /// None once the server stops.
    acceptor: Option<Acceptor>,
    control: Arc<Control>,
    limits: ServerLimits,
    /// By the index of their keys.
    sockets: Vec<Option<Socket>>,
    touched: Vec<Key>,
    rung: Vec<usize>,
    now: Instant,
    /// When timers are to be looked at.
    next_tick: Option<Instant>,
    /// When to give up stopping.
    stop_by: Option<Instant>,
}

impl EventLoop {
    pub(super) fn new(
        target: Target,
        listener: std::net::TcpListener,
        control: Arc<Control>,
        limits: ServerLimits,
    ) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, event(EpollFlags::EPOLLIN, kind::LISTENER, 0))?;
        epoll.add(&control.event, event(EpollFlags::EPOLLIN, kind::CONTROL, 0))?;
        for (number, doorbell) in (0u32..).zip(target.doorbells()) {
            // Edge-triggered: each ring makes an event, and nobody has to read the eventfd.
            epoll.add(doorbell, event(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, kind::DOORBELL, number))?;
        }
        Ok(Self {
            target,
            epoll,
            acceptor: Some(Acceptor::new(listener)),
            control,
            limits,
            sockets: Vec::new(),
            touched: Vec::new(),
            rung: Vec::new(),
            now: Instant::now(),
            next_tick: None,
            stop_by: None,
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) -> Stopped {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "epoll failed; the server ends");
                    return self.stopped();
                }
            };
            self.now = Instant::now();
            self.target.begin_round(self.now);
            for event in &events[..count] {
                self.dispatch(event);
            }
            self.target.resume_postponed();
            self.target.flush_signals();
            for at in 0..self.rung.len() {
                self.target.collect(self.rung[at]);
            }
            self.rung.clear();
            self.run_timers();
            self.send_all();
            // Frames that waited for room in the output, and LUNs that had no room, may have begun commands.
            self.target.flush_signals();
            if let Some(stop_by) = self.stop_by
                && (self.now >= stop_by
                    || (self.target.connection_count() == 0 && self.target.running() == 0))
            {
                return self.stopped();
            }
        }
    }

    fn stopped(&self) -> Stopped {
        Stopped { running: self.target.running(), connections: self.target.connection_count() }
    }

    fn timeout(&self) -> EpollTimeout {
        if self.target.has_postponed() {
            return EpollTimeout::ZERO;
        }
        let resume = self.acceptor.as_ref().and_then(|acceptor| acceptor.paused_until);
        let moments = [self.next_tick, resume, self.stop_by];
        let Some(next) = moments.into_iter().flatten().min() else { return EpollTimeout::NONE };
        // Rounded up, so that the last millisecond is slept and not spun.
        let left = next.saturating_duration_since(self.now);
        let left = if left.is_zero() { left } else { left + Duration::from_millis(1) };
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
    }

    fn dispatch(&mut self, event: &EpollEvent) {
        let index = usize::try_from(event.data() & 0xffff_ffff).unwrap_or(usize::MAX);
        match event.data() >> 32 {
            kind::CONNECTION => self.connection_ready(index, event.events()),
            kind::DOORBELL => self.rung.push(index),
            kind::LISTENER => self.accept(),
            _ => self.begin_stop(),
        }
    }

    fn connection_ready(&mut self, index: usize, events: EpollFlags) {
        let Some(key) = self.sockets.get(index).and_then(Option::as_ref).map(|socket| socket.key) else {
            return;
        };
        if events.contains(EpollFlags::EPOLLOUT) {
            self.touched.push(key);
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return;
        }
        for _ in 0..READS_PER_ROUND {
            let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) else { return };
            let Some(space) = self.target.space(key) else {
                // The end of the round sees to what epoll waits for. These two can not be waited away.
                self.touched.push(key);
                if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                    self.target.lose(key, &"reset by the initiator");
                }
                return;
            };
            let room = space.len();
            match socket.read(space) {
                Moved::Bytes(bytes) => {
                    self.target.received(key, bytes);
                    if bytes < room {
                        return;
                    }
                }
                Moved::Nothing => return,
                Moved::End => return self.target.closed_by_peer(key),
                Moved::Failed(error) => return self.target.lose(key, &error),
            }
        }
    }

    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let (target, sockets, epoll) = (&mut self.target, &mut self.sockets, &self.epoll);
        let limit = self.limits.connections;
        acceptor.accept(self.now, |stream, peer, local| {
            if target.connection_count() >= limit {
                // Whoever can not log in must not keep those out who can.
                let Some(oldest) = target.oldest_login() else { return false };
                target.lose(oldest, &"there are as many connections as may be, and a new one came");
                drop(close(target, sockets, oldest));
            }
            let key = target.open(peer, local);
            let interest = EpollFlags::EPOLLIN;
            if let Err(error) = epoll.add(stream.as_fd(), event(interest, kind::CONNECTION, key.index())) {
                tracing::warn!(%peer, %error, "connection could not be watched");
                target.remove(key);
                return true;
            }
            let index = usize::try_from(key.index()).unwrap_or(usize::MAX);
            if sockets.len() <= index {
                sockets.resize_with(index + 1, || None);
            }
            sockets[index] = Some(Socket { key, stream, interest });
            true
        });
        // New deadlines.
        self.next_tick = Some(self.now);
        if acceptor.paused_until.is_some() {
            // Level-triggered and not to be served: it would wake the loop for nothing.
            let _ = self.epoll.delete(&acceptor.listener);
        }
    }

    fn begin_stop(&mut self) {
        // Read, so that it does not wake the loop again.
        let _ = self.control.event.read();
        let patience = self.control.patience.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(patience) = patience {
            self.acceptor = None;
            self.stop_by = Some(self.now + patience);
            self.next_tick = Some(self.now);
            self.target.begin_stop();
        }
    }

    fn run_timers(&mut self) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.paused_until.is_some_and(|until| until <= self.now)
        {
            acceptor.paused_until = None;
            let added = self.epoll.add(&acceptor.listener, event(EpollFlags::EPOLLIN, kind::LISTENER, 0));
            if let Err(error) = added {
                acceptor.pause(self.now, &error);
            }
        }
        if self.next_tick.is_some_and(|next| next <= self.now) {
            self.next_tick = self.target.tick();
        }
    }

    /// Sends what there is to send, and closes what is over.
    fn send_all(&mut self) {
        loop {
            self.target.take_touched(&mut self.touched);
            let Some(key) = self.touched.pop() else { return };
            self.send(key);
        }
    }

    fn send(&mut self, key: Key) {
        let index = usize::try_from(key.index()).unwrap_or(usize::MAX);
        let Some(socket) =
            self.sockets.get_mut(index).and_then(Option::as_mut).filter(|socket| socket.key == key)
        else {
            return;
        };
        let Some((pending, life)) = self.target.output(key) else { return };
        if life == Life::Dead {
            drop(close(&mut self.target, &mut self.sockets, key));
            return;
        }
        if !pending.is_empty() {
            match socket.write(pending) {
                Moved::Bytes(bytes) => self.target.sent(key, bytes),
                Moved::Nothing | Moved::End => self.target.sent(key, 0),
                Moved::Failed(error) => {
                    self.target.lose(key, &error);
                    drop(close(&mut self.target, &mut self.sockets, key));
                    return;
                }
            }
        }
        let Some((pending, _)) = self.target.output(key) else { return };
        let all_sent = pending.is_empty();
        if all_sent && life == Life::Ending {
            if let Some(socket) = close(&mut self.target, &mut self.sockets, key) {
                socket.close_gently();
            }
            return;
        }
        self.target.resume(key);
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.target.wants_input(key));
        interest.set(EpollFlags::EPOLLOUT, !all_sent);
        if interest != socket.interest {
            socket.interest = interest;
            let mut event = event(interest, kind::CONNECTION, key.index());
            if let Err(error) = self.epoll.modify(socket.stream.as_fd(), &mut event) {
                self.target.lose(key, &error);
            }
        }
    }
}

/// Forgets a connection and returns its socket, which is closed when it is dropped.
fn close(target: &mut Target, sockets: &mut [Option<Socket>], key: Key) -> Option<Socket> {
    target.remove(key);
    let index = usize::try_from(key.index()).unwrap_or(usize::MAX);
    sockets.get_mut(index).and_then(Option::take)
}

#[cfg(test)]
mod tests;
