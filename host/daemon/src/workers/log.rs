//! What and where workers log. They write by themselves, so that they go on when nobody supervises them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Tells a worker; false if it is to be told again later.
    fn tell(&self, worker: &Worker) -> bool {
        let file: Vec<_> = self.file.iter().map(AsFd::as_fd).collect();
        worker.tell_with(&Request::Level { level: self.level.to_string() }, &[])
            && worker.tell_with(&Request::Log {}, &file)
    }
}

/// What one worker was not told yet, since it did not listen at that moment: it would write for ever to a file that was
/// rotated away.
#[derive(Debug, Default)]
pub struct Owed(Mutex<Option<Arc<Log>>>);

impl Owed {
    /// Tells a worker, if it is of our own build: others may not know what is said. What it can not be told now is
    /// owed. Never blocks.
    pub fn tell(&self, worker: &Worker, log: &Arc<Log>) {
        if worker.outdated() {
            return;
        }
        // Held while it is told: what was owed before must not come after this.
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *owed = (!log.tell(worker)).then(|| Arc::clone(log));
    }

    /// Tells it what is owed, if there is anything. Never blocks.
    pub fn pay(&self, worker: &Worker) {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.as_ref().is_some_and(|log| log.tell(worker)) {
            *owed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
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
        pool.set_log(|| (Level::DEBUG, Some(file.into())));
        assert_eq!(told(&one, "debug"), inode);
        let late = worker(&pool, false);
        assert_eq!(told(&late, "debug"), inode);
        pool.set_log(|| (Level::CRIT, None));
        for worker in [&one, &late] {
            assert_eq!(told(worker, "crit"), None);
            hears_nothing(worker);
        }
        hears_nothing(&old);
    }

    #[test]
    fn a_worker_whose_link_was_full_is_told_the_newest_as_soon_as_it_listens() {
        let files = [(); 2].map(|()| tempfile::tempfile().unwrap());
        let [_, newest] = files.each_ref().map(|file| file.metadata().unwrap().ino());
        let pool = pool();
        let link = worker(&pool, false);
        let told = pool.alive().pop().unwrap();
        while told.tell_with(&Request::Status { call: 0 }, &[]) {}
        let [first, second] = files;
        pool.set_log(|| (Level::DEBUG, Some(first.into())));
        pool.set_log(|| (Level::TRACE, Some(second.into())));
        let mut level = None;
        let file = loop {
            let (request, mut files) =
                link.receive_within::<Request>(Duration::from_secs(20)).unwrap().unwrap();
            match request {
                Request::Level { level: told } => level = Some(told),
                Request::Log {} => break File::from(files.pop().unwrap()).metadata().unwrap().ino(),
                Request::Status { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((level, file), (Some(Level::TRACE.to_string()), newest));
        // Once is enough.
        told.log_owed.pay(&told);
        hears_nothing(&link);
    }

    #[test]
    fn of_two_who_tell_of_the_log_at_once_the_one_who_looked_last_has_the_last_word() {
        let pool = pool();
        let link = worker(&pool, false);
        let (looks, looking) = channel();
        let (go_on, waits) = channel::<()>();
        let (second_looks, second_looking) = channel();
        std::thread::scope(|scope| {
            let pool = &pool;
            scope.spawn(move || {
                pool.set_log(|| {
                    looks.send(()).unwrap();
                    waits.recv().unwrap();
                    (Level::DEBUG, None)
                });
            });
            looking.recv().unwrap();
            scope.spawn(move || {
                pool.set_log(|| {
                    second_looks.send(()).unwrap();
                    (Level::CRIT, None)
                });
            });
            // It does not look before the first has told what it saw.
            assert!(second_looking.recv_timeout(Duration::from_millis(200)).is_err());
            go_on.send(()).unwrap();
            second_looking.recv().unwrap();
        });
        assert_eq!((told(&link, "debug"), told(&link, "crit")), (None, None));
        hears_nothing(&link);
    }
}
