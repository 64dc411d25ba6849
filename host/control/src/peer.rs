//! Who is at the other end.

use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, geteuid};

use crate::message::{Code, Refusal};

/// Judges the peer of a connection by its user at the time of connect(2) (`SO_PEERCRED`, unix(7)): root and the
/// daemon's own user may ask.
pub(crate) fn judge(stream: &UnixStream) -> Result<(), Refusal> {
    match getsockopt(stream, PeerCredentials) {
        Ok(credentials) => may_ask(Uid::from_raw(credentials.uid()), geteuid()),
        Err(errno) => Err(Refusal::new(Code::Permission, format!("who you are can not be told: {errno}"))),
    }
}

fn may_ask(peer: Uid, own: Uid) -> Result<(), Refusal> {
    if peer.is_root() || peer == own {
        return Ok(());
    }
    let message = format!("user {peer} may not control this lunboxd; ask as root (sudo) or as user {own}");
    Err(Refusal::new(Code::Permission, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_daemons_user_may_ask_and_nobody_else() {
        let (root, own, other) = (Uid::from_raw(0), Uid::from_raw(500), Uid::from_raw(501));
        assert_eq!(may_ask(root, own), Ok(()));
        assert_eq!(may_ask(own, own), Ok(()));
        let refusal = may_ask(other, own).unwrap_err();
        assert_eq!(refusal.code, Code::Permission);
        assert!(refusal.message.contains("user 501") && refusal.message.contains("root"), "{refusal}");
        assert!(may_ask(other, root).is_err());
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(judge(&here), Ok(()), "we are the peer");
    }
}
