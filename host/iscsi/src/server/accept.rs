//! New connections: bounded in number, and a shortage of descriptors does not make the loop spin.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections that are taken in one round, so that nobody starves the others by connecting.
const PER_ROUND: usize = 16;

/// How long to wait when the system has no descriptors or memory for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two warnings of the same kind.
const QUIET: Duration = Duration::from_secs(10);

/// A warning that is not repeated too often.
#[derive(Debug, Default)]
struct Warning {
    last: Option<Instant>,
    kept_back: u64,
}

impl Warning {
    /// Whether to warn now; if so, how many times it was not.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

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

    /// Takes new connections while there is `room` for them. `take` gets the stream, its peer and its own address.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        mut room: usize,
        mut take: impl FnMut(TcpStream, SocketAddr, SocketAddr),
    ) {
        for _ in 0..PER_ROUND {
            match self.listener.accept() {
                Ok((stream, peer)) if room == 0 => {
                    drop(stream);
                    if let Some(kept_back) = self.crowded.due(now) {
                        tracing::warn!(%peer, kept_back, "connection refused: there are as many as may be");
                    }
                }
                Ok((stream, peer)) => match prepare(&stream) {
                    Ok(local) => {
                        room -= 1;
                        take(stream, peer, local);
                    }
                    Err(error) => tracing::debug!(%peer, %error, "connection was gone before it began"),
                },
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        if let Some(kept_back) = self.failing.due(now) {
                            tracing::warn!(%error, kept_back, "no connection could be taken; trying again soon");
                        }
                        self.paused_until = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
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
    fn a_warning_is_given_once_and_counts_what_it_kept_back() {
        let start = Instant::now();
        let mut warning = Warning::default();
        assert_eq!(warning.due(start), Some(0));
        assert_eq!(warning.due(start + QUIET / 2), None);
        assert_eq!(warning.due(start + QUIET / 2), None);
        assert_eq!(warning.due(start + QUIET), Some(2));
    }

    #[test]
    fn without_room_connections_are_closed_at_once() {
        use std::io::Read;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        listener.set_nonblocking(true).unwrap();
        let mut taken = Vec::new();
        let mut acceptor = Acceptor::new(listener);
        acceptor.accept(Instant::now(), 1, |stream, peer, local| taken.push((stream, peer, local)));
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].1, taken[0].2), (clients[0].local_addr().unwrap(), address));
        clients[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(clients[1].read(&mut [0]), Ok(0)), "the second one was closed");
    }
}
