//! Subtypes that other daemons serve: their devices' events are left alone, so that nobody answers in another's place.
//!
//! The kernel announces every device to everybody, and takes the first answer for the answer of all. An external
//! handler that registers on the bus is known here by name; what becomes of subtypes that nobody has claimed is a
//! setting.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of devices whose subtype nobody is known to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unclaimed {
    /// They are refused: whoever enables one is told so instead of waiting. As tcmu-runner does.
    #[default]
    Answer,
    /// They are left alone, for a daemon that tells nobody what it serves. Without one, whoever enables, changes or removes
    /// such a device hangs, also if its handler was ours once.
    Leave,
}

/// The subtypes of other daemons. Clones are the same; may be used from any thread, and never blocks for long.
#[derive(Clone, Debug, Default)]
pub struct Foreign(Arc<Mutex<State>>);

/// Told of a subtype that is not left alone any more; of none if that may be many.
type Listener = Arc<dyn Fn(Option<&str>) + Send + Sync>;

#[derive(Default)]
struct State {
    subtypes: BTreeSet<String>,
    unclaimed: Unclaimed,
    released: Option<Listener>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subtypes, unclaimed, released: _ } = self;
        f.debug_struct("State")
            .field("subtypes", subtypes)
            .field("unclaimed", unclaimed)
            .finish_non_exhaustive()
    }
}

impl Foreign {
    /// Another daemon serves this subtype; false if that was known.
    pub fn add(&self, subtype: &str) -> bool {
        self.state().subtypes.insert(subtype.to_owned())
    }

    /// Nobody else serves this subtype any more; false if nobody did.
    pub fn remove(&self, subtype: &str) -> bool {
        let known = self.state().subtypes.remove(subtype);
        if known {
            self.released(Some(subtype));
        }
        known
    }

    /// Calls `listener` each time when a subtype is not left alone any more, with the subtype if it is one: who waits for
    /// an answer waits for us now. It takes the place of the one before, and must not block.
    pub fn on_release(&self, listener: impl Fn(Option<&str>) + Send + Sync + 'static) {
        self.state().released = Some(Arc::new(listener));
    }

    fn released(&self, subtype: Option<&str>) {
        let listener = self.state().released.clone();
        if let Some(listener) = listener {
            listener(subtype);
        }
    }

    /// Another daemon serves exactly this subtype.
    pub fn contains(&self, subtype: &str) -> bool {
        self.state().subtypes.contains(subtype)
    }

    /// Has subtypes that nobody is known to serve treated like this from now on.
    pub fn set_unclaimed(&self, unclaimed: Unclaimed) {
        let before = std::mem::replace(&mut self.state().unclaimed, unclaimed);
        match unclaimed {
            _ if before == unclaimed => {}
            Unclaimed::Leave => tracing::info!("foreign subtypes are left alone now, whoever serves them"),
            Unclaimed::Answer => {
                tracing::info!("foreign subtypes are refused now, unless a daemon registered them");
                self.released(None);
            }
        }
    }

    /// Events of devices of this subtype are not ours to answer; `ours` is whether there is a handler for it here.
    pub fn is_left_alone(&self, subtype: &str, ours: bool) -> bool {
        let state = self.state();
        state.subtypes.contains(subtype) || (!ours && state.unclaimed == Unclaimed::Leave)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtype_is_left_alone_if_another_daemon_has_it_or_if_nobody_has_and_that_is_set() {
        let foreign = Foreign::default();
        let same = foreign.clone();
        assert!(!foreign.is_left_alone("glfs", false));
        assert!(same.add("glfs") && !same.add("glfs"));
        assert!(foreign.contains("glfs") && foreign.is_left_alone("glfs", false));
        assert!(foreign.is_left_alone("glfs", true), "who has said so has it");
        assert!(!foreign.is_left_alone("glf", false), "exact names only");
        same.set_unclaimed(Unclaimed::Leave);
        assert!(foreign.is_left_alone("rbd", false) && !foreign.is_left_alone("rbd", true));
        assert!(same.remove("glfs") && !same.remove("glfs"));
        assert!(!foreign.contains("glfs") && !foreign.is_left_alone("glfs", true));
        same.set_unclaimed(Unclaimed::Answer);
        assert!(!foreign.is_left_alone("rbd", false));
    }

    #[test]
    fn who_listens_is_told_of_what_is_not_left_alone_any_more_and_of_nothing_else() {
        let foreign = Foreign::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        foreign.on_release(move |subtype| listener.lock().unwrap().push(subtype.map(str::to_owned)));
        foreign.add("glfs");
        foreign.set_unclaimed(Unclaimed::Answer);
        foreign.set_unclaimed(Unclaimed::Leave);
        foreign.remove("rbd");
        assert!(told.lock().unwrap().is_empty());
        foreign.remove("glfs");
        foreign.set_unclaimed(Unclaimed::Answer);
        assert_eq!(*told.lock().unwrap(), [Some("glfs".to_owned()), None]);
    }
}
