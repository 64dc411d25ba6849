//! Which files this process has granted, and to whom.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::GrantError;

/// A file or block device by what it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A regular file: `st_dev` and `st_ino`.
    File {
        /// Where it is.
        device: u64,
        /// Which it is there.
        inode: u64,
    },
    /// A block device: `st_rdev`, since there may be many nodes of it.
    Disk {
        /// Major and minor.
        number: u64,
    },
}

/// How a device uses a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// It may change the file.
    pub(crate) writes: bool,
    /// Others may do so at the same time: policy says so.
    pub(crate) shared: bool,
}

impl Use {
    /// Both may have the file. Who writes must have been told that others are there, and so must who reads while
    /// somebody writes.
    const fn goes_with(self, other: Self) -> bool {
        (!self.writes && !other.writes) || (self.shared && other.shared)
    }
}

/// Which files are in use, and by which device. Shared by all devices of the process.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<Identity, Vec<Holder>>>,
}

#[derive(Debug)]
struct Holder {
    device: String,
    using: Use,
}

/// The right to use files; given back on drop.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    files: Vec<(Identity, String, Use)>,
}

impl Claim {
    /// Never gives the right back: a store that could not be stopped may still write.
    pub fn keep_for_good(mut self) {
        self.files.clear();
    }

    /// Both in one.
    #[must_use]
    pub fn and(mut self, mut other: Self) -> Self {
        if Arc::ptr_eq(&self.claims, &other.claims) {
            self.files.append(&mut other.files);
        }
        self
    }
}

impl Claims {
    /// Takes the right to use a file, or tells who is in the way.
    pub(crate) fn claim(
        self: &Arc<Self>,
        identity: Identity,
        device: &str,
        using: Use,
    ) -> Result<Claim, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = held.entry(identity).or_default();
        if let Some(holder) = holders.iter().find(|holder| !using.goes_with(holder.using)) {
            return Err(holder.device.clone());
        }
        holders.push(Holder { device: device.to_owned(), using });
        Ok(Claim { claims: Arc::clone(self), files: vec![(identity, device.to_owned(), using)] })
    }

    /// [`Self::claim`], with the words for what a path names.
    pub(crate) fn claim_path(
        self: &Arc<Self>,
        identity: Identity,
        device: &str,
        path: &str,
        using: Use,
    ) -> Result<Claim, GrantError> {
        let claimed = self.claim(identity, device, using);
        claimed.map_err(|holder| GrantError::Claimed { path: path.to_owned(), holder })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, device, using) in self.files.drain(..) {
            let Entry::Occupied(mut holders) = held.entry(identity) else { continue };
            let mine = |holder: &Holder| holder.device == device && holder.using == using;
            if let Some(place) = holders.get().iter().position(mine) {
                holders.get_mut().swap_remove(place);
            }
            if holders.get().is_empty() {
                holders.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Identity = Identity::File { device: 1, inode: 2 };
    const DISK: Identity = Identity::Disk { number: 2 };
    const WRITER: Use = Use { writes: true, shared: false };
    const READER: Use = Use { writes: false, shared: false };
    const SHARED_WRITER: Use = Use { writes: true, shared: true };
    const SHARED_READER: Use = Use { writes: false, shared: true };

    #[test]
    fn one_writes_or_many_read() {
        let claims = Arc::new(Claims::default());
        let writer = claims.claim(FILE, "a", WRITER).unwrap();
        assert_eq!(claims.claim(FILE, "b", WRITER).unwrap_err(), "a");
        assert_eq!(claims.claim(FILE, "b", READER).unwrap_err(), "a");
        claims.claim(DISK, "b", WRITER).unwrap();
        drop(writer);
        let first = claims.claim(FILE, "b", READER).unwrap();
        let second = claims.claim(FILE, "c", READER).unwrap();
        assert_eq!(claims.claim(FILE, "d", WRITER).unwrap_err(), "b");
        drop(first);
        assert_eq!(claims.claim(FILE, "d", WRITER).unwrap_err(), "c", "one still reads");
        drop(second);
        claims.claim(FILE, "d", WRITER).unwrap();
    }

    #[test]
    fn sharing_is_agreed_upon_by_all() {
        let uses = [WRITER, READER, SHARED_WRITER, SHARED_READER];
        for (first, having) in uses.into_iter().enumerate() {
            for (second, wanted) in uses.into_iter().enumerate() {
                let claims = Arc::new(Claims::default());
                let _held = claims.claim(FILE, "a", having).unwrap();
                let expected = matches!((first, second), (1 | 3, 1 | 3) | (2 | 3, 2 | 3));
                assert_eq!(claims.claim(FILE, "b", wanted).is_ok(), expected, "{having:?} {wanted:?}");
            }
        }
        // An unshared reader that came through a shared one is in the writer's way.
        let claims = Arc::new(Claims::default());
        let _first = claims.claim(FILE, "a", SHARED_READER).unwrap();
        let _second = claims.claim(FILE, "b", READER).unwrap();
        assert_eq!(claims.claim(FILE, "c", SHARED_WRITER).unwrap_err(), "b");
    }

    #[test]
    fn claims_are_given_back_together() {
        let claims = Arc::new(Claims::default());
        let both = claims.claim(FILE, "a", WRITER).unwrap().and(claims.claim(DISK, "a", WRITER).unwrap());
        claims.claim(FILE, "b", WRITER).expect_err("held");
        claims.claim(DISK, "b", WRITER).expect_err("held");
        drop(both);
        assert!(claims.claim(FILE, "b", WRITER).is_ok() && claims.claim(DISK, "b", WRITER).is_ok());
        assert!(claims.held.lock().unwrap().is_empty(), "nothing is left of what was given back");
    }

    #[test]
    fn what_is_kept_for_good_is_never_given_back() {
        let claims = Arc::new(Claims::default());
        claims.claim(FILE, "a", WRITER).unwrap().keep_for_good();
        assert_eq!(claims.claim(FILE, "b", WRITER).unwrap_err(), "a");
    }
}
