//! New connections: bounded in number, and a shortage of descriptors does not make the loop spin.

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::warning::Warning;

/// Connections that are taken in one round, so that nobody starves the others by connecting.
const PER_ROUND: usize = 16;

/// How long to wait when the system has no descriptors or memory for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// The listening socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    /// No connection is taken before.
    pub(super) paused_until: Option<Instant>,
    crowded: Warning,
    failing: Warning,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, paused_until: None, crowded: Warning::default(), failing: Warning::default() }
    }

    /// Takes new connections. `take` gets the stream, its peer and its own address, and says whether there was room.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        mut take: impl FnMut(TcpStream, SocketAddr, SocketAddr) -> bool,
    ) {
        for _ in 0..PER_ROUND {
            match self.listener.accept() {
                Ok((stream, peer)) => match prepare(&stream) {
                    Ok(local) => {
                        if !take(stream, peer, local)
                            && let Some(kept_back) = self.crowded.due(now)
                        {
                            tracing::warn!(%peer, kept_back, "connection refused: there are as many as may be");
                        }
                    }
                    Err(error) => tracing::debug!(%peer, %error, "connection was gone before it began"),
                },
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return self.pause(now, &error),
                },
            }
        }
    }

    /// The system has not enough of something: it is tried again later.
    pub(super) fn pause(&mut self, now: Instant, error: &dyn Display) {
        if let Some(kept_back) = self.failing.due(now) {
            tracing::warn!(%error, kept_back, "no connection could be taken; trying again soon");
        }
        self.paused_until = Some(now + PAUSE);
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    stream.set_nonblocking(true)?;
    // Answers are sent once per round already: waiting for more would only add latency.
    stream.set_nodelay(true)?;
    stream.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_room_connections_are_closed_at_once() {
        use std::io::Read;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        listener.set_nonblocking(true).unwrap();
        let mut taken = Vec::new();
        let mut acceptor = Acceptor::new(listener);
        acceptor.accept(Instant::now(), |stream, peer, local| {
            let room = taken.is_empty();
            if room {
                taken.push((stream, peer, local));
            }
            room
        });
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].1, taken[0].2), (clients[0].local_addr().unwrap(), address));
        clients[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(clients[1].read(&mut [0]), Ok(0)), "the second one was closed");
    }
}
