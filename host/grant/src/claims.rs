//! Which files this process has open, and for whom.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Who has a file.
#[derive(Debug)]
enum Holders {
    /// One that may write to it.
    Writer(String),
    /// Any number that only read: the first one's name, and how many there are.
    Readers { first: String, count: usize },
}

/// Which files are open, and by which device. Shared by all devices of the process.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<Identity, Holders>>,
}

/// The right to use a file; given back on drop.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    identity: Identity,
    for_good: bool,
}

impl Claim {
    /// Never gives the right back: a store that could not be stopped may still write.
    pub fn keep_for_good(mut self) {
        self.for_good = true;
    }
}

impl Claims {
    /// Takes the right to use a file, or tells who is in the way: anybody for one who writes, a writer for one who
    /// reads.
    pub(crate) fn claim(
        self: &Arc<Self>,
        identity: Identity,
        device: &str,
        writes: bool,
    ) -> Result<Claim, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.entry(identity) {
            Entry::Vacant(free) => {
                let device = device.to_owned();
                let readers = |first| Holders::Readers { first, count: 1 };
                free.insert(if writes { Holders::Writer(device) } else { readers(device) });
            }
            Entry::Occupied(mut taken) => match taken.get_mut() {
                Holders::Readers { count, .. } if !writes => *count += 1,
                Holders::Writer(holder) | Holders::Readers { first: holder, .. } => {
                    return Err(holder.clone());
                }
            },
        }
        Ok(Claim { claims: Arc::clone(self), identity, for_good: false })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.for_good {
            return;
        }
        let mut held = self.claims.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Holders::Readers { count, .. }) = held.get_mut(&self.identity)
            && *count > 1
        {
            *count -= 1;
            return;
        }
        held.remove(&self.identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Identity = Identity::File { device: 1, inode: 2 };
    const DISK: Identity = Identity::Disk { number: 2 };

    #[test]
    fn one_writes_or_many_read() {
        let claims = Arc::new(Claims::default());
        let writer = claims.claim(FILE, "a", true).unwrap();
        assert_eq!(claims.claim(FILE, "b", true).unwrap_err(), "a");
        assert_eq!(claims.claim(FILE, "b", false).unwrap_err(), "a");
        claims.claim(DISK, "b", true).unwrap();
        drop(writer);
        let first = claims.claim(FILE, "b", false).unwrap();
        let second = claims.claim(FILE, "c", false).unwrap();
        assert_eq!(claims.claim(FILE, "d", true).unwrap_err(), "b");
        drop(first);
        claims.claim(FILE, "d", true).expect_err("one still reads");
        drop(second);
        claims.claim(FILE, "d", true).unwrap();
    }

    #[test]
    fn what_is_kept_for_good_is_never_given_back() {
        let claims = Arc::new(Claims::default());
        claims.claim(FILE, "a", true).unwrap().keep_for_good();
        assert_eq!(claims.claim(FILE, "b", false).unwrap_err(), "a");
    }
}
