//! One connection: lines in, lines out.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Shared;
use super::followers::Follower;
use crate::line::{self, Line, REQUEST_BYTES};
use crate::message::{Answer, Code, Refusal, Request, Said, understand};

/// Answers until the peer goes. Blocks; a peer that does not read ends it with a time-out.
///
/// # Errors
/// The socket's.
pub(super) fn serve(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    loop {
        match line::read(&mut reader, &mut buffer, REQUEST_BYTES)? {
            Line::Whole => {}
            Line::End => return Ok(()),
            Line::TooLong => {
                let message = format!("a request has at most {REQUEST_BYTES} bytes");
                return refuse(stream, None, Refusal::new(Code::Malformed, message));
            }
        }
        let (id, request) = understand(&buffer);
        let request = match request {
            Ok(request) => request,
            Err(refusal) => {
                refuse(stream, id, refusal)?;
                continue;
            }
        };
        if request == Request::Events {
            // First joined, then told: nothing that happens from now on is missed.
            let follower = shared.followers.join()?;
            say(stream, &Said { id, ok: Some(Answer::Following), ..Said::default() })?;
            return follow(stream, &follower);
        }
        if let Request::Trace { device } = &request {
            let (follower, teller) = Follower::of_commands()?;
            match shared.service.trace(device, teller) {
                Ok(tracing) => {
                    say(stream, &Said { id, ok: Some(Answer::Following), ..Said::default() })?;
                    let followed = follow(stream, &follower);
                    drop(tracing);
                    return followed;
                }
                Err(refusal) => {
                    refuse(stream, id, refusal)?;
                    continue;
                }
            }
        }
        match shared.service.answer(request.clone()) {
            Ok(mut answer) => {
                if let Answer::Status(report) = &mut answer {
                    report.control = shared.counters();
                }
                say(stream, &Said { id, ok: Some(answer), ..Said::default() })?;
                shared.service.answered(&request);
            }
            Err(refusal) => refuse(stream, id, refusal)?,
        }
    }
}

/// Tells somebody who may not come in. Does not block: a new connection has room for a line.
pub(super) fn turn_away(stream: &UnixStream, refusal: Refusal) {
    let _ = stream.set_nonblocking(true);
    // Who does not want to know may go.
    let _ = refuse(stream, None, refusal);
}

/// Whether a peer did not read in time (`SO_SNDTIMEO`, socket(7)).
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn refuse(stream: &UnixStream, id: Option<u64>, refusal: Refusal) -> io::Result<()> {
    say(stream, &Said { id, error: Some(refusal), ..Said::default() })
}

fn say(mut stream: &UnixStream, said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Hands events on until the peer goes, or nothing follows any more.
fn follow(mut stream: &UnixStream, follower: &Follower) -> io::Result<()> {
    let mut ignored = [0; 512];
    loop {
        let waiting = follower.take();
        for line in waiting.lines {
            stream.write_all(line.as_bytes())?;
        }
        if waiting.lost > 0 {
            say(stream, &Said { lost: Some(waiting.lost), ..Said::default() })?;
        }
        if waiting.ended {
            return Ok(());
        }
        let mut fds =
            [PollFd::new(stream.as_fd(), PollFlags::POLLIN), PollFd::new(follower.wake(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Nothing more can be asked here: what comes is skipped, and its end is the connection's.
        if fds[0].any() == Some(true) && stream.read(&mut ignored)? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::super::Service;
    use super::*;
    use crate::report::{DeviceReport, EventReport};

    /// Answers with more than a socket holds.
    #[derive(Default)]
    struct Talkative {
        answered: AtomicU64,
    }

    impl Service for Talkative {
        fn answer(&self, _: Request) -> Result<Answer, Refusal> {
            let device = DeviceReport { config: "x".repeat(8 << 20), ..DeviceReport::default() };
            Ok(Answer::Device(Box::new(device)))
        }

        fn answered(&self, _: &Request) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_is_given_up() {
        let service = Arc::new(Talkative::default());
        let shared = Shared::new(Arc::clone(&service) as Arc<dyn Service>).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        there.write_all(b"{\"version\":1,\"id\":1,\"method\":\"status\"}\n").unwrap();
        let error = serve(&here, &shared).unwrap_err();
        assert!(is_timeout(&error), "{error}");
        assert_eq!(service.answered.load(Ordering::Relaxed), 0, "it was not handed over");
    }

    #[test]
    fn a_follower_that_does_not_read_is_given_up() {
        let shared = Shared::new(Arc::new(Talkative::default())).unwrap();
        let (here, _there) = UnixStream::pair().unwrap();
        here.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        let follower = shared.followers.join().unwrap();
        shared.followers.publish(EventReport { text: "x".repeat(8 << 20), ..EventReport::default() });
        let error = follow(&here, &follower).unwrap_err();
        assert!(is_timeout(&error), "{error}");
    }

    #[test]
    fn what_a_peer_did_not_end_is_not_answered() {
        let service = Arc::new(Talkative::default());
        let shared = Shared::new(Arc::clone(&service) as Arc<dyn Service>).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"{\"version\":1,\"id\":1,\"method\":\"handover\"}").unwrap();
        drop(there);
        serve(&here, &shared).unwrap();
        assert_eq!(service.answered.load(Ordering::Relaxed), 0);
    }
}
