//! What and where workers log. They write by themselves, so that they go on when nobody supervises them.

use std::os::fd::{AsFd, OwnedFd};

use lunbox_log::Level;
use lunbox_wire::Request;

use super::Worker;

/// What and where workers log.
#[derive(Debug)]
pub struct Log {
    pub level: Level,
    /// Open for appending.
    pub file: Option<OwnedFd>,
}

impl Log {
    /// Tells a worker, if it is of our own build: others may not know what is said. Never blocks.
    pub fn tell(&self, worker: &Worker) {
        if worker.outdated() {
            return;
        }
        worker.tell(&Request::Level { level: self.level.to_string() });
        let file: Vec<_> = self.file.iter().map(AsFd::as_fd).collect();
        worker.tell_with(&Request::Log {}, &file);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::time::Duration;

    use lunbox_wire::{Link, LinkError};

    use super::super::client::Origin;
    use super::super::{Pool, Spawner, scripted, spawn};
    use super::*;
    use crate::journal::Journal;

    fn pool() -> Arc<Pool> {
        let spawner = Spawner {
            place: spawn::Place::Process { executable: "/no/such/program".into() },
            sockets: "/no/such/directory".into(),
            build: "test".to_owned(),
            level: "info".to_owned(),
        };
        Pool::new(spawner, Arc::new(|_, _| {}), Journal::default())
    }

    fn worker(pool: &Arc<Pool>, outdated: bool) -> Link {
        let (link, other) = Link::pair().unwrap();
        let origin = Origin { outdated, ..Origin::default() };
        pool.keep(link, scripted::hello("acme"), &[], origin).unwrap();
        other
    }

    /// The inode of the file that it is told to log to.
    fn told(worker: &Link, level: &str) -> Option<u64> {
        let next = || worker.receive_within::<Request>(Duration::from_secs(20)).unwrap().unwrap();
        let (request, files) = next();
        assert_eq!(request, Request::Level { level: level.to_owned() });
        assert!(files.is_empty());
        let (request, mut files) = next();
        assert_eq!(request, Request::Log {});
        let file = files.pop().map(|file| File::from(file).metadata().unwrap().ino());
        assert!(files.is_empty());
        file
    }

    fn hears_nothing(worker: &Link) {
        assert!(matches!(worker.try_receive::<Request>(), Err(LinkError::WouldBlock)));
    }

    #[test]
    fn workers_of_this_build_are_told_at_once_and_when_they_come() {
        let file = tempfile::tempfile().unwrap();
        let inode = Some(file.metadata().unwrap().ino());
        let pool = pool();
        let (one, old) = (worker(&pool, false), worker(&pool, true));
        hears_nothing(&one);
        pool.set_log(Level::DEBUG, Some(file.into()));
        assert_eq!(told(&one, "debug"), inode);
        let late = worker(&pool, false);
        assert_eq!(told(&late, "debug"), inode);
        pool.set_log(Level::CRIT, None);
        for worker in [&one, &late] {
            assert_eq!(told(worker, "crit"), None);
            hears_nothing(worker);
        }
        hears_nothing(&old);
    }
}
